"""doctor."""

from __future__ import annotations


def doctor() -> None:
    """Say what is wrong, and which command mends it."""
