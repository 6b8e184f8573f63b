"""The header ``traceparent`` of W3C Trace Context, which says to which trace a request belongs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_LENGTH: Final = 256
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The trace and the span of a caller. ``sampled`` is False if the caller records no spans."""

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parse_traceparent(text: str) -> TraceParent | None:
    """Parse a traceparent of this or a later version. None if it is not valid.

    A receiver must ignore an invalid one, so that a mistake of the caller fails no request.
    """
    found = _FORM.fullmatch(text.strip()) if len(text) <= _MAX_LENGTH else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    ids = int(trace_id, 16), int(span_id, 16)
    if version == "ff" or (version == "00" and rest) or not all(ids):
        return None
    return TraceParent(*ids, sampled=bool(int(flags, 16) & _SAMPLED))
