from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files.tiff import UNSIGNED, TiffPage
from media_converter.limits import Limits
from media_converter.planning.image import (
    MAX_ANIMATION_PIXELS,
    MAX_IMAGE_PIXELS,
    MAX_IMAGE_SIDE,
    plan_image,
)
from media_converter.planning.image_input import is_filled_in, last_pixel_step, prepared_info
from media_converter.planning.plan import Position
from media_converter.planning.thumbnail import (
    ThumbnailRequest,
    candidate_times,
    is_dark,
    jpeg_scale,
    plan_last_frame,
    plan_thumbnail,
)
from media_converter.probing import vipsheader
from media_converter.probing.media import ImageInfo
from media_converter.step import INPUT
from media_converter.typed_options import ImageOptions, ThumbnailOptions
from tests.unit.converter.builders import GIB, INFO, LIMITS, VIDEO, WHITE, value_of

PHOTO = ImageInfo("jpeg", 4000, 3000)


def request(**options: Any) -> ThumbnailRequest:
    return ThumbnailRequest(
        INFO, VIDEO, ThumbnailOptions()._replace(**options), LIMITS, "jpeg", WHITE
    )


def test_an_image_fits_its_box_upright_and_is_never_enlarged() -> None:
    for info, box, wanted in (
        (PHOTO, (800, 600), (800, 600)),
        (PHOTO._replace(orientation=6), (800, 600), (450, 600)),
        (ImageInfo("png", 100, 50), (1000, 1000), (100, 50)),
        (ImageInfo("png", 2000, 4), (100, 100), (100, 1)),
        (ImageInfo("png", 1500, 735), (300, 300), (300, 147)),
    ):
        made = plan_image(info, ImageOptions(*box), "jpeg", WHITE, LIMITS)
        assert made.expected.size == wanted
        assert value_of(made.step.argv, "--size") == "down"
        assert value_of(made.step.argv, "--fail-on") == "truncated"


@pytest.mark.parametrize("output_format", ["jpeg", "png", "webp", "gif", "avif"])
def test_no_metadata_is_kept_in_any_format(output_format: str) -> None:
    argv = plan_image(PHOTO, ImageOptions(), output_format, WHITE, LIMITS).step.argv
    assert "keep=none" in argv[3].partition("[")[2]


@pytest.mark.parametrize(("chroma", "kept"), [("4:4:4", True), ("4:2:0", False), ("", False)])
def test_chroma_subsampling_is_that_of_the_source(chroma: str, kept: bool) -> None:
    header = f"a.jpg: 8x8 uchar\nwidth: 8\nheight: 8\njpeg-chroma-subsample: {chroma}\n"
    info = vipsheader.parse(f"{header}vips-loader: jpegload\n".encode())
    assert info is not None
    for output_format in ("jpeg", "png", "webp", "gif", "avif"):
        argv = plan_image(info, ImageOptions(), output_format, WHITE, LIMITS).step.argv
        assert ("subsample-mode=off" in argv[3]) == (kept and output_format == "jpeg")


def test_only_animated_formats_keep_frames() -> None:
    animated = ImageInfo("gif", 200, 100, pages=10)
    for output_format, frames in (
        ("gif", 10),
        ("webp", 10),
        ("jpeg", None),
        ("png", None),
        ("avif", None),
    ):
        made = plan_image(animated, ImageOptions(), output_format, WHITE, LIMITS)
        assert made.expected.frames == frames
        # A descriptor: the file name must not reach a tool that parses names.
        assert made.step.argv[2] == INPUT + ("" if frames is None else "[n=-1]")
    pages = ImageInfo("tiff", 200, 100, pages=10)
    assert plan_image(pages, ImageOptions(), "gif", WHITE, LIMITS).expected.frames is None


@pytest.mark.parametrize(
    "bomb",
    [
        ImageInfo("png", 30000, 30000),
        ImageInfo("png", 20000, 16000),
        ImageInfo("jpeg", 60000, 60000),
        ImageInfo("gif", 5000, 5000, pages=500),
        ImageInfo("gif", 1, 1, pages=500, canvas_pixels=25_000_000),
    ],
)
def test_bombs_are_refused_by_their_header(bomb: ImageInfo) -> None:
    with pytest.raises(ConversionError, match="over the limit") as refused:
        plan_image(bomb, ImageOptions(), "gif", WHITE, LIMITS)
    assert refused.value.reason is ExitReason.INPUT_TOO_LARGE


LARGE = ImageInfo("jpeg", 12000, 9000)


@pytest.mark.parametrize(
    ("info", "side", "needed"),
    [
        # Read line by line: only the output counts.
        (LARGE, 300, None),
        (LARGE._replace(width=20000, height=15000), 300, None),
        (LARGE._replace(format="png"), 300, None),
        (LARGE._replace(format="webp"), 300, None),
        (LARGE._replace(format="tiff"), 300, None),
        (LARGE, 7000, None),
        (LARGE, 12000, 448),
        (LARGE._replace(format="webp"), 9000, 576),
        # Held whole.
        (LARGE._replace(held_bytes=3.0), 300, 448),
        (LARGE._replace(format="webp", held_bytes=4.0), 300, 576),
        (LARGE._replace(format="heif", held_bytes=6.6), 300, 896),
        (ImageInfo("heif", 6000, 5000, held_bytes=6.6), 300, None),
        (ImageInfo("bmp", 12000, 9000, copied_bytes=432_000_000), 300, 576),
    ],
)
def test_an_image_counts_with_what_is_held_of_it(
    info: ImageInfo, side: int, needed: int | None
) -> None:
    assert refused_memory(info, "jpeg", side, 256 << 20) == needed
    if needed:
        assert refused_memory(info, "jpeg", side, needed << 20) is None


@pytest.mark.parametrize(
    ("tile", "sample_bytes", "file_bytes", "held"),
    [
        ((0, 0), 3, 1e9, 0),
        # Two rows, and a tile twice.
        ((128, 128), 3, 1e9, 3 * (2 * 128 * 12_000 + 2 * 128 * 128)),
        # The only row, the only tile, and the file.
        ((12_000, 9_000), 8, 1e6, 8 * 2 * 108e6 + 1e6),
        ((12_000, 9_000), 3, 1e9, 3 * 3 * 108e6),
        # The tile is larger than the image.
        ((12_016, 12_000), 3, 1e9, 3 * (108e6 + 2 * 12_016 * 12_000)),
    ],
)
def test_a_loader_keeps_rows_of_tiles(
    tile: tuple[int, int], sample_bytes: int, file_bytes: float, held: float
) -> None:
    samples, bits = (4, 16) if sample_bytes == 8 else (3, 8)
    page = TiffPage(samples, bits, UNSIGNED, 3, samples == 4, tile)
    found = prepared_info(LARGE._replace(format="tiff"), page, int(file_bytes))
    assert found.held_bytes * 108e6 == pytest.approx(held)


def test_without_a_limit_memory_still_has_an_end() -> None:
    unlimited = Limits(threads=1, memory=None)
    info = ImageInfo("heif", 17000, 17000, held_bytes=6.6)
    assert plan_image(info, ImageOptions(), "jpeg", WHITE, unlimited).expected.size
    with pytest.raises(ConversionError) as refused:
        plan_image(info._replace(held_bytes=23.0), ImageOptions(), "jpeg", WHITE, unlimited)
    assert refused.value.reason is ExitReason.INPUT_TOO_LARGE


@pytest.mark.parametrize(
    ("side", "frames", "target"),
    [
        ((1, 65_536), 1, "jpeg"),
        ((65_536, 1), 1, "png"),
        ((1, 40_000_000), 1, "jpeg"),
        ((1, 1), 10_001, "gif"),
        ((1, 1), 10_001, "jpeg"),
    ],
)
def test_long_sides_and_many_frames_are_refused_by_the_header(
    side: tuple[int, int], frames: int, target: str
) -> None:
    with pytest.raises(ConversionError) as refused:
        plan_image(ImageInfo("gif", *side, pages=frames), ImageOptions(), target, WHITE, LIMITS)
    assert refused.value.reason is ExitReason.INPUT_TOO_LARGE
    for good in (ImageInfo("png", 1, 65_535), ImageInfo("gif", 1, 1, pages=10_000)):
        assert plan_image(good, ImageOptions(), target, WHITE, LIMITS).expected.size


@given(st.integers(1, 70000), st.integers(1, 70000), st.integers(1, 1000))
def test_no_plan_decodes_more_than_the_limits(width: int, height: int, pages: int) -> None:
    info = ImageInfo("webp", width, height, pages=pages)
    try:
        made = plan_image(info, ImageOptions(), "webp", WHITE, Limits(threads=1, memory=None))
    except ConversionError:
        assert (
            max(width, height) > MAX_IMAGE_SIDE
            or width * height > MAX_IMAGE_PIXELS
            or (pages > 1 and width * height * pages > MAX_ANIMATION_PIXELS)
        )
    else:
        most = MAX_ANIMATION_PIXELS if pages > 1 else MAX_IMAGE_PIXELS
        assert width * height * pages <= most
        assert made.expected.size


def test_the_header_of_an_image() -> None:
    text = (
        b"width: 200\nheight: 1000\nbands: 4\nvips-loader: gifload\npage-height: 100\n"
        b"n-pages: 10\norientation: 9\ncomment: n-pages: 1\nn-pages: 1\n"
    )
    assert vipsheader.parse(text) == ImageInfo(
        "gif", 200, 100, pages=10, has_alpha=True, held_bytes=5.0
    )
    assert vipsheader.parse(b"width: 1\nheight: 1\nvips-loader: svgload\n") is None
    assert vipsheader.parse(b"") is None


@pytest.mark.parametrize(
    ("lines", "managed"),
    [
        (b"interpretation: srgb\n", False),
        (b"interpretation: grey16\n", False),
        (b"interpretation: srgb\nicc-profile-data: 3144 bytes of binary data\n", True),
        (b"interpretation: cmyk\n", True),
        (b"", True),
    ],
)
def test_colours_are_converted_only_with_a_profile(lines: bytes, managed: bool) -> None:
    found = vipsheader.parse(b"width: 9\nheight: 9\nvips-loader: jpegload\n" + lines)
    assert found
    assert found.needs_srgb is managed
    argv = plan_image(found, ImageOptions(), "jpeg", WHITE, LIMITS).step.argv
    assert ("--export-profile" in argv) is managed


@pytest.mark.parametrize(
    ("info", "background", "output_format", "managed"),
    [
        ({"is_grey": True, "has_alpha": True}, "0000FF", "png", True),
        ({"is_grey": True, "has_alpha": True}, "0000FF", "jpeg", True),
        ({"is_grey": True, "has_alpha": True}, "808080", "png", False),
        ({"is_grey": True, "has_alpha": True}, None, "jpeg", False),
        ({"is_grey": True, "has_alpha": False}, "0000FF", "jpeg", False),
        ({"is_grey": False, "has_alpha": True}, "0000FF", "png", False),
    ],
)
def test_a_grey_image_gets_colours_for_a_background_with_colours(
    info: dict[str, Any], background: str | None, output_format: str, managed: bool
) -> None:
    image = ImageInfo("png", 9, 9, needs_srgb=False, **info)
    options = ImageOptions(background=background)
    argv = plan_image(image, options, output_format, WHITE, LIMITS).step.argv
    assert ("--export-profile" in argv) is managed


def test_the_default_background_of_a_jpeg_can_have_colours() -> None:
    image = ImageInfo("png", 9, 9, needs_srgb=False, is_grey=True, has_alpha=True)
    argv = plan_image(image, ImageOptions(), "jpeg", "0000FF", LIMITS).step.argv
    assert "--export-profile" in argv
    argv = plan_image(image, ImageOptions(), "webp", "0000FF", LIMITS).step.argv
    assert "--export-profile" not in argv


HEADER = b"width: 8000\nheight: 6000\nbands: 3\nformat: uchar\ninterpretation: srgb\n"


@pytest.mark.parametrize(
    ("lines", "held"),
    [
        (b"vips-loader: jpegload\njpeg-multiscan: 0\n", 0),
        (b"vips-loader: jpegload\njpeg-multiscan: 1\njpeg-chroma-subsample: 4:2:0\n", 3),
        (b"vips-loader: jpegload\njpeg-multiscan: 1\njpeg-chroma-subsample: 4:4:4\n", 6),
        (b"vips-loader: pngload\n", 0),
        (b"vips-loader: pngload\ninterlaced: 1\n", 3),
        (b"vips-loader: webpload\n", 0),
        (b"vips-loader: heifload\nheif-compression: av1\n", 6.6),
        (b"vips-loader: heifload\nheif-compression: hevc\n", 3.8),
    ],
)
def test_how_much_of_an_image_a_loader_keeps(lines: bytes, held: float) -> None:
    found = vipsheader.parse(HEADER + lines)
    assert found
    assert found.held_bytes == held


def refused_memory(info: ImageInfo, output_format: str, side: int, memory: int) -> int | None:
    """The limit in MiB that a plan asks for, None where it is enough."""
    try:
        plan_image(
            info, ImageOptions(side, side), output_format, WHITE, Limits(threads=1, memory=memory)
        )
    except ConversionError as error:
        refused = error
    else:
        return None
    assert refused.reason is ExitReason.NEEDS_MEMORY, refused.message
    return int(refused.message.partition("limit of ")[2].partition(" ")[0])


def test_an_image_that_cannot_fit_is_refused_with_the_limit_it_needs() -> None:
    whole = PHOTO._replace(width=8000, height=6000)
    assert refused_memory(whole, "jpeg", 800, 128 << 20) is None
    assert refused_memory(whole._replace(held_bytes=6.0), "jpeg", 800, 256 << 20) == 448
    large = whole._replace(width=8160, height=6120)
    assert refused_memory(large, "avif", 16384, GIB) == 1472
    # An estimate near the limit is not good enough for the AV1 encoder.
    assert refused_memory(whole, "avif", 8000, GIB) == 1408
    assert refused_memory(whole, "avif", 1920, GIB) is None
    # Such small limits are tried: the figures only cover the part that grows with the image.
    assert refused_memory(whole._replace(held_bytes=6.0), "jpeg", 800, 28 << 20) is None


IMAGES = st.builds(
    ImageInfo,
    st.sampled_from(["webp", "gif", "png"]),
    st.integers(1, 7000),
    st.integers(1, 7000),
    pages=st.integers(1, 4),
    orientation=st.integers(1, 8),
    canvas_pixels=st.just(0),
    has_alpha=st.booleans(),
    held_bytes=st.floats(0, 10),
    # Up to 16 channels of two bytes each.
    copied_bytes=st.integers(0, 7000 * 7000 * 32),
)
FORMATS = st.sampled_from(["jpeg", "png", "webp", "gif", "avif"])


@given(IMAGES, FORMATS, st.integers(1, 16384), st.integers(32 << 20, 4 << 30))
def test_the_limit_that_an_image_needs_is_enough(
    info: ImageInfo, output_format: str, side: int, memory: int
) -> None:
    needed = refused_memory(info, output_format, side, memory)
    if needed:
        assert needed << 20 > memory
        assert refused_memory(info, output_format, side, needed << 20) is None


def test_a_requested_time_is_the_only_candidate() -> None:
    assert candidate_times(request(time=0.0)) == (0.0,)
    assert candidate_times(request(time=99.0)) == (99.0,)


def test_the_default_time_and_the_other_candidates() -> None:
    assert candidate_times(request()) == (1.0, 2.5, 5.0, 7.5, 0.0)
    short = request()._replace(video=VIDEO._replace(duration=0.4))
    assert candidate_times(short)[0] == 0.2
    unknown = request()._replace(
        video=VIDEO._replace(duration=None), info=INFO._replace(duration=None)
    )
    assert candidate_times(unknown) == (1.0, 0.0)


@given(st.none() | st.floats(0.001, 1e6))
def test_the_number_of_candidates_is_bounded(duration: float | None) -> None:
    asked = request()._replace(
        video=VIDEO._replace(duration=duration), info=INFO._replace(duration=duration)
    )
    found = candidate_times(asked)
    assert 1 <= len(found) <= 6
    assert all(time >= 0 for time in found)
    assert duration is None or all(time <= duration for time in found)


def test_only_a_default_time_may_skip_frames() -> None:
    assert "-skip_frame" in plan_thumbnail(request(), Position(1.0)).step.argv
    assert "-skip_frame" not in plan_thumbnail(request(time=1.0), Position(1.0)).step.argv
    assert "-skip_frame" not in plan_last_frame(request(), Position(0.0)).step.argv
    assert "-frames:v" not in plan_last_frame(request(), Position(0.0)).step.argv


def test_seeking_comes_before_the_input() -> None:
    argv = plan_thumbnail(request(time=300.0), Position(300.0, 300.0, 0.04, 298.0)).step.argv
    assert argv.index("-ss") < argv.index("-i")


def test_which_mean_luma_is_dark() -> None:
    assert is_dark(16.0)
    assert not is_dark(31.0)


def test_a_higher_quality_is_a_lower_jpeg_scale() -> None:
    scales = [jpeg_scale(quality) for quality in range(1, 101)]
    assert scales == sorted(scales, reverse=True)
    assert (min(scales), max(scales)) == (2, 31)
    assert jpeg_scale(94) == 2


def test_the_last_pixel_of_a_jpeg_shows_whether_it_was_filled_in() -> None:
    assert last_pixel_step(PHOTO).argv[-2:] == ("3999", "2999")
    for samples in (b"128 128 128\n", b"128", b"127 127 127 127"):
        assert is_filled_in(samples)
    for samples in (b"128 128 129", b"0 0 0", b"", b"255 128 128"):
        assert not is_filled_in(samples)
