"""Names of the Jobs the operator makes: made from the uid, so that one attempt has one name."""

from __future__ import annotations

import hashlib
from typing import Final

PREFIX: Final = "converter"


def job_name(uid: str, attempt: int) -> str:
    """The name of an attempt's Job, at most 63 characters whatever the ConversionJob is called.

    The uid and not the name is hashed: a ConversionJob that was deleted and made anew under the
    same name must not meet the Job of its predecessor.
    """
    digest = hashlib.sha256(uid.encode()).hexdigest()[:16]
    return f"{PREFIX}-{digest}-{attempt}"


def sweep_name(uid: str) -> str:
    """The name of the Job that sweeps after a conversion: there is at most one at a time."""
    return job_name(uid, 0).removesuffix("0") + "sweep"
