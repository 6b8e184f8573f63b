"""JPEG XL is written, and never read from a stranger. djxl of libjxl judges the outputs."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import IMAGE, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.rawfiles import png
from tests.converter.recipes import photo


@pytest.mark.parametrize("size", ["700x500", "64x64", "333x111", "1x1"])
def test_another_decoder_reads_it(
    kitchen: Kitchen, converter: Converter, lab: Lab, size: str
) -> None:
    source = photo(kitchen, "photo-1500.png", "1500x1500")
    run = converter.convert(IMAGE, source, "out.jxl", size=size, fit="cover")
    written = f"/workspace/{run.path.relative_to(kitchen.workspace.root)}"
    decoded = kitchen.by(f"jxl-{size}.png", "djxl", written)
    width, height = map(int, size.split("x"))
    bitmap = lab.image(kitchen.workspace.path(decoded))
    assert bitmap.size == (width, height)
    assert run.report.output
    assert (run.report.output.container, run.report.output.video_codec) == ("jxl", "jxl")
    assert (run.report.output.width, run.report.output.height) == (width, height)
    wanted = lab.image(converter.convert(IMAGE, source, "out.png", size=size, fit="cover").path)
    if width > 1:
        for x, y in ((0.2, 0.3), (0.6, 0.8)):
            assert near(bitmap.at(x, y), wanted.at(x, y), 40)


def test_transparency_is_kept(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write("half.png", png(64, 64, 8, 6, b"\xff\0\0\xff" * 32 + b"\xff\0\0\0" * 32))
    bitmap = lab.image(converter.convert(IMAGE, source, "out.jxl").path)
    # Lab shows what is transparent on a green background.
    assert near(bitmap.at(0.9, 0.5), (0, 255, 0), 10)
    assert near(bitmap.at(0.1, 0.5), (255, 0, 0), 10)


def test_it_is_no_input(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.vips("input.jxl", "copy", photo(kitchen, "photo-640.png", "640x480"))
    for target in ("out.jpg", "out.jxl"):
        run = converter.refused(IMAGE, source, target, ExitReason.UNSUPPORTED_FORMAT)
        assert "JPEG XL" in run.report.message


def test_an_incomplete_output_is_no_success(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.vips("whole.jxl", "copy", photo(kitchen, "photo-640.png", "640x480"))
    cut = kitchen.edit("cut.jxl", source, lambda data: data[: len(data) * 2 // 3])
    for path, code in ((source, 0), (cut, 1)):
        ended = converter.agent.start(("vips", "avg", f"/workspace/{path}"), {}).result()
        assert ended.code == code, "the verification of an output would not notice its end"
    run = converter.convert(IMAGE, photo(kitchen, "photo-640.png", "640x480"), "out.jxl")
    assert b"was decoded to its end" in run.ended.stdout + run.ended.stderr
