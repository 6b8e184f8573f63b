"""Reads single fields of API objects. Each may be absent, and a text may be of any length."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from conversion_operator.core.model import EPOCH

TEXT_MAX: Final = 4096
"""The longest text that is kept, in characters. A termination message has at most 4096 bytes."""

NAME_MAX: Final = 64
"""The longest uid, kind or reason that is kept. Ours are shorter, so a text that was cut equals
none of ours."""


def parse_time(text: str | None) -> datetime | None:
    """Parse a metav1.Time or MicroTime. None if absent or zero: the container did not run."""
    if not text:
        return None
    value = datetime.fromisoformat(text)
    return None if value.year <= EPOCH.year else value


def text_of(value: object, longest: int = TEXT_MAX) -> str:
    """The text, cut to a length that can be kept. "" if there is none."""
    return str(value or "")[:longest]


def number_of(text: str | None) -> int:
    """The number that a label has. 0 if it has none."""
    return int(text) if text and text.isascii() and text.isdigit() else 0
