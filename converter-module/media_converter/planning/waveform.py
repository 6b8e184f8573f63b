"""Plans audio_waveform, which shows the level of the audio over time. Does no I/O."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from media_converter.limits import Limits
from media_converter.planning.audio_filters import (
    FOLLOW_SAMPLES,
    audio_decoder_options,
    reading_alone,
)
from media_converter.planning.joined_tracks import audio_input, audio_map, feed
from media_converter.planning.plan import ConversionPlan, Expected, ffmpeg_command
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.step import Stdout, Step
from media_converter.typed_options import WaveformOptions

_BLOCKS_PER_COLUMN: Final = 4
_SMALLEST_BLOCK: Final = 64
_UNKNOWN_BLOCK: Final = 4096
_LARGEST_BLOCK: Final = 1 << 19
"""ffmpeg holds a block in memory. The duration in a header may be wrong."""
MAX_BLOCKS: Final = 1 << 18
"""If there are more, they are merged in pairs, so that a drawing needs little memory."""


def plan_waveform(
    info: MediaInfo,
    audio: AudioStream,
    options: WaveformOptions,
    output_format: str,
    limits: Limits,
) -> ConversionPlan:
    """Plan the measurement. ffmpeg prints the lowest and the highest sample of each block.

    These are the extremes of all channels. A mix of the channels could cancel them out.
    """
    total = (audio.duration or info.duration) if info.video else (info.duration or audio.duration)
    block = block_samples(audio, total, options, output_format)
    filters = [
        FOLLOW_SAMPLES,
        f"aresample={audio.sample_rate}:async=1:min_hard_comp=0.1",
        # Of whole numbers, astats prints others than from -1 to 1.
        "aformat=sample_fmts=fltp",
        f"asetnsamples=n={block}:p=0",
        "astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=Min_level+Max_level",
        "ametadata=mode=print:file=pipe\\\\:1",
    ]
    read = audio_decoder_options(audio)
    argv = ffmpeg_command(limits, read, demuxer_options=info.demuxer_options)
    argv += [*audio_input(audio), "-map", audio_map(audio), "-af", ",".join(filters)]
    argv += ["-nostats", "-f", "null", "-"]
    is_drawing = output_format == "png"
    return ConversionPlan(
        step=Step(
            "peaks",
            tuple(argv),
            Stdout.LINES,
            feed=feed(limits, info, audio, reading_alone(read, audio.start - info.start)),
        ),
        expected=Expected(
            container=output_format,
            video_codec="png" if is_drawing else None,
            size=options.size if is_drawing else None,
            duration=total if info.duration_is_exact else None,
        ),
        summary=f"audio: {audio.codec} {audio.channels} channels {audio.sample_rate} Hz"
        f" -> waveform, {block} samples at a time",
        duration=total,
        audio_index=audio.stream_index,
        joined=audio.joined,
    )


def block_samples(
    audio: AudioStream, seconds: float | None, options: WaveformOptions, output_format: str
) -> int:
    """How many samples are measured at a time. A drawing needs a few blocks for each column."""
    if output_format != "png":
        return options.samples_per_pixel
    if not seconds:
        return _UNKNOWN_BLOCK
    columns = _BLOCKS_PER_COLUMN * options.size[0]
    wanted = min(_LARGEST_BLOCK, seconds * audio.sample_rate / columns)
    return max(_SMALLEST_BLOCK, int(wanted))


class Columns:
    """The extremes of blocks of samples, from -1 to 1, in bounded memory."""

    def __init__(self) -> None:
        self._lows, self._highs = array("f"), array("f")
        self._pending: list[tuple[float, float]] = []
        self._merged = 1

    def __len__(self) -> int:
        """How many blocks are in memory."""
        return len(self._lows)

    def add(self, low: float, high: float) -> None:
        """Add a block."""
        self._pending.append((low, high))
        if len(self._pending) == self._merged:
            self._flush()
        if len(self._lows) == MAX_BLOCKS:
            half = MAX_BLOCKS // 2
            self._lows = array("f", _merged(self._lows, half, min))
            self._highs = array("f", _merged(self._highs, half, max))
            self._merged *= 2

    def of(self, count: int) -> list[tuple[float, float]]:
        """The extremes of ``count`` equal parts."""
        if self._pending:
            self._flush()
        lows, highs = _merged(self._lows, count, min), _merged(self._highs, count, max)
        return list(zip(lows, highs, strict=True))

    def _flush(self) -> None:
        self._lows.append(min(low for low, _ in self._pending))
        self._highs.append(max(high for _, high in self._pending))
        self._pending = []


def _merged(
    values: Sequence[float], count: int, choose: Callable[[Sequence[float]], float]
) -> Iterator[float]:
    total = len(values)
    for number in range(count):
        first = number * total // count
        yield choose(values[first : max(first + 1, (number + 1) * total // count)])


def rows(columns: Iterable[tuple[float, float]], size: tuple[int, int]) -> Iterator[bytes]:
    """The rows of the drawing. A byte is 1 where the colour is, 0 for the background.

    Each column is a line from its highest to its lowest sample. Silence is one pixel high.
    """
    width, height = size
    begins: list[list[int]] = [[] for _ in range(height)]
    ends: list[list[int]] = [[] for _ in range(height)]
    for x, (low, high) in enumerate(columns):
        begins[_row(high, height)].append(x)
        ends[_row(low, height)].append(x)
    row = bytearray(width)
    for y in range(height):
        for x in begins[y]:
            row[x] = 1
        yield bytes(row)
        for x in ends[y]:
            row[x] = 0


def _row(level: float, height: int) -> int:
    return round((1 - max(-1.0, min(1.0, level))) / 2 * (height - 1))


def as_byte(level: float) -> int:
    """A level from -1 to 1 as a number of 8 bits with a sign."""
    return max(-128, min(127, int(level * 128)))
