"""Shortens what tools print, so that the first and the last lines stay.

A decoder can print a line for every block of a damaged frame. The first lines name the cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|\d+")
_LEFT_OUT: Final = "…"


def fold(lines: Iterable[str], max_lines: int) -> list[str]:
    """The lines in order, with one line for all that differ only in numbers, and their count.

    At most ``max_lines`` lines: the middle is left out.
    """
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for line in lines:
        if line.strip():
            key = _NUMBERS.sub("#", line)
            first.setdefault(key, line)
            counts[key] = counts.get(key, 0) + 1
    folded = [
        line if counts[key] == 1 else f"{line} ({counts[key]} lines like this)"
        for key, line in first.items()
    ]
    if len(folded) <= max_lines:
        return folded
    head, tail = max_lines // 2, max_lines - max_lines // 2 - 1
    left_out = f"{_LEFT_OUT} {len(folded) - head - tail} lines are left out"
    return [*folded[:head], left_out, *folded[len(folded) - tail :]]


def keep_ends(text: str, max_length: int) -> str:
    """The first and the last lines of ``text``, together at most ``max_length`` characters."""
    if len(text) <= max_length:
        return text
    half = (max_length - len(_LEFT_OUT) - 1) // 2
    head, tail = text[:half], text[len(text) - half :]
    first_lines, last_lines = head[: head.rfind("\n") + 1], tail[tail.find("\n") + 1 :]
    return f"{first_lines}{_LEFT_OUT}\n{last_lines}"
