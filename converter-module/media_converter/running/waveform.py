"""Draws a waveform, or writes the peaks of the audio in the format of audiowaveform, version 2."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from media_converter.contract import ExitReason, Output, Progress
from media_converter.errors import ConversionError
from media_converter.files import png, still
from media_converter.files.digest import sha256
from media_converter.files.write import write_all
from media_converter.planning.audio import require_audio
from media_converter.planning.plan import Expected, level_step
from media_converter.planning.waveform import Columns, as_byte, block_samples, plan_waveform, rows
from media_converter.probing import decoded, holes
from media_converter.probing.decoded import LogReader
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.running import damage, survey, transcode, verify
from media_converter.running.process import Files
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Converted, Run
from media_converter.running.transcode import ToolRun
from media_converter.typed_options import WaveformOptions

_LOW: Final = "lavfi.astats.Overall.Min_level="
_HIGH: Final = "lavfi.astats.Overall.Max_level="
_PROGRESS_SECONDS: Final = 5
_WRITE_BYTES: Final = 1 << 16
_PLACES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where the waveform is compared with another measurement, as fractions of the duration."""
_PLACE_SECONDS: Final = 2.0
_MAX_DIFFERENCE_DB: Final = 12.0
_MAX_LEVELS: Final = 1 << 20
_FLOOR_DB: Final = -60.0
"""What is quieter is not compared."""


class PeakReader(Meter):
    """Reads the lines of the filter ametadata. Calls ``add`` with the extremes of each block.

    It counts the blocks, so that progress is known: ffmpeg cannot print both to one pipe.
    """

    def __init__(
        self,
        block_seconds: float,
        add: Callable[[float, float], None],
        duration: float | None,
        on_progress: Callable[[Progress], None],
        max_seconds: float,
    ) -> None:
        super().__init__(duration, on_progress, max_seconds)
        self.blocks = 0
        self._add = add
        self._block_seconds = block_seconds
        self._low = 0.0
        self._told = 0.0

    @property
    def seconds(self) -> float:
        """How much was read."""
        return self.blocks * self._block_seconds

    def add_line(self, text: str) -> None:
        """Add one line. Raises ConversionError if the file never ends."""
        if text.startswith(_LOW):
            self._low = _level(text.removeprefix(_LOW))
        elif text.startswith(_HIGH):
            self._add(self._low, _level(text.removeprefix(_HIGH)))
            self.blocks += 1
            if self.seconds >= self._told + _PROGRESS_SECONDS:
                self._told = self.seconds
                super().add_line(f"out_time_us={int(1e6 * self.seconds)}")
                super().add_line("progress=continue")


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        return 0.0
    return level if math.isfinite(level) else 0.0


class Levels:
    """The highest level in each tenth of a second, to compare it with another measurement.

    Of very long audio, in longer steps, so that it needs little memory.
    """

    def __init__(self, block_seconds: float) -> None:
        self._block_seconds = block_seconds
        self._count = 0
        self._step = 0.1
        self._levels = array("f")

    def add(self, low: float, high: float) -> None:
        """Add a block. The other measurement clips what is above full scale."""
        place = int(self._count * self._block_seconds / self._step)
        self._count += 1
        while len(self._levels) <= place:
            self._levels.append(0.0)
        self._levels[place] = max(self._levels[place], min(1.0, max(-low, high)))
        if len(self._levels) > _MAX_LEVELS:
            self._levels.append(0.0)  # an odd one out would be lost
            self._levels = array("f", map(max, self._levels[::2], self._levels[1::2]))
            self._step *= 2

    def near(self, begin: float, end: float) -> float:
        """The highest level between two times, in dB."""
        first, last = int(begin / self._step), int(end / self._step)
        part = self._levels[max(0, first) : max(0, last) + 1]
        peak = max(part, default=0.0)
        return 20 * math.log10(peak) if peak > 0 else -math.inf


class PeaksDocument:
    """Writes the JSON document piece by piece, so that long audio needs little memory."""

    def __init__(self, fd: int, audio: AudioStream, samples_per_pixel: int) -> None:
        self._fd = fd
        self._pieces: list[str] = []
        self._size = 0
        self._length = 0
        self._written = hashlib.sha256()
        self._pieces.append(
            f'{{"version":2,"channels":1,"sample_rate":{audio.sample_rate},'
            f'"samples_per_pixel":{samples_per_pixel},"bits":8,"data":['
        )

    def add(self, low: float, high: float) -> None:
        """Add a block: its lowest and its highest sample."""
        comma = "," if self._length else ""
        self._pieces.append(f"{comma}{as_byte(low)},{as_byte(high)}")
        self._length += 1
        self._size += len(self._pieces[-1])
        if self._size >= _WRITE_BYTES:
            self._write()

    def finish(self, check: Callable[[], None]) -> str:
        """Write the end, and read all of it back. Returns the sha256. Raises ConversionError."""
        self._pieces.append(f'],"length":{self._length}}}\n')
        self._write()
        found = sha256(self._fd, check)
        if found != self._written.hexdigest():
            raise verify.not_readable("is not what was written")
        return found

    def _write(self) -> None:
        data = "".join(self._pieces).encode("ascii")
        self._written.update(data)
        write_all(self._fd, data)
        self._pieces, self._size = [], 0


def write_waveform(run: Run, options: WaveformOptions) -> Converted:
    """Measure the audio and write its waveform."""
    info = survey.probe(run)
    audio = require_audio(info)
    output_format, fd = run.task.output_format, run.make_temporary().fd
    plan = plan_waveform(info, audio, options, output_format, run.limits)
    run.log(plan.summary)
    block = block_samples(audio, plan.duration, options, output_format)
    block_seconds = block / audio.sample_rate
    columns, levels = Columns(), Levels(block_seconds)
    text = PeaksDocument(fd, audio, block) if output_format == "json" else None

    def add(low: float, high: float) -> None:
        levels.add(low, high)
        (columns if text is None else text).add(low, high)

    max_seconds = max_plausible_duration(plan.duration, run.source.size_bytes)
    peaks = PeakReader(block_seconds, add, plan.duration or None, run.on_progress, max_seconds)
    log = LogReader()
    files = Files(run.source.fd)
    result = run.run_tool(plan.step, files, peaks, on_error_line=log.add_line)
    if result.exit_code != 0:
        raise run.explain_failure(plan.step, result)
    tool_run = ToolRun(plan, result, log.result())
    warnings = _judge(run, info, tool_run, peaks.seconds)
    _check_levels(run, info, audio, levels, peaks.seconds)
    for warning in warnings:
        run.log(warning)
    if text is not None:
        return Converted(Output(text.finish(run.runner.check), "json"), warnings)
    colours = [_rgba(options.background), _rgba(options.colour)]
    drawing = rows(columns.of(options.size[0]), options.size)
    png.write_palette(partial(write_all, fd), options.size, colours, drawing)
    return Converted(_describe(run, fd, plan.expected), warnings)


def _judge(run: Run, info: MediaInfo, tool_run: ToolRun, seconds: float) -> tuple[str, ...]:
    """The warnings about a damaged input. Raises ConversionError if too much is lost."""
    source = transcode.source_of_audio(run, info, tool_run.plan.audio_index, None)
    warnings = damage.judge(transcode.losses(run, source, tool_run), run.task.damage)
    if not seconds:
        raise ConversionError(
            ExitReason.INPUT_DAMAGED, "no audio sample can be decoded; upload the file again"
        )
    size = run.source.size_bytes
    missing = run.missing_bytes() or holes.missing_bytes(source.holes, size)
    read = info._replace(duration=seconds, video=())
    expected = Expected(tool_run.plan.expected.container, duration=tool_run.plan.expected.duration)
    _, short = verify.check_media(read, expected, missing, tool_run.result.stderr, run.task.damage)
    return warnings + short


def _check_levels(
    run: Run, info: MediaInfo, audio: AudioStream, levels: Levels, seconds: float
) -> None:
    """Raise ConversionError if another measurement says that the waveform is wrong."""
    places = [max(0.0, min(place * seconds, seconds - _PLACE_SECONDS)) for place in _PLACES]

    def measure_track(index: int, begin: float) -> float:
        lines: list[str] = []
        step = level_step(run.limits, index, begin, from_start=info.clock_restarts)
        run.run_tool(step, Files(run.source.fd), on_error_line=lines.append)
        return decoded.level("\n".join(lines)).peak

    def measure(begin: float) -> float:
        return max(measure_track(index, begin) for index in audio.joined or (audio.stream_index,))

    if is_wrong(levels, [(begin, measure(begin)) for begin in places]):
        raise ConversionError(
            ExitReason.VERIFICATION_FAILED,
            "the output was discarded: the waveform does not show the level of the audio; convert "
            "the input to a common format first",
        )


def is_wrong(levels: Levels, measured: Sequence[tuple[float, float]]) -> bool:
    """Whether the waveform is too low at most places, or too high at all of them.

    ``measured`` has the start of a place and the peak of two seconds there, in dB. A seek may miss,
    so what is drawn within a second of the place counts, too. Without a peak, nothing was measured.
    """
    compared = low = high = 0
    for begin, peak in measured:
        drawn = levels.near(begin, begin + _PLACE_SECONDS)
        around = levels.near(begin - 1, begin + _PLACE_SECONDS + 1)
        if math.isfinite(peak) and max(peak, drawn) > _FLOOR_DB:
            compared += 1
            low += peak - around > _MAX_DIFFERENCE_DB
            high += drawn - peak > _MAX_DIFFERENCE_DB
    return compared > 0 and (2 * low > compared or high == compared)


def _describe(run: Run, fd: int, expected: Expected) -> Output:
    found = verify.check_image(still.measure(os.pread(fd, os.fstat(fd).st_size, 0)), expected)
    return Output(
        sha256=sha256(fd, run.runner.check),
        container="png",
        video_codec="png",
        width=found.width,
        height=found.height,
    )


def _rgba(colour: str) -> bytes:
    return bytes(4) if colour == "transparent" else bytes.fromhex(colour) + b"\xff"
