"""Names of ConversionJobs, and how to tell that two requests are the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

_CONTENT_NAME: Final = re.compile(r"content-([0-9a-f]{40})-([1-9][0-9]{0,8})")


def conversion_name(namespace: str, key: str | None) -> str:
    """The same for the same Idempotency-Key in a namespace, from any replica; else random."""
    if key is None:
        return str(uuid4())
    digest = hashlib.sha256(f"{namespace}\0{key}".encode()).digest()
    return str(UUID(bytes=digest[:16], version=5))


def request_hash(spec: Mapping[str, Any]) -> str:
    """SHA-256 in hex of what a request asks for, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def digest(text: str) -> str:
    """40 hexadecimal digits: a label or a part of a name for what a caller may write freely."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def content_name(output: str, generation: int) -> str:
    """The name of the ConversionJob that has an output, in one spelling, for its source."""
    return f"content-{digest(output)}-{generation}"


def content_generation(name: str, output: str) -> int | None:
    """The generation in the name, None if it is no such name for this output."""
    found = _CONTENT_NAME.fullmatch(name)
    return int(found[2]) if found and found[1] == digest(output) else None
