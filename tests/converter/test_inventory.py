"""The inventory of packages that scanners read, licences, and how the programs were built."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

import pytest

from tests.converter import elf
from tests.converter.containers import MODULES_PATH, Agent, docker
from tests.converter.kitchen import Kitchen

STATUS = "var/lib/dpkg/status.d/"
DOCUMENTS = "usr/share/doc/"
STUBS = "usr/lib/x86_64-linux-gnu/stubs/"
# What the image's build makes: the converter, ffmpeg, byte code, stubs, inventory, licences and the
# loader's cache.
MADE = (
    "opt/", STUBS, "var/lib/dpkg/", "usr/share/doc/", "usr/share/common-licenses/",
    "etc/ld.so.cache",
)  # fmt: skip


# Images whose tests need no container. Those of the operator and the HTTP API are built alike.
IMAGES = {
    "converter": os.environ.get("CONVERTER_IMAGE", "my-converter:latest"),
    "operator": os.environ.get("OPERATOR_IMAGE", "my-converter-operator:latest"),
    "gateway": os.environ.get("GATEWAY_IMAGE", "my-converter-gateway:latest"),
}
Files = Mapping[str, bytes]


@lru_cache
def export(image: str) -> tuple[Files, Mapping[str, int]]:
    """Content and mode of every regular file of an image, by path without the first slash."""
    name = docker("create", image).strip()
    try:
        exported = subprocess.run(
            ["docker", "export", name], capture_output=True, timeout=300, check=True
        ).stdout
    finally:
        docker("rm", name)
    contents, modes = {}, {}
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        for entry in archive:
            path = entry.name.removeprefix("./")
            stream = archive.extractfile(entry) if entry.isreg() else None
            if stream:
                contents[path], modes[path] = stream.read(), entry.mode
            elif entry.issym():
                contents[path], modes[path] = b"", 0
    return contents, modes


@pytest.fixture
def files() -> Files:
    """The files of the converter's image."""
    return export(IMAGES["converter"])[0]


@pytest.fixture(params=IMAGES)
def each_image(request: pytest.FixtureRequest) -> tuple[Files, Mapping[str, int]]:
    """The files of one of the images, and their modes."""
    return export(IMAGES[request.param])


def packages(files: Files) -> dict[str, dict[str, str]]:
    """The fields of each package of the inventory."""
    found = {}
    for path, content in files.items():
        if path.startswith(STATUS) and not path.endswith(".md5sums"):
            lines = [line for line in content.decode().splitlines() if line[:1] not in ("", " ")]
            fields = dict(line.split(": ", 1) for line in lines if ": " in line)
            found[fields["Package"]] = fields
    return found


def checksums(files: Files) -> dict[str, dict[str, str]]:
    """The checksums of the files of each package, by path."""
    found: dict[str, dict[str, str]] = {}
    for path, content in files.items():
        if path.startswith(STATUS) and path.endswith(".md5sums"):
            lines = (line.split(None, 1) for line in content.decode().splitlines())
            name = path.removeprefix(STATUS).removesuffix(".md5sums")
            found[name] = {
                file if file.startswith("usr/") else f"usr/{file}": digest for digest, file in lines
            }
    return found


def test_every_file_belongs_to_a_package_of_the_inventory(
    each_image: tuple[Files, Mapping[str, int]],
) -> None:
    files, modes = each_image
    known = {path: digest for sums in checksums(files).values() for path, digest in sums.items()}
    foreign = [
        path
        for path, content in files.items()
        if path.startswith("usr/")
        and modes[path]
        and not path.startswith(MADE)
        and not path.endswith(".pyc")
        and known.get(path) != hashlib.md5(content, usedforsecurity=False).hexdigest()
    ]
    assert foreign == []


def test_every_package_of_the_inventory_has_files_and_a_copyright_file(
    each_image: tuple[Files, Mapping[str, int]],
) -> None:
    files, _ = each_image
    listed = packages(files)
    assert len(listed) > 15
    for name, fields in listed.items():
        assert fields["Status"] == "install ok installed", name
        assert fields["Version"], name
        assert files.get(f"{DOCUMENTS}{name}/copyright"), name
    for name, sums in checksums(files).items():
        assert set(sums) & set(files), f"no file of {name} is in the image"


def test_ffmpeg_is_in_the_inventory_with_its_version_and_licence(
    files: Files, restricted: Agent
) -> None:
    entry = packages(files)["ffmpeg"]
    printed = restricted.run(("ffmpeg", "-version")).decode().split()[2]
    epoch, _, version = entry["Version"].partition(":")
    assert epoch == "7"
    assert version.partition("-")[0] == printed.partition("-")[0]
    assert entry["Source"] == "ffmpeg"
    assert entry["Architecture"] == "amd64"
    assert b"Version 2, June 1991" in files[f"{DOCUMENTS}ffmpeg/COPYING.GPLv2"]
    assert b"--enable-gpl" in files["opt/ffmpeg/bin/ffmpeg"]
    for licence in ("GPL-2", "LGPL-2.1", "GPL-3"):
        assert files[f"usr/share/common-licenses/{licence}"]


def test_libraries_that_are_not_used_are_stubs(files: Files) -> None:
    stubs = {path.removeprefix(STUBS) for path in files if path.startswith(STUBS)}
    assert {"librsvg-2.so.2", "libmatio.so.13", "libcfitsio.so.10"} <= stubs
    libraries = [path for path in files if ".so" in path and not path.startswith(STUBS)]
    names = {path.rpartition("/")[2] for path in libraries}
    assert not names & stubs
    # What the real ones would bring.
    brought = ("libcurl", "libgnutls", "libssl.", "libldap", "libkrb5", "libX11", "libhdf5")
    assert [name for name in names if name.startswith(brought)] == []


def test_who_calls_a_stub_is_aborted(restricted: Agent) -> None:
    script = "import ctypes; ctypes.CDLL('librsvg-2.so.2').rsvg_handle_new_from_stream_sync()"
    argv = ("python3", "-c", script)
    ended = restricted.start(argv, {"PYTHONPATH": MODULES_PATH}).result()
    assert ended.code == -signal.SIGILL, ended.stderr


@pytest.mark.parametrize("content", [b"", bytes(4096), b"SIMPLE  =   T", b"II*\0" + bytes(9)])
def test_a_file_that_no_loader_knows_reaches_no_stub(
    kitchen: Kitchen, restricted: Agent, content: bytes
) -> None:
    """Also without VIPS_BLOCK_UNTRUSTED, as some files of the converter's own are read."""
    source = kitchen.write(f"unknown-{len(content)}", content)
    for program in (("vips", "avg"), ("vipsheader",)):
        ended = restricted.start((*program, f"/workspace/{source}"), {}).result()
        assert ended.code == 1, ended.stderr


def test_no_image_has_a_shell_a_package_manager_or_a_program_that_gains_privileges(
    each_image: tuple[Files, Mapping[str, int]],
) -> None:
    files, modes = each_image
    names = {path.rpartition("/")[2] for path in files if modes[path] & 0o111 or not modes[path]}
    assert not names & {"sh", "bash", "dash", "apt", "apt-get", "dpkg", "perl", "env", "su", "pip"}
    assert {"python3"} <= names
    assert [path for path, mode in modes.items() if mode & 0o6000] == []


@pytest.mark.parametrize("program", ["ffmpeg", "ffprobe"])
def test_programs_that_are_built_here_are_hardened(files: Files, program: str) -> None:
    found = asdict(elf.read(files[f"opt/ffmpeg/bin/{program}"]))
    assert found == dict.fromkeys(found, True)
