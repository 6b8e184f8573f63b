"""Every test that docs/reliability.md relies on exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What is defined or assigned at one level of a module or class, by name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
    return found


def exists(test: str) -> bool:
    path, *parts = test.split("::")
    if not (ROOT / path).is_file():
        return False
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in parts:
        node = names_in(body).get(part)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


@pytest.mark.parametrize("test", NAMED)
def test_a_test_named_on_the_page_exists(test: str) -> None:
    assert exists(test)


def test_a_wrong_name_on_the_page_is_noticed() -> None:
    assert len(NAMED) > 30
    assert not exists("tests/unit/operator/test_machine.py::TestNothing")
    assert not exists("tests/unit/operator/test_absent.py::test_nothing")
    assert not exists("tests/unit/operator/test_reconcile.py::TestRetry::test_nothing")
