"""The checks of a chaos run find wrong results and leftovers."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.load.audit import Life
from tests.load.findings import Limits, leftovers, rows, wrong

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


@pytest.mark.parametrize(
    ("limits", "bad"),
    [
        (Limits(3, {"bulk": 2, "fast": 1}, {("bulk", "a"): 1}), []),
        (Limits(2, {"bulk": 2, "fast": 1}, {}), ["peak live pods (limit 2)"]),
        (Limits(3, {"bulk": 1, "fast": 1}, {}), ["peak live pods in queue bulk (limit 1)"]),
        (Limits(3, {"bulk": 2}, {}), ["peak live pods in queue fast (limit 0)"]),
        (
            Limits(3, {"bulk": 2, "fast": 1}, {("bulk", "a"): 0}),
            ["peak live pods of a in queue bulk (limit 0)"],
        ),
    ],
)
def test_each_limit_is_checked(limits: Limits, bad: list[str]) -> None:
    pods = [
        Life("1", "x", 1, 9, queue="bulk", namespace="a"),
        Life("2", "y", 2, 9, queue="bulk", namespace="b"),
        Life("3", "z", 3, 9, queue="fast", namespace="a"),
    ]
    table = rows([], [], pods, Counter(), [], limits=limits, wanted=0)
    assert [row.what for row in table if row.bad] == bad


def test_a_namespace_whose_pods_are_not_in_the_log_is_noticed() -> None:
    bodies = [
        conversion("x", "Succeeded") | {"metadata": {"name": "x", "namespace": name}}
        for name in ("a", "b")
    ]
    for seen, bad in ((("a", "b"), []), (("a",), ["namespaces of the pods in the audit log"])):
        pods = [Life(name, name, 1, 9, queue="q", namespace=name) for name in seen]
        limits = Limits(2, {"q": 2}, {})
        table = rows(bodies, [], pods, Counter(), [], limits=limits, wanted=2)
        assert [row.what for row in table if row.bad] == bad
