"""Draws a recording of a terminal as an animated SVG, without a script.

A recording is an asciicast of version 2, which asciinema plays, too: a line with the size, then
lines ``[seconds, "o", text]``. It may have line breaks and colours, and no other control sequences.

The picture plays once, and then shows the last screen. Who has asked for reduced motion, or has a
viewer without animations, sees the last screen at once. Not every browser applies this to a picture
in a page, so there is a still picture, too: a page can choose it with ``<picture>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Final, NamedTuple

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

_CELL: Final = 8.4
_LINE: Final = 19
_MARGIN: Final = 16
_TOP: Final = 44
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Recording(NamedTuple):
    """The size of a terminal in cells, and what was written to it, by seconds from the start."""

    columns: int
    rows: int
    events: tuple[tuple[float, str], ...]

    def dump(self) -> str:
        """As an asciicast."""
        head = {"version": 2, "width": self.columns, "height": self.rows}
        events = [[round(seconds, 3), "o", text] for seconds, text in self.events]
        return "".join(json.dumps(line) + "\n" for line in (head, *events))


def parse_cast(text: str) -> Recording:
    """Parse an asciicast. Raises ValueError if it has other control sequences."""
    head, *events = (json.loads(line) for line in text.splitlines())
    written = tuple((float(seconds), str(data)) for seconds, kind, data in events if kind == "o")
    for _, data in written:
        if _CONTROL.search(_COLOURS.sub("", data).replace("\r\n", "\n")):
            raise ValueError(f"only colours and line breaks can be drawn: {data!r}")
    return Recording(int(head["width"]), int(head["height"]), written)


class _Piece(NamedTuple):
    """A piece of one line: when it appears, in which line and column, and how it looks."""

    seconds: float
    line: int
    column: int
    text: str
    style: Style


def draw(recording: Recording, title: str, *, moves: bool = True) -> str:
    """The picture of a recording. ``moves`` is False for its last screen only."""
    pieces = list(_pieces(recording))
    classes: dict[str, str] = {}
    texts = "".join(_text(piece, classes) for piece in pieces)
    width = recording.columns * _CELL + 2 * _MARGIN
    height = recording.rows * _LINE + _TOP + _MARGIN
    last = max((piece.line for piece in pieces), default=0)
    rules = "".join(f".{name}{{{rule}}}" for rule, name in classes.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">
<title>{escape(title)}</title>
<style>
text{{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;\
fill:{SVG_EXPORT_THEME.foreground_color.hex}}}
{_motion(pieces, recording.rows) if moves else ""}{rules}
</style>
<rect width="100%" height="100%" rx="8" fill="{SVG_EXPORT_THEME.background_color.hex}"/>
<text x="{width / 2:.0f}" y="26" text-anchor="middle">{escape(title)}</text>
<svg x="{_MARGIN}" y="{_TOP}" width="{width - 2 * _MARGIN:.0f}" height="{recording.rows * _LINE}">
<g id="lines" style="transform:translateY({-_scrolled(last, recording.rows)}px)">
{texts}</g>
</svg>
</svg>
"""


def _pieces(recording: Recording) -> Iterator[_Piece]:
    console = Console(width=recording.columns, color_system="truecolor", file=None)
    line, column = 0, 0
    for seconds, data in recording.events:
        for number, part in enumerate(data.replace("\r\n", "\n").split("\n")):
            if number:
                line, column = line + 1, 0
            for segment in Text.from_ansi(part, no_wrap=True).render(console):
                if segment.text and segment.text != "\n":
                    style = segment.style or Style.null()
                    yield _Piece(seconds, line, column, segment.text, style)
                    column += segment.cell_length


def _text(piece: _Piece, classes: dict[str, str]) -> str:
    if not piece.text.strip():
        return ""
    theme, style = SVG_EXPORT_THEME, piece.style
    rule = f"fill:{style.color.get_truecolor(theme).hex};" if style.color else ""
    rule += "font-weight:bold;" * bool(style.bold) + "opacity:.6;" * bool(style.dim)
    name = f" {classes.setdefault(rule, f'c{len(classes)}')}" if rule else ""
    x, y = f"{piece.column * _CELL:.1f}", piece.line * _LINE + 14
    length = f"{len(piece.text) * _CELL:.1f}"
    fitted = f' textLength="{length}"' if len(piece.text) > 1 and piece.text.isascii() else ""
    shown = f'style="animation-duration:{piece.seconds:.2f}s"'
    return f'<text class="t{name}" x="{x}" y="{y}"{fitted} {shown}>{escape(piece.text)}</text>\n'


def _scrolled(line: int, rows: int) -> int:
    """By how many pixels the lines are moved up when ``line`` is the last one."""
    return max(0, line + 1 - rows) * _LINE


def _motion(pieces: list[_Piece], rows: int) -> str:
    """When pieces appear, and when the lines move up. The keys are percent of the whole time."""
    end = max((piece.seconds for piece in pieces), default=0.0)
    moves: dict[float, int] = {0.0: 0}
    for piece in pieces:
        moves[piece.seconds] = max(_scrolled(piece.line, rows), moves.get(piece.seconds, 0))
    steps, before = [], -1
    for seconds, pixels in sorted(moves.items()):
        if pixels != before and end:
            steps.append(f"{100 * seconds / end:.2f}%{{transform:translateY({-pixels}px)}}")
            before = pixels
    return (
        "@keyframes appear{from{visibility:hidden}to{visibility:visible}}"
        f".t{{animation:appear step-end}}@keyframes scroll{{{''.join(steps)}}}"
        f"#lines{{animation:scroll {end:.2f}s step-end}}"
        "@media (prefers-reduced-motion:reduce){.t,#lines{animation:none!important}}"
    )
