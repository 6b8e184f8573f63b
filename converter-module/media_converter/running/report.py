"""Writes log lines, progress lines and the report that the operator reads.

The report goes to the container's termination file. Each tick rewrites it in place, so that a
killed run leaves its latest state. Without such a file (plain docker), the report is the last line
of output.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from media_converter import report_json
from media_converter.contract import OutputResult, Progress, Report
from media_converter.running.folding import keep_ends
from media_converter.running.stored_log import StoredLog

_TICK_SECONDS: Final = 5.0
# The first ticks come early: a run that prints nothing seems to hang, and a short one should say
# when it ends before it has ended.
_FIRST_TICK_SECONDS: Final = 1.0
_SHARE_OF_RUN: Final = 0.25
# At least as often as a log that is written to counts as that of a run in progress.
_STORED_PROGRESS_SECONDS: Final = 60.0
_MAX_LOG_LENGTH: Final = 2048


class Reporter:
    """Prints lines and keeps the report file up to date."""

    def __init__(self, termination_path: str, now: Callable[[], float] = time.monotonic) -> None:
        self._file = _open(termination_path)
        self._written_bytes = 0
        self._now = now
        self._started = now()
        self._next_tick = self._started + _FIRST_TICK_SECONDS
        self._next_stored_progress = self._started + _STORED_PROGRESS_SECONDS
        self._logs = ""
        self._stored: StoredLog | None = None
        self._progress, self._progress_at = Progress(), self._started
        self._has_estimate = False
        self.landlock_abi: int | None = None
        self.outputs: tuple[OutputResult, ...] = ()

    @property
    def progress(self) -> Progress:
        """The latest progress, with the time that is left now.

        Nothing else changes while the output is checked after a tool, or while a tool hangs.
        """
        eta = self._progress.eta_seconds
        if eta is None:
            return self._progress
        passed = self._now() - self._progress_at
        return self._progress._replace(eta_seconds=max(0, round(eta - passed)))

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self._progress, self._progress_at = progress, self._now()

    def log(self, message: str) -> None:
        """Print one line for people. The report keeps the first and the last lines."""
        line = _printable(message)
        now = time.gmtime()
        stamp = time.strftime("%H:%M:%S", now)
        if self._stored:
            self._stored.add(f"{time.strftime('%Y-%m-%d', now)}T{stamp}Z {line}")
        self._logs = keep_ends(self._logs + f"{stamp} {line}\n", _MAX_LOG_LENGTH)
        _print(f"{stamp} {line}")

    def keep(self, stored: StoredLog) -> None:
        """Keep the lines from now on in a log on the shared volume too."""
        self._stored = stored

    def tick(self) -> None:
        """Print progress and rewrite the report if a tick is due.

        The first estimate is printed at once: a run of two seconds may end before the next tick.
        """
        now = self._now()
        progress = self.progress
        is_first = not self._has_estimate and progress.eta_seconds is not None
        if now < self._next_tick and not is_first:
            return
        self._has_estimate |= is_first
        if now >= self._next_tick:
            wait = _SHARE_OF_RUN * (now - self._started)
            self._next_tick = now + min(_TICK_SECONDS, max(_FIRST_TICK_SECONDS, wait))
        _print(report_json.dump_progress(progress))
        if self._stored and now >= self._next_stored_progress:
            self._next_stored_progress = now + _STORED_PROGRESS_SECONDS
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._stored.add(f"{stamp} {_in_words(progress)}")
        self._write_state()

    def set_outputs(self, outputs: tuple[OutputResult, ...]) -> None:
        """Rewrite the report now. If the run is killed, what it has made must be known."""
        self.outputs = outputs
        self._write_state()

    def finish(self, report: Report) -> None:
        """End the log on the volume, and write the final report with the log so far."""
        if stored := self._stored:
            stored.finish()
            self._stored = None
            if stored.problem:
                self.log(f"warning: the volume lacks a part of this log: {stored.problem}")
        message = _printable(report.message)
        progress, logs = self.progress, self._logs
        report = report._replace(
            final=True,
            progress=progress,
            message=message,
            logs=logs,
            landlock_abi=self.landlock_abi,
            outputs=self.outputs,
            run_milliseconds=round(1000 * (self._now() - self._started)),
        )
        if not self._write(report):
            _print(report_json.dump_report(report).decode("ascii"))

    def _write_state(self) -> None:
        state = Report(final=False, progress=self.progress, logs=self._logs, outputs=self.outputs)
        self._write(state)

    def _write(self, report: Report) -> bool:
        if self._file is None:
            return False
        data = report_json.dump_report(report)
        try:
            # Overwrite with padding instead of truncating first: a kill between two system calls
            # must not leave half a report or an empty file.
            os.pwrite(self._file, data.ljust(self._written_bytes), 0)
        except OSError:
            return False
        self._written_bytes = max(self._written_bytes, len(data))
        return True


def _open(path: str) -> int | None:
    """Open the termination file if it exists and is writable. Never creates it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError:
        return None


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # The reader of the log closed the pipe. The conversion continues.
        return


def _in_words(progress: Progress) -> str:
    percent = "unknown" if progress.percent is None else f"{progress.percent} %"
    speed = "" if progress.speed is None else f", speed {progress.speed:.2f}x"
    return f"progress: {percent}{speed}"


def _printable(text: str) -> str:
    """One line of printable text. File names may contain anything."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in clean).strip()
