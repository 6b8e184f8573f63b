"""Formats and parses what the leader records on the Lease.

The admissions are the attempts that the leader is about to start. The leader writes the list before
it creates the first of these Jobs. The next leader counts each listed attempt as started. So if a
create request of the former leader arrives late, its attempt already has a slot.

An entry is NAMESPACE/UID.ATTEMPT. A former release wrote UID.ATTEMPT.

The slots in use are recorded by namespace, without the admissions. The next leader counts them for
a namespace whose Jobs and pods it cannot list. Namespaces without slots are recorded, too: the
settings may no longer name them when the next leader starts, and callbacks may be owed there.

The virtual times of namespaces say whose turn it is: see :mod:`core.fair_sharing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from conversion_operator.api import names

ANNOTATION: Final = f"{names.GROUP}/admitted"
SLOTS_ANNOTATION: Final = f"{names.GROUP}/slots"

TIMES_ANNOTATION: Final = f"{names.GROUP}/virtual-times"

MAX_TIMES: Final = 400
"""How many virtual times are recorded, those of the last admissions."""

MAX_ENTRIES: Final = 1000
"""Kubernetes allows 256 KiB for all annotations of an object. An entry has at most 139 bytes, with
a namespace of 63 characters. The other annotations of the Lease have the rest."""

_ENTRY: Final = re.compile(r"(?:([0-9a-z-]{1,63})/)?([0-9a-zA-Z-]{1,64})\.(0|[1-9][0-9]{0,8})")
_SLOTS_ENTRY: Final = re.compile(r"([0-9a-z-]{1,63})=(0|[1-9][0-9]{0,8})")


class Admission(NamedTuple):
    """An admitted attempt. ``namespace`` is "" if a former release recorded it."""

    attempt: int
    namespace: str = ""


def format_admissions(admissions: Mapping[str, Admission]) -> str:
    """Format admissions by uid as text, sorted by uid. Raises ValueError above MAX_ENTRIES."""
    if len(admissions) > MAX_ENTRIES:
        raise ValueError(
            f"{len(admissions)} admissions do not fit on the Lease; it holds at most {MAX_ENTRIES}"
        )
    return ",".join(
        f"{namespace}/{uid}.{attempt}" if namespace else f"{uid}.{attempt}"
        for uid, (attempt, namespace) in sorted(admissions.items())
    )


def parse_admissions(text: object) -> dict[str, Admission]:
    """Parse the text of :func:`format_admissions`. Ignores invalid entries.

    Any program with the right to write the Lease can write the annotation.
    """
    if not isinstance(text, str):
        return {}
    found = (_ENTRY.fullmatch(entry) for entry in text.split(",")[:MAX_ENTRIES])
    return {match[2]: Admission(int(match[3]), match[1] or "") for match in found if match}


def admissions_that_still_fit(listed: int) -> int:
    """How many more admissions fit on the Lease when ``listed`` are already on it."""
    return max(0, MAX_ENTRIES - listed)


def format_slots(slots: Mapping[str, int]) -> str:
    """Format numbers of slots by namespace as sorted text.

    Omits namespaces without slots if there are more than MAX_ENTRIES namespaces.
    """
    used = {name: number for name, number in slots.items() if number > 0}
    unused = sorted(slots.keys() - used.keys())[: max(0, MAX_ENTRIES - len(used))]
    entries = used | dict.fromkeys(unused, 0)
    return ",".join(f"{name}={number}" for name, number in sorted(entries.items()))


def parse_slots(text: object) -> dict[str, int]:
    """Parse the text of :func:`format_slots`. Ignores invalid entries."""
    if not isinstance(text, str):
        return {}
    found = (_SLOTS_ENTRY.fullmatch(entry) for entry in text.split(","))
    return {match[1]: int(match[2]) for match in found if match}


def format_times(times: Mapping[str, int]) -> str:
    """Format virtual times by namespace as text, in their order. Keeps the last MAX_TIMES."""
    return ",".join([f"{name}={time}" for name, time in times.items()][-MAX_TIMES:])


def parse_times(text: object) -> dict[str, int]:
    """Parse the text of :func:`format_times`. Ignores invalid entries."""
    return parse_slots(text)
