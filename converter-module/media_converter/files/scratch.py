"""Makes and removes the scratch folder of one tool."""

import os
from contextlib import suppress
from typing import Final, NamedTuple

PARENT: Final = "/tmp"  # noqa: S108
_PREFIX: Final = "converter-"


class Scratch(NamedTuple):
    """An empty folder that belongs to one tool. ``parent`` is the open folder that it is in."""

    parent: int
    name: str

    @property
    def path(self) -> str:
        """The path of the folder."""
        return f"{PARENT}/{self.name}"

    def remove(self) -> None:
        """Remove the folder and its files. A tool cannot make folders in it."""
        try:
            with suppress(OSError):
                folder = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.parent)
                try:
                    with os.scandir(folder) as entries:
                        for name in [entry.name for entry in entries]:
                            os.unlink(name, dir_fd=folder)
                finally:
                    os.close(folder)
                os.rmdir(self.name, dir_fd=self.parent)
        finally:
            os.close(self.parent)


def make() -> Scratch | None:
    """Make a scratch folder. None if there is no writable folder for it, which few tools need."""
    try:
        parent = os.open(PARENT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    name = _PREFIX + os.urandom(8).hex()
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except OSError:
        os.close(parent)
        return None
    return Scratch(parent, name)
