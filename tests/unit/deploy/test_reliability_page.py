"""Every test that docs/reliability.md and docs/threat-model.md rely on exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = {
    name: (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("reliability.md", "threat-model.md")
}


def named_tests(text: str) -> list[str]:
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", text)))


NAMED = {name: named_tests(page) for name, page in PAGES.items()}


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


@pytest.mark.parametrize("test", sorted({test for named in NAMED.values() for test in named}))
def test_a_test_named_on_a_page_exists(test: str) -> None:
    assert exists(test)


def test_every_promise_of_the_threat_model_names_its_test() -> None:
    promises = PAGES["threat-model.md"].partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row != "| Promise | Test |"]
    assert len(rows) > 50
    assert [row for row in rows if not named_tests(row.rpartition(" | ")[2])] == []


def marks(node: ast.Module | ast.AsyncFunctionDef) -> set[str]:
    """The names of the pytest marks of a module or a test."""
    places = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
    if isinstance(node, ast.Module):
        assigned = names_in(node.body).get("pytestmark")
        places = [ast.unparse(assigned)] if assigned else []
    return set(re.findall(r"pytest\.mark\.(\w+)", " ".join(places)))


def judged_tests(path: Path) -> set[str]:
    """The tests of a module that run against a real API server."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in module.body if isinstance(node, ast.AsyncFunctionDef)]
    judged = "judged" in marks(module)
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for node in found
        if node.name.startswith("test_")
        and (judged or "judged" in marks(node))
        and "fake_only" not in marks(node)
    }


def test_the_page_lists_what_was_seen_on_a_real_api_server() -> None:
    section = PAGES["reliability.md"].partition("## Seen on a real API server")[2]
    listed = set(named_tests(section.partition("\n## ")[0]))
    modules = (ROOT / "tests" / "component").glob("test_*.py")
    of_operator = [path for path in modules if not path.name.startswith("test_support_")]
    assert listed == set().union(*map(judged_tests, of_operator))


def test_a_wrong_name_on_a_page_is_noticed() -> None:
    assert [name for name, named in NAMED.items() if len(named) <= 30] == []
    assert not exists("tests/unit/operator/test_machine.py::TestNothing")
    assert not exists("tests/unit/operator/test_absent.py::test_nothing")
    assert not exists("tests/unit/operator/test_reconcile.py::TestRetry::test_nothing")
