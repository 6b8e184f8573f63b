"""Invalid requests fail at once, with a message that names what is wrong."""

from __future__ import annotations

import pytest

from media_converter.contract import (
    ConversionType,
    ExitReason,
)
from tests.converter.harness import (
    AUDIO,
    IMAGE,
    THUMB,
    VIDEO,
    Case,
    Converter,
)
from tests.converter.kitchen import Kitchen

INVALID: tuple[tuple[ConversionType, dict[str, object]], ...] = (
    (VIDEO, {"quality": "best"}),
    (VIDEO, {"quality": 5}),
    (VIDEO, {"resolution": "723p"}),
    (VIDEO, {"resolution": "-720p"}),
    (VIDEO, {"bitrate": "128k"}),
    (VIDEO, {"start": -1}),
    (VIDEO, {"start": "1e5"}),
    (VIDEO, {"duration": 0}),
    (VIDEO, {"duration": "00:99:00"}),
    (VIDEO, {"unknown": 1}),
    (VIDEO, {"start": [1]}),
    (AUDIO, {"bitrate": "1000k"}),
    (AUDIO, {"bitrate": "33k"}),
    (AUDIO, {"quality": "low"}),
    (AUDIO, {"duration": "nan"}),
    (IMAGE, {"size": "0x0"}),
    (IMAGE, {"size": "800"}),
    (IMAGE, {"size": "800x600; rm -rf /"}),
    (IMAGE, {"size": "-1x5"}),
    (IMAGE, {"quality": 0}),
    (IMAGE, {"quality": 101}),
    (IMAGE, {"quality": "85.5"}),
    (IMAGE, {"time": 1}),
    (THUMB, {"time": "soon"}),
    (THUMB, {"time": True}),
    (THUMB, {"size": "1x"}),
    (THUMB, {"bitrate": "128k"}),
)


@pytest.mark.parametrize(("kind", "options"), INVALID, ids=[str(o) for _, o in INVALID])
def test_invalid_options(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, options: dict[str, object]
) -> None:
    source = kitchen.base()
    target = {VIDEO: "out.mp4", AUDIO: "out.mp3"}.get(kind, "out.jpg")
    run = converter.refused(kind, source, target, ExitReason.INVALID_OPTIONS, **options)
    (name,) = options
    assert name in run.report.message
    # CPU time: wall time depends on what else runs on this machine.
    assert run.ended.cpu < 1


@pytest.mark.parametrize("text", ["{", "[]", '"low"', "12", "null,", '{"quality": NaN}', " "])
def test_options_that_are_not_an_object(kitchen: Kitchen, converter: Converter, text: str) -> None:
    folder = converter.workspace.scratch("options")
    run = converter.run(
        Case(VIDEO, kitchen.base(), f"{folder}/out.mp4"), env={"CONVERSION_OPTIONS": text}
    )
    if text.strip():
        assert run.reason is ExitReason.INVALID_OPTIONS
    else:
        assert run.reason in {ExitReason.INVALID_OPTIONS, ExitReason.COMPLETED}


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (VIDEO, "out.avi"), (VIDEO, "out"), (VIDEO, "out.mp3"), (AUDIO, "out.mp4"),
        (AUDIO, "out.wav"), (IMAGE, "out.mp4"), (IMAGE, "out.bmp"), (IMAGE, "out.svg"),
        (IMAGE, "out.jpg.exe"), (THUMB, "out.mp4"), (THUMB, "out.tiff"), (THUMB, "out.gif"),
        (THUMB, ".jpg"),
    ],
)  # fmt: skip
def test_an_extension_of_another_type(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, target: str
) -> None:
    folder = converter.workspace.scratch("extension")
    run = converter.run(Case(kind, kitchen.base(), f"{folder}/{target}"))
    if target == ".jpg":
        assert run.reason in {
            ExitReason.COMPLETED,
            ExitReason.INVALID_OPTIONS,
            ExitReason.PATH_NOT_ALLOWED,
        }
    else:
        assert run.reason in {ExitReason.INVALID_OPTIONS, ExitReason.PATH_NOT_ALLOWED}
        assert "." in run.report.message


@pytest.mark.parametrize(
    "env",
    [
        {"CONVERSION_TYPE": "video_to_avi"},
        {"CONVERSION_TYPE": ""},
        {"INPUT_FILE": ""},
        {"OUTPUT_FILE": ""},
        {"TIMEOUT_SECONDS": "soon"},
        {"TIMEOUT_SECONDS": "-5"},
        {"STALL_SECONDS": "0x10"},
        {"BACKGROUND": "white"},
    ],
    ids=str,
)
def test_an_incomplete_request(kitchen: Kitchen, converter: Converter, env: dict[str, str]) -> None:
    folder = converter.workspace.scratch("request")
    run = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/out.mp4"), env=env)
    assert run.reason in {ExitReason.INVALID_OPTIONS, ExitReason.PATH_NOT_ALLOWED}
    (name,) = env
    assert name in run.report.message
