"""Logs on the shared volume: written as they grow, cut in the middle, and removed when old."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_converter.contract import ExitReason, Report
from media_converter.errors import ConversionError
from media_converter.files import log_folder, paths
from media_converter.files.log_file import MAX_LINE_BYTES, MAX_LOG_BYTES, LogFile
from media_converter.files.log_folder import LogName, clean, create_log
from media_converter.forbidden_paths import LOG_FOLDER, is_in_log_folder
from media_converter.request import LogRequest, read_log_request
from media_converter.running import stored_log
from media_converter.running.report import Reporter
from media_converter.running.stored_log import StoredLog

UID = "0f0e0d0c-0000-4000-8000-000000000001"
NAME = LogName(UID, 2)
DAY = 86_400.0
WEEK = 7 * DAY
NOW = 1_900_000_000.0
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = paths.open_root(str(tmp_path))
    yield fd
    os.close(fd)


def stored(volume: Path, uid: str = UID, attempt: int = 2) -> Path:
    return volume / LOG_FOLDER / uid / f"{attempt}.log"


def uid_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def put(volume: Path, number: int, age: float, size: int = 10, attempt: int = 1) -> Path:
    """A log of a conversion. Large ones are sparse."""
    file = stored(volume, uid_of(number), attempt)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.truncate(size)
    os.utime(file, (NOW - age, NOW - age))
    return file


def clean_all(root: int, retention: float = WEEK) -> int:
    """Without a limit of the time."""
    return clean(root, retention, NOW, lambda: 0.0).removed


def test_each_line_is_in_the_file_at_once(root: int, tmp_path: Path) -> None:
    log = create_log(root, NAME)
    for number in range(3):
        log.add(f"line {number}\nof the log")
        lines = stored(tmp_path).read_text().splitlines()
        assert lines == [f"line {n} of the log" for n in range(number + 1)]
    log.close()
    assert stored(tmp_path).stat().st_mode & 0o777 == 0o640
    assert stored(tmp_path).parent.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("most", [MAX_LOG_BYTES, 65_536])
def test_a_long_log_keeps_its_first_and_its_last_part(root: int, tmp_path: Path, most: int) -> None:
    log = create_log(root, NAME, most)
    sizes, count = [], 3 * most // 50
    for number in range(count):
        log.add(f"{number:049}")
        if number % 1000 == 0:
            sizes.append(stored(tmp_path).stat().st_size)
    log.flush()
    log.close()
    content = stored(tmp_path).read_bytes()
    first, _, last = content.partition(b"[")
    assert max(*sizes, len(content)) <= most
    assert len(content) > 0.9 * most
    left_out = int(last.split(b" ", 1)[0])
    lines = [int(line) for line in (first + last.split(b"\n", 1)[1]).split()]
    assert len(lines) * 50 + left_out == count * 50
    assert lines[0] == 0
    assert lines[-1] == count - 1
    missing = [b - a for a, b in itertools.pairwise(lines) if b != a + 1]
    assert len(missing) == 1
    assert [*stored(tmp_path).parent.iterdir()] == [stored(tmp_path)]


def test_a_long_log_is_replaced_while_it_grows(root: int, tmp_path: Path) -> None:
    log = create_log(root, NAME, 1 << 20)
    for number in range(60_000):
        log.add(f"{number:049}")
    last = int(stored(tmp_path).read_bytes().split()[-1])
    assert 60_000 - last <= 131_072 // 50 + 1
    log.close()


def test_a_line_is_cut(root: int, tmp_path: Path) -> None:
    log = create_log(root, NAME)
    log.add("é" * MAX_LINE_BYTES)
    log.close()
    assert len(stored(tmp_path).read_bytes()) <= MAX_LINE_BYTES + 8
    assert stored(tmp_path).read_text().endswith("é …\n")


@pytest.mark.parametrize("kind", ["link", "hard link", "file"])
def test_what_has_the_name_of_the_log_is_never_written_to(
    root: int, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    stored(tmp_path).parent.mkdir(parents=True)
    if kind == "link":
        stored(tmp_path).symlink_to(victim)
    elif kind == "hard link":
        stored(tmp_path).hardlink_to(victim)
    else:
        stored(tmp_path).write_text("of an earlier run")
    log = create_log(root, NAME)
    log.add("new")
    log.close()
    assert victim.read_text() == "precious"
    assert stored(tmp_path).read_text() == "new\n"


@pytest.mark.parametrize("which", [LOG_FOLDER, f"{LOG_FOLDER}/{UID}"])
def test_a_folder_that_is_a_link_is_not_entered(root: int, tmp_path: Path, which: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / which).parent.mkdir(exist_ok=True)
    (tmp_path / which).symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        create_log(root, NAME)
    assert not [*elsewhere.iterdir()]


@pytest.mark.parametrize(
    "text",
    ["", "1", f"{UID}/", f"{UID}/0", f"{UID}/-1", f"{UID}/1234567", f"{UID}/1/2", "../1", "a/1"],
)
def test_a_log_name_has_a_uid_and_a_number(text: str) -> None:
    assert LogName.parse(text) is None
    with pytest.raises(ConversionError):
        read_log_request({"LOG_NAME": text or " "})


def test_the_request_of_a_log() -> None:
    assert read_log_request({}) is None
    name = {"LOG_NAME": f"{UID}/2"}
    assert read_log_request(name) == LogRequest(NAME, WEEK)
    assert read_log_request(name | {"LOG_RETENTION_SECONDS": "60"}) == LogRequest(NAME, 60)
    assert read_log_request(name | {"DRY_RUN": "true"}) is None


def test_logs_older_than_the_retention_are_removed(root: int, tmp_path: Path) -> None:
    old, young = put(tmp_path, 1, WEEK + 1), put(tmp_path, 2, WEEK - 1)
    older = put(tmp_path, 2, WEEK + 2, attempt=2)
    assert clean_all(root) == 2
    assert not old.parent.exists()
    assert young.exists()
    assert not older.exists()
    assert clean_all(root) == 0
    assert clean_all(root, retention=DAY) == 1
    assert not young.parent.exists()


def test_the_oldest_beyond_the_limit_are_removed(root: int, tmp_path: Path) -> None:
    files = [put(tmp_path, n, age=10_000 - n, size=MIB) for n in range(300)]
    assert clean_all(root) == 300 - 256
    assert [file.exists() for file in files] == [False] * 44 + [True] * 256


def test_a_log_that_a_run_writes_stays(root: int, tmp_path: Path) -> None:
    files = [put(tmp_path, n, age=n / 10, size=MIB) for n in range(300)]
    assert clean_all(root, retention=1) == 0
    assert all(file.exists() for file in files)


def test_what_is_not_a_log_stays(root: int, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = put(tmp_path, 1, 2 * WEEK).parent
    outside = tmp_path / "outside"
    for name in ("3.log", "notes.txt", "0.log", "x.log"):
        (outside / name).parent.mkdir(exist_ok=True)
        (outside / name).write_text("of others")
        os.utime(outside / name, (0, 0))
    kept = [folder / "notes.txt", folder / "2.log" / "1.log", tmp_path / LOG_FOLDER / "README"]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("of others")
        os.utime(file, (0, 0))
    (folder / "9.log").symlink_to(victim)
    (tmp_path / LOG_FOLDER / uid_of(7)).symlink_to(outside)
    assert clean_all(root) == 1
    assert all(file.exists() for file in kept)
    assert (folder / "9.log").is_symlink()
    assert victim.read_text() == "precious"
    assert len([*outside.iterdir()]) == 4


def test_the_folder_of_logs_is_not_followed(root: int, tmp_path: Path) -> None:
    other = tmp_path / "other"
    file = put(other, 1, 2 * WEEK)
    (tmp_path / LOG_FOLDER).symlink_to(other / LOG_FOLDER)
    assert clean_all(root) == 0
    assert file.exists()


def test_ten_thousand_logs_take_at_most_the_budget(root: int, tmp_path: Path) -> None:
    for number in range(10_000):
        put(tmp_path, number, 2 * WEEK if number % 2 else 1000 + number, size=100)
    # On a busy machine, one call of the kernel can take longer than the budget.
    took, removed = [], 0
    for _ in range(5):
        before = time.thread_time()
        removed += clean(root, WEEK, NOW, time.monotonic).removed
        took.append(time.thread_time() - before)
    assert removed > 100
    assert min(took) <= log_folder.BUDGET_SECONDS, took


def test_runs_with_little_time_remove_all_old_logs_together(root: int, tmp_path: Path) -> None:
    for number in range(2000):
        put(tmp_path, number, 2 * WEEK if number % 2 else 1000 + number, size=100)
    ticks = (number * 0.008 for number in itertools.count())
    removed = [clean(root, WEEK, NOW, lambda: next(ticks)).removed for _ in range(100)]
    assert sum(removed) == 1000
    assert all(removed[:5])
    assert len([*(tmp_path / LOG_FOLDER).iterdir()]) == 1000


def test_the_slowest_volume_loses_its_old_logs(root: int, tmp_path: Path) -> None:
    """Reading the names alone takes longer than the budget."""
    old = [put(tmp_path, number, 2 * WEEK) for number in range(100)]
    young = [put(tmp_path, number, 1000) for number in range(100, 200)]
    ticks = itertools.count(step=100)
    for run in range(300):
        done = clean(root, WEEK, NOW, lambda: next(ticks))
        assert done.removed <= log_folder.MIN_FOLDERS
        assert run or not done.complete
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in young)


def test_a_log_of_the_future_goes_before_others(root: int, tmp_path: Path) -> None:
    future = [put(tmp_path, n, age=-10_000 - n, size=MIB) for n in range(300)]
    others = [put(tmp_path, n, age=10_000 + n, size=MIB) for n in range(300, 400)]
    soon = put(tmp_path, 999, age=-200)
    assert clean_all(root) == 145
    assert sum(file.exists() for file in future) == 300 - 145
    assert all(file.exists() for file in others)
    assert soon.exists()


def test_a_part_removes_its_share_of_the_excess(
    root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_folder, "MAX_BYTES", 200 * MIB)
    for number in range(400):
        put(tmp_path, number, age=10_000 - number, size=MIB)
    # Half of the logs are looked at.
    looks = iter([0.0] * (201 - log_folder.MIN_FOLDERS) + [1.6] * 1000)
    removed = clean(root, WEEK, NOW, lambda: next(looks)).removed
    assert removed == 100


@pytest.mark.parametrize(
    "path",
    [LOG_FOLDER, f"/{LOG_FOLDER}", f"{LOG_FOLDER}/a.mp4", f"/{LOG_FOLDER.upper()}/{UID}/1.log"],
)
def test_a_path_in_the_folder_of_logs_is_refused(path: str) -> None:
    assert is_in_log_folder(path)
    with pytest.raises(ConversionError, match="must not be in the folder") as caught:
        paths.split(path, "INPUT_FILE")
    assert caught.value.reason is ExitReason.PATH_NOT_ALLOWED


@pytest.mark.parametrize("path", [f"a/{LOG_FOLDER}/b.mp4", f"{LOG_FOLDER}s/b.mp4", "b.mp4"])
def test_other_paths_are_not_refused(path: str) -> None:
    assert paths.split(path, "INPUT_FILE")


def run_of(volume: Path, report: Path) -> tuple[Reporter, StoredLog]:
    report.touch()
    reporter = Reporter(str(report))
    log = StoredLog(str(volume), LogRequest(NAME, WEEK), MAX_LOG_BYTES)
    reporter.keep(log)
    return reporter, log


def test_the_log_of_a_run(tmp_path: Path) -> None:
    reporter, _ = run_of(tmp_path, tmp_path / "report")
    for number in range(3):
        reporter.log(f"line {number}\x1b[2J")
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    lines = stored(tmp_path).read_text().splitlines()
    assert [line[20:] for line in lines] == [f" line {n} [2J" for n in range(3)]
    assert lines[0][10] == "T"
    assert lines[0][19] == "Z"
    assert "warning" not in (tmp_path / "report").read_text()


def test_a_log_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / LOG_FOLDER).write_text("a file is here")
    reporter, log = run_of(tmp_path, tmp_path / "report")
    reporter.log("converting")
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    report = json.loads((tmp_path / "report").read_text())
    assert log.problem == "Not a directory"
    assert report["reason"] == "Completed"
    assert "warning: the volume lacks a part of this log: Not a directory" in report["logs"]


def test_a_volume_that_does_not_respond_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = threading.Event()

    def block(*_: object) -> LogFile:
        blocked.wait()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(log_folder, "create_log", block)
    monkeypatch.setattr(stored_log, "END_SECONDS", 0.05)
    reporter, log = run_of(tmp_path, tmp_path / "report")
    for number in range(10_100):
        log.add(f"line {number}")
    assert log._lines.qsize() == 10_000
    before = time.monotonic()
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    assert time.monotonic() - before < 5
    assert "did not take it in time" in (tmp_path / "report").read_text()
    blocked.set()


def test_removing_old_logs_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = threading.Event()
    monkeypatch.setattr(log_folder, "clean", lambda *_: blocked.wait())
    reporter, log = run_of(tmp_path, tmp_path / "report")
    reporter.log("converting")
    before = time.monotonic()
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    # The end of the log is not waited for, but that of the thread that writes it.
    assert time.monotonic() - before < 1
    assert log.problem == ""
    assert stored(tmp_path).read_text().endswith("converting\n")
    blocked.set()


def test_a_short_run_removes_old_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_log, "CLEANING_SECONDS", 30)
    old = put(tmp_path, 1, 0)
    os.utime(old, (0, 0))
    reporter, _ = run_of(tmp_path, tmp_path / "report")
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    assert not old.exists()


KILLED = """
import sys, time
from media_converter.request import LogRequest
from media_converter.files.log_folder import LogName
from media_converter.running.stored_log import StoredLog
log = StoredLog(sys.argv[1], LogRequest(LogName(sys.argv[2], 2), 60.0), 1 << 30)
for number in range(50000):
    log.add(f"line {number}" + "." * 80)
    time.sleep(0 if number < 40000 else 0.001)
time.sleep(600)
"""


def test_a_killed_run_leaves_its_log(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), UID], env=environment)
    try:
        deadline = time.monotonic() + 60
        # Longer than the limit, so that the file is being replaced.
        while not (stored(tmp_path).exists() and b"left out" in stored(tmp_path).read_bytes()):
            assert time.monotonic() < deadline
    finally:
        process.kill()
        process.wait()
    lines = stored(tmp_path).read_text().splitlines()
    assert lines[0].startswith("line 0.")
    assert len([line for line in lines if "left out" in line]) == 1
    assert stored(tmp_path).stat().st_size <= MAX_LOG_BYTES
