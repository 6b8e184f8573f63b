"""The image keeps the log of a run on the volume, under its own confinement."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import uuid
from pathlib import Path

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import UID, Case, Converter, until
from tests.converter.kitchen import Kitchen
from tests.converter.rawfiles import RGB, png
from tests.converter.recipes import long_video

FOLDER = ".conversion-logs"
WEEK = 604_800
GROUP = 0
"""Of the runs. In a cluster, it is CONVERTER_RUN_AS_GROUP."""


def prepared(converter: Converter) -> str:
    """The uid of a conversion whose log can be written. The folder belongs to the converter."""
    folder = converter.workspace.folder(FOLDER)
    assert folder.stat().st_uid == UID
    return str(uuid.uuid4())


def log_of(converter: Converter, uid: str, attempt: int = 1) -> Path:
    return converter.workspace.root / FOLDER / uid / f"{attempt}.log"


def old_log(converter: Converter, age: float) -> Path:
    file = log_of(converter, str(uuid.uuid4()))
    converter.workspace.folder(f"{FOLDER}/{file.parent.name}")
    file.write_text("of an earlier run\n")
    os.chown(file, UID, UID)
    then = file.stat().st_mtime - age
    os.utime(file, (then, then))
    return file


def picture(kitchen: Kitchen) -> str:
    return kitchen.write("log.png", png(64, 48, 8, RGB, bytes(3 * 64)))


def test_the_log_of_a_run_is_on_the_volume(converter: Converter, kitchen: Kitchen) -> None:
    uid = prepared(converter)
    old, young = old_log(converter, WEEK + 100), old_log(converter, WEEK - 100)
    target = f"{converter.workspace.scratch()}/a.jpg"
    case = Case(ConversionType.IMAGE_RESIZE, picture(kitchen), target)
    run = converter.run(case, env={"LOG_NAME": f"{uid}/1"})
    assert run.reason is ExitReason.COMPLETED
    text = log_of(converter, uid).read_text()
    kept = [line.split(" ", 1)[1] for line in run.report.logs.splitlines()]
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == kept
    assert kept[-1] == "Completed"
    assert not any("warning" in line for line in kept)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("group", [2000, GROUP])
def test_a_folder_of_logs_with_the_setgid_bit(
    converter: Converter, kitchen: Kitchen, group: int
) -> None:
    """Its group is on all logs. The converter is their owner, also if it is not in the group."""
    uid, folder = prepared(converter), converter.workspace.root / FOLDER
    old = old_log(converter, WEEK + 100)
    os.chown(folder, 0, group)
    folder.chmod(0o2770 if group == GROUP else 0o2777)
    try:
        target = f"{converter.workspace.scratch()}/a.jpg"
        case = Case(ConversionType.IMAGE_RESIZE, picture(kitchen), target)
        run = converter.run(case, env={"LOG_NAME": f"{uid}/1"})
    finally:
        os.chown(folder, UID, UID)
        folder.chmod(0o750)
    assert run.reason is ExitReason.COMPLETED
    assert "warning" not in run.report.logs
    file = log_of(converter, uid)
    assert "Completed" in file.read_text()
    assert (file.stat().st_uid, file.stat().st_gid) == (UID, group)
    assert stat.S_IMODE(file.parent.stat().st_mode) & ~0o2000 == 0o750
    assert not old.exists()


def test_a_failed_run_has_a_log_too(converter: Converter) -> None:
    uid = prepared(converter)
    case = Case(ConversionType.IMAGE_RESIZE, "media/nothing.png", "out/a.jpg")
    run = converter.run(case, env={"LOG_NAME": f"{uid}/2"})
    assert run.reason is ExitReason.INPUT_NOT_FOUND
    assert "InputNotFound: " in log_of(converter, uid, 2).read_text()


def test_a_killed_run_leaves_its_log(converter: Converter, kitchen: Kitchen) -> None:
    uid = prepared(converter)
    source, target = long_video(kitchen), f"{converter.workspace.scratch()}/a.mp4"
    case = Case(ConversionType.VIDEO_TO_MP4, source, target)
    conversion = converter.start(case, env={"LOG_NAME": f"{uid}/1"})
    file = log_of(converter, uid)
    until(lambda: file.exists() and "confined" in file.read_text())
    conversion.command.signal(signal.SIGKILL, children=True)
    with contextlib.suppress(Exception):
        conversion.command.signal(signal.SIGKILL)
    conversion.killed()
    until(lambda: not converter.agent.processes())
    assert f"{source} -> {target}" in file.read_text()


def test_a_log_that_cannot_be_written_is_a_warning(converter: Converter, kitchen: Kitchen) -> None:
    # The folder of the conversion belongs to root.
    uid = prepared(converter)
    log_of(converter, uid).parent.mkdir(mode=0o755)
    target = f"{converter.workspace.scratch()}/a.jpg"
    case = Case(ConversionType.IMAGE_RESIZE, picture(kitchen), target)
    run = converter.run(case, env={"LOG_NAME": f"{uid}/1"})
    assert run.reason is ExitReason.COMPLETED
    assert "warning: the volume lacks a part of this log: Permission denied" in run.report.logs
    assert not run.report.warnings


def test_the_folder_of_logs_is_no_place_for_files(converter: Converter, kitchen: Kitchen) -> None:
    uid = prepared(converter)
    source = picture(kitchen)
    inside = f"{FOLDER}/{uid}/a.jpg"
    for case in (
        Case(ConversionType.IMAGE_RESIZE, source, inside),
        Case(ConversionType.IMAGE_RESIZE, f"/{FOLDER}/a.png", "out/a.jpg"),
    ):
        run = converter.run(case)
        assert run.reason is ExitReason.PATH_NOT_ALLOWED
        assert "folder .conversion-logs" in run.report.message
