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
from conversion_operator.core.start_limits import MAX_ADMISSIONS, MAX_NAMESPACES

ANNOTATION: Final = f"{names.GROUP}/admitted"
SLOTS_ANNOTATION: Final = f"{names.GROUP}/slots"

TIMES_ANNOTATION: Final = f"{names.GROUP}/virtual-times"

MAX_TIMES: Final = 400
"""How many virtual times are recorded, those of the last admissions.

Kubernetes allows 256 KiB for all annotations of an object. An admission has at most 139 bytes, the
slots of a namespace 74, and a virtual time 74.
"""

_ENTRY: Final = re.compile(r"(?:([0-9a-z-]{1,63})/)?([0-9a-zA-Z-]{1,64})\.(0|[1-9][0-9]{0,8})")
_SLOTS_ENTRY: Final = re.compile(r"([0-9a-z-]{1,63})=(0|[1-9][0-9]{0,8})")


class Admission(NamedTuple):
    """An admitted attempt. ``namespace`` is "" if a former release recorded it."""

    attempt: int
    namespace: str = ""


def format_admissions(admissions: Mapping[str, Admission]) -> str:
    """Format admissions by uid as text, sorted by uid. Raises ValueError above MAX_ADMISSIONS."""
    if len(admissions) > MAX_ADMISSIONS:
        raise ValueError(
            f"{len(admissions)} admissions do not fit on the Lease; it holds at most "
            f"{MAX_ADMISSIONS}"
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
    found = (_ENTRY.fullmatch(entry) for entry in text.split(",")[:MAX_ADMISSIONS])
    return {match[2]: Admission(int(match[3]), match[1] or "") for match in found if match}


def format_slots(slots: Mapping[str, int]) -> str:
    """Format numbers of slots by namespace as sorted text.

    Of more than MAX_NAMESPACES namespaces, those with the most slots are recorded. Nothing starts
    in a namespace that has no room here, see :mod:`core.start_limits`. So only a former release
    can have started conversions in more namespaces.
    """
    most = sorted(slots.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_NAMESPACES]
    return ",".join(f"{name}={number}" for name, number in sorted(most))


def parse_slots(text: object) -> dict[str, int]:
    """Parse the text of :func:`format_slots`. Ignores invalid entries."""
    if not isinstance(text, str):
        return {}
    found = (_SLOTS_ENTRY.fullmatch(entry) for entry in text.split(","))
    return {match[1]: int(match[2]) for match in found if match}


def format_times(times: Mapping[str, int]) -> str:
    """Format virtual times by namespace as text, in the order of the mapping.

    The namespace admitted last comes last. Keeps the last MAX_TIMES.
    """
    return ",".join([f"{name}={time}" for name, time in times.items()][-MAX_TIMES:])


def parse_times(text: object) -> dict[str, int]:
    """Parse the text of :func:`format_times`. Ignores invalid entries."""
    return parse_slots(text)
