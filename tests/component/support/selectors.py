"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.component.support import errors
from tests.component.support.errors import Obj
from tests.component.support.kinds import Kind

Predicate = Callable[[Obj], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$")
_EXISTS = re.compile(r"^(!?)\s*([^=!\s(),]+)$")
_SEPARATOR = re.compile(r",(?![^()]*\))")


def _labels(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _label_term(text: str) -> Predicate:
    if match := _SET.match(text):
        key, operator, values = match[1], match[2], {v.strip() for v in match[3].split(",")}
        if operator == "in":
            return lambda obj: _labels(obj).get(key) in values
        return lambda obj: _labels(obj).get(key) not in values
    if match := _EQUAL.match(text):
        key, operator, value = match[1], match[2], match[3]
        if operator == "!=":
            return lambda obj: _labels(obj).get(key) != value
        return lambda obj: _labels(obj).get(key) == value
    if match := _EXISTS.match(text):
        negated, key = bool(match[1]), match[2]
        return lambda obj: (key in _labels(obj)) != negated
    raise errors.bad_request(f"unable to parse requirement: {text!r}")


def by_labels(text: str) -> list[Predicate]:
    return [_label_term(term.strip()) for term in _SEPARATOR.split(text) if term.strip()]


def _at(obj: Obj, path: tuple[str, ...]) -> str:
    value: Any = obj
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _successful(obj: Obj) -> str:
    return str(obj.get("status", {}).get("succeeded", 0))


def _field_term(kind: Kind, text: str) -> Predicate:
    match = _EQUAL.match(text)
    if match is None:
        raise errors.bad_request(f"invalid field selector: {text!r}")
    label, operator, value = match[1], match[2], match[3]
    path = kind.field_labels.get(label)
    if path is None:
        raise errors.bad_request(
            f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label '
            f'selector "", field selector "{text}": field label not supported: {label}'
        )
    if path == ("status", "successful"):
        return lambda obj: (_successful(obj) == value) == (operator != "!=")
    return lambda obj: (_at(obj, path) == value) == (operator != "!=")


def by_fields(kind: Kind, text: str) -> list[Predicate]:
    return [_field_term(kind, term.strip()) for term in text.split(",") if term.strip()]


def compile_selectors(kind: Kind, label_selector: str, field_selector: str) -> Predicate:
    """One predicate for both selectors. Raises 400 for selectors that the server cannot use."""
    terms = [*by_labels(label_selector), *by_fields(kind, field_selector)]
    return lambda obj: all(term(obj) for term in terms)
