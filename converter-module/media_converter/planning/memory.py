"""Estimates the memory that encoding a video takes, and chooses encoder settings that fit.

The settings never change the width and height of the output.

The figures were measured in the image (ffmpeg 7.1.5, one thread, peak resident set): 146 MiB from
1080p to 720p, 243 MiB at 1080p. At 4K: 811 MiB with the first settings of H.264, 529 MiB with the
least lookahead and one B-frame, 417 MiB without lookahead and B-frames. With these last settings:
715 MiB from a 10-bit input, 887 MiB with tone mapping, too. :func:`estimate` adds
``_FFMPEG_BYTES``, the decoded frames and the frames in the encoder. It gives these figures or
slightly more.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning.filters import is_wide_gamut
from media_converter.planning.video_codecs import CODECS, EncoderSettings
from media_converter.probing.media import VideoStream

_MIB: Final = 1 << 20
# Memory of ffmpeg without any frames.
_FFMPEG_BYTES: Final = 40 * _MIB
# Memory of the converter itself: the interpreter, pipes and page tables.
_CONVERTER_BYTES: Final = 40 * _MIB
# The kernel frees page cache under pressure, but not all of it and not at once.
_USABLE_SHARE: Final = 0.95
FOR_COPY: Final = _FFMPEG_BYTES + _CONVERTER_BYTES
"""Memory, in bytes, of a conversion that decodes no video: a stream copy, or audio."""

# Numbers of frames that are in memory at the same time.
_DECODED_FRAMES: Final = 16
_DEINTERLACER_FRAMES: Final = 4
_TONE_MAP_FRAMES: Final = 15
_FLATTEN_FRAMES: Final = 6
# Recommended limits are multiples of this.
_LIMIT_STEP: Final = 64 * _MIB


Encoder = tuple[EncoderSettings, int]
"""The settings of an encoder, and its threads."""


def choose_encoder_settings(
    video: VideoStream, size: tuple[int, int], limits: Limits, codec: str = "h264"
) -> Encoder:
    """The first settings of the codec that fit the memory limit, and the most threads that fit.

    Reduces the number of threads before it chooses settings with less lookahead. Each additional
    thread holds more frames in memory, and with the same CPU quota, fewer threads are only a little
    slower. Less lookahead makes the file larger, but keeps the quality.

    Raises ConversionError with the reason NeedsMemory if nothing fits. The message names the
    smallest sufficient limit.
    """
    if limits.memory is None:
        return CODECS[codec].settings[0], limits.threads
    available = int(limits.memory * _USABLE_SHARE) - _CONVERTER_BYTES
    for settings in CODECS[codec].settings:
        for threads in range(limits.threads, 0, -1):
            if estimate(video, size, (settings, threads), codec) <= available:
                return settings, threads
    min_bytes = estimate(video, size, (CODECS[codec].settings[-1], 1), codec)
    needed = sufficient_limit(min_bytes + _CONVERTER_BYTES)
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{video.width}x{video.height} to {size[0]}x{size[1]} in {codec} needs a memory limit of "
        f"{needed} MiB, but the limit is {limits.memory // _MIB} MiB; raise the limit or "
        "choose a smaller resolution",
    )


def estimate(video: VideoStream, size: tuple[int, int], encoder: Encoder, codec: str) -> int:
    """Peak memory of ffmpeg in bytes."""
    return _decoding(video) + encoding(video, size, encoder, codec)


class EncodedVideo(NamedTuple):
    """The size in pixels and the codec of a video that is encoded."""

    size: tuple[int, int]
    codec: str = "h264"


class Sharing(NamedTuple):
    """How several encoders run in one process, and whether their memory fits the limit together.

    ``encoders`` has the settings and the threads of each. ``needed`` is the sum in bytes, which
    includes the memory of the converter itself.
    """

    encoders: tuple[Encoder, ...]
    needed: int
    fits: bool


def share_threads(video: VideoStream, wanted: Sequence[EncodedVideo], limits: Limits) -> Sharing:
    """Divide the threads between the encoders of several outputs.

    Also checks whether all encoders together fit the memory limit. Each encoder keeps the settings
    that it would have alone, so no file becomes larger. Raises ConversionError with the reason
    NeedsMemory if an encoder does not fit alone.
    """
    pixels = sum(width * height for (width, height), _ in wanted)
    encoders = []
    for size, codec in wanted:
        threads = max(1, round(limits.threads * size[0] * size[1] / pixels))
        share_of_limits = limits._replace(threads=min(threads, limits.threads))
        encoders.append(choose_encoder_settings(video, size, share_of_limits, codec))
    needed = _decoding(video) + _CONVERTER_BYTES
    for (size, codec), encoder in zip(wanted, encoders, strict=True):
        needed += encoding(video, size, encoder, codec)
    fits = limits.memory is None or needed <= int(limits.memory * _USABLE_SHARE)
    return Sharing(tuple(encoders), needed, fits)


class Waiting(NamedTuple):
    """An output that is encoded later, because its memory does not fit beside the chosen outputs.

    ``number`` is its index. ``outputs`` is how many outputs would run together, and ``needed`` is
    the memory in bytes that they would need.
    """

    number: int
    outputs: int
    needed: int


def next_batch(
    video: VideoStream, wanted: Sequence[EncodedVideo], limits: Limits
) -> tuple[list[int], list[Waiting]]:
    """Choose the outputs to encode at the same time: their indices, and the outputs that wait.

    The first output is always chosen, and then each that still fits. To get the next batch, call
    this again with the outputs that wait, in the same order.
    """
    numbers, waiting = [0], []
    for number, each in enumerate(wanted[1:], 1):
        sharing = share_threads(video, [*(wanted[other] for other in numbers), each], limits)
        if sharing.fits:
            numbers.append(number)
        else:
            waiting.append(Waiting(number, len(numbers) + 1, sharing.needed))
    return numbers, waiting


def batch_of(
    number: int, video: VideoStream, wanted: Sequence[EncodedVideo], limits: Limits
) -> list[EncodedVideo]:
    """The batch that contains the output with this index."""
    left = list(range(len(wanted)))
    while True:
        found, waiting = next_batch(video, [wanted[index] for index in left], limits)
        batch = [left[index] for index in found]
        if number in batch:
            return [wanted[index] for index in batch]
        left = [left[each.number] for each in waiting]


def for_decoding(video: VideoStream) -> int:
    """Memory for a few frames of a video, in bytes, including that of the converter itself."""
    return _decoding(video) + _CONVERTER_BYTES


def fits(needed: int, limits: Limits) -> bool:
    """Whether ``needed`` bytes fit into the memory limit.

    They include the memory of the converter itself.
    """
    return limits.memory is None or needed <= limits.memory * _USABLE_SHARE


def sufficient_limit(needed: int) -> int:
    """The memory limit, in MiB, that is enough for ``needed`` bytes.

    They include the memory of the converter itself.
    """
    return -(-int(needed / _USABLE_SHARE) // _LIMIT_STEP) * _LIMIT_STEP // _MIB


def _decoding(video: VideoStream) -> int:
    pixels = video.width * video.height
    decoded_frames = _DECODED_FRAMES
    if video.field_order != "progressive":
        decoded_frames += _DEINTERLACER_FRAMES
    return (
        _FFMPEG_BYTES
        + int(decoded_frames * pixels * bytes_per_pixel(video.pixel_format))
        + (_FLATTEN_FRAMES * pixels * 4 if video.has_alpha else 0)
    )


def encoding(video: VideoStream, size: tuple[int, int], encoder: Encoder, codec: str) -> int:
    """Memory of an encoder, and of the filters before it, in bytes."""
    settings, threads = encoder
    encoder_frames = settings.frames + CODECS[codec].thread_frames * (threads - 1)
    frames = encoder_frames * size[0] * size[1] * 3 // 2
    return CODECS[codec].fixed_bytes + frames + for_tone_mapping(video, size)


def for_tone_mapping(video: VideoStream, size: tuple[int, int]) -> int:
    """Memory of the filters that convert colours to BT.709, in bytes. 0 if there are none."""
    return _TONE_MAP_FRAMES * size[0] * size[1] * 3 // 2 if is_wide_gamut(video) else 0


def bytes_per_pixel(pixel_format: str) -> float:
    """Bytes per pixel of a decoded frame, from the name of its pixel format.

    An unknown name counts as 8-bit 4:2:0.
    """
    high_bit_depth = any(mark in pixel_format for mark in ("9", "10", "12", "14", "16", "48", "64"))
    if "444" in pixel_format or pixel_format.startswith(("rgb", "bgr", "gbr")):
        samples = 3.0
    elif "422" in pixel_format or "440" in pixel_format:
        samples = 2.0
    elif pixel_format.startswith(("argb", "abgr", "rgba", "bgra", "0rgb", "0bgr")):
        samples = 4.0
    else:
        samples = 1.5
    if pixel_format.startswith(("yuva", "gbrap", "rgba", "bgra")) and samples < 4:
        samples += 1
    return samples * (2 if high_bit_depth else 1)
