"""What ``make count-lines`` counts as a line of code."""

from __future__ import annotations

import pytest

from hack.count_lines import code_lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("# a comment\n\n", 0),
        ("x = 1  # a comment\n", 1),
        ('"""Docstring\nof two lines."""\nx = 1\n', 1),
        ('x = 1\n"""What x is."""\n', 1),
        ('x = """\ntext\n"""\n', 3),
        ("x = [\n    1,\n\n    # a comment\n    2,\n]\n", 4),
        ('def f():\n    """Docstring."""\n    return 1\n', 2),
    ],
)
def test_code_lines(source: str, lines: int) -> None:
    assert code_lines(source) == lines
