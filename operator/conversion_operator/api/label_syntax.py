"""The names and values that Kubernetes allows for labels, annotations and objects."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SUBDOMAIN_MAX_LENGTH: Final = 253


def is_subdomain(text: str) -> bool:
    """True for a DNS-1123 subdomain, as most names of objects and the prefixes of labels are."""
    return len(text) <= _SUBDOMAIN_MAX_LENGTH and bool(_SUBDOMAIN.fullmatch(text))


def is_label_name(text: str) -> bool:
    """True for the name of a label or an annotation, such as ``example.com/team`` or ``team``."""
    prefix, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (is_subdomain(prefix) if slash else True)


def is_label_value(text: str) -> bool:
    """True for the value of a label."""
    return not text or bool(_NAME.fullmatch(text))
