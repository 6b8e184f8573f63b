"""Words of the project's old style do not come back: each stands for a plainer standard term."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

BANNED = re.compile(r"\b(anew|poke|gone|see-through)\b", re.IGNORECASE)
"""again, once more · wake · deleted · transparent. docs/glossary.md has the terms."""

WHERE = (
    *(
        "operator",
        "gateway",
        "converter-module",
        "client",
        "plugin",
        "crds",
        "charts",
        "deploy",
        "docs",
    ),
    *("hack", ".ci", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "Makefile"),
    *("Dockerfile", "LICENSE", "kind-config.yaml", "pyproject.toml"),
)

ALLOWED = {
    ("docs/callbacks.md", "gone"): "410 Gone, the name of the HTTP status",
}
"""File and word → why it may stay."""


def files() -> Iterator[Path]:
    """The text files of product, deploy, docs and hack, without Go's modules and caches."""
    for name in WHERE:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            folders = file.relative_to(ROOT).parts[:-1]
            if file.is_file() and not {"__pycache__", "go", "media", "pictures"} & set(folders):
                yield file


def found() -> dict[tuple[str, str], list[str]]:
    """File and word → where it stands."""
    places: dict[tuple[str, str], list[str]] = {}
    for file in files():
        name = str(file.relative_to(ROOT))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            for match in BANNED.finditer(line):
                key = name, match[0].casefold()
                places.setdefault(key, []).append(f"{name}:{number}: {line.strip()}")
    return places


def test_banned_words_stand_only_where_they_are_allowed() -> None:
    unwanted = [place for key, lines in found().items() if key not in ALLOWED for place in lines]
    assert unwanted == [], "\n" + "\n".join(unwanted)


def test_the_allow_list_has_nothing_that_is_no_longer_needed() -> None:
    assert set(ALLOWED) <= set(found())


def test_every_place_that_is_searched_exists() -> None:
    assert [name for name in WHERE if not (ROOT / name).exists()] == []


def test_what_counts_as_a_word() -> None:
    assert BANNED.findall("Gone anew; see-through, poke") == ["Gone", "anew", "see-through", "poke"]
    assert not BANNED.search("bygone pokes renewed newly begone_ foregone _gone")


def too_long(text: str) -> list[str]:
    """The lines of prose with more than 100 characters. Tables and code may be wider."""
    fenced, long = False, []
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        prose = not fenced and not line.startswith(("|", "    "))
        if prose and len(line) > 100:
            long.append(line)
    return long


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name
)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    assert too_long(page.read_text(encoding="utf-8")) == []


def test_what_counts_as_prose() -> None:
    wide = "word " * 21
    assert too_long(f"{wide}\n| {wide} |\n```\n{wide}\n```\n    {wide}\n{wide}") == [wide, wide]
