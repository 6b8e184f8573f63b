"""The client is a distribution of its own, which installs into an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MAX_PACKAGES = 10
PIP = ("-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as ``pip install ./client`` does, with the build backend of the lock file."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, *PIP, "wheel", "--no-build-isolation", "--no-deps"),
        *("--wheel-dir", folder, ROOT / "client"),
    )
    (built,) = folder.iterdir()
    return built


def test_the_client_installs_alone(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    lock = ROOT / "client/requirements.lock"
    run(python, *PIP, "install", "--require-hashes", "--no-deps", "-r", lock)
    run(python, *PIP, "install", "--no-deps", "--no-index", wheel)
    run(python, *PIP, "check")
    listed = json.loads(run(python, *PIP, "list", "--format", "json"))
    names = {package["name"] for package in listed} - {"pip", "setuptools"}
    assert "mynetwork-converter" in names
    assert len(names) <= MAX_PACKAGES, names
    assert not names & {"kopf", "fastapi", "kubernetes", "pydantic"}
    # -I: without the folder of the test, so that only the installed package can be imported.
    program = (
        "from mynetwork_converter import AsyncClient, Client, callbacks; "
        "Client('http://converter').close(); print(callbacks.__file__)"
    )
    imported = run(python, "-I", "-c", program)
    assert Path(imported.strip()).is_relative_to(tmp_path)
    assert (Path(imported.strip()).parent / "py.typed").exists()


def test_only_the_client_is_in_its_wheel() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "client/mynetwork_converter" not in packages
