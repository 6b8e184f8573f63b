"""Gives an output its name without replacing a file, and recognises what an attempt has published.

The mark on an output says which conversion has written which content. A retry after an attempt
whose report was lost recognises the output of that attempt by it.
"""

import ctypes
import errno
import hashlib
import os
from contextlib import suppress
from typing import Final, NamedTuple

MARK: Final = "user.my-network-converter.published"
_RENAME_NOREPLACE: Final = 1
# What a kernel or a file system without such a rename answers.
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
# What a kernel or a file system without extended attributes answers.
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Mark(NamedTuple):
    """Which conversion has published a file, and the sha256 of the content, in hex."""

    conversion_uid: str
    sha256: str


def pair_digest(beside: bytes, sha256: str) -> str:
    """What the mark of a file beside an output has as sha256: it stands for both files.

    ``beside`` is the content of that file, ``sha256`` that of the output.
    """
    return hashlib.sha256(beside + sha256.encode()).hexdigest()


def rename_to_new_name(folder: int, old: str, new: str) -> None:
    """Rename a file within a folder. Raises FileExistsError if the new name exists."""
    try:
        _rename_no_replace(folder, old, new)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # A link fails too if the name exists. For a moment, the file has both names.
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        with suppress(OSError):
            os.unlink(old, dir_fd=folder)


def mark(fd: int, content: Mark) -> bool:
    """Mark a file. False if the file system has no extended attributes."""
    try:
        os.setxattr(fd, MARK, f"{content.conversion_uid} {content.sha256}".encode())
    except OSError:
        return False
    return True


def read_mark(fd: int) -> Mark | None:
    """The mark of a file. None if it has none.

    Raises OSError if the file system has no extended attributes.
    """
    try:
        conversion_uid, _, sha256 = os.getxattr(fd, MARK).decode("utf-8", "replace").partition(" ")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
    return Mark(conversion_uid, sha256) if conversion_uid and sha256 else None


def has_attributes(fd: int) -> bool:
    """Whether the file system of a file has extended attributes, as far as can be told."""
    try:
        read_mark(fd)
    except OSError as error:
        return error.errno not in _NO_ATTRIBUTES
    return True


def _rename_no_replace(folder: int, old: str, new: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    result = library.renameat2(
        folder, os.fsencode(old), folder, os.fsencode(new), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
