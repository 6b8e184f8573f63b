"""What a check says, and what several checks need. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from kubectl_conversion.diagnosis.facts import Answer
from kubectl_conversion.model import dig, items_at, text_at

_QUANTITY: Final = re.compile(r"^([0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_FACTORS: Final = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)}


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "FAULT"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says: the subject, what is found, and the command that fixes it."""

    level: Level
    subject: str
    text: str
    cure: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, cure: str) -> Finding:
    """Conversions work, but something is not as it should be."""
    return Finding(Level.WARNING, subject, text, cure)


def fault(subject: str, text: str, cure: str) -> Finding:
    """Something does not work."""
    return Finding(Level.FAULT, subject, text, cure)


def unknown(subject: str, answer: Answer[Any]) -> Finding:
    """Nobody could look. This is not the same as nothing there."""
    cure = answer.problem.cure if answer.problem else ""
    return Finding(Level.UNKNOWN, subject, f"could not look: {answer.why}", cure)


def command(*words: str) -> str:
    """A command to copy, quoted for a shell."""
    return shlex.join(words)


def quantity(text: object) -> Decimal | None:
    """A Kubernetes quantity. None if it is none."""
    match = _QUANTITY.match(str(text))
    if match is None:
        return None
    unit = match[2] or ""
    if unit in _FACTORS:
        factor = _FACTORS[unit]
    elif unit.endswith("i"):
        factor = Decimal(1024) ** ("KMGTPE".index(unit[0]) + 1)
    else:
        factor = Decimal(1000) ** ("MGTPE".index(unit) + 2)
    return Decimal(match[1]) * factor


def selects(selector: object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects labels."""
    wanted = dig(selector, "matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_matches(each, labels) for each in items_at(selector, "matchExpressions"))


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(text_at(expression, "key")), expression.get("values") or []
    match text_at(expression, "operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


def pod_problems(pods: list[dict[str, Any]]) -> Iterator[str]:
    """Why containers of pods wait."""
    for pod in pods:
        for status in items_at(pod, "status", "containerStatuses"):
            if reason := text_at(status, "state", "waiting", "reason"):
                message = text_at(status, "state", "waiting", "message")
                yield f"{text_at(pod, 'metadata', 'name')}: {reason} {message}".strip()
        for condition in items_at(pod, "status", "conditions"):
            if text_at(condition, "reason") == "Unschedulable":
                yield f"{text_at(pod, 'metadata', 'name')}: {text_at(condition, 'message')}"
