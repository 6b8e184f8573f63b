"""Creates, commits and removes temporary files.

A temporary file is the output until it is complete. It is in the folder of the output, has a
neutral name and is locked. A killed run leaves its file, but not the lock. So the next run in the
same folder can recognise leftovers without guessing from their age.
"""

import errno
import fcntl
import os
import stat
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import publish
from media_converter.files.paths import Target

PREFIX: Final = ".converter-"
SUFFIX: Final = ".part"
_RANDOM_BYTES: Final = 8
_CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCKS_UNSUPPORTED: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Temporary(NamedTuple):
    """An open and locked output that does not have its final name yet."""

    fd: int
    name: str
    target: Target

    def commit(self, *, overwrites: bool = True) -> bool:
        """Rename the file, which must be synced, to the output path. Raises ConversionError.

        Other processes see the old output or the complete new one. If not ``overwrites``, returns
        False if the output path exists.
        """
        folder = self.target.folder
        try:
            self._check_name_is_ours()
            if overwrites:
                os.rename(self.name, self.target.name, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                publish.rename_to_new_name(folder, self.name, self.target.name)
        except FileExistsError:
            return False
        except OSError as error:
            raise from_os_error(
                error, "putting the output in place", self.target.folder_path
            ) from error
        # The output is in place now, so an error of this sync must not fail the run.
        sync_folder(folder)
        return True

    def is_in_place(self) -> bool:
        """Whether the output path is this file."""
        try:
            return self._is_named(self.target.name)
        except OSError:
            return False

    def withdraw(self) -> None:
        """Undo a commit, unless another process has put another file there since.

        What the commit has replaced does not come back. Ignores errors, as ``discard`` does.
        """
        if not self.is_in_place():
            return
        try:
            os.unlink(self.target.name, dir_fd=self.target.folder)
        except OSError:
            return
        sync_folder(self.target.folder)

    def discard(self) -> None:
        """Remove the file. Ignores errors, because they would hide why the run failed."""
        try:
            os.unlink(self.name, dir_fd=self.target.folder)
        except OSError:
            return

    def close(self) -> None:
        """Close the file and its folder, and so unlock the file."""
        os.close(self.fd)
        os.close(self.target.folder)

    def _check_name_is_ours(self) -> None:
        # Another process of the same user may have put another file under this name.
        if not self._is_named(self.name):
            raise ConversionError(
                ExitReason.IO_ERROR, "another process replaced the temporary file; find it"
            )

    def _is_named(self, name: str) -> bool:
        ours = os.fstat(self.fd)
        named = os.stat(name, dir_fd=self.target.folder, follow_symlinks=False)
        return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


def create(target: Target) -> Temporary:
    """Create a temporary file in the target's folder. Raises ConversionError."""
    try:
        while True:
            name = PREFIX + os.urandom(_RANDOM_BYTES).hex() + SUFFIX
            fd = os.open(name, _CREATE_FLAGS, 0o666, dir_fd=target.folder)
            _lock(fd, wait=True)
            # Between creation and lock, a sweep may have removed the file as a leftover.
            if os.fstat(fd).st_nlink:
                return Temporary(fd, name, target)
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, "creating the output", target.folder_path) from error


def sweep(folder: int) -> tuple[str, ...]:
    """Remove every unlocked temporary file in ``folder``. Returns the names of these files."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(readable) as entries:
            names = [entry.name for entry in entries if _is_temporary(entry.name)]
    finally:
        os.close(readable)
    return tuple(name for name in names if _remove_unlocked(folder, name))


def sync_folder(folder: int) -> None:
    """Sync a rename in ``folder`` to disk, if the file system supports it."""
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
    random = name.removeprefix(PREFIX).removesuffix(SUFFIX)
    return (
        name == PREFIX + random + SUFFIX
        and len(random) == 2 * _RANDOM_BYTES
        and all(character in "0123456789abcdef" for character in random)
    )


def _remove_unlocked(folder: int, name: str) -> bool:
    try:
        # NFS grants an exclusive lock only if the file is open for writing.
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
    """Lock the file. False if another process has the lock or the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKS_UNSUPPORTED or isinstance(error, BlockingIOError):
            return False
        raise
    return True
