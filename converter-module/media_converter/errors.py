"""Defines the exception that ends a run with an exit reason."""

from __future__ import annotations

import errno
import os

from media_converter.contract import ExitReason


class ConversionError(Exception):
    """Ends the run with ``reason``. ``message`` is one line for the user."""

    def __init__(self, reason: ExitReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR})


def not_writable(folder: str) -> ConversionError:
    """The ConversionError if the converter may not write in ``folder``, a path on the volume."""
    return ConversionError(
        ExitReason.OUTPUT_NOT_WRITABLE,
        f"uid {os.geteuid()} may not write in {folder}; make the folder writable for this uid or "
        f"for group {os.getegid()}",
    )


def from_os_error(error: OSError, doing: str, folder: str = "") -> ConversionError:
    """The ConversionError for an error of the file system.

    ``doing`` completes the sentence "the shared volume failed while". ``folder`` is the folder that
    was written to, as a path on the volume, if it is known.
    """
    if folder and error.errno in _FORBIDDEN:
        return not_writable(folder)
    if error.errno in _DISK_FULL:
        return ConversionError(
            ExitReason.DISK_FULL,
            f"no space left on the shared volume while {doing}; free some space",
        )
    detail = error.strerror or str(error)
    if error.errno in _NOT_WRITABLE:
        return ConversionError(
            ExitReason.OUTPUT_NOT_WRITABLE,
            f"not allowed to write while {doing}: {detail}; check that the volume and its folders "
            f"are writable for uid {os.geteuid()}",
        )
    return ConversionError(
        ExitReason.IO_ERROR, f"the shared volume failed while {doing}: {detail}; check it"
    )
