"""The list of admissions on the Lease: which attempts the leader is about to start.

The leader writes the list before it creates the Jobs. The next leader reserves a slot for each
listed attempt. So a late create request of the former leader is for an attempt that already holds
its slot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from conversion_operator.api import names

ANNOTATION: Final = f"{names.GROUP}/admitted"

MAX_ENTRIES: Final = 1000
"""An entry has about 40 bytes. All annotations of an object may have 256 KiB together."""

_ENTRY: Final = re.compile(r"([0-9a-zA-Z-]{1,64})\.(0|[1-9][0-9]{0,8})")


def format_admissions(admissions: Mapping[str, int]) -> str:
    """The uids and attempt numbers as sorted text. Raises ValueError above MAX_ENTRIES."""
    if len(admissions) > MAX_ENTRIES:
        raise ValueError(
            f"{len(admissions)} admissions do not fit on the Lease; it holds at most {MAX_ENTRIES}"
        )
    return ",".join(f"{uid}.{attempt}" for uid, attempt in sorted(admissions.items()))


def parse_admissions(text: object) -> dict[str, int]:
    """The inverse of :func:`format_admissions`. Ignores text that it does not understand.

    Other programs may write the annotation.
    """
    if not isinstance(text, str):
        return {}
    found = (_ENTRY.fullmatch(entry) for entry in text.split(",")[:MAX_ENTRIES])
    return {match[1]: int(match[2]) for match in found if match}


def free_lease_entries(listed: int) -> int:
    """How many more admissions fit on the Lease when ``listed`` are already on it."""
    return max(0, MAX_ENTRIES - listed)
