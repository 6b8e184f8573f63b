"""Names of ConversionJobs, and a hash to compare requests with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

_CONTENT_NAME: Final = re.compile(r"content-([0-9a-f]{40})-([1-9][0-9]{0,8})")


def conversion_name(namespace: str, key: str | None) -> str:
    """The name for an Idempotency-Key, the same at every replica. A random name if None."""
    if key is None:
        return str(uuid4())
    digest = hashlib.sha256(f"{namespace}\0{key}".encode()).digest()
    return str(UUID(bytes=digest[:16], version=5))


def request_hash(spec: Mapping[str, Any]) -> str:
    """The SHA-256 of a request as hexadecimal digits. The order of fields does not matter."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def digest(text: str) -> str:
    """A hash of 40 hexadecimal digits, for labels and names that cannot hold any text."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def content_name(output: str, generation: int) -> str:
    """The name of the ConversionJob that owns ``output``, a normalised path on the volume."""
    return f"content-{digest(output)}-{generation}"


def content_generation(name: str, output: str) -> int | None:
    """The generation in a name. None: the name does not belong to this output."""
    found = _CONTENT_NAME.fullmatch(name)
    return int(found[2]) if found and found[1] == digest(output) else None
