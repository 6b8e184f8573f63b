"""The checks of a chaos run find wrong results and leftovers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.load.findings import leftovers, wrong

CONTENT = b"a result"
GOOD: dict[str, Any] = {
    "outputSize": len(CONTENT),
    "output": {"sha256": hashlib.sha256(CONTENT).hexdigest()},
}


def conversion(name: str, phase: str, reason: str = "", **status: Any) -> dict[str, Any]:
    finished = {"type": "Finished", "status": "True"}
    return {
        "metadata": {"name": name},
        "spec": {"outputFile": "output/o"},
        "status": {"phase": phase, "reason": reason, "conditions": [finished]} | status,
    }


@pytest.mark.parametrize(
    ("body", "there", "why"),
    [
        (conversion("tone", "Succeeded", **GOOD), CONTENT, ""),
        (conversion("tone", "Succeeded", **GOOD), None, "without its file"),
        (conversion("tone", "Succeeded", **GOOD), b"another", "differs"),
        (conversion("tone", "Succeeded", **GOOD), b"b result", "differs"),
        (conversion("broken-1", "Succeeded", **GOOD), CONTENT, "damaged"),
        (conversion("broken-1", "Failed", "UnsupportedFormat"), None, ""),
        (conversion("broken-1", "Failed", "UnsupportedFormat"), CONTENT, "its file is there"),
        (conversion("tone", "Failed", "UnsupportedFormat"), None, "without a cause"),
        (conversion("tone", "Failed", "JobDeleted"), None, ""),
        (conversion("mine", "Cancelled"), None, ""),
        (conversion("mine", "Cancelled"), CONTENT, "its file is there"),
        (conversion("tone", "Cancelled"), None, "without a request"),
        (conversion("tone", "Running", conditions=[]), None, "without a cause"),
        (conversion("broken-1", "Running", conditions=[]), None, "not finished"),
    ],
)
def test_wrong_results_are_found(
    tmp_path: Path, body: dict[str, Any], there: bytes | None, why: str
) -> None:
    (tmp_path / "output").mkdir()
    if there is not None:
        (tmp_path / "output/o").write_bytes(there)
    found = wrong(body, tmp_path, {"mine"})
    assert why in found
    assert bool(found) == bool(why)


def test_leftovers_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "output/deep"
    folder.mkdir(parents=True)
    assert leftovers([], [], tmp_path) == []
    (folder / ".converter-0011.part").touch()
    named = {"metadata": {"name": "x"}}
    assert leftovers([named], [named], tmp_path) == [
        "Job x",
        "pod x",
        "file output/deep/.converter-0011.part",
    ]
