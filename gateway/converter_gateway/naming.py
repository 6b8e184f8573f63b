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


def content_name(claim: str, generation: int) -> str:
    """The name of a ConversionJob of a content. ``claim`` says which outputs it owns."""
    return f"content-{digest(claim)}-{generation}"


def parse_content_name(name: str) -> tuple[str, int] | None:
    """The digest of the claim and the generation. None: no name of the content pipeline."""
    found = _CONTENT_NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None
