"""Opens files beneath a folder, without following any link."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

_FOLDER_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class OpenFile(NamedTuple):
    """An open regular file, and its size in bytes when it was opened."""

    fd: int
    size: int


def open_root(path: str) -> int:
    """Open the folder whose files are served. Raises OSError."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_file(root: int, path: str) -> OpenFile:
    """Open a regular file for reading. ``path`` is from the root; a slash at its start is optional.

    Raises FileNotFoundError if there is no such file, or if the path goes through a link or is
    that of a folder or of a special file. Raises OSError if the file cannot be opened.
    """
    parts = [part for part in path.split("/") if part]
    if not parts or ".." in parts or "." in parts or "\0" in path:
        raise _not_found(path)
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            folder, outer = os.open(part, _FOLDER_FLAGS, dir_fd=folder), folder
            os.close(outer)
        entry = os.open(parts[-1], _ENTRY_FLAGS, dir_fd=folder)
    except OSError as error:
        # What O_NOFOLLOW and O_DIRECTORY answer for a link, a file instead of a folder, a long name
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise _not_found(path) from None
        raise
    finally:
        os.close(folder)
    try:
        # A pipe or a device is never opened for reading: this could block, or have side effects.
        if not stat.S_ISREG(os.fstat(entry).st_mode):
            raise _not_found(path)
        # The descriptor is opened instead of the name, so that the checked file is the one read.
        fd = os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(entry)
    return OpenFile(fd, os.fstat(fd).st_size)


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
