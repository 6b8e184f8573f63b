"""The fake API server does what tests of the product need, and no more."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[2]
SUPPORT = TESTS / "component/support"


def words(files: list[Path]) -> Counter[str]:
    return Counter(word for file in files for word in re.findall(r"\w+", file.read_text("utf-8")))


def test_each_function_of_the_fake_api_server_is_used_by_more_than_its_own_tests() -> None:
    files = [file for file in TESTS.rglob("*.py") if not file.name.startswith("test_support_")]
    used = words(files)
    unused = [
        f"{file.name}: {node.name}"
        for file in SUPPORT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        # jsonschema finds its checkers by their decorators.
        and not node.decorator_list
        and not node.name.startswith("__")
        and used[node.name] < 2
    ]
    assert unused == []
