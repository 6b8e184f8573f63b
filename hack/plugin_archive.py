"""Writes the kubectl plugin as one file, its archive, and a manifest for krew.

Files are in the order of their names and have no times, so the same sources give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "plugin" / "kubectl_conversion"
COMPLETION: Final = ROOT / "plugin" / "kubectl_complete-conversion"
MANIFEST: Final = ROOT / "plugin" / "krew.yaml"
PLUGIN: Final = "kubectl-conversion"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_COMPILED: Final = {".so", ".pyd", ".dylib", ".dll"}
_LEFT_OUT: Final = {"bin", "__pycache__"}
_START: Final = "from kubectl_conversion.__main__ import main\n\nmain()\n"


def main(packages: Path, version: str, url: str, dist: Path) -> None:
    """Write all files below ``dist``."""
    plugin = zipapp(packages, version)
    archive = tar(
        {
            PLUGIN: plugin,
            COMPLETION.name: COMPLETION.read_bytes(),
            "LICENSE": (ROOT / "LICENSE").read_bytes(),
        }
    )
    for name, content in ((PLUGIN, plugin), (COMPLETION.name, COMPLETION.read_bytes())):
        (dist / name).write_bytes(content)
        (dist / name).chmod(0o755)
    (dist / f"{PLUGIN}.tar.gz").write_bytes(archive)
    manifest = MANIFEST.read_text("utf-8")
    fields = {
        "VERSION": f"v{version.removeprefix('v')}",
        "URL": f"{url.rstrip('/')}/{PLUGIN}.tar.gz",
    }
    fields["SHA256"] = hashlib.sha256(archive).hexdigest()
    for name, value in fields.items():
        manifest = manifest.replace(f"@{name}@", value)
    (dist / "conversion.yaml").write_text(manifest, "utf-8")


def zipapp(packages: Path, version: str) -> bytes:
    """The plugin as an executable archive."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        _add(archive, "__main__.py", _START.encode())
        for name, path in sorted(_files(packages)):
            _add(archive, name, path.read_bytes())
        for name, path in sorted(_files(SOURCE)):
            _add(archive, f"{SOURCE.name}/{name}", path.read_bytes())
        _add(archive, f"{SOURCE.name}/version.txt", f"{version}\n".encode())
    return content.getvalue()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_dir() or _LEFT_OUT & set(relative.parts):
            continue
        if path.suffix in _COMPILED:
            raise SystemExit(f"{relative} is compiled: the plugin is one file of pure Python")
        yield relative.as_posix(), path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    archive.writestr(entry, content)


def tar(files: dict[str, bytes]) -> bytes:
    """A .tar.gz of these files."""
    plain, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644 if name == "LICENSE" else 0o755
            archive.addfile(entry, io.BytesIO(content))
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped:
        zipped.write(plain.getvalue())
    return packed.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
