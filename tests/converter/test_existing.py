"""Outputs that exist, with OVERWRITE=false."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Case, Converter, listing, until
from tests.converter.kitchen import Kitchen, tone
from tests.converter.recipes import looped_video, photo

FIRST = {"OVERWRITE": "false", "CONVERSION_UID": "uid-1"}
OTHER = {"OVERWRITE": "false", "CONVERSION_UID": "uid-2"}
NOBODY = {"OVERWRITE": "false"}
TARGETS = {VIDEO: "out.mp4", AUDIO: "out.mp3", IMAGE: "out.jpg", THUMB: "out.png"}


def request(kitchen: Kitchen, converter: Converter, kind: ConversionType) -> Case:
    source = {
        VIDEO: kitchen.base,
        AUDIO: lambda: kitchen.ffmpeg("tone.flac", *tone()),
        IMAGE: lambda: photo(kitchen, "photo.jpg"),
        THUMB: kitchen.base,
    }[kind]()
    return Case(kind, source, f"{converter.workspace.scratch('existing')}/{TARGETS[kind]}")


def test_an_existing_output_is_kept(kitchen: Kitchen, converter: Converter) -> None:
    case = request(kitchen, converter, VIDEO)
    output = converter.workspace.path(case.target)
    output.write_bytes(b"somebody's")
    for env in (FIRST, NOBODY):
        run = converter.run(case, env=env)
        assert run.reason is ExitReason.OUTPUT_EXISTS
        assert case.target in run.report.message
        assert output.read_bytes() == b"somebody's"
    assert converter.run(case, env={"OVERWRITE": "true"}).output
    assert output.read_bytes() != b"somebody's"


def test_an_output_that_appears_during_the_run_is_kept(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("appears")
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", {"duration": 4})
    conversion = converter.start(case, env=FIRST)
    place = converter.workspace.path(folder)
    until(lambda: listing(place))
    (place / "out.mp4").write_bytes(b"somebody's")
    run = conversion.end()
    assert run.reason is ExitReason.OUTPUT_EXISTS
    assert (place / "out.mp4").read_bytes() == b"somebody's"
    assert set(listing(place)) == {"out.mp4"}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_retry_recognises_its_own_output(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    case = request(kitchen, converter, kind)
    first = converter.run(case, env=FIRST)
    inode = first.path.stat().st_ino
    again = converter.run(case, env=FIRST)
    assert again.output
    assert again.path.stat().st_ino == inode, "it is left as it is"
    assert again.report.output == first.report.output
    assert again.report.output_size == first.report.output_size
    for env in (OTHER, NOBODY):
        assert converter.run(case, env=env).reason is ExitReason.OUTPUT_EXISTS


def test_a_retry_does_not_take_a_changed_file_for_its_own(
    kitchen: Kitchen, converter: Converter
) -> None:
    case = request(kitchen, converter, IMAGE)
    path = converter.run(case, env=FIRST).path
    with path.open("ab") as stream:
        stream.write(b"more")
    run = converter.run(case, env=FIRST)
    assert run.reason is ExitReason.OUTPUT_EXISTS
    assert "changed" in run.report.message
