"""The list of admissions on the Lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.core.fence import (
    MOST,
    format_admissions,
    parse_admissions,
    room,
)


@given(st.dictionaries(st.uuids().map(str), st.integers(0, 999_999_999), max_size=50))
def test_what_is_written_is_read(admissions: dict[str, int]) -> None:
    assert parse_admissions(format_admissions(admissions)) == admissions


@given(st.one_of(st.none(), st.integers(), st.text()))
def test_anything_is_read_without_an_error(text: object) -> None:
    assert len(parse_admissions(text)) <= MOST


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a.1", {"a": 1}),
        ("a.1,b.2", {"a": 1, "b": 2}),
        ("a.00,b.-1,c,.1,d.x, e.1,f.2", {"f": 2}),
        ("a.1\n", {}),
    ],
)
def test_odd_entries_are_passed_over(text: str, found: dict[str, int]) -> None:
    assert parse_admissions(text) == found


def test_it_is_bounded() -> None:
    full = {f"uid-{n}": 1 for n in range(MOST)}
    assert room(0) == MOST
    assert room(MOST) == room(MOST + 1) == 0
    assert parse_admissions(format_admissions(full)) == full
    with pytest.raises(ValueError, match="at most"):
        format_admissions(full | {"another": 1})
