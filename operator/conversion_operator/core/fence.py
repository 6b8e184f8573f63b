"""The list of admissions on the Lease: which attempts a leader is about to start.

It is stored before the first of their Jobs is asked for. Whoever leads next counts them as
taken, so that a request its predecessor makes late is for a slot that is held already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from conversion_operator.api import names

ANNOTATION: Final = f"{names.GROUP}/admitted"

MOST: Final = 1000
"""Entries of about 40 bytes; the annotations of an object may have 256 KiB together."""

_ENTRY: Final = re.compile(r"([0-9a-zA-Z-]{1,64})\.(0|[1-9][0-9]{0,8})")


def format_admissions(admissions: Mapping[str, int]) -> str:
    """Uids and attempt numbers as one text, ordered. At most MOST of them may be given."""
    if len(admissions) > MOST:
        raise ValueError(f"{len(admissions)} admissions, at most {MOST} fit on the Lease")
    return ",".join(f"{uid}.{attempt}" for uid, attempt in sorted(admissions.items()))


def parse_admissions(text: object) -> dict[str, int]:
    """What :func:`format_admissions` wrote. Anything else, of anybody's hand, is passed over."""
    if not isinstance(text, str):
        return {}
    found = (_ENTRY.fullmatch(entry) for entry in text.split(",")[:MOST])
    return {match[1]: int(match[2]) for match in found if match}


def room(listed: int) -> int:
    """How many more there is space for."""
    return max(0, MOST - listed)
