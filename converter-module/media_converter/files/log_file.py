"""Writes one log on the shared volume, with a limit of its size.

Each line is in the file at once, so that a killed run leaves what it had. A log that outgrows the
limit keeps its first and its last part. From then on the whole file is replaced, by a rename, so
that a reader always sees a complete log.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

MAX_LOG_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 16_384
NEW_SUFFIX: Final = ".new"
"""What is appended to the name of a log while a shorter version of it is written."""
_GAP_BYTES: Final = 128
_REPLACE_AFTER: Final = 131_072
_FILE_MODE: Final = 0o640
_CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LogFile:
    """An open log: the file ``name`` in an open folder. Every method raises OSError.

    ``max_bytes`` is the largest size of the file.
    """

    def __init__(self, folder: int, name: str, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._folder, self._name = folder, name
        self._head_bytes = max_bytes // 2
        self._tail_bytes = max_bytes - self._head_bytes - _GAP_BYTES
        self._max_bytes = max_bytes
        self._size = 0
        self._head = b""
        self._tail = bytearray()
        self._left_out = 0
        self._not_written = 0
        self.fd = _create(folder, name)

    def add(self, line: str) -> None:
        """Append one line. Its line break is added."""
        data = _one_line(line)
        if not self._head and self._size + len(data) <= self._max_bytes:
            _write(self.fd, data)
            self._size += len(data)
            return
        if not self._head:
            self._split()
        self._tail += data
        self._not_written += len(data)
        if len(self._tail) > 2 * self._tail_bytes:
            self._trim()
        if self._not_written >= _REPLACE_AFTER:
            self._replace()

    def flush(self) -> None:
        """Write the lines that are not in the file yet. Only a log over the limit has some."""
        if self._not_written:
            self._replace()

    def close(self) -> None:
        """Close the file, and its folder."""
        os.close(self.fd)
        os.close(self._folder)

    def _split(self) -> None:
        content = os.pread(self.fd, self._max_bytes, 0)
        end = content.rfind(b"\n", 0, self._head_bytes) + 1
        self._head, self._tail = content[:end], bytearray(content[end:])

    def _trim(self) -> None:
        """Drop the start of the tail, up to the end of a line."""
        excess = len(self._tail) - self._tail_bytes
        if excess <= 0:
            return
        end = self._tail.find(b"\n", excess - 1) + 1
        self._left_out += end
        del self._tail[:end]

    def _replace(self) -> None:
        self._trim()
        gap = f"[{self._left_out} bytes of this log are left out here]\n" if self._left_out else ""
        temporary = self._name + NEW_SUFFIX
        fd = _create(self._folder, temporary)
        try:
            _write(fd, self._head + gap.encode() + self._tail)
            os.rename(temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)
            raise
        os.close(self.fd)
        self.fd, self._not_written = fd, 0


def _create(folder: int, name: str) -> int:
    """Create a file. A file of this name is removed first, never written to.

    It may be a link, or another name of a file that is not a log.
    """
    with suppress(FileExistsError):
        return os.open(name, _CREATE_FLAGS, _FILE_MODE, dir_fd=folder)
    os.unlink(name, dir_fd=folder)
    return os.open(name, _CREATE_FLAGS, _FILE_MODE, dir_fd=folder)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _one_line(line: str) -> bytes:
    data = line.encode("utf-8", "replace").replace(b"\n", b" ")
    if len(data) > MAX_LINE_BYTES:
        data = data[:MAX_LINE_BYTES].decode("utf-8", "ignore").encode() + " …".encode()
    return data + b"\n"
