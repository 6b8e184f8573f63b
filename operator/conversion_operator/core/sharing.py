"""Whether another installation serves a namespace, too."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from conversion_operator.api.names import MANAGER_PREFIX, NAMESPACE_PATTERN
from conversion_operator.core.model import Conversion

_MANAGER: Final = re.compile(re.escape(MANAGER_PREFIX) + f"({NAMESPACE_PATTERN})")


def other_writer(conversion: Conversion, own: str) -> str:
    """The namespace of another operator that has ever written the status. "": none."""
    found = (_MANAGER.fullmatch(manager) for manager in conversion.status_managers)
    return next((match[1] for match in found if match and match[1] != own), "")


def other_installation(conversion: Conversion, own: str, since: datetime) -> str:
    """The namespace of another operator that has written the status of this conversion. "": none.

    Only conversions that are younger than ``since``, when our watch of their namespace began, are a
    proof: an older one may date from before this installation served the namespace.
    """
    return "" if conversion.created <= since else other_writer(conversion, own)
