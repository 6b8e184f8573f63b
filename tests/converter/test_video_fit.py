"""Videos for phones and squares: what fits into a box or fills it, as a viewer sees it."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType
from tests.converter import several
from tests.converter.harness import VIDEO, WEBM, Converter
from tests.converter.kitchen import X264, Kitchen, colour
from tests.converter.lab import Lab
from tests.converter.probing import Bitmap, near
from tests.converter.several import Wanted

GREEN, RED, BLUE = (0, 254, 0), (254, 0, 0), (0, 0, 254)


def sides(share: float) -> str:
    """Filters that draw a red left end and a blue right end, each so wide."""
    return (
        f"drawbox=0:0:iw*{share}:ih:red:fill,drawbox=iw*{1 - share}:0:iw*{share}:ih:0x0000FF:fill"
    )


def banner(kitchen: Kitchen, size: str, share: float, *more: str) -> str:
    """A green video with coloured ends."""
    filters = ",".join([sides(share), *more])
    name = f"banner-{size}-{share}{'-'.join(more).replace('/', '-').replace('=', '-')}.mp4"
    return kitchen.ffmpeg(name, *colour("0x00FF00", size, seconds=0.6), "-vf", filters, *X264)


def is_green(bitmap: Bitmap) -> bool:
    """Whether all is green but for the blur at an edge."""
    return bitmap.share(GREEN, 60) > 0.97


@pytest.mark.parametrize(
    ("kind", "output"), [(VIDEO, "out.mp4"), (WEBM, "out.webm")], ids=["mp4", "webm"]
)
def test_a_square_has_the_middle(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType, output: str
) -> None:
    source = banner(kitchen, "960x540", 210 / 960)
    run = converter.convert(kind, source, output, size="270x270", fit="cover")
    assert lab.media(run.path).size == (270, 270)
    assert is_green(lab.frame(run.path, 0.2))
    assert not run.report.warnings


def test_a_box_has_the_whole_without_bars(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = banner(kitchen, "960x540", 210 / 960)
    run = converter.convert(VIDEO, source, "out.mp4", size="270x270")
    assert lab.media(run.path).size == (270, 152)
    bitmap = lab.frame(run.path, 0.2)
    corners = bitmap.corners
    assert all(near(corners[name], RED, 60) for name in ("TL", "BL"))
    assert all(near(corners[name], BLUE, 60) for name in ("TR", "BR"))
    assert near(bitmap.at(0.5, 0.02), GREEN, 60)


def test_a_rotated_video_is_cut_as_it_is_seen(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    upright = banner(kitchen, "960x540", 210 / 960)
    source = kitchen.ffmpeg(
        "banner-turned.mp4", "-display_rotation", "-90", "-i", upright, "-c", "copy"
    )
    run = converter.convert(VIDEO, source, "out.mp4", size="270x270", fit="cover")
    assert lab.media(run.path).size == (270, 270)
    assert not lab.media(run.path).rotated
    assert is_green(lab.frame(run.path, 0.2))
    tall = converter.convert(VIDEO, source, "tall.mp4", size="300x480")
    assert lab.media(tall.path).size == (270, 480)
    bitmap = lab.frame(tall.path, 0.2)
    ends = {name: bitmap.at(0.5, y) for name, y in (("top", 0.05), ("bottom", 0.95))}
    assert near(ends["top"], RED, 60)
    assert near(ends["bottom"], BLUE, 60)


def test_pixels_that_are_not_square_count_as_shown(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # It is shown as 1024x576, so 448 of 1024 columns are cut off.
    source = banner(kitchen, "720x576", 224 / 1024, "setsar=64/45")
    run = converter.convert(VIDEO, source, "out.mp4", size="288x288", fit="cover")
    found = lab.media(run.path)
    assert (found.size, found.video.get("sample_aspect_ratio", "1:1")) == ((288, 288), "1:1")
    assert is_green(lab.frame(run.path, 0.2))


@pytest.mark.parametrize(
    ("size", "options", "wanted"),
    [
        ("321x243", {"size": "101x101", "fit": "cover"}, (100, 100)),
        ("321x243", {"size": "101x101", "fit": "contain"}, (100, 76)),
        ("320x180", {"size": "1080x1080"}, (320, 180)),
        ("320x180", {"size": "1080x1080", "fit": "cover"}, (180, 180)),
        ("320x180", {"size": "1080x1920", "fit": "cover"}, (102, 180)),
    ],
)
def test_sides_are_even_and_nothing_is_enlarged(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    size: str,
    options: dict[str, str],
    wanted: tuple[int, int],
) -> None:
    source = kitchen.ffmpeg(
        f"plain-{size}.mkv", *colour("0x00FF00", size, seconds=0.4), "-c:v", "ffv1"
    )
    run = converter.convert(VIDEO, source, "out.mp4", **options)
    assert lab.media(run.path).size == wanted
    assert is_green(lab.frame(run.path))
    smaller = "fit" in options and size == "320x180"
    assert any("not enlarged" in text for text in run.report.warnings) == smaller


def test_hdr_is_cut_too(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    source = kitchen.ffmpeg(
        "banner-pq.mp4", *colour("0x006000", "640x360", seconds=0.6),
        "-vf", f"{sides(140 / 640)},format=yuv420p10le,{tags}", "-c:v", "libx265", "-preset",
        "ultrafast", "-x265-params", "log-level=error",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", size="180x180", fit="cover")
    found = lab.media(run.path)
    assert found.size == (180, 180)
    assert found.video["pix_fmt"] == "yuv420p"
    bitmap = lab.frame(run.path, 0.2)
    assert bitmap.commonest_share > 0.9, "only the middle"
    red, green, blue = bitmap.at(0.5, 0.5)
    assert green > max(red, blue)


def test_a_video_whose_pictures_change_their_size_is_cut(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    parts = [
        kitchen.ffmpeg(f"part-{size}.h264", *colour("0x00FF00", size, seconds=0.4), *X264)
        for size in ("640x360", "320x180")
    ]
    source = kitchen.write("joined-fit.h264", b"".join(map(kitchen.read, parts)))
    run = converter.convert(VIDEO, source, "out.mp4", size="180x180", fit="cover")
    assert lab.media(run.path).size == (180, 180)
    assert is_green(lab.frame(run.path, 0.6))


def test_one_decoder_makes_portrait_square_and_wide(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("fit")
    source = banner(kitchen, "960x540", 210 / 960)
    boxes = {"270x480": (270, 480), "270x270": (270, 270), "480x270": (480, 270)}
    wanted = [Wanted(VIDEO, f"{folder}/{box}.mp4", {"size": box, "fit": "cover"}) for box in boxes]
    done = several.run(converter, source, wanted)
    assert "3 videos from one decoder" in done.log
    for one, size in zip(wanted, boxes.values(), strict=True):
        assert lab.media(one.target).size == size
    assert is_green(lab.frame(wanted[0].target, 0.2))
    assert not is_green(lab.frame(wanted[2].target, 0.2))
