"""Estimates of time and size."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType
from media_converter.options import FORMATS
from media_converter.planning import estimates
from media_converter.planning.estimates import Estimate
from media_converter.planning.memory import Wanted
from media_converter.planning.video_codecs import CODECS
from media_converter.probing.rates import Rates
from tests.unit.converter.builders import VIDEO

WANTED = Wanted((1280, 720))


def test_more_work_takes_longer_and_more_quality_is_larger() -> None:
    low, medium, high = (
        estimates.of_video(VIDEO, WANTED, quality, (2500, 2500), 100.0)
        for quality in ("low", "medium", "high")
    )
    assert 0 < (low.size or 0) < (medium.size or 0) < (high.size or 0)
    half = estimates.of_video(VIDEO, WANTED, "medium", (1250, 1250), 50.0)
    assert (half.seconds or 0) < (medium.seconds or 0)
    assert half.size == pytest.approx((medium.size or 0) / 2, rel=0.01)


def test_each_codec_has_an_estimate() -> None:
    seconds = {
        codec: estimates.of_video(
            VIDEO, WANTED._replace(codec=codec), "medium", (2500, 2500), 0.0
        ).seconds
        for codec in CODECS
    }
    assert sorted(seconds, key=lambda codec: seconds[codec] or 0) == ["h264", "av1", "hevc", "vp9"]


def test_pictures_that_are_dropped_are_only_decoded() -> None:
    all_of_them = estimates.of_video(VIDEO, WANTED, "medium", (2500, 2500), 0.0)
    half = estimates.of_video(VIDEO, WANTED, "medium", (2500, 1250), 0.0)
    assert half.size == pytest.approx((all_of_them.size or 0) / 2, rel=0.01)
    assert (all_of_them.seconds or 0) / 2 < (half.seconds or 0) < (all_of_them.seconds or 0)


def test_the_decoder_counts_once_for_outputs_that_share_it() -> None:
    alone = estimates.of_video(VIDEO, WANTED, "medium", (2500, 2500), 0.0).seconds or 0
    shared = estimates.of_video(VIDEO, WANTED, "medium", (2500, 2500), 0.0, sharing=3).seconds or 0
    assert shared < alone
    decoding = 1280 * 720 * 2500 * 3.6e-9
    assert alone - shared == pytest.approx(decoding * 2 / 3, rel=0.01)


def test_without_a_duration_there_is_no_estimate() -> None:
    assert estimates.of_video(VIDEO, WANTED, "low", None, 0.0) == Estimate()
    assert estimates.of_sound(192, None) == Estimate()


def test_sound_has_the_size_of_its_bit_rate() -> None:
    assert estimates.of_sound(192, 10.0).size == 240_000


@pytest.mark.parametrize(
    "output_format",
    sorted(
        {
            *FORMATS[ConversionType.IMAGE_RESIZE].values(),
            *FORMATS[ConversionType.EXTRACT_THUMBNAIL].values(),
        }
    ),
)
def test_every_format_of_an_image_has_an_estimate(output_format: str) -> None:
    assert estimates.of_still(10**6, (100, 100), output_format).size
    assert estimates.of_still(10**6, (100, 100), output_format).seconds


def test_the_packets_tell_how_many_pictures_there_are() -> None:
    fast = Rates(tuple(number / 100 for number in range(1000)), 0.0, 100.0)
    assert estimates.pictures(10.0, 25, 60, None) == (250, 250)
    assert estimates.pictures(10.0, 25, 60, fast) == (1000, fast.kept(60))
    assert fast.kept(60) == pytest.approx(600, abs=2)
    assert estimates.pictures(10.0, 25, 200, fast) == (1000, 1000)
    assert estimates.pictures(None, 25, 60, fast) == (1000, fast.kept(60))
    slow = Rates((0.0, 5.0), 0.0, 1.0)
    assert estimates.pictures(10.0, 25, 60, slow) == (2, 250), "pictures that stand are repeated"
    assert estimates.pictures(10.0, 25, 60, Rates((), 0.0, 0.0)) == (250, 250)
    assert estimates.pictures(None, 25, 60, None) is None
