"""The highest bit rate of encoded videos."""

from __future__ import annotations

import pytest

from tests.converter.harness import VIDEO, Converter
from tests.converter.kitchen import X264, Kitchen, video
from tests.converter.lab import Lab


def noise(kitchen: Kitchen) -> str:
    """24 seconds that no encoder can predict."""
    return kitchen.ffmpeg(
        "noise.mp4",
        *video("320x180", seconds=24),
        *("-vf", "noise=alls=90:allf=t+u", "-crf", "10", *X264),
    )


@pytest.mark.parametrize(
    ("options", "limit"), [({}, 2e6), ({"quality": "low"}, 5e5), ({"maxBitrate": "300k"}, 3e5)]
)
def test_noise_has_the_limit_in_any_ten_seconds(
    kitchen: Kitchen, converter: Converter, lab: Lab, options: dict[str, object], limit: float
) -> None:
    made = converter.convert(VIDEO, noise(kitchen), "noise.mp4", start="0.04", **options)
    assert 0.8 * limit < lab.highest_bit_rate(made.path) <= 1.1 * limit


def test_a_film_is_as_large_and_as_good_as_without_a_limit(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    grain = ("-vf", "noise=alls=6:allf=t", "-crf", "12", *X264)
    source = kitchen.ffmpeg("grain.mp4", *video("640x360", seconds=4), *grain)
    x264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-x264-params", "subme=1")
    plain = kitchen.ffmpeg("grain-plain.mp4", "-i", source, *x264, "-profile:v", "high")
    made = converter.convert(VIDEO, source, "film.mp4").path
    assert lab.pixels(made) != lab.pixels(source)
    sizes = [sum(size for _, size in lab.packets(path)) for path in (made, plain)]
    assert sizes[0] <= 1.001 * sizes[1]
    alike = [lab.similarity(path, source) for path in (made, plain)]
    assert alike[0] >= alike[1] - 0.001


def test_a_video_above_the_wanted_bit_rate_is_not_copied(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.base()
    copy = converter.convert(VIDEO, source, "copy.mp4")
    assert lab.pixels(copy.path) == lab.pixels(source)
    made = converter.convert(VIDEO, source, "made.mp4", maxBitrate=100)
    assert lab.pixels(made.path) != lab.pixels(source)
    assert lab.highest_bit_rate(made.path) <= 1.1e5


def test_a_header_cannot_hide_the_bit_rate_of_a_copy(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """With -b:v and -crf, the header of an FLV states the one, and the encoder keeps the other."""
    noisy = ("-vf", "noise=alls=90:allf=t+u", *X264, "-b:v", "300k", "-crf", "10")
    source = kitchen.ffmpeg("forged.flv", *video("320x180", seconds=3), *noisy)
    assert lab.highest_bit_rate(source) > 1e6
    made = converter.convert(VIDEO, source, "forged.mp4", maxBitrate=500)
    assert lab.highest_bit_rate(made.path) <= 1.1 * 5e5
