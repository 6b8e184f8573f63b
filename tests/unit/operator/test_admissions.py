"""The list of admissions on the Lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.cluster.admissions import (
    MAX_TIMES,
    Admission,
    format_admissions,
    format_slots,
    format_times,
    parse_admissions,
    parse_slots,
    parse_times,
)
from conversion_operator.core.start_limits import MAX_ADMISSIONS, MAX_NAMESPACES

ADMISSIONS = st.builds(
    Admission, st.integers(0, 999_999_999), st.from_regex(r"[a-z0-9-]{0,63}", fullmatch=True)
)


@given(st.dictionaries(st.uuids().map(str), ADMISSIONS, max_size=50))
def test_the_formatted_text_is_parsed_back(admissions: dict[str, Admission]) -> None:
    assert parse_admissions(format_admissions(admissions)) == admissions


@given(st.one_of(st.none(), st.integers(), st.text()))
def test_any_text_is_parsed_without_an_error(text: object) -> None:
    assert len(parse_admissions(text)) <= MAX_ADMISSIONS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a.1", {"a": Admission(1)}),
        ("a.1,my-network/b.2", {"a": Admission(1), "b": Admission(2, "my-network")}),
        ("a.00,b.-1,c,.1,d.x, e.1,f.2", {"f": Admission(2)}),
        ("/a.1,x/y/b.1,X/c.1,x/.1", {}),
        ("a.1\n", {}),
    ],
)
def test_invalid_entries_are_ignored(text: str, found: dict[str, Admission]) -> None:
    assert parse_admissions(text) == found


def test_the_number_of_entries_is_bounded() -> None:
    full = {f"uid-{n}": Admission(1) for n in range(MAX_ADMISSIONS)}
    assert parse_admissions(format_admissions(full)) == full
    with pytest.raises(ValueError, match="do not fit"):
        format_admissions(full | {"another": Admission(1)})


def test_the_longest_entries_fit_on_a_lease() -> None:
    longest = Admission(999_999_999, "n" * 63)
    admissions = format_admissions({f"{n:064}": longest for n in range(MAX_ADMISSIONS)})
    assert len(parse_admissions(admissions)) == MAX_ADMISSIONS
    numbers = {f"{n:063}": 999_999_999 for n in range(3 * MAX_NAMESPACES)}
    slots, times = format_slots(numbers), format_times(numbers)
    assert (len(parse_slots(slots)), len(parse_times(times))) == (MAX_NAMESPACES, MAX_TIMES)
    the_rest = 4096
    assert len(admissions) + len(slots) + len(times) + the_rest < 256 * 1024


def test_slots_are_formatted_and_parsed_back() -> None:
    assert format_slots({"b": 2, "a-1": 1, "none": 0}) == "a-1=1,b=2,none=0"
    assert parse_slots("a-1=1,b=2,none=0") == {"a-1": 1, "b": 2, "none": 0}


def test_the_namespaces_with_the_most_slots_are_recorded() -> None:
    slots = {f"{n:063}": 0 for n in range(2 * MAX_NAMESPACES)} | {"used": 1, "z": 2}
    found = parse_slots(format_slots(slots))
    assert (len(found), found["used"], found["z"]) == (MAX_NAMESPACES, 1, 2)


@pytest.mark.parametrize("text", [None, 3, "", "a", "a=-1", "a=00", "=1", "a=1x", "A=1", "a=1 "])
def test_invalid_slots_are_ignored(text: object) -> None:
    assert parse_slots(text) == {}
