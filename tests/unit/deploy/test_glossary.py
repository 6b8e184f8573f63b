"""docs/glossary.md is a contract: every name in its tables exists in the code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "glossary.md"


class Row(NamedTuple):
    """One row of a table. ``package`` and ``name`` are None where a table has no code column."""

    package: str | None
    term: str
    meaning: str
    name: str | None


def rows_of(page: str) -> list[Row]:
    """The rows of all tables, in the order of the page."""
    rows: list[Row] = []
    package: str | None = None
    in_table = False
    for line in page.splitlines():
        if line.startswith("## "):
            found = re.fullmatch(r"## .*: `([\w.]+)`", line)
            package = found[1] if found else None
        if not line.startswith("|"):
            in_table = False
        elif not in_table:
            in_table = True  # the header
        elif "---" not in line:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == (3 if package else 2), f"wrong number of cells: {line}"
            rows.append(Row(package, cells[0], cells[1], cells[2] if package else None))
    return rows


ROWS = rows_of(PAGE.read_text(encoding="utf-8"))
WITH_CODE = [(row.package, row.term, row.name) for row in ROWS if row.package and row.name]


def missing_part(package: str, name: str) -> str | None:
    """The first part of a dotted name, relative to ``package``, that does not exist, or None."""
    module, path = importlib.import_module(package), package
    parts = name.split(".")
    while parts and importlib.util.find_spec(f"{path}.{parts[0]}"):
        path = f"{path}.{parts.pop(0)}"
        module = importlib.import_module(path)
        if not hasattr(module, "__path__"):
            break
    thing: object = module
    for position, part in enumerate(parts):
        path = f"{path}.{part}"
        if hasattr(thing, part):
            thing = getattr(thing, part)
        elif isinstance(thing, type) and part in _declared(thing):
            return f"{path}.{parts[position + 1]}" if parts[position + 1 :] else None
        else:
            return path
    return None


def _declared(cls: type) -> set[str]:
    """The fields that a class declares or sets on self, which are not attributes of the class."""
    names: set[str] = set()
    for base in cls.__mro__:
        names |= set(inspect.get_annotations(base))
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):
            continue  # a class without Python source, such as object
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
    return names


@pytest.mark.parametrize(("package", "term", "cell"), WITH_CODE)
def test_the_code_has_the_name(package: str, term: str, cell: str) -> None:
    assert re.fullmatch(r"`[\w.]+`(, `[\w.]+`)*", cell), f"not a list of code names: {cell!r}"
    for name in re.findall(r"`([^`]+)`", cell):
        missing = missing_part(package, name)
        assert missing is None, f"{term}: {package}.{name}: there is no {missing}"


def test_no_cell_is_empty() -> None:
    assert [row for row in ROWS if "" in row] == []


def test_a_term_has_one_meaning_within_a_package() -> None:
    terms = [(row.package, row.term.casefold()) for row in ROWS]
    assert [term for term in terms if terms.count(term) > 1] == []


def test_the_page_covers_every_package() -> None:
    assert {row.package for row in ROWS} == {
        None,
        "conversion_operator",
        "converter_gateway",
        "kubectl_conversion",
        "media_converter",
        "tests",
    }


class _Example:
    declared: int

    def __init__(self) -> None:
        self.assigned = 1


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("tests.unit.deploy.test_glossary.Row.term", None),
        ("tests.unit.deploy.test_glossary._Example.declared", None),
        ("tests.unit.deploy.test_glossary._Example.assigned", None),
        ("tests.unit.deploy.test_glossary.missing_part", None),
        ("tests.unit.absent", "absent"),
        ("tests.unit.deploy.test_glossary.Nothing.term", "Nothing"),
        ("tests.unit.deploy.test_glossary.Row.nothing", "nothing"),
        ("tests.unit.deploy.test_glossary._Example.declared.nothing", "nothing"),
    ],
)
def test_a_wrong_name_is_noticed(name: str, missing: str | None) -> None:
    package, _, rest = name.partition(".")
    found = missing_part(package, rest)
    assert (found and found.rpartition(".")[2]) == missing


@pytest.mark.parametrize(
    ("page", "rows"),
    [
        ("## Seen\n\n| Term | Meaning |\n|---|---|\n| a | b |\n", [Row(None, "a", "b", None)]),
        (
            "## In: `x`\n\n| Term | Meaning | In code |\n|---|---|---|\n| a | | `c` |\n",
            [Row("x", "a", "", "`c`")],
        ),
    ],
)
def test_how_the_page_is_read(page: str, rows: list[Row]) -> None:
    assert rows_of(page) == rows
