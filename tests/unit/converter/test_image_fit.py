from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ConversionType
from media_converter.files.still import Still, measure
from media_converter.files.vips_file import Roll, header, metadata
from media_converter.limits import Limits
from media_converter.options import FORMATS, GRAVITIES
from media_converter.planning.image import avif_effort, plan_image, verify_step
from media_converter.planning.image_fit import Fit, fit_image, offset, position
from media_converter.probing import vipsheader
from media_converter.probing.media import ImageInfo
from media_converter.typed_options import ImageOptions
from tests.unit.converter.builders import LIMITS, WHITE, value_of

SIDES = st.integers(1, 20000)
PNG = ImageInfo("png", 300, 100, has_alpha=True)


@given(SIDES, SIDES, SIDES, SIDES)
def test_what_remains_has_the_shape_of_the_box(
    width: int, height: int, box_width: int, box_height: int
) -> None:
    fit = fit_image((width, height), ImageOptions(box_width, box_height, fit="cover"))
    assert fit.size[0] <= min(width, box_width)
    assert fit.size[1] <= min(height, box_height)
    assert all(scaled >= kept for scaled, kept in zip(fit.scaled, fit.size, strict=True))
    # Rounding to whole pixels may add one to the side that is not cut.
    assert fit.scaled[0] <= width + 1
    assert fit.scaled[1] <= height + 1
    # The box and the output have the same shape, to half a pixel.
    share = min(1.0, width / box_width, height / box_height)
    assert abs(fit.size[0] - max(1, box_width * share)) <= 0.5
    assert abs(fit.size[1] - max(1, box_height * share)) <= 0.5
    assert bool(fit.warning) == (width < box_width or height < box_height)


@pytest.mark.parametrize(
    ("scaled", "ends"),
    [
        ((300, 100), {"west": "low", "east": "high", "north-west": "low", "south-east": "high"}),
        ((100, 300), {"north": "low", "south": "high", "north-east": "low", "south-west": "high"}),
    ],
)
def test_a_direction_counts_on_the_side_that_is_cut(
    scaled: tuple[int, int], ends: dict[str, str]
) -> None:
    fit = Fit((100, 100), scaled)
    for gravity, wanted in ends.items():
        assert position(fit, gravity) == wanted
        place = offset(fit, wanted)
        assert place == tuple((s - 100) * (wanted == "high") for s in scaled)
    for gravity in ("centre", "attention", "entropy"):
        assert position(fit, gravity) == gravity
    other = {"north", "south"} if scaled[0] > 100 else {"east", "west"}
    assert {position(fit, gravity) for gravity in other} == {"centre"}
    assert max(offset(fit, "centre")) == 100


@pytest.mark.parametrize("gravity", GRAVITIES)
def test_a_still_is_cut_in_one_step(gravity: str) -> None:
    options = ImageOptions(50, 50, fit="cover", gravity=gravity)
    made = plan_image(PNG, options, "png", WHITE, LIMITS)
    assert made.save is None
    assert value_of(made.step.argv, "--crop") in ("low", "high", "centre", "attention", "entropy")
    assert made.expected.size == (50, 50)


@pytest.mark.parametrize(
    "output_format", sorted(set(FORMATS[ConversionType.IMAGE_RESIZE].values()))
)
@pytest.mark.parametrize("info", [PNG, ImageInfo("gif", 300, 100, pages=3, has_alpha=True)])
@pytest.mark.parametrize("options", [
    ImageOptions(), ImageOptions(50, 50, fit="cover"), ImageOptions(background="0000FF"),
])  # fmt: skip
def test_only_own_files_are_read_by_what_is_blocked(
    output_format: str, info: ImageInfo, options: ImageOptions
) -> None:
    made = plan_image(info, options, output_format, WHITE, LIMITS)
    assert not made.step.reads_own
    keeps_frames = made.expected.frames is not None
    flattens = options.background is not None and output_format != "jpeg"
    staged = flattens or output_format == "jxl" or (keeps_frames and options.fit == "cover")
    assert (made.save is not None) == staged
    if made.save:
        assert made.save.reads_own
        assert made.step.argv[3] == (".raw" if keeps_frames else ".tif")
        assert (value_of(made.save.argv, "--background") == "0 0 255") if flattens else True
    assert verify_step().reads_own


def test_the_effort_of_an_avif_fits_the_time() -> None:
    assert avif_effort(12_000_000, 300.0) == 2
    assert avif_effort(12_000_000, 20.0) == 1
    assert avif_effort(200_000_000, 300.0) == 1
    large = ImageInfo("png", 6000, 5000)
    for seconds, effort in ((300.0, 2), (60.0, 1)):
        limits = Limits(threads=1, memory=None, seconds=seconds)
        argv = plan_image(large, ImageOptions(6000, 5000), "avif", WHITE, limits).step.argv
        assert f"effort={effort}," in argv[3]


def test_a_jpeg_xl_states_its_size() -> None:
    # The first bits of files that libjxl has written, of 300x100, 64x64, 33x1 and 50x50 pixels.
    def written(*parts: tuple[int, int]) -> bytes:
        bits = at = 0
        for value, count in parts:
            bits |= value << at
            at += count
        return b"\xff\x0a" + bits.to_bytes(20, "little")

    for parts, size in (
        (((0, 1), (0, 2), (99, 9), (0, 3), (0, 2), (299, 9)), (300, 100)),
        (((1, 1), (7, 5), (1, 3)), (64, 64)),
        (((1, 1), (7, 5), (0, 3), (3, 5)), (32, 64)),
        (((0, 1), (2, 2), (8999, 18), (3, 3)), (12000, 9000)),
        (((0, 1), (1, 2), (2999, 13), (3, 3)), (4000, 3000)),
        (((0, 1), (2, 2), (99999, 18), (0, 3), (3, 2), (299999, 30)), (300000, 100000)),
    ):
        assert measure(written(*parts)) == Still("jxl", *size)
    assert measure(b"\xff\x0a") is None


def test_frames_keep_their_times() -> None:
    text = b"width: 9\nheight: 30\nvips-loader: gifload\ndelay: 100 20 \nloop: 3\ndelay: 1\n"
    found = vipsheader.parse(text)
    assert found
    assert (found.delays, found.loop) == ((100, 20), 3)
    roll = Roll(9, 10, 4, 2, found.delays, found.loop)
    assert header(roll)[4:16] == bytes((9, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0))
    assert len(header(roll)) == 64
    for field in ('"page-height">10<', '"delay">100 20<', '"loop">3<', '"n-pages">2<'):
        assert field in metadata(roll).decode()
    odd = vipsheader.parse(b"width: 9\nheight: 30\nvips-loader: gifload\ndelay: -1 x</field>\n")
    assert odd
    assert odd.delays == ()
