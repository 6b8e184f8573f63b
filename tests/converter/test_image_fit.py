"""Images that fill a box: which part remains, in stills and in animations."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import Rgb, near
from tests.converter.rawfiles import GREY_ALPHA, RGB, exif, jpeg_segment, png

RED, LIME, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TURNING = "rotate=n*0.2:c=none,split[a][b];[a]palettegen[p];[b][p]paletteuse"
FORMATS = ("jpg", "png", "webp", "avif", "gif", "jxl")


def stripes(kitchen: Kitchen, side: int = 300) -> str:
    """Three columns: red, lime and blue."""
    third = side // 3
    row = bytes(RED) * third + bytes(LIME) * third + bytes(BLUE) * third
    return kitchen.write(f"stripes-{side}.png", png(side, side // 3, 8, RGB, row))


def upright(kitchen: Kitchen) -> str:
    """Three rows: red, lime and blue. Stored on its side."""
    plain = kitchen.vips("upright-plain.jpg", "rot", stripes(kitchen), "--", "d270", save="[Q=95]")
    turned = kitchen.vips("upright-side.jpg", "rot", plain, "--", "d270", save="[Q=95]")
    return kitchen.edit(
        "upright.jpg", turned, lambda data: jpeg_segment(data, 0xE1, b"Exif\0\0" + exif(6))
    )


@pytest.mark.parametrize(
    ("gravity", "wanted"),
    [
        (None, LIME), ("centre", LIME), ("north", LIME), ("south", LIME), ("west", RED),
        ("north-west", RED), ("south-west", RED), ("east", BLUE), ("north-east", BLUE),
        ("south-east", BLUE),
    ],
)  # fmt: skip
def test_which_part_remains(
    kitchen: Kitchen, converter: Converter, lab: Lab, gravity: str | None, wanted: Rgb
) -> None:
    options = {"gravity": gravity} if gravity else {}
    run = converter.convert(
        IMAGE, stripes(kitchen), "out.png", size="50x50", fit="cover", **options
    )
    bitmap = lab.image(run.path)
    assert bitmap.size == (50, 50)
    assert all(near(bitmap.at(x, 0.5), wanted, 6) for x in (0.1, 0.5, 0.9))
    assert not run.report.warnings


@pytest.mark.parametrize("target", FORMATS)
def test_every_format_can_be_cut(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(
        IMAGE, stripes(kitchen), f"out.{target}", size="60x50", fit="cover", gravity="east"
    )
    bitmap = lab.image(run.path)
    assert bitmap.size == (60, 50)
    assert near(bitmap.at(0.8, 0.5), BLUE, 12)


def test_the_orientation_comes_first(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = upright(kitchen)
    whole = lab.image(converter.convert(IMAGE, source, "out.png", size="60x60").path)
    ends = {"north": whole.at(0.5, 0.1), "south": whole.at(0.5, 0.9)}
    assert whole.size == (20, 60)
    for gravity, wanted in ends.items():
        run = converter.convert(
            IMAGE, source, "out.png", size="50x50", fit="cover", gravity=gravity
        )
        bitmap = lab.image(run.path)
        assert bitmap.size == (50, 50)
        assert near(bitmap.at(0.5, 0.5), wanted, 12)
    assert not near(ends["north"], ends["south"], 40)


@pytest.mark.parametrize(
    ("box", "wanted"), [("600x600", (100, 100)), ("600x100", (300, 50)), ("200x100", (200, 100))]
)
def test_a_smaller_image_is_cut_but_not_enlarged(
    kitchen: Kitchen, converter: Converter, lab: Lab, box: str, wanted: tuple[int, int]
) -> None:
    run = converter.convert(IMAGE, stripes(kitchen), "out.png", size=box, fit="cover")
    assert lab.image(run.path).size == wanted
    assert bool(run.report.warnings) == (box != "200x100")
    assert all("not enlarged" in warning for warning in run.report.warnings)


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_the_part_with_something_in_it_remains(
    kitchen: Kitchen, converter: Converter, lab: Lab, gravity: str
) -> None:
    source = kitchen.ffmpeg(
        "lonely.png", "-f", "lavfi", "-i", "color=gray:s=400x100", "-f", "lavfi", "-i",
        "mandelbrot=s=80x80", "-filter_complex", "[0][1]overlay=310:10", "-frames:v", "1",
    )  # fmt: skip
    run = converter.convert(IMAGE, source, "out.png", size="100x100", fit="cover", gravity=gravity)
    found = lab.image(run.path)
    assert found.size == (100, 100)
    assert len(set(found.pixels)) > 20, "the part without the picture remains"


@pytest.mark.parametrize("target", ["out.gif", "out.webp"])
@pytest.mark.parametrize("gravity", ["west", "south", "attention"])
@pytest.mark.parametrize("box", ["40x80", "90x20"])
def test_every_frame_is_cut_alike(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str, gravity: str, box: str
) -> None:
    source = kitchen.ffmpeg(
        "counting.gif", "-f", "lavfi", "-i", "testsrc2=s=200x100:r=10:d=0.5", "-loop", "3"
    )
    run = converter.convert(IMAGE, source, target, size=box, fit="cover", gravity=gravity)
    header = lab.header(run.path, "[n=-1]")
    width, height = map(int, box.split("x"))
    assert (header["n-pages"], header["width"], header["page-height"]) == (
        "5", str(width), str(height)
    )  # fmt: skip
    assert header["loop"] == lab.header(source)["loop"]
    assert [int(part) for part in header["delay"].split()] == [100] * 5
    # The same frames, cut one by one by another tool.
    scaled = converter.convert(IMAGE, source, target, size="160x80" if height == 80 else "90x45")
    first, last = (
        [lab.image(path, page=page) for page in (0, 4)] for path in (scaled.path, run.path)
    )
    spare = (first[0].size[0] - width, first[0].size[1] - height)
    places = {"west": (0, spare[1] // 2), "south": (spare[0] // 2, spare[1])}
    if gravity in places:
        left, top = places[gravity]
        for whole, part in zip(first, last, strict=True):
            for x, y in ((0.3, 0.3), (0.7, 0.6)):
                place = (
                    (left + x * width) / whole.size[0], (top + y * height) / whole.size[1]
                )  # fmt: skip
                assert near(part.at(x, y), whole.at(*place), 90)
    assert last[0].pixels != last[1].pixels


def clear(kitchen: Kitchen) -> str:
    """Half red, half transparent."""
    return kitchen.write("half.png", png(64, 64, 8, 6, b"\xff\0\0\xff" * 32 + b"\xff\0\0\0" * 32))


@pytest.mark.parametrize("target", FORMATS)
def test_transparent_pixels_get_the_background(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(IMAGE, clear(kitchen), f"out.{target}", background="0000ff")
    bitmap = lab.image(run.path)
    # Lab shows what is transparent on a green background.
    assert near(bitmap.at(0.9, 0.5), BLUE, 14)
    assert near(bitmap.at(0.1, 0.5), RED, 14)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("target", FORMATS)
def test_transparent_pixels_of_a_grey_image_get_the_background(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str, depth: int
) -> None:
    sample = depth // 8
    row = (b"\x80" * sample + b"\xff" * sample) * 32 + (b"\x80" * sample + b"\0" * sample) * 32
    source = kitchen.write(f"half-grey-{depth}.png", png(64, 64, depth, GREY_ALPHA, row))
    run = converter.convert(IMAGE, source, f"out.{target}", background="0000ff")
    bitmap = lab.image(run.path)
    assert near(bitmap.at(0.9, 0.5), BLUE, 14)
    assert near(bitmap.at(0.1, 0.5), (128, 128, 128), 14)


@pytest.mark.parametrize("target", ["out.gif", "out.webp"])
def test_transparent_frames_get_the_background(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    source = kitchen.by(
        "clear-half.gif", "ffmpeg", "-y", "-v", "error", "-loop", "1", "-r", "10", "-t", "0.3",
        "-i", clear(kitchen), "-vf", TURNING,
    )  # fmt: skip
    run = converter.convert(IMAGE, source, target, background="0000FF", size="32x32")
    assert near(lab.image(run.path, page=0).at(0.9, 0.5), BLUE, 14)
    assert lab.header(run.path, "[n=-1]")["n-pages"] == "3"


def test_an_option_without_what_it_needs_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    for options in ({"gravity": "north"}, {"fit": "cover"}):
        run = converter.refused(
            IMAGE, stripes(kitchen), "out.png", ExitReason.INVALID_OPTIONS, **options
        )
        assert "needs the option" in run.report.message
