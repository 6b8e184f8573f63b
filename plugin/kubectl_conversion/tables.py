"""Tables of plain text, as kubectl prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kubectl_conversion.text import safe, shorten, width

_GAP: Final = 3
_NARROW: Final = 1
_LEAST: Final = 6
"""No column becomes narrower than this."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. If a table does not fit, the columns with the highest ``spare`` go first.

    Columns with ``spare`` 0 always stay. They are shortened instead.
    """

    title: str
    spare: int = 0


def render(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """The lines of a table. ``room`` is the width of the terminal, None if it is none.

    A program reads the whole table: without a terminal, nothing is left out or shortened.
    """
    cells = [[safe(cell) for cell in row] for row in rows]
    widths = [
        max(width(column.title), *(width(row[i]) for row in cells)) if cells else len(column.title)
        for i, column in enumerate(columns)
    ]
    kept, gap = list(range(len(columns))), _GAP
    if room is not None:
        while len(kept) > 1 and _total(kept, widths, gap) > room:
            last = max(kept, key=lambda i: (columns[i].spare, i))
            if not columns[last].spare:
                gap = _NARROW
                break
            kept.remove(last)
        _narrow(kept, widths, room, gap)
    lines = [[column.title for column in columns], *cells]
    return [
        _line([shorten(line[i], widths[i]) for i in kept], [widths[i] for i in kept], gap)
        for line in lines
    ]


def _total(kept: Sequence[int], widths: Sequence[int], gap: int) -> int:
    return sum(widths[i] for i in kept) + gap * (len(kept) - 1)


def _narrow(kept: Sequence[int], widths: list[int], room: int, gap: int) -> None:
    """Take from the widest column until the table fits."""
    while (excess := _total(kept, widths, gap) - room) > 0:
        widest = max(kept, key=lambda i: widths[i])
        others = max((widths[i] for i in kept if i != widest), default=_LEAST)
        least = max(_LEAST, min(others, widths[widest] - 1))
        if widths[widest] <= _LEAST:
            return
        widths[widest] = max(least, widths[widest] - excess)


def _line(cells: Sequence[str], widths: Sequence[int], gap: int) -> str:
    padded = [cell + " " * (space - width(cell)) for cell, space in zip(cells, widths, strict=True)]
    return (" " * gap).join(padded).rstrip()
