"""A rule of a CRD in CEL, and how values are written in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class ValidationRule(NamedTuple):
    """One x-kubernetes-validations entry.

    ``field`` is the path that the error names. ``expression`` is CEL for a message with values. The
    API server uses ``message`` if the expression fails. ``reason`` says which kind of error it is.

    ``given`` are fields without which the rule says nothing. ``at`` is the field whose value is
    ``self`` in the rule, below the object that the rules of a function are for.

    The API server runs all rules at each write, also at each write of the status. To read a field,
    it makes a map of all fields of the object around it. So a rule is on the value that it is
    about, which costs nothing if the field is not set, and ``given`` begins with what is rarely
    set.
    """

    rule: str
    message: str
    field: str | None = None
    expression: str | None = None
    reason: str | None = None
    given: tuple[str, ...] = ()
    at: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str]:
        """The entry in the CRD."""
        absent = "".join(f"!has(self.{field}) || " for field in self.given)
        entry = {"rule": absent + self.rule, "message": self.message}
        entry |= {"messageExpression": self.expression} if self.expression else {}
        entry |= {"reason": self.reason} if self.reason else {}
        return entry | ({"fieldPath": self.field} if self.field else {})

    def if_set(self, *fields: str) -> ValidationRule:
        """The rule for objects that have these fields. Another rule says which they must have.

        A rule on the value of a field stays as it is.
        """
        return self if self.at else self._replace(given=(*self.given, *fields))

    def unless(self, exempt: str) -> ValidationRule:
        """The rule for objects for which this CEL expression is false."""
        return self._replace(rule=f"{exempt} || {self.rule}")


def add_rules(schema: dict[str, Any], rules: Iterable[ValidationRule]) -> None:
    """Add rules to the schema of an object, each to the field that its ``at`` names."""
    for rule in rules:
        node = schema
        for name in rule.at:
            node = node["properties"][name]
        node.setdefault("x-kubernetes-validations", []).append(rule.to_json())


def cel_list(items: Iterable[str]) -> str:
    """A list of strings that need no escapes."""
    return "[" + ", ".join(f"'{item}'" for item in items) + "]"


def cel_map(values: Mapping[str, str]) -> str:
    """A map from strings that need no escapes to CEL expressions."""
    return "{" + ", ".join(f"'{key}': {value}" for key, value in values.items()) + "}"


def cel_string(text: str) -> str:
    """A string in which backslashes are escaped."""
    return "'" + text.replace("\\", "\\\\") + "'"
