"""Copies the files that the converter needs, and no others, into a folder during the image build.

These are the programs and plug-ins with the libraries that ldd lists, and the Python modules that
the package imports. For each Debian package that a file belongs to, copies the status entry, which
scanners read, and the copyright file with the licences that it refers to. ffmpeg gets an entry too.
"""

from __future__ import annotations

import os
import pathlib
import py_compile
import shutil
import subprocess
import sys

LIBRARY = pathlib.Path("/usr/lib/x86_64-linux-gnu")
PROGRAMS = (
    "/opt/ffmpeg/bin/ffmpeg",
    "/opt/ffmpeg/bin/ffprobe",
    "/usr/bin/vips",
    "/usr/bin/vipsheader",
    "/usr/bin/setpriv",
)
# Of libvips' modules only HEIF and JPEG XL: the others read formats that the converter refuses.
PLUGINS = ("vips-modules-*/vips-heif.so", "vips-modules-*/vips-jxl.so", "libheif/plugins/*.so")
CONVERTER = pathlib.Path("/opt/converter")
# The ffmpeg that is built for this image: its status entry, copyright file and licence.
FFMPEG = pathlib.Path("/opt/ffmpeg/package")
STATUS = "var/lib/dpkg/status.d"
INFO = pathlib.Path("/var/lib/dpkg/info")
DOCUMENTS = pathlib.Path("/usr/share/doc")
# The texts of the GPL and other licences, which Debian's copyright files refer to.
LICENCES = pathlib.Path("/usr/share/common-licenses")
# Modules that the interpreter imports in addition to those that the converter names.
MORE_MODULES = ("encodings.aliases", "encodings.ascii", "encodings.latin_1", "encodings.utf_8")
FOLDERS = ("tmp", "workspace", "proc", "sys", "dev", "etc")


def main(image: pathlib.Path) -> None:
    """Fill ``image``."""
    make_folders(image)
    interpreter = os.path.realpath("/usr/bin/python3")
    files = {*PROGRAMS, interpreter, "/usr/bin/python3"}
    for pattern in PLUGINS:
        found = [str(path) for path in LIBRARY.glob(pattern)]
        if not found:
            raise SystemExit(f"no {pattern} in {LIBRARY}")
        files.update(found)
    modules = imported_modules(interpreter)
    files |= {name for name in modules if name.endswith(".so")}
    files |= libraries(files)
    for name in sorted(files | modules):
        copy(pathlib.Path(name), image)
    shutil.copytree(
        CONVERTER,
        image / CONVERTER.relative_to("/"),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    compile_all(image)
    # For ldconfig: it names the folder of the stubs.
    shutil.copy("/etc/ld.so.conf", image / "etc")
    subprocess.run(["ldconfig", "-r", str(image)], check=True)
    describe(files | modules, image)
    shutil.copy(FFMPEG / "status", image / STATUS / "ffmpeg")
    for name in ("copyright", "COPYING.GPLv2"):
        copy_document(FFMPEG / name, image, "ffmpeg")


def make_folders(image: pathlib.Path) -> None:
    """Make the folders that every container needs, and Debian's links to folders in /usr."""
    for folder in FOLDERS:
        (image / folder).mkdir(parents=True, exist_ok=True)
    (image / "tmp").chmod(0o1777)
    for link in ("lib", "lib64", "bin"):
        (image / link).symlink_to(f"usr/{link}")


def imported_modules(interpreter: str) -> set[str]:
    """The files of the standard library that the converter's modules import."""
    code = (
        "import sys, importlib, pkgutil\n"
        f"sys.path.insert(0, {str(CONVERTER)!r})\n"
        "import media_converter\n"
        "for m in pkgutil.walk_packages(media_converter.__path__, 'media_converter.'):\n"
        "    importlib.import_module(m.name)\n"
        f"for name in {MORE_MODULES!r}: importlib.import_module(name)\n"
        "for m in list(sys.modules.values()):\n"
        "    if getattr(m, '__file__', None): print(m.__file__)\n"
    )
    clean = [interpreter, "-I", "-S", "-B", "-c", code]
    printed = subprocess.run(clean, check=True, capture_output=True, text=True).stdout
    return {name for name in set(printed.splitlines()) if name.startswith("/usr/lib/")}


def libraries(files: set[str]) -> set[str]:
    """Every library that the dynamic loader loads for ``files``, and the loader itself."""
    found = set()
    for name in files:
        printed = subprocess.run(["ldd", name], capture_output=True, text=True, check=False).stdout
        if "not found" in printed:
            raise SystemExit(f"{name} lacks a library:\n{printed}")
        found |= {word for word in printed.split() if word.startswith("/")}
    return found


def copy(path: pathlib.Path, image: pathlib.Path) -> None:
    """Copy a file to the same place in ``image``. For a link, also copy its target."""
    place = path.parent.resolve() / path.name
    target = image / place.relative_to("/")
    if target.exists() or target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        target.symlink_to(place.readlink())
        copy(place.parent / place.readlink(), image)
    else:
        shutil.copy2(place, target)


def compile_all(image: pathlib.Path) -> None:
    """Byte-compile every module: Python cannot write byte code into the read-only image."""
    for source in image.rglob("*.py"):
        py_compile.compile(
            str(source),
            dfile=f"/{source.relative_to(image)}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def describe(files: set[str], image: pathlib.Path) -> None:
    """Copy what is known about every Debian package that ``files`` belong to.

    This is its status entry, the checksums of its files, and its copyright file.
    """
    owners = {
        line: listing.stem
        for listing in INFO.glob("*.list")
        for line in listing.read_text().splitlines()
    }
    names = {alias for name in files for alias in (name, os.path.realpath(name), f"/usr{name}")} | {
        name.removeprefix("/usr") for name in files
    }
    packages = sorted({owners[name] for name in names if name in owners})
    status = image / STATUS
    status.mkdir(parents=True)
    for package in packages:
        plain = package.partition(":")[0]
        printed = subprocess.run(
            ["dpkg-query", "-s", package], capture_output=True, text=True, check=True
        ).stdout
        (status / plain).write_text(printed)
        sums = INFO / f"{package}.md5sums"
        if sums.is_file():
            shutil.copy(sums, status / f"{plain}.md5sums")
        copy_document(DOCUMENTS / plain / "copyright", image, plain)
    shutil.copytree(LICENCES, image / LICENCES.relative_to("/"), symlinks=True)


def copy_document(source: pathlib.Path, image: pathlib.Path, package: str) -> None:
    """Copy a file to the folder with the documents of a package."""
    folder = image / DOCUMENTS.relative_to("/") / package
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
