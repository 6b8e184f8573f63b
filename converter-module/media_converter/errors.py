"""The exception that ends a run with an exit reason."""

from __future__ import annotations

import errno

from media_converter.contract import ExitReason


class ConversionError(Exception):
    """Ends the run with ``reason``. ``message`` is one line for the person who asked for it."""

    def __init__(self, reason: ExitReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR})


def from_os_error(error: OSError, doing: str) -> ConversionError:
    """The exit reason for a file system error that occurred while ``doing`` something."""
    if error.errno in _FULL:
        return ConversionError(
            ExitReason.DISK_FULL,
            f"no space left on the shared volume while {doing}; free some space",
        )
    detail = error.strerror or str(error)
    if error.errno in _REFUSED:
        return ConversionError(
            ExitReason.OUTPUT_NOT_WRITABLE, f"not allowed to write while {doing}: {detail}"
        )
    return ConversionError(ExitReason.IO_ERROR, f"the shared volume failed while {doing}: {detail}")
