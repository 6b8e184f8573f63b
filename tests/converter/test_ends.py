"""Every way a run can end that is not the file's fault, and what it leaves behind: nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media_converter.contract import (
    REPORT_MAX_BYTES,
    ConversionType,
    Reason,
    parse_progress,
    parse_report,
)
from tests.converter.containers import RESTRICTED, Image, docker
from tests.converter.harness import (
    AUDIO,
    IMAGE,
    THUMB,
    UID,
    VIDEO,
    Case,
    Conversion,
    Converter,
    Workspace,
    listing,
)
from tests.converter.kitchen import Kitchen, tone, video
from tests.converter.probing import Lab
from tests.converter.rawfiles import RGB, png

SLOW: dict[str, object] = {"quality": "high"}


def long_film(kitchen: Kitchen) -> str:
    """Half a minute that takes far longer to encode than any test waits for."""
    return kitchen.ffmpeg(
        "long-film.mkv", *video("1280x720", seconds=5), *tone(seconds=5),
        "-c:v", "mpeg4", "-q:v", "4", "-c:a", "flac",
    )  # fmt: skip


def looped_film(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg(
        "looped-film.mkv", "-stream_loop", "11", "-i", long_film(kitchen), "-c", "copy"
    )


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Poll for something that another process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def under_way(converter: Converter, folder: str) -> Callable[[], bool]:
    """Whether the temporary output has some content already."""
    place = converter.workspace.path(folder)
    return lambda: any(
        size > 1000 for name, (_, size, _) in listing(place).items() if name != "out.mp4"
    )


def start_slow(kitchen: Kitchen, converter: Converter, folder: str, **limits: int) -> Conversion:
    case = Case(VIDEO, looped_film(kitchen), f"{folder}/out.mp4", SLOW, **limits)
    conversion = converter.start(case)
    until(under_way(converter, folder))
    return conversion


def test_sigterm_ends_within_five_seconds_and_leaves_nothing(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("term")
    old = converter.workspace.path(f"{folder}/out.mp4")
    old.write_bytes(b"the old one")
    conversion = start_slow(kitchen, converter, folder)
    began = time.monotonic()
    conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    assert time.monotonic() - began < 5
    assert run.reason is Reason.TERMINATED
    assert old.read_bytes() == b"the old one"
    assert list(listing(old.parent)) == ["out.mp4"]
    assert not converter.agent.processes(), "a child process lives on"


@pytest.mark.parametrize("kind", [AUDIO, THUMB, IMAGE])
def test_sigterm_in_the_other_conversions(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    source = {
        AUDIO: kitchen.ffmpeg("long.flac", *tone(seconds=1800)),
        THUMB: looped_film(kitchen),
        IMAGE: kitchen.write("wide.png", png(7000, 7000, 8, RGB, bytes(range(250)) * 84)),
    }[kind]
    folder = converter.workspace.scratch("term")
    target = f"{folder}/out.{'mp3' if kind is AUDIO else 'png'}"
    options = {"time": 55} if kind is THUMB else {}
    conversion = converter.start(Case(kind, source, target, options))
    until(lambda: len(converter.agent.processes()) > 1 or conversion.command.done)
    with contextlib.suppress(Exception):
        conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    # It may have been faster than the signal; then it is complete.
    assert run.reason in {Reason.TERMINATED, Reason.COMPLETED}
    assert len(listing(converter.workspace.path(folder))) == (run.reason is Reason.COMPLETED)
    assert not converter.agent.processes()


def test_a_signal_to_the_whole_group_is_the_same(kitchen: Kitchen, converter: Converter) -> None:
    # The kubelet and a terminal signal every process of a container, the encoder as well.
    folder = converter.workspace.scratch("group")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGTERM, children=True)
    conversion.command.signal(signal.SIGTERM)
    run = conversion.end()
    assert run.reason is Reason.TERMINATED
    assert not listing(converter.workspace.path(folder))


def test_a_kill_leaves_the_old_output_and_the_next_run_clears_up(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("kill")
    old = converter.workspace.path(f"{folder}/out.mp4")
    old.write_bytes(b"the old one")
    bystander = converter.workspace.path(f"{folder}/.converter-notes.part")
    bystander.write_bytes(b"not a temporary file of a converter")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL, children=True)
    with contextlib.suppress(Exception):
        conversion.command.signal(signal.SIGKILL)
    ended = conversion.killed()
    assert ended.code != 0
    assert old.read_bytes() == b"the old one"
    until(lambda: not converter.agent.processes())
    run = converter.start(Case(VIDEO, kitchen.base(), f"{folder}/out.mp4")).end()
    assert run.output
    assert sorted(listing(old.parent)) == [".converter-notes.part", "out.mp4"]
    assert lab.media(old).duration == pytest.approx(3, abs=0.1)


def test_a_killed_converter_leaves_no_encoder_running(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("orphan")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL)
    assert conversion.killed().code == -signal.SIGKILL
    until(lambda: not converter.agent.processes(), seconds=5)


def test_a_file_in_use_is_not_swept_away(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("shared")
    conversion = start_slow(kitchen, converter, folder)
    busy = set(listing(converter.workspace.path(folder)))
    other = converter.start(Case(VIDEO, kitchen.base(), f"{folder}/other.mp4")).end()
    assert other.output
    assert busy <= set(listing(converter.workspace.path(folder)))
    conversion.command.signal(signal.SIGTERM)
    assert conversion.end().reason is Reason.TERMINATED
    assert set(listing(converter.workspace.path(folder))) == {"other.mp4"}


def test_two_runs_for_one_output(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("twice")
    cases = [Case(VIDEO, kitchen.base(), f"{folder}/out.mp4", SLOW) for _ in range(3)]
    conversions = [converter.start(case) for case in cases]
    ends = [conversion.command.result() for conversion in conversions]
    assert any(end.code == 0 for end in ends)
    assert list(listing(converter.workspace.path(folder))) == ["out.mp4"]
    assert lab.media(f"{folder}/out.mp4").duration == pytest.approx(3, abs=0.1)


def test_an_input_that_grows_while_it_is_read(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("growing")
    source = converter.workspace.path(f"{folder}/film.mp4")
    shutil.copy(kitchen.path(long_film(kitchen)), source)
    output = converter.workspace.scratch("growing")
    conversion = converter.start(Case(VIDEO, f"{folder}/film.mp4", f"{output}/out.mp4", SLOW))
    until(under_way(converter, output))
    with source.open("ab") as stream:
        stream.write(bytes(100_000))
    run = conversion.end()
    assert run.reason is Reason.INPUT_CHANGED
    assert not listing(converter.workspace.path(output))


def test_an_input_that_is_written_over_while_it_is_read(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("changing")
    source = converter.workspace.path(f"{folder}/film.mp4")
    shutil.copy(kitchen.path(long_film(kitchen)), source)
    output = converter.workspace.scratch("changing")
    conversion = converter.start(Case(VIDEO, f"{folder}/film.mp4", f"{output}/out.mp4", SLOW))
    until(under_way(converter, output))
    with source.open("r+b") as stream:
        stream.seek(-1000, os.SEEK_END)
        stream.write(bytes(500))
    assert conversion.end().reason is Reason.INPUT_CHANGED


def test_a_time_limit_of_the_run(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("deadline")
    case = Case(VIDEO, looped_film(kitchen), f"{folder}/out.mp4", SLOW, timeout_seconds=2)
    run = converter.run(case)
    assert run.reason is Reason.DEADLINE_EXCEEDED
    assert 2 <= run.wall < 7
    assert "2" in run.report.message
    assert not listing(converter.workspace.path(folder))
    assert not converter.agent.processes()


def test_standing_still_is_noticed(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("stall")
    conversion = start_slow(kitchen, converter, folder, stall_seconds=3)
    began = time.monotonic()
    conversion.command.signal(signal.SIGSTOP, children=True)
    run = conversion.end()
    assert run.reason is Reason.STALLED
    assert 2.5 <= time.monotonic() - began < 9
    assert not listing(converter.workspace.path(folder))
    assert not converter.agent.processes()


def test_work_that_is_slow_but_moves_does_not_stall(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("moving")
    case = Case(VIDEO, long_film(kitchen), f"{folder}/out.mp4", SLOW, stall_seconds=2)
    assert converter.run(case).reason is Reason.COMPLETED


def test_an_encoder_that_is_killed_is_no_success(kitchen: Kitchen, converter: Converter) -> None:
    # What the kernel does on the first kind of cgroup: it kills the largest process alone.
    folder = converter.workspace.scratch("oom")
    conversion = start_slow(kitchen, converter, folder)
    conversion.command.signal(signal.SIGKILL, children=True)
    run = conversion.end()
    assert run.reason in {Reason.OUT_OF_MEMORY, Reason.TERMINATED}
    assert not listing(converter.workspace.path(folder))


def test_progress_is_told_and_the_report_is_there_at_every_moment(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("report")
    began = time.monotonic()
    conversion = start_slow(kitchen, converter, folder)
    seen = set()

    def look() -> bool:
        text = conversion.report_now().decode()
        assert len(text) <= REPORT_MAX_BYTES
        report = parse_report(text)
        if report and report.progress.percent is not None:
            assert not report.final
            assert report.reason is None
            seen.add(report.progress.percent)
        return len(seen) >= 3

    until(look, seconds=60)
    took = time.monotonic() - began
    conversion.command.signal(signal.SIGKILL)
    ended = conversion.command.result()
    last = parse_report(conversion.report_now().decode())
    assert last, "a killed run leaves a report that can be read"
    assert not last.final
    assert last.progress.percent is not None
    lines = [parse_progress(line) for line in ended.stdout.decode().splitlines()]
    told = [line for line in lines if line]
    assert took / 8 <= len(told) <= took + 3, "every few seconds"
    shares = [progress.percent for progress in told if progress.percent is not None]
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert all(0 <= share <= 100 for share in shares)
    assert any(progress.speed for progress in told)
    assert any(progress.eta_seconds is not None for progress in told)
    until(lambda: not converter.agent.processes())


@pytest.fixture(scope="module")
def small_disk(image: Image, kitchen: Kitchen) -> Iterator[Converter]:
    """A volume of 24 MiB on which a converter runs; the inputs are on another one."""
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
    """A termination file on another volume: its place here, and in the container."""
    path = kitchen.workspace.root / "reports" / uuid.uuid4().hex
    path.touch()
    os.chown(path, UID, UID)
    return path, f"/reports/{path.name}"


def filled(converter: Converter, leave: int) -> Path:
    """Fill the volume up to so many bytes."""
    ballast = converter.workspace.root / "ballast"
    ballast.unlink(missing_ok=True)
    state = os.statvfs(converter.workspace.root)
    free = state.f_bavail * state.f_frsize
    with ballast.open("wb") as stream:
        stream.write(bytes(max(0, free - leave)))
    return ballast


@pytest.mark.parametrize("leave", [0, 8192, 150_000])
@pytest.mark.parametrize("kind", [VIDEO, AUDIO, IMAGE, THUMB])
def test_a_full_disk(
    kitchen: Kitchen, small_disk: Converter, kind: ConversionType, leave: int
) -> None:
    source = {
        VIDEO: long_film(kitchen),
        AUDIO: kitchen.ffmpeg("minute.ogg", *tone(seconds=60), "-c:a", "libvorbis", "-q:a", "0"),
        IMAGE: kitchen.ffmpeg(
            "noise.jpg", *video("1200x900"), "-vf", "noise=alls=90", "-frames:v", "1", "-q:v", "9"
        ),
        THUMB: long_film(kitchen),
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
    assert (ended.code, report.reason) == (42, Reason.DISK_FULL), report.message
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
        assert run.reason is Reason.OUTPUT_NOT_WRITABLE
        assert run.wall < 1.5
    assert not listing(folder)


def test_a_file_in_the_way_of_a_folder(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("way")
    converter.workspace.path(f"{folder}/file").write_bytes(b"x")
    run = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/file/out.mp4"))
    assert run.reason in {Reason.OUTPUT_NOT_WRITABLE, Reason.PATH_NOT_ALLOWED}


def test_an_input_that_cannot_be_read(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("locked")
    source = converter.workspace.path(f"{folder}/film.mp4")
    shutil.copy(kitchen.path(kitchen.base()), source)
    source.chmod(0o000)
    os.chown(source, 0, 0)
    run = converter.run(Case(VIDEO, f"{folder}/film.mp4", f"{folder}/out.mp4"))
    assert run.reason is Reason.INPUT_UNREADABLE
    closed = converter.workspace.path(f"{folder}/closed")
    closed.mkdir(mode=0o700)
    shutil.copy(kitchen.path(kitchen.base()), closed / "film.mp4")
    run = converter.run(Case(VIDEO, f"{folder}/closed/film.mp4", f"{folder}/out.mp4"))
    assert run.reason is Reason.INPUT_UNREADABLE


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
    assert report.reason is Reason.OUTPUT_NOT_WRITABLE


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
def test_options_that_make_no_sense(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, options: dict[str, object]
) -> None:
    source = kitchen.base()
    target = {VIDEO: "out.mp4", AUDIO: "out.mp3"}.get(kind, "out.jpg")
    run = converter.refused(kind, source, target, Reason.INVALID_OPTIONS, **options)
    (name,) = options
    assert name in run.report.message
    assert run.wall < 1


@pytest.mark.parametrize("text", ["{", "[]", '"low"', "12", "null,", '{"quality": NaN}', " "])
def test_options_that_are_no_object(kitchen: Kitchen, converter: Converter, text: str) -> None:
    folder = converter.workspace.scratch("options")
    run = converter.run(
        Case(VIDEO, kitchen.base(), f"{folder}/out.mp4"), env={"CONVERSION_OPTIONS": text}
    )
    if text.strip():
        assert run.reason is Reason.INVALID_OPTIONS
    else:
        assert run.reason in {Reason.INVALID_OPTIONS, Reason.COMPLETED}


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (VIDEO, "out.avi"), (VIDEO, "out"), (VIDEO, "out.mp3"), (AUDIO, "out.mp4"),
        (AUDIO, "out.wav"), (IMAGE, "out.mp4"), (IMAGE, "out.bmp"), (IMAGE, "out.svg"),
        (IMAGE, "out.jpg.exe"), (THUMB, "out.mp4"), (THUMB, "out.tiff"), (THUMB, "out.gif"),
        (THUMB, ".jpg"),
    ],
)  # fmt: skip
def test_an_extension_that_does_not_fit(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, target: str
) -> None:
    folder = converter.workspace.scratch("extension")
    run = converter.run(Case(kind, kitchen.base(), f"{folder}/{target}"))
    if target == ".jpg":
        assert run.reason in {Reason.COMPLETED, Reason.INVALID_OPTIONS, Reason.PATH_NOT_ALLOWED}
    else:
        assert run.reason in {Reason.INVALID_OPTIONS, Reason.PATH_NOT_ALLOWED}
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
    ],
    ids=str,
)
def test_a_request_that_is_not_whole(
    kitchen: Kitchen, converter: Converter, env: dict[str, str]
) -> None:
    folder = converter.workspace.scratch("request")
    run = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/out.mp4"), env=env)
    assert run.reason in {Reason.INVALID_OPTIONS, Reason.PATH_NOT_ALLOWED}
    (name,) = env
    assert name in run.report.message
