"""Copies Python and the libraries of the Python packages into a folder during the image build.

The image of the operator and that of the HTTP API then have no shell, no package manager and no
program that gains privileges. Uses closure.py of the converter's image, which must be beside it.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import closure

PACKAGES = pathlib.Path("/packages")
# What the C library and Python read at run time: names of hosts, types of files, characters.
DATA = ("/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/mime.types")
LOCALE = pathlib.Path("/usr/lib/locale/C.utf8")
# Parts of the standard library that no server needs.
LEFT_OUT = ("__pycache__", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")


def main(image: pathlib.Path) -> None:
    """Fill ``image``."""
    closure.make_folders(image)
    interpreter = os.path.realpath("/usr/bin/python3")
    library = pathlib.Path(f"/usr/lib/{pathlib.Path(interpreter).name}")
    modules = {str(path) for path in files_in(library)}
    files = {interpreter, "/usr/bin/python3"} | modules
    extensions = {str(path) for path in PACKAGES.rglob("*.so*")}
    files |= closure.libraries({name for name in files if name.endswith(".so")} | {interpreter})
    # Some packages bring libraries of their own.
    files |= {name for name in closure.libraries(extensions) if not name.startswith(f"{PACKAGES}/")}
    files |= {str(path) for path in files_in(LOCALE)}
    files |= {name for name in DATA if pathlib.Path(name).is_file()}
    for name in sorted(files):
        closure.copy(pathlib.Path(name), image)
    closure.compile_all(image)
    subprocess.run(["ldconfig", "-r", str(image)], check=True)
    closure.describe(files, image)


def files_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files in a folder, without those that are left out."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not set(path.relative_to(folder).parts) & set(LEFT_OUT)
    ]


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
