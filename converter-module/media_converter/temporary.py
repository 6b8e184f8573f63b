"""The unfinished output: a neutral name beside the final one, locked while somebody writes it.

A killed run leaves its file behind but not its lock. So whoever comes next in that folder can tell
leftovers from files in use, without guessing by age.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError, from_os_error
from media_converter.paths import Target

PREFIX: Final = ".converter-"
SUFFIX: Final = ".part"
_RANDOM_BYTES: Final = 8
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Temporary(NamedTuple):
    """An open and locked output that has no final name yet."""

    fd: int
    name: str
    target: Target

    def commit(self) -> None:
        """Make it durable and put it at the output path, atomically. Raises ConversionError."""
        try:
            os.fsync(self.fd)
            self._check_mine()
            os.rename(
                self.name,
                self.target.name,
                src_dir_fd=self.target.folder,
                dst_dir_fd=self.target.folder,
            )
        except OSError as error:
            raise from_os_error(error, "putting the output in place") from error
        # Past the commit point: the output is there, whatever a file system says of its folder.
        sync_folder(self.target.folder)

    def discard(self) -> None:
        """Remove it. An error is not worth hiding the run's own reason for."""
        try:
            os.unlink(self.name, dir_fd=self.target.folder)
        except OSError:
            return

    def _check_mine(self) -> None:
        # Somebody else with the same user on the volume may have swapped the name.
        ours = os.fstat(self.fd)
        named = os.stat(self.name, dir_fd=self.target.folder, follow_symlinks=False)
        if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino):
            raise ConversionError(
                ExitReason.IO_ERROR, "the temporary output was replaced by another"
            )


def create(target: Target) -> Temporary:
    """A new temporary file beside the target. Raises ConversionError."""
    try:
        while True:
            name = PREFIX + os.urandom(_RANDOM_BYTES).hex() + SUFFIX
            fd = os.open(name, _CREATE, 0o666, dir_fd=target.folder)
            _lock(fd, wait=True)
            # A sweep may have come between creating and locking, and taken it for a leftover.
            if os.fstat(fd).st_nlink:
                return Temporary(fd, name, target)
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, "creating the output") from error


def sweep(folder: int) -> tuple[str, ...]:
    """Remove every temporary file in ``folder`` that nobody locks; the names of those removed."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(readable) as entries:
            names = [entry.name for entry in entries if _is_temporary(entry.name)]
    finally:
        os.close(readable)
    return tuple(name for name in names if _remove_unlocked(folder, name))


def sync_folder(folder: int) -> None:
    """Make a rename in ``folder`` durable, where the file system knows how."""
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        os.fsync(readable)
    except OSError:
        return
    finally:
        os.close(readable)


def _is_temporary(name: str) -> bool:
    middle = name.removeprefix(PREFIX).removesuffix(SUFFIX)
    return (
        len(name) == len(PREFIX) + 2 * _RANDOM_BYTES + len(SUFFIX)
        and len(middle) == 2 * _RANDOM_BYTES
        and all(character in "0123456789abcdef" for character in middle)
    )


def _remove_unlocked(folder: int, name: str) -> bool:
    try:
        # Opened for writing: NFS grants an exclusive lock only then.
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not _lock(fd, wait=False):
            return False
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def _lock(fd: int, *, wait: bool) -> bool:
    """Lock the file; False if another process has it, or the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS or isinstance(error, BlockingIOError):
            return False
        raise
    return True
