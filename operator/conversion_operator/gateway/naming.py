"""Names of ConversionJobs, and how to tell that two requests are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

from conversion_operator.api import names

REQUEST_ANNOTATION: Final = f"{names.GROUP}/request-sha256"
INPUT_ANNOTATION: Final = f"{names.GROUP}/caller-input-file"
OUTPUT_ANNOTATION: Final = f"{names.GROUP}/caller-output-file"


def job_name(namespace: str, key: str | None) -> str:
    """The same for the same Idempotency-Key in a namespace, from any replica; else random."""
    if key is None:
        return str(uuid4())
    digest = hashlib.sha256(f"{namespace}\0{key}".encode()).digest()
    return str(UUID(bytes=digest[:16], version=5))


def request_hash(spec: Mapping[str, Any]) -> str:
    """SHA-256 in hex of what a request asks for, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
