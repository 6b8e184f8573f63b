"""The size of a video that fits into a box or fills it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ConversionType
from media_converter.options import OptionError, parse
from media_converter.planning.plan import Evidence, luma_step
from media_converter.planning.video import can_copy_video, output_size, plan_video
from media_converter.planning.video_fit import fit_video
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import INFO, LIMITS, STEADY, VIDEO, WHITE, value_of

SIDES = st.integers(2, 16384)


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_whole_video_fits_into_the_box(w: int, h: int, box_w: int, box_h: int) -> None:
    fit = fit_video((w, h), VideoOptions(size=(box_w, box_h)))
    assert fit.size == fit.scaled
    assert not fit.warning
    assert fit.size[0] <= min(w, box_w)
    assert fit.size[1] <= min(h, box_h)
    assert not any(side % 2 for side in fit.size)
    scale = min(1, box_w / w, box_h / h)
    # Sides are even and at least 2.
    assert all(
        abs(side - max(2, given * scale)) <= 2 for side, given in zip(fit.size, (w, h), strict=True)
    )


@given(SIDES, SIDES, SIDES, SIDES)
def test_what_remains_has_the_shape_of_the_box(w: int, h: int, box_w: int, box_h: int) -> None:
    fit = fit_video((w, h), VideoOptions(size=(box_w, box_h), fit="cover"))
    assert fit.size[0] <= min(w, box_w)
    assert fit.size[1] <= min(h, box_h)
    assert not any(side % 2 for side in (*fit.size, *fit.scaled))
    assert all(scaled >= kept for scaled, kept in zip(fit.scaled, fit.size, strict=True))
    share = min(1, w / box_w, h / box_h)
    assert abs(fit.size[0] - max(2, box_w * share)) <= 2
    assert abs(fit.size[1] - max(2, box_h * share)) <= 2
    missing = fit.size[0] < box_w - box_w % 2 or fit.size[1] < box_h - box_h % 2
    assert bool(fit.warning) == missing


@pytest.mark.parametrize(
    ("video", "box", "fit", "size", "scaled"),
    [
        ((1920, 1080), (1080, 1920), "contain", (1080, 608), (1080, 608)),
        ((1920, 1080), (1080, 1920), "cover", (608, 1080), (1920, 1080)),
        ((1920, 1080), (720, 720), "cover", (720, 720), (1280, 720)),
        ((1080, 1920), (720, 720), "cover", (720, 720), (720, 1280)),
        ((1920, 1080), (1280, 720), "cover", (1280, 720), (1280, 720)),
        ((320, 180), (1080, 1080), "contain", (320, 180), (320, 180)),
        ((321, 181), (1080, 1080), "contain", (320, 180), (320, 180)),
        ((640, 360), (101, 101), "contain", (100, 56), (100, 56)),
    ],
)
def test_boxes(
    video: tuple[int, int],
    box: tuple[int, int],
    fit: str,
    size: tuple[int, int],
    scaled: tuple[int, int],
) -> None:
    found = fit_video(video, VideoOptions(size=box, fit=fit))
    assert (found.size, found.scaled) == (size, scaled)


def test_the_middle_is_cut_after_scaling() -> None:
    video = VIDEO._replace(width=1920, height=1080)
    info = INFO._replace(video=(video,))
    options = VideoOptions(size=(720, 720), fit="cover")
    filters = value_of(plan_video(info, options, LIMITS, WHITE).step.argv, "-vf")
    assert filters.index("scale=1280:720") < filters.index("crop=720:720")
    for kept in (VideoOptions(size=(720, 720)), VideoOptions(resolution=720)):
        assert "crop" not in value_of(plan_video(info, kept, LIMITS, WHITE).step.argv, "-vf")
    varies = plan_video(info, options, LIMITS, WHITE, Evidence(size_varies=True))
    assert "pad=1280:720" in value_of(varies.step.argv, "-vf")


def test_colours_of_hdr_are_converted_after_the_cut() -> None:
    hdr = VIDEO._replace(pixel_format="yuv420p10le", color_transfer="smpte2084")
    options = VideoOptions(size=(720, 720), fit="cover")
    plan = plan_video(INFO._replace(video=(hdr,)), options, LIMITS, WHITE)
    filters = value_of(plan.step.argv, "-vf")
    assert filters.index("crop=720:720") < filters.index("tonemap")
    assert filters.count("crop") == 1


def test_the_input_is_looked_at_where_the_output_is() -> None:
    options = VideoOptions(size=(360, 720), fit="cover")
    plan = plan_video(INFO, options, LIMITS, WHITE)
    assert plan.kept == (360 / 1280, 1.0)
    assert "crop=iw*0.2812:ih*1.0000" in value_of(luma_step(LIMITS, 0, 0.0, plan.kept).argv, "-vf")
    whole = plan_video(INFO, VideoOptions(size=(360, 720)), LIMITS, WHITE)
    assert "crop" not in value_of(luma_step(LIMITS, 0, 0.0, whole.kept).argv, "-vf")


def test_the_box_is_what_a_viewer_sees() -> None:
    turned = VIDEO._replace(width=1920, height=1080, rotation=90)
    assert output_size(turned, VideoOptions(size=(720, 1280))) == (720, 1280)
    wide = VIDEO._replace(width=720, height=576, sample_aspect_ratio=(64, 45))
    assert output_size(wide, VideoOptions(size=(512, 512))) == (512, 288)


def test_what_is_cut_is_not_copied() -> None:
    for options, copied in (
        (VideoOptions(size=(VIDEO.width, VIDEO.height), fit="cover"), True),
        (VideoOptions(size=(VIDEO.width + 9, VIDEO.height + 9)), True),
        (VideoOptions(size=(VIDEO.height, VIDEO.height), fit="cover"), False),
        (VideoOptions(size=(VIDEO.width // 2, VIDEO.height)), False),
    ):
        assert can_copy_video(INFO, VIDEO, options, STEADY) == copied


def test_what_goes_together() -> None:
    parsed = parse(ConversionType.VIDEO_TO_WEBM, {"size": "1080x1920", "fit": "cover"})
    assert isinstance(parsed, VideoOptions)
    assert (parsed.size, parsed.fit, parsed.container) == ((1080, 1920), "cover", "webm")
    for values, problem in (
        ({"size": "9x9", "resolution": "720p"}, "size does not go together with resolution"),
        ({"fit": "cover"}, "fit cover needs the option size"),
        ({"size": "9x9", "fit": "cover", "gravity": "north"}, "gravity does not belong to"),
    ):
        with pytest.raises(OptionError, match=problem):
            parse(ConversionType.VIDEO_TO_MP4, values)
