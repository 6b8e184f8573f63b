"""Animations keep frames and speed if the output format can. Otherwise the first frame remains."""

from __future__ import annotations

import pytest

from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import Kitchen, colour, video
from tests.converter.lab import Lab
from tests.converter.probing import near


def gif(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg("a.gif", *video("200x100", rate=10, seconds=1))


def delays(lab: Lab, path: object) -> list[int]:
    """Milliseconds of every frame."""
    return [int(part) for part in lab.header(str(path))["delay"].split()]


@pytest.mark.parametrize("target", ["out.gif", "out.webp"])
def test_an_animated_gif_stays_animated(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    run = converter.convert(IMAGE, gif(kitchen), target, size="100x100")
    header = lab.header(run.path, "[n=-1]")
    assert header["n-pages"] == "10"
    assert header["width"] == "100"
    assert header["page-height"] == "50"
    found = [int(part) for part in header["delay"].split()]
    assert len(found) == 10
    assert all(abs(delay - 100) <= 10 for delay in found)
    assert header["loop"] == lab.header(gif(kitchen))["loop"]
    first, last = lab.image(run.path, page=0), lab.image(run.path, page=9)
    assert first.pixels != last.pixels
    assert run.report.output
    assert (run.report.output.width, run.report.output.height) == (100, 50)


@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.avif"])
def test_a_still_output_holds_the_first_frame(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    source = kitchen.ffmpeg(
        "colours.gif", *colour("red", "200x100", rate=10, seconds=0.5), "-vf",
        "drawbox=color=blue:t=fill:enable='gt(n,0)'",
    )  # fmt: skip
    for path in (gif(kitchen), source):
        run = converter.convert(IMAGE, path, target, size="100x100")
        assert lab.image(run.path).size == (100, 50)
        assert "n-pages" not in lab.header(run.path) or lab.header(run.path)["n-pages"] == "1"
    assert near(lab.image(run.path).at(0.5, 0.5), (254, 0, 0), 12)
    assert sorted(p.name for p in run.path.parent.iterdir()) == [target]


@pytest.mark.parametrize("target", ["out.gif", "out.webp"])
def test_an_animated_webp_stays_animated(
    kitchen: Kitchen, converter: Converter, lab: Lab, target: str
) -> None:
    source = kitchen.ffmpeg(
        "anim5.webp", *video("100x100", rate=5, seconds=1), "-c:v", "libwebp_anim", "-loop", "0"
    )
    run = converter.convert(IMAGE, source, target, size="50x50")
    header = lab.header(run.path, "[n=-1]")
    assert (header["n-pages"], header["width"], header["page-height"]) == ("5", "50", "50")
    assert all(abs(int(part) - 200) <= 10 for part in header["delay"].split())


def test_uneven_delays_and_the_loop_count_are_kept(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.by(
        "uneven.webp", "img2webp", "-loop", "3", "-lossless", "-d", "50",
        kitchen.ffmpeg("u1.png", *colour("red", "64x64"), "-frames:v", "1"), "-d", "300",
        kitchen.ffmpeg("u2.png", *colour("lime", "64x64"), "-frames:v", "1"), "-d", "120",
        kitchen.ffmpeg("u3.png", *colour("blue", "64x64"), "-frames:v", "1"), "-o",
    )  # fmt: skip
    for target in ("out.gif", "out.webp"):
        header = lab.header(converter.convert(IMAGE, source, target, size="32x32").path)
        found = [int(part) for part in header["delay"].split()]
        assert all(abs(a - b) <= 10 for a, b in zip(found, (50, 300, 120), strict=True))
        assert header["loop"] == "3"


def test_partial_frames_are_put_together(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    # Only a small moving box changes, so the encoder stores partial frames with transparent pixels.
    source = kitchen.ffmpeg(
        "partial.gif", *colour("white", "120x60", rate=10, seconds=0.5), *colour("blue", "20x20"),
        "-filter_complex", "[0][1]overlay=x='t*200':y=20:shortest=1",
    )  # fmt: skip
    run = converter.convert(IMAGE, source, "out.gif", size="60x60")
    for page in range(5):
        bitmap = lab.image(run.path, page=page)
        assert bitmap.size == (60, 30)
        assert near(bitmap.at((page * 20 + 10) / 120, 0.5), (0, 0, 254), 60)
        assert bitmap.share((255, 255, 255), 40) > 0.7


def test_animated_png_is_complete_or_refused(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "anim5.png", *video("100x100", rate=5, seconds=1), "-plays", "0", "-f", "apng"
    )
    frames = kitchen.read(source).count(b"fcTL")
    assert frames == 5
    run = converter.convert(IMAGE, source, "out.png", size="50x50")
    assert run.path.read_bytes().count(b"fcTL") in {0, frames}


def test_sixty_frames_are_quick(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("sixty.gif", *video("640x360", rate=30, seconds=2))
    run = converter.convert(IMAGE, source, "out.gif", size="320x320")
    assert lab.header(run.path)["n-pages"] == "60"
    assert delays(lab, run.path.relative_to(lab.workspace.root))[0] in range(20, 51)
    assert run.wall < 8
