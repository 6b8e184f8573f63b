"""Computes the bit rate limit for each value of the option quality.

With CRF, the encoder aims at constant quality. Frames with film grain or noise can take 20 times as
many bits as other frames, so the bit rate has a limit. A video above the limit is encoded, not
copied.
"""

from typing import Final, NamedTuple

from media_converter.typed_options import VideoOptions

DEFAULT_QUALITY: Final = "medium"


class BitRateLimit(NamedTuple):
    """The bit rate limit that belongs to one value of the option quality.

    The limit is the larger of ``bit_rate`` and ``bits_per_pixel`` x width x height x frame rate.
    """

    bits_per_pixel: float
    bit_rate: int


_LIMITS: Final = {
    "low": BitRateLimit(bits_per_pixel=0.12, bit_rate=500_000),
    "medium": BitRateLimit(bits_per_pixel=0.25, bit_rate=2_000_000),
    "high": BitRateLimit(bits_per_pixel=0.5, bit_rate=4_000_000),
}


def bit_rate_limit(options: VideoOptions, size: tuple[int, int], frame_rate: float) -> int:
    """The highest bit rate of a video of ``size``, in bit/s.

    The option maxBitrate can only lower it.
    """
    quality = _LIMITS[options.quality or DEFAULT_QUALITY]
    pixels_per_second = size[0] * size[1] * frame_rate
    limit = max(quality.bit_rate, int(quality.bits_per_pixel * pixels_per_second))
    return limit if options.max_bitrate is None else min(limit, options.max_bitrate * 1000)
