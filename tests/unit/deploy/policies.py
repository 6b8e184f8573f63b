"""Evaluates the CEL expressions of a ValidatingAdmissionPolicy."""

from __future__ import annotations

from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

_VARIABLES = ("object", "oldObject", "namespaceObject", "request", "variables")
_ENVIRONMENT = cel.NewEnv(
    variables=dict.fromkeys(_VARIABLES, cel.Type.DYN), extensions=[ext_strings.ExtStrings()]
)


def problems(
    policy: dict[str, Any],
    new: dict[str, Any] | None,
    old: dict[str, Any] | None,
    namespace_labels: dict[str, str] | None,
    user: str,
    groups: tuple[str, ...] = (),
) -> list[str]:
    """The messages of the validations that reject a request. Empty: the policy allows it."""
    metadata = {} if namespace_labels is None else {"labels": namespace_labels}
    data: dict[str, Any] = {
        "object": new,
        "oldObject": old,
        "namespaceObject": {"metadata": metadata},
        "request": {"userInfo": {"username": user, "groups": list(groups)}},
        "variables": {},
    }
    for variable in policy["spec"].get("variables", ()):
        data["variables"][variable["name"]] = _evaluate(variable["expression"], data)
    return [
        validation["message"]
        for validation in policy["spec"]["validations"]
        if _evaluate(validation["expression"], data) is not True
    ]


def _evaluate(expression: str, data: dict[str, Any]) -> Any:
    return _compile(expression).eval(data=data).plain_value()


@cache
def _compile(expression: str) -> Any:
    return _ENVIRONMENT.compile(expression)
