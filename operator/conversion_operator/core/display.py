"""Values of a status with units, for the columns that kubectl prints.

A column shows one field as it is stored. Programs read the exact fields beside it.
"""

from __future__ import annotations

from typing import Final

from conversion_operator.api.status import ConversionJobStatus, Display

_UNITS: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def with_display(status: ConversionJobStatus) -> ConversionJobStatus:
    """A copy of the status whose ``display`` agrees with its other fields."""
    percent = status.progress.percent if status.progress else None
    size, milliseconds = status.output_size, status.duration_milliseconds
    display = Display(
        progress=None if percent is None else f"{percent}%",
        size=None if size is None else size_text(size),
        duration=None if milliseconds is None else duration_text(milliseconds),
    )
    has_any = display != Display()
    return status.model_copy(update={"display": display if has_any else None})


def size_text(size: int) -> str:
    """A size in bytes as a Kubernetes quantity of about three digits: 999, 1.5Ki, 696Ki."""
    value, unit = float(size), 0
    while round(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 1 if unit and value < 9.95 else 0
    return f"{value:.{digits}f}{_UNITS[unit]}"


def duration_text(milliseconds: int) -> str:
    """A duration of about three digits: 0.35s, 2.35s, 45.1s, 2m5s, 1h5m."""
    if milliseconds < 9_995:
        return f"{milliseconds / 1000:.2f}s"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f}s"
    seconds = round(milliseconds / 1000)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60}m"
