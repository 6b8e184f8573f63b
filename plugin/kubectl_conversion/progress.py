"""Progress in words and bars. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from kubectl_conversion import estimates
from kubectl_conversion.estimates import UNKNOWN, Estimate
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


def eta(conversion: Conversion, now: datetime, estimate: Estimate = UNKNOWN) -> str:
    """How long until the end, about. Empty if it is not known.

    An operator of an earlier release says of a running conversion only how many seconds are left.
    """
    known = estimates.of_running(conversion, now) if estimate == UNKNOWN else estimate
    seconds = conversion.eta_seconds
    if conversion.estimated_end is None and conversion.phase == "Running" and seconds:
        return f"about {duration(seconds)}"
    return estimates.left(known, now)


def state(conversion: Conversion, now: datetime, estimate: Estimate = UNKNOWN) -> str:
    """What it does now, in a few words: for one row of a live table."""
    match conversion.phase:
        case "Running":
            words = [progress(conversion) or "running", conversion.speed]
            left = eta(conversion, now, estimate).removeprefix("about ")
            return " ".join([*filter(None, words), *([f"{left} left"] if left else [])])
        case "Queued" | "Pending" | "Starting":
            place = f"#{conversion.position} " if conversion.position is not None else ""
            left = eta(conversion, now, estimate)
            return f"{place}{conversion.reason}" + (f", ends in {left}" if left else "")
        case "Succeeded":
            return f"done in {run_time(conversion.seconds)}" if conversion.seconds else "done"
        case _:
            ago = age(conversion.ended, now)
            return f"{conversion.reason}, {ago} ago" if ago else conversion.reason
