"""How much memory an encode takes, and how to make it take less without making it smaller.

The figures were measured in the image (ffmpeg 7.1.5, one thread, peak resident set): 720p out of
1080p 146 MiB, 1080p 243, 4K 811 as the preset has it, 529 with the least lookahead and one B-frame,
417 without either, 715 from a 10-bit source, 887 with tone mapping. All of them are
``BASE + frames decoded + frames at the encoder`` in whole frames, which is what this counts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.media import VideoStream

_MIB: Final = 1 << 20
_BASE: Final = 40 * _MIB
# The interpreter beside the encoder, and what the kernel counts for pipes and page tables.
_BESIDE: Final = 40 * _MIB
# Page cache is given back under pressure, but not all of it and not at once.
_SHARE: Final = 0.95

_DECODED_FRAMES: Final = 16
_FIELD_FRAMES: Final = 4
_TONE_MAP_FRAMES: Final = 15
_FLAT_FRAMES: Final = 6
_THREAD_FRAMES: Final = 22
_ROUND: Final = 64 * _MIB


class Effort(NamedTuple):
    """How hard the encoder tries: libx264's preset, what overrides it, frames it holds."""

    preset: str
    parameters: str
    frames: int


EFFORTS: Final = (
    Effort("veryfast", "subme=1", 52),
    Effort("veryfast", "subme=1:rc-lookahead=5", 42),
    Effort("veryfast", "subme=1:rc-lookahead=2:bframes=1", 27),
    Effort("superfast", "bframes=0", 18),
)
"""From best to least. Each one is as good per frame; the file grows as the lookahead shrinks.

The first is measured against ``medium`` at CRF 23 on real film, 1080p to 720p on one CPU: at CRF 21
it takes 0.40 to 0.42 of the time, SSIM is 0.000 to 0.002 lower, the file 7 to 22 % larger.
"""


def choose(
    video: VideoStream, size: tuple[int, int], limits: Limits, tone_maps: bool
) -> tuple[Effort, int]:
    """The best effort and the most threads that fit.

    Raises NeedsMemory with the least limit that would do. Threads go first: under the same quota
    fewer of them lose little time, while each holds frames of its own.
    """
    if limits.memory is None:
        return EFFORTS[0], limits.threads
    available = int(limits.memory * _SHARE) - _BESIDE
    for effort in EFFORTS:
        for threads in range(limits.threads, 0, -1):
            if estimate(video, size, effort, threads, tone_maps) <= available:
                return effort, threads
    least = estimate(video, size, EFFORTS[-1], 1, tone_maps)
    needed = -(-int((least + _BESIDE) / _SHARE) // _ROUND) * _ROUND
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{video.width}x{video.height} to {size[0]}x{size[1]} needs a memory limit of "
        f"{needed // _MIB} MiB, but it is {limits.memory // _MIB} MiB; raise it or choose a "
        "smaller resolution",
    )


def estimate(
    video: VideoStream, size: tuple[int, int], effort: Effort, threads: int, tone_maps: bool
) -> int:
    """Bytes an encode takes at its peak."""
    pixels = video.width * video.height
    decoded = _DECODED_FRAMES + (0 if video.order == "progressive" else _FIELD_FRAMES)
    frames = effort.frames + _THREAD_FRAMES * (threads - 1)
    if tone_maps:
        frames += _TONE_MAP_FRAMES
    return (
        _BASE
        + int(decoded * pixels * bytes_per_pixel(video.pixel_format))
        + (_FLAT_FRAMES * pixels * 4 if video.alpha else 0)
        + frames * size[0] * size[1] * 3 // 2
    )


def bytes_per_pixel(pixel_format: str) -> float:
    """Of a decoded frame; by the name of the format, 1.5 for what is not told."""
    deep = any(mark in pixel_format for mark in ("9", "10", "12", "14", "16", "48", "64"))
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
    return samples * (2 if deep else 1)
