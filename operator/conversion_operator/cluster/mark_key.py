"""Formats and parses the key of the marks on the Lease. Whoever reads the Lease can forge marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.status import format_time
from conversion_operator.core.identity import KEY_BYTES, MarkKey

KEY_ANNOTATION: Final = f"{names.GROUP}/mark-key"
UNMARKED_BEFORE_ANNOTATION: Final = f"{names.GROUP}/unmarked-before"

_KEY: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


def format_key(key: MarkKey | None) -> dict[str, str]:
    """The annotations of a key. Empty if there is none."""
    if key is None:
        return {}
    annotations = {KEY_ANNOTATION: key.secret.hex()}
    if key.unmarked_before is not None:
        annotations[UNMARKED_BEFORE_ANNOTATION] = format_time(key.unmarked_before)
    return annotations


def parse_key(annotations: Mapping[str, object]) -> MarkKey | None:
    """The key in the annotations of a Lease. None if there is none, or if it is not a key."""
    secret = str(annotations.get(KEY_ANNOTATION))
    if not _KEY.fullmatch(secret):
        return None
    return MarkKey(bytes.fromhex(secret), _parse_time(annotations.get(UNMARKED_BEFORE_ANNOTATION)))


def _parse_time(text: object) -> datetime | None:
    """A time of :func:`format_time`. None for any other text: then no unmarked Job counts."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
