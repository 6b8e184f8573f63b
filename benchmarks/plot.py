"""A line chart as SVG, so that a page can show it without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]

_WIDTH: Final = 640
_HEIGHT: Final = 320
_LEFT: Final = 60
_RIGHT: Final = 20
_TOP: Final = 20
_BOTTOM: Final = 45
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_MARKS: Final = 5


def line_chart(x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """The chart of some series with their names. Both axes begin at 0."""
    right = _highest([x for points in series.values() for x, _ in points])
    top = _highest([y for points in series.values() for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + x / right * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = []
    for mark in range(_MARKS + 1):
        x, y = place(right * mark / _MARKS, top * mark / _MARKS)
        left, bottom = place(0, 0)
        parts += [
            f'<path d="M{left} {y}H{_WIDTH - _RIGHT}" stroke="#ccc"/>',
            _text(left - 8, y + 4, f"{top * mark / _MARKS:g}", "end"),
            _text(x, bottom + 18, f"{right * mark / _MARKS:g}", "middle"),
        ]
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join("{},{}".format(*place(x, y)) for x, y in points)
        y = _TOP + 16 * (number + 1)
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{_LEFT + 10} {y - 4}h20" stroke="{colour}" stroke-width="2"/>',
            _text(_LEFT + 36, y, name, "start"),
        ]
    rotated = _text(0, 0, y_label, "middle")
    parts += [
        _text(_WIDTH / 2, _HEIGHT - 8, x_label, "middle"),
        f'<g transform="translate(14 {_HEIGHT / 2}) rotate(-90)">{rotated}</g>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _highest(values: Sequence[float]) -> float:
    """A round number that is not lower than any value, and not 0."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(highest))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= highest)
