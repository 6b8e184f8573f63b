"""Every test that docs/converter.md names as a guard's exists."""

from __future__ import annotations

import re

import pytest

from tests.unit.deploy.test_reliability_page import ROOT, exists

PAGE = (ROOT / "docs" / "converter.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


@pytest.mark.parametrize("test", NAMED)
def test_it_exists(test: str) -> None:
    assert exists(test)


def test_every_guard_names_its_test() -> None:
    table = PAGE.partition("## Guards")[2].splitlines()
    rows = [line for line in table if line.startswith("| ") and not line.startswith("| guard")]
    assert len(rows) > 40
    assert all("`tests/" in row.split(" | ")[2] for row in rows)
