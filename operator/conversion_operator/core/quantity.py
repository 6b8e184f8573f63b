"""Kubernetes quantities as numbers, for the few the operator has to compare or double."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


def parse_quantity(text: str | int) -> Decimal:
    """The value of a quantity: CPUs, or bytes. Raises ValueError for what is none."""
    value = str(text)
    for width in (2, 1):
        factor = _SUFFIXES.get(value[-width:])
        if factor is not None and len(value) > width:
            return _decimal(value[:-width]) * factor
    return _decimal(value)


def _decimal(text: str) -> Decimal:
    if not text.replace(".", "", 1).isdigit():
        raise ValueError(f"not a Kubernetes quantity: {text!r}")
    return Decimal(text)
