"""Estimates the memory of an encode, and reduces it without making the output smaller.

The figures were measured in the image (ffmpeg 7.1.5, one thread, peak resident set): 146 MiB from
1080p to 720p, 243 at 1080p. At 4K: 811 with the preset, 529 with the least lookahead and one
B-frame, 417 with neither, 715 from a 10-bit source, 887 with tone mapping. Each of them equals
``BASE + decoded frames + frames in the encoder``, in whole frames, so that is the formula here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.probing.media import VideoStream

_MIB: Final = 1 << 20
_BASE: Final = 40 * _MIB
# The interpreter, and what the kernel counts for pipes and page tables.
_OVERHEAD: Final = 40 * _MIB
# The kernel frees page cache under pressure, but not all of it and not at once.
_USABLE_SHARE: Final = 0.95

_DECODED_FRAMES: Final = 16
_FIELD_FRAMES: Final = 4
_TONE_MAP_FRAMES: Final = 15
_FLATTEN_FRAMES: Final = 6
_THREAD_FRAMES: Final = 22
_ROUND: Final = 64 * _MIB


class Effort(NamedTuple):
    """libx264's preset, parameters that override it, and how many frames the encoder then holds."""

    preset: str
    parameters: str
    frames: int


EFFORTS: Final = (
    Effort("veryfast", "subme=1", 52),
    Effort("veryfast", "subme=1:rc-lookahead=5", 42),
    Effort("veryfast", "subme=1:rc-lookahead=2:bframes=1", 27),
    Effort("superfast", "bframes=0", 18),
)
"""From best to least. The quality per frame stays; the file grows as the lookahead shrinks.

The first one at CRF 21 was measured against ``medium`` at CRF 23 on real video, 1080p to 720p on
one CPU: it takes 0.40 to 0.42 of the time, its SSIM is 0.000 to 0.002 lower and the file is 7 to
22 % larger.
"""


def choose(
    video: VideoStream, size: tuple[int, int], limits: Limits, tone_maps: bool
) -> tuple[Effort, int]:
    """The best effort and the most threads that fit into the memory limit.

    Raises NeedsMemory with the smallest sufficient limit. Reduces threads first: each one holds
    frames of its own, and under the same CPU quota fewer threads cost little time.
    """
    if limits.memory is None:
        return EFFORTS[0], limits.threads
    available = int(limits.memory * _USABLE_SHARE) - _OVERHEAD
    for effort in EFFORTS:
        for threads in range(limits.threads, 0, -1):
            if estimate(video, size, effort, threads, tone_maps) <= available:
                return effort, threads
    least = estimate(video, size, EFFORTS[-1], 1, tone_maps)
    needed = -(-int((least + _OVERHEAD) / _USABLE_SHARE) // _ROUND) * _ROUND
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"{video.width}x{video.height} to {size[0]}x{size[1]} needs a memory limit of "
        f"{needed // _MIB} MiB, but the limit is {limits.memory // _MIB} MiB; raise it or choose a "
        "smaller resolution",
    )


def estimate(
    video: VideoStream, size: tuple[int, int], effort: Effort, threads: int, tone_maps: bool
) -> int:
    """Peak memory of an encode in bytes."""
    pixels = video.width * video.height
    decoded = _DECODED_FRAMES + (0 if video.field_order == "progressive" else _FIELD_FRAMES)
    frames = effort.frames + _THREAD_FRAMES * (threads - 1)
    if tone_maps:
        frames += _TONE_MAP_FRAMES
    return (
        _BASE
        + int(decoded * pixels * bytes_per_pixel(video.pixel_format))
        + (_FLATTEN_FRAMES * pixels * 4 if video.alpha else 0)
        + frames * size[0] * size[1] * 3 // 2
    )


def bytes_per_pixel(pixel_format: str) -> float:
    """Bytes per pixel of a decoded frame, by its pixel format. 1.5 if the name does not say."""
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
