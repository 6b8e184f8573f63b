"""What the plugin knows of the API: names, reasons with cures, conversion types, settings.

``data.json`` is generated from the operator's code by ``make crds``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

JOBS: Final = "conversionjobs"
QUEUES: Final = "conversionqueues"
PROFILES: Final = "conversionprofiles"
OPERATOR: Final = "my-network-converter-operator"
GATEWAY: Final = "my-network-converter-gateway"
INSTALLATION: Final = "my-network-converter"
"""The namespace of an installation, if nothing says otherwise."""

_CODE: Final = re.compile(r"`([^`]*)`")
_PLAIN: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason means and what to do about it."""

    meaning: str
    cure: str


@cache
def load() -> Any:
    """The generated data."""
    return json.loads(resources.files(__package__).joinpath("data.json").read_text("utf-8"))


def api_version() -> str:
    """Group and version of the resources."""
    data = load()
    return f"{data['group']}/{data['version']}"


def resource(plural: str) -> str:
    """The full name of a resource, which no other CRD has."""
    return f"{plural}.{load()['group']}"


def reason(name: str) -> Reason | None:
    """A reason of this release. None for a reason of a later one."""
    found = load()["reasons"].get(name)
    return Reason(found["meaning"], found["cure"]) if found else None


def cure(name: str, **words: str) -> str:
    """What to do about a reason, as plain text.

    The capitals in its commands, such as NAMESPACE, are replaced by ``words``, if these are plain
    names: a command is there to be copied.
    """
    found = reason(name)
    if found is None:
        return (
            f"This plugin does not know the reason {name}: a later release of the operator has it."
        )

    def fill(match: re.Match[str]) -> str:
        command = match[1]
        for word, value in words.items():
            if _PLAIN.fullmatch(value):
                command = re.sub(rf"\b{word}\b", value, command)
        return command

    return _CODE.sub(fill, found.cure)
