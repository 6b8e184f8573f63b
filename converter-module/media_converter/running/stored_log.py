"""Keeps the log of a run on the shared volume, without ever holding up the run.

A thread does all the work: the shared volume may be slow, or not respond at all. A log that cannot
be written is a warning, never a failure.
"""

from __future__ import annotations

import _thread
import os
import resource
import time
from _queue import Empty, SimpleQueue
from typing import Final

from media_converter.errors import ConversionError
from media_converter.files import log_folder, paths
from media_converter.files.log_file import MAX_LOG_BYTES, LogFile
from media_converter.request import LogRequest

END_SECONDS: Final = 2.0
"""How long the end of a run waits for the rest of its log to be written."""
_FLUSH_SECONDS: Final = 5.0
_MAX_WAITING_LINES: Final = 10_000
_IN_TIME: Final = "the shared volume did not take it in time"


class StoredLog:
    """Takes lines from the run, and writes them in a thread.

    ``problem`` says why the log is not complete, in words. It is empty while all is well.
    """

    def __init__(self, workspace: str, request: LogRequest) -> None:
        self.problem = ""
        self._workspace, self._request = workspace, request
        # None ends the log.
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
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
        soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = MAX_LOG_BYTES if soft == resource.RLIM_INFINITY else min(soft, MAX_LOG_BYTES)
        log = log_folder.create_log(root, self._request.name, most)
        try:
            # The file system says what time it is there.
            now = os.fstat(log.fd).st_mtime
            # First of all, so that it does not delay the end of the run.
            log_folder.clean(root, self._request.retention_seconds, now, time.monotonic)
            self._take_lines(log)
        finally:
            log.close()
            os.close(root)

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
