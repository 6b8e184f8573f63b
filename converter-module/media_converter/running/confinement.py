"""Confines a tool to its own files. A decoder that is taken over reaches nothing else.

setpriv applies three things to itself before it executes the tool:

- Landlock rules. Of all files, the tool can open only its input, its output, its libraries and its
  scratch folder. It can execute only itself and the dynamic loader.
- A seccomp filter. The tool cannot open a socket, start or signal another process, or change the
  name, owner or mode of a file.
- The kernel kills the tool when the converter is killed. If process 1 is killed, the kernel kills
  every process of the container. But the converter need not be process 1.

The image's entrypoint has loaded another filter before the interpreter started. Both filters are
built by build/seccomp_filters.py.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

SETPRIV: Final = "/usr/bin/setpriv"
TOOL_FILTER: Final = "/opt/converter/filters/tool"
LIBRARIES: Final = (f"/usr/lib/{sys.implementation._multiarch}",)
_LOADER: Final = {
    "x86_64": "/lib64/ld-linux-x86-64.so.2",
    "aarch64": "/lib/ld-linux-aarch64.so.1",
}
_LOADER_CACHE: Final = "/etc/ld.so.cache"
# The first version of Landlock's interface that knows a right. A kernel refuses unknown ones.
_RIGHTS: Final = {
    "execute": 1,
    "write-file": 1,
    "read-file": 1,
    "read-dir": 1,
    "remove-dir": 1,
    "remove-file": 1,
    "make-char": 1,
    "make-dir": 1,
    "make-reg": 1,
    "make-sock": 1,
    "make-fifo": 1,
    "make-block": 1,
    "make-sym": 1,
    "refer": 2,
    "truncate": 3,
}
# The same number on every architecture.
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1


class Access(NamedTuple):
    """Rights on one file, or on everything below one folder."""

    path: str
    rights: tuple[str, ...]


READ: Final = ("read-file",)
READ_WRITE: Final = ("read-file", "write-file", "truncate")
READ_FOLDER: Final = ("read-file", "read-dir")
EXECUTE: Final = ("execute", "read-file")
SCRATCH: Final = ("read-file", "write-file", "truncate", "read-dir", "make-reg", "remove-file")


class Confinement(NamedTuple):
    """How tools are confined. ``landlock_abi`` is the version of Landlock, 0 without Landlock."""

    landlock_abi: int
    libraries: tuple[str, ...] = LIBRARIES

    def command(self, argv: tuple[str, ...], own_files: Iterable[Access]) -> tuple[str, ...]:
        """The command that runs ``argv`` with access to ``own_files`` only."""
        command = [SETPRIV, "--no-new-privs", "--pdeathsig", "KILL"]
        command += ["--seccomp-filter", TOOL_FILTER]
        if self.landlock_abi:
            command += ["--landlock-access", f"fs:{self._known(_RIGHTS)}"]
            for path, rights in (*self._program(argv[0]), *own_files):
                command += ["--landlock-rule", f"path-beneath:{self._known(rights)}:{path}"]
        return (*command, "--", *argv)

    def _program(self, path: str) -> tuple[Access, ...]:
        libraries = (Access(folder, READ_FOLDER) for folder in self.libraries)
        return (
            Access(path, EXECUTE),
            Access(_LOADER[os.uname().machine], EXECUTE),
            Access(_LOADER_CACHE, READ),
            *libraries,
        )

    def _known(self, rights: Iterable[str]) -> str:
        return ",".join(right for right in rights if _RIGHTS[right] <= self.landlock_abi)

    def __str__(self) -> str:
        if self.landlock_abi >= _RIGHTS["truncate"]:
            return f"tools are confined by seccomp and Landlock (ABI {self.landlock_abi})"
        if self.landlock_abi:
            return (
                f"tools are confined by seccomp and Landlock, but its ABI {self.landlock_abi} does "
                "not cover truncation; use Linux 6.2 or later"
            )
        return (
            "tools are confined by seccomp only: this kernel has no Landlock, so a tool can open "
            "all files of the volume; use Linux 6.2 or later with Landlock"
        )


def landlock_abi() -> int:
    """The version of the kernel's Landlock. 0 if this process cannot use Landlock."""
    version = ctypes.CDLL(None).syscall(
        _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION
    )
    return max(0, int(version))


def is_in_memory(fd: int) -> bool:
    """Whether a descriptor is a file in memory. Landlock has no rules for these and allows them."""
    link = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  (the import takes 10 ms)
    return link.startswith("/memfd:")
