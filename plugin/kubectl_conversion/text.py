"""Text for terminals: safe characters, widths, durations, sizes and times."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Invisible characters that real file names contain, and that change nothing around them."""
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_WORDS: Final = re.compile(r"\S+")


def safe(text: str) -> str:
    r"""One line without characters that control a terminal or change the text around them.

    They are shown as ``\x1b`` or ``\u202e``. Everything that a user can write passes through here.
    """
    return "".join(_shown(character) for character in text)


def safe_lines(text: str) -> list[str]:
    """The lines of a text, each safe. Tabs become spaces."""
    return [safe(line.expandtabs(4)) for line in text.split("\n")]


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _UNSAFE:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """How many columns of a terminal a safe text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, columns: int) -> str:
    """The text in at most so many columns. The middle is left out: both ends tell names apart."""
    if width(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    head = _cut(text, (columns - 1) // 2 + (columns - 1) % 2)
    tail = _cut(text[::-1], (columns - 1) // 2)[::-1]
    return f"{head}…{tail}"


def _cut(text: str, columns: int) -> str:
    kept, used = [], 0
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept)


def wrap(text: str, columns: int, indent: str = "") -> list[str]:
    """The words of a text in lines of at most so many columns. A long word has its own line."""
    lines, line = [], ""
    for word in _WORDS.findall(text):
        longer = f"{line} {word}" if line else word
        if line and width(indent + longer) > columns:
            lines.append(indent + line)
            line = word
        else:
            line = longer
    return [*lines, indent + line] if line else lines


def duration(seconds: float) -> str:
    """A duration as kubectl shows ages: 5s, 2m5s, 12m, 3h20m, 4d."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def run_time(seconds: float) -> str:
    """How long something ran. Short times have milliseconds."""
    return f"{seconds:.3f}s" if seconds < 10 and seconds != int(seconds) else duration(seconds)


def size(count: int) -> str:
    """Bytes with a binary unit: 512, 696Ki, 1.2Gi."""
    amount = float(count)
    for unit in ("", "Ki", "Mi", "Gi", "Ti"):
        if amount < 1024 or unit == "Ti":
            break
        amount /= 1024
    return f"{amount:.1f}{unit}" if unit and amount < 10 else f"{amount:.0f}{unit}"


def age(since: datetime | None, now: datetime) -> str:
    """How long ago it was."""
    return duration((now - since).total_seconds()) if since else ""


def moment(at: datetime | None) -> str:
    """A time in UTC, with its zone."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def counted(number: int, noun: str) -> str:
    """``1 conversion``, ``2 conversions``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
