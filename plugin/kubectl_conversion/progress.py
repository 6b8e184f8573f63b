"""Progress in words and bars. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from kubectl_conversion.model import Conversion
from kubectl_conversion.text import age, duration, run_time

_FULL: Final = "━"
_EMPTY: Final = "─"


def bar(percent: int, columns: int) -> str:
    """A bar of so many columns."""
    filled = round(max(0, min(100, percent)) * columns / 100)
    return _FULL * filled + _EMPTY * (columns - filled)


def progress(conversion: Conversion) -> str:
    """The progress in percent. Empty if it is not known."""
    if conversion.phase == "Succeeded":
        return "100%"
    return f"{conversion.percent}%" if conversion.percent is not None else ""


def eta(conversion: Conversion) -> str:
    """When a running attempt ends, about. Empty if it is not known."""
    if conversion.phase != "Running" or conversion.eta_seconds is None:
        return ""
    return f"about {duration(conversion.eta_seconds)}"


def state(conversion: Conversion, now: datetime) -> str:
    """What it does now, in a few words: for one row of a live table."""
    match conversion.phase:
        case "Running":
            words = [progress(conversion) or "running", conversion.speed]
            left = conversion.eta_seconds
            return " ".join([*filter(None, words), *([f"{duration(left)} left"] if left else [])])
        case "Queued" | "Pending" | "Starting":
            place = f"#{conversion.position} " if conversion.position is not None else ""
            return f"{place}{conversion.reason}"
        case "Succeeded":
            return f"done in {run_time(conversion.seconds)}" if conversion.seconds else "done"
        case _:
            ago = age(conversion.ended, now)
            return f"{conversion.reason}, {ago} ago" if ago else conversion.reason
