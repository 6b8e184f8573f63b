"""Which installation serves a namespace. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubectl_conversion import data
from kubectl_conversion.model import dig, text_at


def setting(settings: object, name: str) -> str:
    """The text of a setting in a ConfigMap. A key that is absent has the operator's default."""
    found = dig(settings, "data", name)
    return found if isinstance(found, str) else str(data.load()["defaults"].get(name, ""))


def served_by(settings: object) -> list[str]:
    """The namespaces in WATCH_NAMESPACES."""
    text = setting(settings, "WATCH_NAMESPACES") or setting(None, "WATCH_NAMESPACES")
    return [name.strip() for name in text.split(",") if name.strip()]


def serves(settings: object, namespace: str) -> bool:
    """Whether an installation with these settings serves a namespace."""
    names = served_by(settings)
    return "*" in names or namespace in names


def choose(namespace: str, found: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The installation of a namespace without a label. Empty if it is not known.

    ``found`` has the settings of all installations, None for those that nobody could read.
    """
    if len(found) == 1:
        return next(iter(found))
    serving = [home for home, settings in found.items() if serves(settings, namespace)]
    readable = all(settings is not None for settings in found.values())
    return serving[0] if readable and len(serving) == 1 else ""


def not_known(namespace: str) -> str:
    """What to say if it is not known which installation serves a namespace."""
    return (
        f"it is not known which installation serves namespace {namespace}: add "
        "--operator-namespace NAME"
    )


def homes(deployments: list[dict[str, Any]]) -> list[str]:
    """The namespaces of Deployments, each once."""
    return sorted({text_at(item, "metadata", "namespace") for item in deployments})
