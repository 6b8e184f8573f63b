"""Colours of films and pictures whose tags are missing, rare, or contradict each other."""

from __future__ import annotations

import struct

import pytest

from tests.converter.harness import IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import OUT, Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import Rgb, near
from tests.converter.rawfiles import RGB, chunk, png

GREEN = (100, 200, 100)
P3_GREEN = (45, 203, 86)
"""GREEN of Display P3 in sRGB."""
PATCH = (180, 60, 60)


def film(kitchen: Kitchen, name: str, size: str, matrix: str, *arguments: str) -> str:
    """A film of one colour without a tag of its colours."""
    red, green, blue = PATCH
    return kitchen.ffmpeg(
        name, "-f", "lavfi", "-i", f"color=0x{red:02x}{green:02x}{blue:02x}:s={size}:r=25:d=1",
        "-vf", f"format=rgb24,scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p,"
        "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown:range=unknown",
        *arguments,
    )  # fmt: skip


UNTAGGED = {
    "sib-hd.webm": (
        "1280x720",
        "bt709",
        ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    ),
    "sib-hd.ts": ("1280x720", "bt709", ("-c:v", "mpeg2video", "-q:v", "2")),
    "sib-hd.mov": ("1280x720", "bt709", ("-c:v", "mpeg4", "-q:v", "2")),
    "sib-sd.mpg": ("352x288", "bt601", ("-c:v", "mpeg2video", "-q:v", "2")),
    # VP8 has the colours of BT.601 in every size (RFC 6386, section 9.2).
    "sib-vp8.webm": ("1280x720", "bt601", ("-c:v", "libvpx", "-deadline", "realtime")),
    "sib-sd.webm": ("320x240", "bt601", ("-c:v", "libvpx", "-deadline", "realtime")),
}


@pytest.mark.parametrize("name", UNTAGGED)
def test_films_without_tags(kitchen: Kitchen, converter: Converter, lab: Lab, name: str) -> None:
    size, matrix, arguments = UNTAGGED[name]
    place = film(kitchen, name, size, matrix, *arguments)
    still = converter.convert(THUMB, place, "o.png", size="64x64")
    assert near(lab.image(still.path).at(0.5, 0.5), PATCH, 8)
    run = converter.convert(VIDEO, place, "o.mp4", resolution="240p")
    tags = lab.media(run.path).video
    if matrix == "bt709":
        assert tags.get("color_space") == "bt709"
    assert near(lab.frame(run.path).at(0.5, 0.5), PATCH, 8)


def test_a_film_with_the_colours_of_ultra_hd_and_no_hdr(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """BT.2020 with an SDR curve in WebM: a colour of BT.709 is the same afterwards."""
    name = kitchen.ffmpeg(
        "sib-2020.webm", "-f", "lavfi", "-i", "color=0xb43c3c:s=320x180:r=25:d=1,format=gbrp",
        "-vf",
        "zscale=matrixin=gbr:primariesin=709:transferin=709:rangein=full:matrix=2020_ncl:"
        "primaries=2020:transfer=2020_10:range=limited,format=yuv420p10le", "-c:v", "libvpx-vp9",
        "-deadline", "realtime", "-cpu-used", "8", "-color_primaries", "bt2020", "-color_trc",
        "bt2020-10", "-colorspace", "bt2020nc",
    )  # fmt: skip
    still = converter.convert(THUMB, name, "o.png")
    assert near(lab.image(still.path).at(0.5, 0.5), PATCH, 10)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert lab.media(run.path).video.get("color_primaries") in {"bt709", None}
    assert near(lab.frame(run.path).at(0.5, 0.5), PATCH, 12)


# Pictures


def flat_png(kitchen: Kitchen, name: str, pixel: Rgb, extra: bytes = b"") -> str:
    return kitchen.write(name, png(64, 64, 8, RGB, bytes(pixel) * 64, extra=extra))


def middle(converter: Converter, lab: Lab, name: str) -> Rgb:
    run = converter.convert(IMAGE, name, "o.png")
    assert "icc-profile-data" not in lab.header(run.path)
    return lab.image(run.path).at(0.5, 0.5)


def avif(kitchen: Kitchen, name: str, pixel: Rgb, cicp: str, *more: str) -> str:
    source = flat_png(kitchen, f"{name}.png", pixel)
    return kitchen.by(
        name, "avifenc", "-s", "10", "-q", "95", "-y", "444", "--cicp", cicp, *more, source
    )


@pytest.mark.parametrize("depth", ["8", "10"])
def test_an_avif_of_a_phone(kitchen: Kitchen, converter: Converter, lab: Lab, depth: str) -> None:
    name = avif(kitchen, f"sib-p3-{depth}.avif", GREEN, "12/13/6", "-d", depth)
    assert near(middle(converter, lab, name), P3_GREEN, 6)


def without_colr(data: bytes) -> bytes:
    """The property becomes one that nobody knows. The codec's own tags stay."""
    return data.replace(b"colr", b"xxxx")


@pytest.mark.parametrize(
    ("cicp", "wanted"),
    [("1/13/1", GREEN), ("1/13/6", GREEN), ("12/13/6", P3_GREEN), ("12/13/1", P3_GREEN)],
)
def test_an_avif_whose_only_tags_are_those_of_its_codec(
    kitchen: Kitchen, converter: Converter, lab: Lab, cicp: str, wanted: Rgb
) -> None:
    label = cicp.replace("/", "-")
    tagged = avif(kitchen, f"sib-tagged-{label}.avif", GREEN, cicp)
    name = kitchen.edit(f"sib-no-colr-{label}.avif", tagged, without_colr)
    assert near(middle(converter, lab, name), wanted, 6)


def heic(kitchen: Kitchen, name: str, pixel: Rgb, tags: tuple[int, int, int]) -> str:
    source = flat_png(kitchen, f"{name}.png", pixel)
    primaries, transfer, matrix = (str(tag) for tag in tags)
    return kitchen.by(
        name, "heif-enc", "-q", "95", "-p", "chroma=444", "--colour_primaries", primaries,
        "--transfer_characteristic", transfer, "--matrix_coefficients", matrix, "-o", OUT, source,
    )  # fmt: skip


def test_a_heic_of_a_phone(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = heic(kitchen, "sib-p3.heic", GREEN, (12, 13, 6))
    assert near(middle(converter, lab, name), P3_GREEN, 8)


def test_a_heic_with_the_matrix_of_hd(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = heic(kitchen, "sib-709.heic", GREEN, (1, 13, 1))
    assert near(middle(converter, lab, name), GREEN, 8)


def test_srgb_wins_over_gamma_in_png(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    extra = chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000))
    assert middle(converter, lab, flat_png(kitchen, "sib-srgb.png", GREEN, extra)) == GREEN


def test_cicp_wins_over_everything_in_png(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    extra = chunk(b"cICP", bytes((12, 13, 0, 1))) + chunk(b"sRGB", b"\0")
    found = middle(converter, lab, flat_png(kitchen, "sib-cicp.png", GREEN, extra))
    assert near(found, P3_GREEN, 4)


def test_an_hdr_png_becomes_sdr(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """PQ, 203 cd/m² is the white of a page: the number 148 is not grey."""
    extra = chunk(b"cICP", bytes((9, 16, 0, 1)))
    found = middle(converter, lab, flat_png(kitchen, "sib-pq.png", (148, 148, 148), extra))
    assert min(found) >= 180, found
    assert max(found) - min(found) <= 4


def test_an_hdr_avif_becomes_sdr(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    found = middle(converter, lab, avif(kitchen, "sib-pq.avif", (148, 148, 148), "9/16/9"))
    assert min(found) >= 180, found


def test_a_linear_tiff_profile_and_a_plain_tiff(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The curve of a profile counts in TIFF as in PNG: the linear number 55 is the grey 127."""
    source = flat_png(kitchen, "sib-grey55.png", (55, 55, 55))
    linear = kitchen.make(
        "sib-linear.tif",
        lambda out: kitchen.agent.python(LINEAR_TIFF, f"/workspace/{source}", out),
    )
    assert near(middle(converter, lab, linear), (127, 127, 127), 4)


LINEAR_TIFF = """
import struct, subprocess, sys
def s15(v): return struct.pack('>i', round(v * 65536))
def xyz(*v): return b'XYZ \\0\\0\\0\\0' + b''.join(map(s15, v))
curve = b'curv\\0\\0\\0\\0' + struct.pack('>I', 0)
text = b'desc\\0\\0\\0\\0' + struct.pack('>I', 7) + b'linear\\0' + bytes(78)
tags = {b'desc': text, b'cprt': b'text\\0\\0\\0\\0none\\0', b'wtpt': xyz(.9642, 1, .8249),
        b'rXYZ': xyz(.4361, .2225, .0139), b'gXYZ': xyz(.3851, .7169, .0971),
        b'bXYZ': xyz(.1431, .0606, .7141), b'rTRC': curve, b'gTRC': curve, b'bTRC': curve}
table, body, at = b'', b'', 128 + 4 + 12 * len(tags)
for name, data in tags.items():
    data += bytes(-len(data) % 4)
    table += name + struct.pack('>II', at + len(body), len(data))
    body += data
size = at + len(body)
head = struct.pack('>I4sI4s4s4s', size, b'none', 0x02100000, b'mntr', b'RGB ', b'XYZ ')
head += struct.pack('>6H', 2026, 1, 1, 0, 0, 0) + b'acsp' + bytes(28)
head += s15(.9642) + s15(1) + s15(.8249)
profile = head.ljust(128, b'\\0') + struct.pack('>I', len(tags)) + table + body
open('/tmp/linear.icc', 'wb').write(profile)
subprocess.run(['vips', 'copy', sys.argv[1], sys.argv[2] + '[profile=/tmp/linear.icc]'], check=True)
"""
