"""Full disks, folders without write permission, inputs without read permission."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_converter.contract import ConversionType, ExitReason
from media_converter.report_json import parse_report
from tests.converter.containers import RESTRICTED, Image, docker
from tests.converter.harness import (
    AUDIO,
    IMAGE,
    THUMB,
    UID,
    VIDEO,
    Case,
    Converter,
    Workspace,
    listing,
)
from tests.converter.kitchen import Kitchen, tone, video
from tests.converter.rawfiles import RGB, png
from tests.converter.recipes import long_video


@pytest.fixture(scope="module")
def small_disk(image: Image, kitchen: Kitchen) -> Iterator[Converter]:
    """A volume of 24 MiB for the output. The inputs are on another volume."""
    name = f"converter-test-{uuid.uuid4().hex[:8]}"
    docker(
        "volume", "create", "--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs",
        f"--opt=o=size=24m,uid={UID},mode=0755", name,
    )  # fmt: skip
    reports = f"--volume={kitchen.workspace.root}/reports:/reports"
    flags = (*RESTRICTED, f"--volume={name}:/workspace", reports)
    try:
        with image.agent(*flags) as agent:
            host = json.loads(docker("volume", "inspect", name))[0]["Mountpoint"]
            yield Converter(agent, Workspace(Path(host)), image.entrypoint)
    finally:
        docker("volume", "rm", "-f", name)


def report_elsewhere(kitchen: Kitchen) -> tuple[Path, str]:
    """A termination file on another volume: its path here, and in the container."""
    path = kitchen.workspace.root / "reports" / uuid.uuid4().hex
    path.touch()
    os.chown(path, UID, UID)
    return path, f"/reports/{path.name}"


def filled(converter: Converter, leave: int) -> Path:
    """Fill the volume until this many bytes are free."""
    root = converter.workspace.root
    ballast = root / "ballast"
    ballast.unlink(missing_ok=True)
    deadline = time.monotonic() + 20
    while True:
        state = os.statvfs(root)
        free = state.f_bavail * state.f_frsize
        kept = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
        # The kernel frees a removed file some time after its last use. That must not happen later.
        if state.f_blocks * state.f_frsize - free <= kept + 64 * 1024:
            break
        assert time.monotonic() < deadline, f"{free} bytes are free, the files have {kept}"
        time.sleep(0.05)
    with ballast.open("wb") as stream:
        stream.write(bytes(max(0, free - leave)))
    return ballast


@pytest.mark.parametrize("leave", [0, 8192, 150_000])
@pytest.mark.parametrize("kind", [VIDEO, AUDIO, IMAGE, THUMB])
def test_a_full_disk(
    kitchen: Kitchen, small_disk: Converter, kind: ConversionType, leave: int
) -> None:
    source = {
        VIDEO: long_video(kitchen),
        AUDIO: kitchen.ffmpeg("minute.ogg", *tone(seconds=60), "-c:a", "libvorbis", "-q:a", "0"),
        IMAGE: kitchen.ffmpeg(
            "noise.jpg", *video("1200x900"), "-vf", "noise=alls=90", "-frames:v", "1", "-q:v", "9"
        ),
        THUMB: long_video(kitchen),
    }[kind]
    root = small_disk.workspace.root
    copied = root / "media" / Path(source).name
    shutil.copy(kitchen.path(source), copied)
    folder = root / "out"
    target = {VIDEO: "out.mp4", AUDIO: "out.mp3", IMAGE: "out.png", THUMB: "out.png"}[kind]
    old = folder / target
    old.write_bytes(b"old")
    text, place = report_elsewhere(kitchen)
    ballast = filled(small_disk, leave)
    try:
        case = Case(kind, f"media/{copied.name}", f"out/{target}")
        ended = small_disk.start(case, env={"TERMINATION_LOG": place}).command.result()
    finally:
        ballast.unlink()
        copied.unlink()
    report = parse_report(text.read_text())
    assert report, ended.stderr[-2000:]
    assert report.final
    assert (ended.code, report.reason) == (42, ExitReason.DISK_FULL), report.message
    assert old.read_bytes() == b"old"
    assert [p.name for p in folder.iterdir()] == [target]
    old.unlink()


@pytest.mark.parametrize("kind", [VIDEO, IMAGE])
def test_a_folder_that_cannot_be_written(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    source = kitchen.base() if kind is VIDEO else kitchen.write(
        "small.png", png(100, 50, 8, RGB, b"\xff\0\0" * 100)
    )  # fmt: skip
    folder = converter.workspace.path(converter.workspace.scratch("ro"))
    os.chown(folder, 0, 0)
    name = folder.relative_to(converter.workspace.root)
    for target in (f"{name}/out.mp4", f"{name}/new/out.mp4"):
        wanted = target if kind is VIDEO else target.replace("mp4", "jpg")
        run = converter.run(Case(kind, source, wanted))
        assert run.reason is ExitReason.OUTPUT_NOT_WRITABLE
        assert f"uid 65532 may not write in /{name};" in run.report.message
        assert run.ended.cpu < 1.5
    assert not listing(folder)


def test_a_sticky_folder_is_told_before_the_conversion(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.path(converter.workspace.scratch("sticky"))
    os.chown(folder, 0, 0)
    folder.chmod(0o1777)
    name = folder.relative_to(converter.workspace.root)
    old = folder / "out.mp4"
    old.write_bytes(b"old")
    old.chmod(0o666)
    run = converter.run(Case(VIDEO, kitchen.base(), f"{name}/out.mp4"))
    assert run.reason is ExitReason.OUTPUT_NOT_WRITABLE
    assert "sticky bit" in run.report.message
    assert "belongs to uid 0" in run.report.message
    assert "encode" not in run.report.logs
    assert "probe" not in run.report.logs
    assert converter.run(Case(VIDEO, kitchen.base(), f"{name}/new.mp4")).output


def test_a_file_where_a_folder_is_needed(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("way")
    converter.workspace.path(f"{folder}/file").write_bytes(b"x")
    run = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/file/out.mp4"))
    assert run.reason in {ExitReason.OUTPUT_NOT_WRITABLE, ExitReason.PATH_NOT_ALLOWED}


def test_an_input_that_cannot_be_read(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("locked")
    source = converter.workspace.path(f"{folder}/video.mp4")
    shutil.copy(kitchen.path(kitchen.base()), source)
    source.chmod(0o000)
    os.chown(source, 0, 0)
    run = converter.run(Case(VIDEO, f"{folder}/video.mp4", f"{folder}/out.mp4"))
    assert run.reason is ExitReason.INPUT_UNREADABLE
    closed = converter.workspace.path(f"{folder}/closed")
    closed.mkdir(mode=0o700)
    shutil.copy(kitchen.path(kitchen.base()), closed / "video.mp4")
    run = converter.run(Case(VIDEO, f"{folder}/closed/video.mp4", f"{folder}/out.mp4"))
    assert run.reason is ExitReason.INPUT_UNREADABLE


def test_a_volume_that_is_mounted_read_only(kitchen: Kitchen, image: Image) -> None:
    root = kitchen.workspace.root
    flags = (*RESTRICTED, f"--volume={root}:/workspace:ro", f"--volume={root}/reports:/reports")
    text, place = report_elsewhere(kitchen)
    with image.agent(*flags) as agent:
        converter = Converter(agent, kitchen.workspace, image.entrypoint)
        case = Case(VIDEO, kitchen.base(), "out/read-only.mp4")
        conversion = converter.start(case, env={"TERMINATION_LOG": place})
        ended = conversion.command.result()
        report = parse_report(text.read_text())
    assert report
    assert ended.code == 41
    assert report.reason is ExitReason.OUTPUT_NOT_WRITABLE
