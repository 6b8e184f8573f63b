"""A rule of a CRD in CEL, and how values are written in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ValidationRule(NamedTuple):
    """One x-kubernetes-validations entry.

    ``field`` is the path that the error names. ``expression`` is CEL for a message with values. The
    API server uses ``message`` if the expression fails. ``reason`` says which kind of error it is.
    """

    rule: str
    message: str
    field: str | None = None
    expression: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, str]:
        """The entry in the CRD."""
        entry = {"rule": self.rule, "message": self.message}
        entry |= {"messageExpression": self.expression} if self.expression else {}
        entry |= {"reason": self.reason} if self.reason else {}
        return entry | ({"fieldPath": self.field} if self.field else {})

    def if_set(self, *fields: str) -> ValidationRule:
        """The rule for objects that have these fields. Another rule says which they must have."""
        absent = "".join(f"!has(self.{field}) || " for field in fields)
        return self._replace(rule=absent + self.rule)

    def unless(self, exempt: str) -> ValidationRule:
        """The rule for objects for which this CEL expression is false."""
        return self._replace(rule=f"{exempt} || {self.rule}")


def cel_list(items: Iterable[str]) -> str:
    """A list of strings that need no escapes."""
    return "[" + ", ".join(f"'{item}'" for item in items) + "]"


def cel_string(text: str) -> str:
    """A string in which backslashes are escaped."""
    return "'" + text.replace("\\", "\\\\") + "'"
