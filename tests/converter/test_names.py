"""File names that a file system allows, and those it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, UID, VIDEO, Case, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.rawfiles import RGB, png

NAMES = (
    "a b", "-x", "12:30", "http:x", "50%d", "100%", "it's \"q\"", "$(id)", "`id`", "日本 é",
    "日本 e\u0301", "x[n=-1]", "p.jpg[1]", "*", "?", "~", "#hash", "semi;colon",
    "and&or|pipe", "back\\slash", "-", "--help", "file:x", "concat:a|b", "%%", "%n",
    "{a,b}", "x" * 251, "ж" * 125, ".hidden", "..double", "$(VAR)", "$HOME", "!bang", " lead",
    "@file", "a.mp4.part",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:24] for name in NAMES])
def test_awkward_names(kitchen: Kitchen, converter: Converter, name: str) -> None:
    movie = kitchen.ffmpeg("short.mp4", *SHORT_VIDEO)
    bitmap = kitchen.write("short.png", png(32, 32, 8, RGB, b"\0\0\xff" * 32))
    folder = converter.workspace.scratch("names")
    source = converter.workspace.path(f"{folder}/{name}.mp4")
    source.write_bytes(kitchen.read(movie))
    pixels = converter.workspace.path(f"{folder}/{name}.png")
    pixels.write_bytes(kitchen.read(bitmap))
    os.chown(source, UID, UID)
    os.chown(pixels, UID, UID)
    target = f"{converter.workspace.scratch('names')}/{name}"
    for kind, given, extension in (
        (VIDEO, source, "mp4"),
        (AUDIO, source, "mp3"),
        (THUMB, source, "jpg"),
        (IMAGE, pixels, "jpg"),
        (IMAGE, pixels, "gif"),
    ):
        run = converter.run(Case(kind, f"/{folder}/{given.name}", f"/{target}.{extension}"))
        assert run.path.name == f"{name}.{extension}"
        run.report_bytes.decode("ascii")


SHORT_VIDEO = (
    "-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=0.5", "-f", "lavfi", "-i", "sine=d=0.5",
    "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac",
)  # fmt: skip


def test_names_that_are_not_text(kitchen: Kitchen, converter: Converter) -> None:
    # File names and environment variables can hold any bytes.
    folder = converter.workspace.scratch("bytes")
    raw = os.fsencode(converter.workspace.path(folder)) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(kitchen.read(kitchen.ffmpeg("short.mp4", *SHORT_VIDEO)))
    run = converter.run(
        Case(VIDEO, f"/{folder}/{os.fsdecode(b'caf' + bytes([0xE9]))}.mp4", f"/{folder}/out.mp4")
    )
    assert run.output
    assert "caf" not in run.report.message or run.report_bytes.isascii()


@pytest.mark.parametrize("name", ["x" * 256, "a/" * 2100, "ж" * 128])
def test_names_that_are_too_long_for_a_file_system(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    folder = converter.workspace.scratch("long")
    run = converter.start(Case(VIDEO, kitchen.base(), f"/{folder}/{name}.mp4")).end()
    assert run.reason in {ExitReason.PATH_NOT_ALLOWED, ExitReason.OUTPUT_NOT_WRITABLE}
    run = converter.start(Case(VIDEO, f"/{name}.mp4", f"/{folder}/out.mp4")).end()
    assert run.reason in {ExitReason.PATH_NOT_ALLOWED, ExitReason.INPUT_NOT_FOUND}
