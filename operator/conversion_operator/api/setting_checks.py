"""Checks of settings that the operator and the HTTP API read from the same ConfigMap."""

from __future__ import annotations

import re
from typing import Final

from conversion_operator.api.callback_hosts import parse_hosts, parse_namespace_hosts
from conversion_operator.api.names import NAMESPACE_PATTERN

FOLDER: Final = re.compile(
    r"(?!(.*/)?\.{1,2}(/|$))[A-Za-z0-9._-]{1,63}(/[A-Za-z0-9._-]{1,63}){0,8}"
)
"""A folder of a volume, without slashes at its ends."""
ALL_NAMESPACES: Final = "*"
"""The value of WATCH_NAMESPACES that means all namespaces of the cluster."""


def split(text: str) -> tuple[str, ...]:
    """The entries of a list with commas, without empty ones and duplicates."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def check_namespaces(text: str) -> str:
    """Check WATCH_NAMESPACES. Raises ValueError."""
    names = split(text)
    if ALL_NAMESPACES in names and len(names) > 1:
        raise ValueError("* means all namespaces, so it stands alone")
    for name in names:
        if name != ALL_NAMESPACES and not re.fullmatch(NAMESPACE_PATTERN, name):
            raise ValueError(f"{name!r} is not the name of a namespace")
    if not names:
        raise ValueError("at least one namespace is needed")
    return text


def check_hosts(text: str) -> str:
    """Check CONVERTER_CALLBACK_HOSTS. Raises ValueError."""
    parse_hosts(text)
    return text


def check_namespace_hosts(text: str) -> str:
    """Check CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE. Raises ValueError."""
    parse_namespace_hosts(text)
    return text


def check_volume_folder(text: str) -> str:
    """The folder in CONVERTER_VOLUME_FOLDER, without slashes at its ends. Raises ValueError."""
    folder = text.strip("/")
    if folder and not FOLDER.fullmatch(folder.replace("{namespace}", "n")):
        raise ValueError(
            f"{text!r} is not a folder: only letters, digits, . _ - / and {{namespace}} are "
            "allowed, and no folder may be . or .."
        )
    return folder
