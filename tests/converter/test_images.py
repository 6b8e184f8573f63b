"""Images: orientations, profiles, transparency, sizes, formats, metadata."""

from __future__ import annotations

from functools import partial

import pytest

from media_converter.contract import ExitReason
from media_converter.probing import jpeg_header, vipsheader
from media_converter.probing.media import ImageInfo
from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import OUT, Kitchen, colour
from tests.converter.lab import Lab
from tests.converter.probing import near, red_corner
from tests.converter.rawfiles import (
    RGB,
    exif,
    jpeg_segment,
    png,
)
from tests.converter.recipes import photo

WHERE = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "TL", 6: "TR", 7: "BR", 8: "BL"}


def marked(kitchen: Kitchen, name: str = "marked.png") -> str:
    """80x40, white, with a red top left corner."""
    return kitchen.ffmpeg(
        name, *colour("white", "80x40"), "-vf", "drawbox=0:0:20:10:red:fill,format=rgb24",
        "-frames:v", "1",
    )  # fmt: skip


def oriented(kitchen: Kitchen, orientation: int, extension: str) -> str:
    quality = "[Q=95]" if extension in {"jpg", "webp", "avif", "heic"} else ""
    plain = kitchen.vips(f"marked-plain.{extension}", "copy", marked(kitchen), save=quality)
    if extension == "jpg":
        return kitchen.edit(
            f"o{orientation}.jpg",
            plain,
            lambda data: jpeg_segment(data, 0xE1, b"Exif\0\0" + exif(orientation)),
        )
    return kitchen.by(
        f"o{orientation}.{extension}",
        "exiftool",
        "-q",
        "-n",
        f"-IFD0:Orientation={orientation}",
        "-o",
        OUT,
        plain,
    )


@pytest.mark.parametrize("orientation", WHERE)
@pytest.mark.parametrize("extension", ["jpg", "webp", "png", "tif"])
def test_all_eight_orientations(
    kitchen: Kitchen, converter: Converter, lab: Lab, orientation: int, extension: str
) -> None:
    source = oriented(kitchen, orientation, extension)
    run = converter.convert(IMAGE, source, "out.jpg", size="40x40", quality=95)
    bitmap = lab.image(run.path)
    assert bitmap.size == ((40, 20) if orientation <= 4 else (20, 40))
    assert red_corner(bitmap) == WHERE[orientation]
    assert lab.exif(run.path).get("IFD0:Orientation", 1) == 1


@pytest.mark.parametrize("target", ["out.png", "out.webp", "out.avif", "out.gif"])
def test_no_output_has_an_orientation(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(IMAGE, oriented(kitchen, 6, "jpg"), target, size="40x40")
    bitmap = lab.image(run.path)
    assert bitmap.size == (20, 40)
    assert red_corner(bitmap) == "TR"
    assert lab.exif(run.path).get("IFD0:Orientation", 1) == 1


def test_a_rotated_heif_is_rotated_once(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    # irot 1 rotates 90 degrees anticlockwise: the red top left corner moves to the bottom left.
    source = kitchen.by(
        "irot.avif", "avifenc", "-q", "90", "-s", "9", "-y", "444", "--irot", "1", marked(kitchen)
    )
    both = kitchen.by(
        "irot-exif.avif", "exiftool", "-q", "-n", "-IFD0:Orientation=8", "-o", OUT, source
    )
    for path in (source, both):
        bitmap = lab.image(converter.convert(IMAGE, path, "out.jpg", size="40x40").path)
        assert bitmap.size == (20, 40)
        assert red_corner(bitmap) == "BL"


@pytest.mark.parametrize(
    ("size", "box", "wanted"),
    [
        ((2000, 4), "100x100", (100, 1)),
        ((1, 512), "256x256", (1, 256)),
        ((512, 1), "256x256", (256, 1)),
        ((100, 50), "1000x1000", (100, 50)),
        ((1500, 735), "300x300", (300, 147)),
        ((735, 1500), "300x300", (147, 300)),
        ((1200, 900), None, (800, 600)),
        ((900, 1200), None, (450, 600)),
        ((640, 480), None, (640, 480)),
        ((1, 1), None, (1, 1)),
        ((1201, 901), "800x600", (800, 600)),
        ((1000, 1000), "1x1", (1, 1)),
        ((300, 200), "300x100", (150, 100)),
    ],
)
def test_an_image_fits_its_box_and_is_never_enlarged(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    size: tuple[int, int],
    box: str | None,
    wanted: tuple[int, int],
) -> None:
    width, height = size
    name = f"box-{width}x{height}.png"
    source = kitchen.write(name, png(width, height, 8, RGB, b"\xff\0\0" * width))
    for target in ("out.png", "out.jpg"):
        options = {} if box is None else {"size": box}
        run = converter.convert(IMAGE, source, target, **options)
        assert lab.image(run.path).size == wanted
        assert near(lab.image(run.path).at(0.5, 0.5), (254, 0, 0), 12)
        assert run.report.output
        assert (run.report.output.width, run.report.output.height) == wanted


MAGIC = {
    "jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG", "webp": b"RIFF",
    "gif": b"GIF8", "avif": b"\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("into", MAGIC)
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "gif", "tif", "avif", "heic"])
def test_every_input_format_into_every_output_format(
    kitchen: Kitchen, converter: Converter, lab: Lab, source: str, into: str
) -> None:
    if source == "heic":
        made = kitchen.by(
            "photo.heic", "heif-enc", "-q", "90", "-o", OUT, photo(kitchen, "photo.png")
        )
    else:
        made = photo(kitchen, f"photo.{source}")
    # By content, never by extension.
    renamed = kitchen.write(f"{source}.upload", kitchen.read(made))
    run = converter.convert(IMAGE, renamed, f"out.{into}", size="200x200")
    data = run.path.read_bytes()
    assert data.startswith(MAGIC[into])
    assert into != "avif" or data[4:12] == b"ftypavif"
    assert into != "webp" or data[8:12] == b"WEBP"
    bitmap = lab.image(run.path)
    assert bitmap.size == (200, 150)
    assert bitmap.luma == pytest.approx(lab.image(photo(kitchen, "photo.png")).luma, abs=4)


def test_the_extension_may_be_in_capitals(kitchen: Kitchen, converter: Converter) -> None:
    run = converter.convert(IMAGE, photo(kitchen, "photo.png"), "OUT.JPG")
    assert run.path.read_bytes().startswith(MAGIC["jpg"])


def test_quality_is_applied(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = photo(kitchen, "photo.png")
    for target in ("out.jpg", "out.webp", "out.avif"):
        sizes = [
            converter.convert(IMAGE, source, target, quality=quality).path.stat().st_size
            for quality in (1, "50", 95)
        ]
        assert sizes == sorted(sizes)
        assert sizes[0] < 0.6 * sizes[2]
    default = converter.convert(IMAGE, source, "out.jpg").path.stat().st_size
    asked = converter.convert(IMAGE, source, "out.jpg", quality=85).path.stat().st_size
    assert default == asked


def test_place_and_device_are_removed(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>SecretPlace 48.8577</x:xmpmeta>"
    block = exif(6, place=True, maker="SecretMaker")

    def add(data: bytes) -> bytes:
        data = jpeg_segment(data, 0xE1, xmp)
        data = jpeg_segment(data, 0xFE, b"SecretComment")
        data = jpeg_segment(data, 0xED, b"Photoshop 3.0\0SecretCaption")
        return jpeg_segment(data, 0xE1, b"Exif\0\0" + block)

    source = kitchen.edit("gps.jpg", photo(kitchen, "photo.jpg"), add)
    assert "GPS:GPSLatitude" in lab.exif(source), "the recipe has no place"
    for target in ("out.jpg", "out.png", "out.webp", "out.avif", "out.gif"):
        run = converter.convert(IMAGE, source, target)
        tags = lab.exif(run.path)
        assert not [t for t in tags if t.startswith(("GPS:", "XMP", "IPTC", "Photoshop:"))]
        assert b"Secret" not in run.path.read_bytes()
        assert lab.image(run.path).size == (300, 400), "the orientation must be applied first"


def secretly(kitchen: Kitchen, plain: str, out: str) -> None:
    kitchen.run(
        "exiftool", "-q", "-n", "-GPSLatitude=48.8577", "-GPSLatitudeRef=N",
        "-XMP:Creator=Secret", "-IFD0:Make=Secret", "-o", out, plain,
    )  # fmt: skip


def test_places_in_other_formats_are_removed(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    for extension in ("png", "webp", "tif", "avif"):
        plain = photo(kitchen, f"photo.{extension}")
        source = kitchen.make(
            f"gps.{extension}",
            partial(secretly, kitchen, plain),
        )
        assert any("GPSLatitude" in tag for tag in lab.exif(source)), extension
        run = converter.convert(IMAGE, source, f"out.{extension.replace('tif', 'jpg')}")
        assert not [t for t in lab.exif(run.path) if "GPS" in t or t.startswith("XMP")]
        assert b"Secret" not in run.path.read_bytes()


def test_tall_heif_and_grids_are_complete(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    large = photo(kitchen, "large.png", "2048x1536")
    grid = kitchen.by("grid.avif", "avifenc", "-s", "10", "--grid", "2x2", large)
    tiled = kitchen.by(
        "tiled.heic",
        "heif-enc",
        "-q",
        "60",
        "-p",
        "preset=ultrafast",
        "--cut-tiles",
        "512",
        "-o",
        OUT,
        large,
    )
    for source in (grid, tiled):
        run = converter.convert(IMAGE, source, "out.jpg", size="1024x1024")
        bitmap = lab.image(run.path)
        assert bitmap.size == (1024, 768)
        small = lab.image(converter.convert(IMAGE, large, "out.jpg", size="1024x1024").path)
        assert bitmap.luma == pytest.approx(small.luma, abs=3)


def test_the_first_page_of_many(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    one = kitchen.write("page1.png", png(64, 48, 8, RGB, b"\xff\0\0" * 64))
    two = kitchen.write("page2.png", png(64, 48, 8, RGB, b"\0\0\xff" * 64))
    joined = kitchen.vips("joined.v", "join", one, two, "--", "vertical")
    source = kitchen.vips("pages.tif", "copy", joined, save="[page-height=48]")
    assert lab.header(source)["n-pages"] == "2"
    for target in ("out.jpg", "out.png", "out.gif", "out.webp"):
        bitmap = lab.image(converter.convert(IMAGE, source, target).path)
        assert bitmap.size == (64, 48)
        assert near(bitmap.at(0.5, 0.5), (254, 0, 0), 12)


def test_formats_that_are_not_listed_are_refused(kitchen: Kitchen, converter: Converter) -> None:
    for name, content in {
        "doc.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n",
        "pic.ps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "pic.xcf": b"gimp xcf file\0" + bytes(64),
        "pic.mvg": b"push graphic-context\nviewbox 0 0 9 9\npop graphic-context\n",
        "pic.ppm": b"P6 2 2 255\n" + bytes(12),
        "pic.fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
        "pic.hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\1\1\1\1",
        "pic.v": b"\xb6\xa6\xf2\x08" + bytes(64),
        "pic.csv": b"1,2,3\n4,5,6\n",
        "pic.txt": b"just a text\n",
    }.items():
        renamed = kitchen.write(f"{name}.jpg", content)
        converter.refused(IMAGE, renamed, "out.jpg", ExitReason.UNSUPPORTED_FORMAT)


ORDINARY = {
    "halved.jpg": ("Q=90",),
    "full.jpg": ("Q=95", "subsample-mode=off"),
    "restarts.jpg": ("restart-interval=2",),
    "scans.jpg": ("interlace",),
    "full-scans.jpg": ("interlace", "subsample-mode=off"),
}


def test_the_converter_reads_the_header_of_a_jpeg_as_libvips_does(
    kitchen: Kitchen, lab: Lab
) -> None:
    names = [photo(kitchen, name, "400x300", *save) for name, save in ORDINARY.items()]
    grey = kitchen.vips("grey-header.png", "colourspace", photo(kitchen, "h.png"), "--", "b-w")
    names += [kitchen.vips("grey-header.jpg", "copy", grey)]
    names += [kitchen.vips("grey-scans.jpg", "copy", grey, save="[interlace]")]
    names += [
        kitchen.make(
            f"exiftool-{orientation}.jpg",
            partial(_tagged, kitchen, names[0], orientation),
        )
        for orientation in WHERE
    ]
    for name in names:
        text = lab.agent.run(("vipsheader", "-a", lab.inside(name)))
        wanted = vipsheader.parse(text)
        assert wanted
        assert _own_header(lab, name) == wanted, name


def test_other_jpegs_are_described_by_libvips(kitchen: Kitchen, lab: Lab) -> None:
    plain = photo(kitchen, ORDINARY_NAME)
    profile = kitchen.vips("profile.jpg", "icc_transform", plain, "--", "p3")
    inks = kitchen.vips("inks.jpg", "icc_transform", plain, "--", "cmyk")
    assert _own_header(lab, plain)
    # With two segments of Exif data, as it happens.
    twice = oriented(kitchen, 6, "jpg")
    for name in (profile, inks, twice, photo(kitchen, "h.png")):
        assert _own_header(lab, name) is None, name


ORDINARY_NAME = next(iter(ORDINARY))


def _tagged(kitchen: Kitchen, plain: str, orientation: int, out: str) -> None:
    tags = (f"-IFD0:Orientation={orientation}", "-IFD0:Make=Somebody", "-GPSLatitude=1")
    kitchen.run("exiftool", "-q", "-n", *tags, "-o", out, plain)


def _own_header(lab: Lab, name: str) -> ImageInfo | None:
    data = lab.workspace.path(name).read_bytes()
    return jpeg_header.read_header(lambda offset, count: data[offset : offset + count])
