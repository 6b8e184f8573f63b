"""The type checkers accept every example of the client, in the pages and in its docstrings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mynetwork_converter
from mynetwork_converter import callbacks

ROOT = Path(__file__).parents[3]
PAGES = ("client/README.md", "docs/migrating.md", "docs/callbacks.md")


def python_blocks(page: str) -> list[str]:
    """Those that use the client."""
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return [block for block in blocks if "mynetwork_converter" in block]


def in_docstring(text: str | None) -> str:
    """The lines of code in a docstring: all from the first import on."""
    _, imports, rest = (text or "").partition("from ")
    assert imports
    return imports + rest


def examples() -> dict[str, str]:
    """Name of a module → its text."""
    found = {
        "package": in_docstring(mynetwork_converter.__doc__),
        "callbacks_module": in_docstring(callbacks.__doc__),
    }
    for page in PAGES:
        blocks = python_blocks((ROOT / page).read_text(encoding="utf-8"))
        assert blocks, page
        stem = re.sub(r"\W", "_", page.removesuffix(".md").lower())
        found |= {f"{stem}_{number}": block for number, block in enumerate(blocks)}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name, text in examples().items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def said_by(*command: str | Path, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_mypy_accepts_the_examples(folder: Path) -> None:
    config = folder / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\nmypy_path = {ROOT / 'client'}\n", encoding="utf-8")
    examples = sorted(folder.glob("*.py"))
    mypy = (sys.executable, "-m", "mypy", "--config-file")
    code, said = said_by(*mypy, config, *examples, cwd=folder)
    assert code == 0, said


def test_pyright_accepts_the_examples(folder: Path) -> None:
    config = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "client")]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = (sys.executable, "-m", "basedpyright", "-p", folder, "--pythonpath", sys.executable)
    code, said = said_by(*command, cwd=folder)
    assert code == 0, said


def test_pyright_refuses_an_example_that_is_wrong(tmp_path: Path) -> None:
    """The check above does look at the types of the client."""
    config = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "client")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    wrong = in_docstring(mynetwork_converter.__doc__).replace('["status"]', '["state"]')
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    command = (sys.executable, "-m", "basedpyright", "-p", tmp_path, "--pythonpath", sys.executable)
    code, said = said_by(*command, cwd=tmp_path)
    assert code == 1
    assert '"state" is not a defined key in "JobStatus"' in said
