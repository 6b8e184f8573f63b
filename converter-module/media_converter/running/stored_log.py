"""Keeps the log of a run on the shared volume, without ever holding up the run.

A thread writes, and another removes old logs: the shared volume may be slow, or not respond at all.
A log that cannot be written is a warning, never a failure.
"""

from __future__ import annotations

import _thread
import os
import time
from _queue import Empty, SimpleQueue
from contextlib import suppress
from typing import Final

from media_converter.errors import ConversionError
from media_converter.files import log_folder, paths
from media_converter.files.log_file import MAX_LOG_BYTES, LogFile
from media_converter.request import LogRequest

END_SECONDS: Final = 2.0
"""How long the end of a run waits for the rest of its log to be written."""
CLEANING_SECONDS: Final = 0.05
"""How long the end of a run waits for the removal of old logs, so that short runs remove some."""
_FLUSH_SECONDS: Final = 5.0
_MAX_WAITING_LINES: Final = 10_000
_IN_TIME: Final = "the shared volume did not take it in time"


class StoredLog:
    """Takes lines from the run, and writes them in a thread.

    ``max_bytes`` is the largest size of a file that the process may write. ``problem`` says why the
    log is not complete, in words. It is empty while all is well.
    """

    def __init__(self, workspace: str, request: LogRequest, max_bytes: int) -> None:
        self.problem = ""
        self._workspace, self._request = workspace, request
        # None ends the log.
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        self._cleaned = _thread.allocate_lock()
        self._max_bytes = min(max_bytes, MAX_LOG_BYTES)
        _thread.start_new_thread(self._write, ())

    def add(self, line: str) -> None:
        """Append one line."""
        if self._lines.qsize() < _MAX_WAITING_LINES:
            self._lines.put(line)
        else:
            self.problem = self.problem or _IN_TIME

    def finish(self) -> None:
        """Write the rest, and close the log."""
        self._lines.put(None)
        if not self._ended.acquire(timeout=END_SECONDS):
            self.problem = self.problem or _IN_TIME
            return
        self._cleaned.acquire(timeout=CLEANING_SECONDS)

    def _write(self) -> None:
        try:
            self._write_all()
        except ConversionError as error:
            self.problem = error.message
        except OSError as error:
            self.problem = f"{error.strerror or error}"
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self._ended.release()

    def _write_all(self) -> None:
        root = paths.open_root(self._workspace)
        try:
            log = log_folder.create_log(root, self._request.name, self._max_bytes)
        except BaseException:
            os.close(root)
            raise
        try:
            # The file system says what time it is there.
            now = os.fstat(log.fd).st_mtime
            self._cleaned.acquire()
            _thread.start_new_thread(self._clean, (root, now))
            self._take_lines(log)
        finally:
            log.close()

    def _clean(self, root: int, now: float) -> None:
        """Remove old logs, in a thread of its own. What cannot be removed is left to later runs."""
        try:
            with suppress(OSError):
                log_folder.clean(root, self._request.retention_seconds, now, time.monotonic)
        finally:
            os.close(root)
            self._cleaned.release()

    def _take_lines(self, log: LogFile) -> None:
        while True:
            try:
                line = self._lines.get(timeout=_FLUSH_SECONDS)
            except Empty:
                log.flush()
                continue
            if line is None:
                log.flush()
                return
            log.add(line)
