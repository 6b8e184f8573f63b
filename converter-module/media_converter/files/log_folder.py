"""The folder of logs on the shared volume: ``.conversion-logs/UID/ATTEMPT.log``.

Each run writes its own log and removes old ones. Other programs may write on the volume, so nothing
here is trusted: every folder is opened relative to its parent, never through a link, and only
regular files with the names of logs are removed.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from media_converter.files.log_file import MAX_LOG_BYTES, NEW_SUFFIX, LogFile
from media_converter.forbidden_paths import LOG_FOLDER

MAX_BYTES: Final = 256 << 20
"""How many bytes all logs of a volume may have."""
BUDGET_SECONDS: Final = 2.0
"""How long one run may look for old logs and remove them, beside the conversion."""
MIN_FOLDERS: Final = 20
"""How many folders each run looks at, however slow the volume is."""

_UID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE: Final = re.compile(f"[1-9][0-9]{{0,5}}[.]log({re.escape(NEW_SUFFIX)})?")
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE: Final = 0o750
# A run writes to its log at least once a minute. So a log that is older is of a run that has ended.
_WRITTEN_SECONDS: Final = 300.0
_TRIES: Final = 3
# When, as parts of the budget, no more names are read, and no more logs are looked at. Removing
# logs needs the rest.
_NAMES_UNTIL: Final = 0.4
_LOOKING_UNTIL: Final = 0.7
# As many names are always read: if a run saw only the first ones, the others would stay for ever.
_MIN_NAMES: Final = 10_000
# The order in which folders are looked at: each 97th, from a random one on, then the ones after
# those, and so on. The first ones are spread over all.
_STRIDE: Final = 97


class LogName(NamedTuple):
    """Which log a run writes: the uid of its conversion, and the number of the attempt."""

    conversion_uid: str
    attempt: int

    @classmethod
    def parse(cls, text: str) -> "LogName | None":
        """Parse ``UID/ATTEMPT``. None if it is not of this form."""
        uid, _, attempt = text.partition("/")
        if not _UID.fullmatch(uid) or not _FILE.fullmatch(f"{attempt}.log"):
            return None
        return cls(uid, int(attempt))


class Cleaned(NamedTuple):
    """What a clean-up did: the logs removed, and whether it looked at all logs."""

    removed: int
    complete: bool


def create_log(root: int, name: LogName, max_bytes: int = MAX_LOG_BYTES) -> LogFile:
    """Create the log of a run below the open root of the volume. Raises OSError."""
    logs = _enter_or_make(root, LOG_FOLDER)
    try:
        for _ in range(_TRIES):
            # Another run may remove the folder of the conversion while it is empty.
            with suppress(FileNotFoundError):
                return _create_in(logs, name, max_bytes)
        return _create_in(logs, name, max_bytes)
    finally:
        os.close(logs)


def clean(root: int, retention_seconds: float, now: float, clock: Callable[[], float]) -> Cleaned:
    """Remove logs older than the retention, and the oldest ones beyond MAX_BYTES.

    ``now`` is the time of the file system of the volume: other clocks may differ. This takes about
    BUDGET_SECONDS by ``clock`` at most, or as long as MIN_FOLDERS folders take. If that is not
    enough to look at all logs, the run looks at a part that is spread over all, and removes from it
    as much as its share of the excess. Later runs look at other parts. A log that a run still
    writes is never removed.
    """
    end = clock() + BUDGET_SECONDS

    def is_over(part: float) -> bool:
        return clock() >= end - BUDGET_SECONDS * (1 - part)

    try:
        logs = os.open(LOG_FOLDER, _OPEN_FOLDER, dir_fd=root)
    except OSError:
        return Cleaned(0, complete=True)
    try:
        names, are_all = _conversions(logs, lambda: is_over(_NAMES_UNTIL))
        # Many file systems count the folders in a folder, so also those that were not read.
        count = len(names) if are_all else max(len(names) + 1, os.fstat(logs).st_nlink - 2)
        found: list[_Log] = []
        looked_at = 0
        for name in _spread(names):
            if looked_at >= MIN_FOLDERS and is_over(_LOOKING_UNTIL):
                break
            found += _logs_of(logs, name)
            looked_at += 1
        share = looked_at / count if count else 1.0
        removed = 0
        excess = _excess(found, now, retention_seconds, round(MAX_BYTES * share))
        for place, log in enumerate(excess):
            if place >= MIN_FOLDERS and is_over(1):
                break
            removed += _remove(logs, log)
        return Cleaned(removed, looked_at == count)
    finally:
        os.close(logs)


class _Log(NamedTuple):
    """A log, or the empty folder of a conversion if ``file`` is empty."""

    modified: float
    size: int
    folder: str
    file: str


def _excess(
    found: list[_Log], now: float, retention_seconds: float, max_bytes: int
) -> Iterator[_Log]:
    """The logs to remove, the oldest first.

    A log with a time in the future counts as the oldest. Otherwise it would stay for long, and the
    logs of others would be removed in its place.
    """
    total = sum(log.size for log in found)
    latest = now + _WRITTEN_SECONDS
    for log in sorted(found, key=lambda log: (log.modified <= latest, log)):
        age = now - log.modified
        if -_WRITTEN_SECONDS <= age < _WRITTEN_SECONDS:
            continue
        if age <= retention_seconds and total <= max_bytes and log.file:
            continue
        total -= log.size
        yield log


def _conversions(logs: int, is_over: Callable[[], bool]) -> tuple[list[str], bool]:
    """The names of the folders of conversions that are read in time, and whether these are all."""
    names: list[str] = []
    with os.scandir(logs) as entries:
        for entry in entries:
            if len(names) >= _MIN_NAMES and is_over():
                return names, False
            if _UID.fullmatch(entry.name):
                names.append(entry.name)
    return names, True


def _spread(names: list[str]) -> Iterator[str]:
    if not names:
        return
    first = int.from_bytes(os.urandom(4), "big") % len(names)
    names = names[first:] + names[:first]
    for start in range(_STRIDE):
        yield from names[start::_STRIDE]


def _logs_of(logs: int, name: str) -> list[_Log]:
    """The logs of one conversion. None of them if its folder is a link or cannot be read."""
    try:
        folder = os.open(name, _OPEN_FOLDER, dir_fd=logs)
    except OSError:
        return []
    try:
        found = []
        is_empty = True
        with os.scandir(folder) as entries:
            for entry in entries:
                is_empty = False
                if _FILE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(_Log(status.st_mtime, status.st_size, name, entry.name))
        if is_empty:
            found.append(_Log(os.fstat(folder).st_mtime, 0, name, ""))
    except OSError:
        return []
    else:
        return found
    finally:
        os.close(folder)


def _remove(logs: int, log: _Log) -> int:
    """Remove a log, and the folder of its conversion if that is empty now. 0: not removed."""
    try:
        folder = os.open(log.folder, _OPEN_FOLDER, dir_fd=logs)
    except OSError:
        return 0
    removed = 0
    try:
        if log.file:
            status = os.stat(log.file, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_mtime != log.modified:
                return 0
            os.unlink(log.file, dir_fd=folder)
            removed = 1
        os.rmdir(log.folder, dir_fd=logs)
    except OSError:
        return removed
    else:
        return removed
    finally:
        os.close(folder)


def _create_in(logs: int, name: LogName, max_bytes: int) -> LogFile:
    folder = _enter_or_make(logs, name.conversion_uid)
    try:
        return LogFile(folder, f"{name.attempt}.log", max_bytes)
    except BaseException:
        os.close(folder)
        raise


def _enter_or_make(parent: int, name: str) -> int:
    with suppress(FileNotFoundError):
        return os.open(name, _OPEN_FOLDER, dir_fd=parent)
    with suppress(FileExistsError):  # another run created it
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    return os.open(name, _OPEN_FOLDER, dir_fd=parent)
