"""The plugin is one file of pure Python, and the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from hack.plugin_archive import main, zipapp

ROOT = Path(__file__).parents[3]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    for name in ("typer/__init__.py", "rich/a.py", "bin/typer", "rich/__pycache__/a.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("", "utf-8")
    return folder


def test_the_same_sources_give_the_same_bytes(packages: Path, tmp_path: Path) -> None:
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        main(packages, "1.2.3", "https://example.com/", tmp_path / name)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
        (packages / "typer/__init__.py").touch()
    assert files[0] == files[1]
    assert files[0]["kubectl-conversion"].startswith(b"#!/usr/bin/env python3\nPK")
    with zipfile.ZipFile(io.BytesIO(files[0]["kubectl-conversion"])) as archive:
        names = archive.namelist()
        assert archive.read("kubectl_conversion/version.txt") == b"1.2.3\n"
    assert "kubectl_conversion/data.json" in names
    assert not [name for name in names if "bin/" in name or name.endswith(".pyc")]


def test_krew_gets_the_archive_by_its_hash(packages: Path, tmp_path: Path) -> None:
    main(packages, "1.2.3", "https://example.com/", tmp_path)
    archive = (tmp_path / "kubectl-conversion.tar.gz").read_bytes()
    manifest = yaml.safe_load((tmp_path / "conversion.yaml").read_text("utf-8"))
    assert manifest["spec"]["version"] == "v1.2.3"
    (platform,) = manifest["spec"]["platforms"]
    assert platform["uri"] == "https://example.com/kubectl-conversion.tar.gz"
    assert platform["sha256"] == hashlib.sha256(archive).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        assert platform["bin"] in files.getnames()
        assert all(entry.mode & 0o111 for entry in files if entry.name.startswith("kubectl"))


def test_a_compiled_package_is_refused(packages: Path) -> None:
    (packages / "rich/fast.so").write_bytes(b"")
    with pytest.raises(SystemExit, match="compiled"):
        zipapp(packages, "1")


def locked(path: str) -> dict[str, str]:
    """The packages of a lock file, with their versions and hashes."""
    text = (ROOT / path).read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    return {entry.split("==")[0]: entry.strip() for entry in entries if "==" in entry}


def test_the_lock_file_has_the_versions_of_the_development_environment() -> None:
    mine, all_ = locked("plugin/requirements.lock"), locked("requirements-dev.lock")
    assert {"typer", "rich"} <= set(mine)
    assert all("--hash=sha256:" in entry for entry in mine.values())
    assert {name: all_.get(name) for name in mine} == mine
