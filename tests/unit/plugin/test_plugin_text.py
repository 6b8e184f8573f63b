"""What the plugin prints: safe text, widths, tables, YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubectl_conversion import text, yaml_text
from kubectl_conversion.tables import Column, render


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("film.mov", "film.mov"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800", "\\ud800"),
        ("naïve 映画 👩\u200d🎤", "naïve 映画 👩\u200d🎤"),
    ],
)
def test_no_character_controls_the_terminal(raw: str, shown: str) -> None:
    assert text.safe(raw) == shown


@given(st.text())
def test_safe_text_is_printable(raw: str) -> None:
    kept = text.safe(raw).replace("\u200c", "").replace("\u200d", "")
    assert not [c for c in kept if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029"]


@given(st.text(), st.integers(0, 30))
def test_shortened_text_fits(raw: str, columns: int) -> None:
    safe = text.safe(raw)
    short = text.shorten(safe, columns)
    assert text.width(short) <= columns
    if text.width(safe) <= columns:
        assert short == safe


def test_both_ends_of_a_long_name_stay() -> None:
    assert text.shorten("conversion-of-film-0001", 11) == "conve…-0001"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119.9, "119s"), (125, "2m5s"), (600, "10m"), (10800, "3h"), (12000, "3h20m"),
     (86400, "24h"), (345600, "4d"), (-3, "0s")],
)  # fmt: skip
def test_durations(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (1023, "1023"), (1024, "1.0Ki"), (712583, "696Ki"), (1 << 30, "1.0Gi")],
)
def test_sizes(count: int, shown: str) -> None:
    assert text.size(count) == shown


COLUMNS = [Column("NAME"), Column("TYPE", 2), Column("REASON", 1)]
ROWS = [["film", "video_to_mp4", "WaitingForSlot"], ["a" * 253, "outputs", ""]]


def test_a_table_for_a_program_is_whole() -> None:
    lines = render(COLUMNS, ROWS, None)
    assert lines[1].split() == ["film", "video_to_mp4", "WaitingForSlot"]
    assert lines[2].split() == ["a" * 253, "outputs"]


@pytest.mark.parametrize("room", [20, 40, 80, 400])
def test_a_table_fits_into_a_terminal(room: int) -> None:
    lines = render(COLUMNS, ROWS, room)
    assert max(map(text.width, lines)) <= room
    assert len(lines) == 3
    assert ("TYPE" in lines[0]) == (room == 400)


def test_a_table_without_rows_has_its_titles() -> None:
    assert render(COLUMNS, [], 40) == ["NAME   TYPE   REASON"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(JSON)
def test_yaml_says_the_same_as_json(value: Any) -> None:
    assert yaml.safe_load(yaml_text.dump(value)) == value


@pytest.mark.parametrize(
    "word", ["no", "Yes", "on", "null", "~", "1.0", "1e3", "0x1f", "12:30", "-", "=", "<<"]
)
def test_words_that_yaml_reads_otherwise_are_quoted(word: str) -> None:
    assert yaml.safe_load(yaml_text.dump({"a": word})) == {"a": word}
