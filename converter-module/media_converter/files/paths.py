"""Opens paths on the shared volume so that nothing outside of the volume can be reached.

Opens each component relative to its parent folder, never through a symbolic link and never through
"..", and keeps the descriptor. No name is looked up a second time, so replacing a folder with a
link between check and use has no effect. Tools get descriptors, not names.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError, from_os_error, not_writable
from media_converter.forbidden_paths import (
    NO_FORBIDDEN_CHARACTERS,
    NOT_IN_LOG_FOLDER,
    has_forbidden_character,
    is_in_log_folder,
)

_FOLDER_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# Linux limits names to 255 bytes and paths to 4096.
_MAX_NAME_BYTES: Final = 255
_MAX_PATH_BYTES: Final = 4096


class Input(NamedTuple):
    """The input file, open for reading, and its identity, size and time when it was opened."""

    fd: int
    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    def check_unchanged(self) -> None:
        """Raise ConversionError with the reason InputChanged if the file was written since."""
        now = os.fstat(self.fd)
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise ConversionError(
                ExitReason.INPUT_CHANGED,
                "the input changed while it was read; start the conversion after the upload",
            )


def split(path: str, field: str) -> tuple[str, ...]:
    """The components of a path from the root of the volume. A slash at its start is optional.

    Raises ConversionError with the reason PathNotAllowed. ``field`` names the path in the message.
    """
    parts = tuple(part for part in path.split("/") if part)
    if not parts or path.endswith("/"):
        raise _not_allowed(field, "names no file")
    if ".." in parts or "." in parts:
        raise _not_allowed(field, "must not contain . or .. as a folder")
    # A file name can hold bytes that are no text. Python shows them as halves of surrogate pairs.
    if has_forbidden_character(path.encode(errors="ignore").decode()):
        raise _not_allowed(field, NO_FORBIDDEN_CHARACTERS)
    if is_in_log_folder(path):
        raise _not_allowed(field, NOT_IN_LOG_FOLDER)
    if len(os.fsencode(path)) >= _MAX_PATH_BYTES or any(
        len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts
    ):
        raise _not_allowed(field, "is longer than a file system allows")
    return parts


def open_root(path: str) -> int:
    """Open the workspace folder."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConversionError(
            ExitReason.IO_ERROR,
            f"the shared volume is not mounted at {path}: {error.strerror}; check the volume",
        ) from error


def open_input(root: int, path: str) -> Input:
    """Open the input. Raises ConversionError if it is not a readable, non-empty regular file."""
    parts = split(path, "INPUT_FILE")
    try:
        entry = _descend(root, parts, "INPUT_FILE")
    except OSError as error:
        raise _input_error(error, path) from error
    try:
        status = os.fstat(entry)
        _check_regular(status, path)
        # Open the descriptor instead of the name, so that the checked file is the one that is read.
        # Devices and pipes are never opened for reading: that could block or have side effects.
        fd = os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _input_error(error, path) from error
    finally:
        os.close(entry)
    return Input(fd, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Target(NamedTuple):
    """Where the output goes: an open folder and a name in it.

    ``folder_path`` is the path of the folder from the root of the volume, for messages.
    """

    folder: int
    name: str
    folder_path: str = ""


def open_target(root: int, path: str, source: Input | None) -> Target:
    """Open the output's folder. Creates missing folders.

    Raises ConversionError if the output path leads to the input, even through a link, or to
    anything but a regular file.
    """
    parts = split(path, "OUTPUT_FILE")
    folder = _make_folders(root, parts[:-1])
    target = Target(folder, parts[-1], _folder_path(parts[:-1]))
    _check_replaceable(target, path, source)
    return target


def open_existing_folder(root: int, path: str) -> int | None:
    """Open the folder of an output path. None if it does not exist."""
    parts = split(path, "OUTPUT_FILE")
    try:
        return _descend(root, parts[:-1], "OUTPUT_FILE") if parts[:-1] else os.dup(root)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, "opening the output's folder") from error


def check_not_input(root: int, path: str, source: Input) -> None:
    """Raise ConversionError if the output path leads to the input or cannot be written.

    Creates no folder. open_target checks this too, but only when the output is about to be written.
    """
    folder = open_existing_folder(root, path)
    if folder is not None:
        try:
            parts = split(path, "OUTPUT_FILE")
            target = Target(folder, parts[-1], _folder_path(parts[:-1]))
            _check_replaceable(target, path, source)
            if not os.access(f"/proc/self/fd/{folder}", os.W_OK | os.X_OK):
                raise not_writable(target.folder_path)
        finally:
            os.close(folder)


def open_existing_output(root: int, path: str) -> int | None:
    """Open the file at the output path for reading. None if there is none.

    Raises ConversionError with the reason OutputExists for anything that cannot be read as a file.
    """
    parts = split(path, "OUTPUT_FILE")
    try:
        entry = _descend(root, parts, "OUTPUT_FILE")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise from_os_error(error, "checking the output path") from error
    try:
        if stat.S_ISREG(os.fstat(entry).st_mode):
            return os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise output_exists(path, f"it cannot be read ({error.strerror})") from error
    finally:
        os.close(entry)
    raise output_exists(path, "it is a folder or special file")


def output_exists(path: str, why: str) -> ConversionError:
    """The ConversionError for an existing output. ``why`` it is not this conversion's own."""
    return ConversionError(
        ExitReason.OUTPUT_EXISTS,
        f"{path} exists and OVERWRITE is false; {why}; choose another output path",
    )


def _check_replaceable(target: Target, path: str, source: Input | None) -> None:
    try:
        # Follow links here: replacing a link that leads to the input would remove the input's name.
        status = os.stat(target.name, dir_fd=target.folder)
    except OSError:
        status = None
    if status and source and (status.st_dev, status.st_ino) == (source.device, source.inode):
        raise ConversionError(
            ExitReason.OUTPUT_IS_INPUT, "the output is the input file; choose another output path"
        )
    try:
        entry = os.stat(target.name, dir_fd=target.folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, "checking the output path") from error
    if stat.S_ISLNK(entry.st_mode):
        raise _not_allowed("OUTPUT_FILE", "is a symbolic link")
    if not stat.S_ISREG(entry.st_mode):
        raise ConversionError(
            ExitReason.OUTPUT_NOT_WRITABLE,
            f"the output path {path} is a folder or special file; choose another output path",
        )
    folder = os.fstat(target.folder)
    user = os.geteuid()
    # In such a folder, only the owner of a file may replace it. Root may too.
    if folder.st_mode & stat.S_ISVTX and user not in (0, entry.st_uid, folder.st_uid):
        raise ConversionError(
            ExitReason.OUTPUT_NOT_WRITABLE,
            f"uid {user} may not replace {path}: it belongs to uid {entry.st_uid}, and the folder "
            f"{target.folder_path} has the sticky bit; delete the file, choose another output "
            "path, or remove the sticky bit",
        )


def _descend(root: int, parts: tuple[str, ...], field: str) -> int:
    """An O_PATH descriptor of the file or folder at ``parts``. The caller closes it."""
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            folder = _enter(folder, part, field)
        entry = os.open(parts[-1], _ENTRY_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)
    if stat.S_ISLNK(os.fstat(entry).st_mode):
        os.close(entry)
        raise _not_allowed(field, f"goes through the symbolic link {parts[-1]}")
    return entry


def _make_folders(root: int, parts: tuple[str, ...]) -> int:
    folder = os.dup(root)
    for index, part in enumerate(parts):
        try:
            folder = _enter_or_make(folder, part)
        except OSError as error:
            doing = "creating the output's folder"
            raise from_os_error(error, doing, _folder_path(parts[:index])) from error
    return folder


def _enter_or_make(folder: int, part: str) -> int:
    with suppress(FileNotFoundError):
        return _enter(folder, part, "OUTPUT_FILE")
    with suppress(FileExistsError):  # another conversion created it
        os.mkdir(part, 0o777, dir_fd=folder)
    return _enter(folder, part, "OUTPUT_FILE")


def _folder_path(parts: tuple[str, ...]) -> str:
    return "/" + "/".join(parts)


def _enter(folder: int, part: str, field: str) -> int:
    """Open the folder ``part`` in ``folder``. Closes ``folder`` on success."""
    try:
        inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _not_allowed(field, f"goes through the symbolic link {part}") from None
        raise
    os.close(folder)
    return inner


def _check_regular(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConversionError(
            ExitReason.INPUT_NOT_REGULAR,
            f"{path} is a folder or special file; choose a regular file",
        )
    if status.st_size == 0:
        raise ConversionError(ExitReason.INPUT_EMPTY, f"{path} is an empty file; upload it again")


def _input_error(error: OSError, path: str) -> ConversionError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ConversionError(
            ExitReason.INPUT_NOT_FOUND,
            f"there is no file {path}; the path starts at the root of the shared volume",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConversionError(
            ExitReason.INPUT_UNREADABLE,
            f"uid {os.geteuid()} may not read {path}; make the file and its folders readable for "
            f"this uid or for group {os.getegid()}",
        )
    return ConversionError(
        ExitReason.IO_ERROR,
        f"the shared volume failed while opening {path}: {error.strerror}; check it",
    )


def _not_allowed(field: str, why: str) -> ConversionError:
    return ConversionError(ExitReason.PATH_NOT_ALLOWED, f"{field} {why}")
