"""Small pure functions: names, quantities, paths and text."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api.spec import normal_path
from conversion_operator.core.manifest import job_name, parse_quantity
from conversion_operator.core.text import clean, head, one_line, tail


@given(st.text(min_size=1), st.integers(1, 10**6))
def test_job_names_are_valid(uid: str, attempt: int) -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job_name(uid, attempt))
    assert len(job_name(uid, attempt)) <= 63


def test_job_names_differ_by_uid_and_attempt() -> None:
    assert len({job_name("a", 1), job_name("a", 2), job_name("b", 1)}) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (2, 2),
        ("500m", Decimal("0.5")),
        ("1Gi", 1024**3),
        ("1.5Gi", Decimal("1.5") * 1024**3),
        ("64Mi", 64 * 1024**2),
        ("1G", 10**9),
        ("100k", 100_000),
    ],
)
def test_quantities(text: str | int, value: int | Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1Q", "Gi", "-1", "1e3", "1.2.3", "²", "٣", "²Gi"])
def test_invalid_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("path", "expected"), [("a/b", "/a/b"), ("/a/b", "/a/b"), ("//a//b", "/a/b"), ("a", "/a")]
)
def test_paths_are_normalised(path: str, expected: str) -> None:
    assert normal_path(path) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain\ntext\t1", "plain\ntext\t1"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shell", "shell"),
        ("10%\r20%\r30%\rdone", "done"),
        ("10%\r20%\r", "20%"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("nul\0bell\x07", "nulbell"),
        ("half \ud83d character", "half  character"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("next\u2028line", "next\\u2028line"),
        ("\ufeffmark \U000e0001", "\\ufeffmark \\U000e0001"),
        (
            "\U0001f468\u200d\U0001f469 \u0645\u06cc\u200c\u062e",
            "\U0001f468\u200d\U0001f469 \u0645\u06cc\u200c\u062e",
        ),
    ],
)
def test_clean(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@given(st.text(), st.integers(0, 50))
def test_bounded_text(text: str, limit: int) -> None:
    for cut in (head(text, limit), tail(text, limit), one_line(text, limit)):
        assert len(cut.encode()) <= limit
    assert "\n" not in one_line(text, limit)


def test_a_tail_begins_at_a_line() -> None:
    assert tail("first line\nsecond line\nthird", 15) == "third"
    assert tail("one very long line without an end", 8) == "t an end"
