"""What the API server has against a new object: the schema of its CRD, and its CEL rules.

This CEL lacks the quantities of Kubernetes. The rules with them are tested on a real API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from conversion_operator.api.crd import build_crd, build_profile_crd
from conversion_operator.api.names import VERSION
from tests.component.support.schema import CustomSchema


@cache
def job_schema() -> CustomSchema:
    """The schema of ConversionJobs."""
    return CustomSchema(build_crd(), VERSION)


@cache
def profile_schema() -> CustomSchema:
    """The schema of ConversionProfiles."""
    return CustomSchema(build_profile_crd(), VERSION)


def rejections(schema: CustomSchema, body: dict[str, Any]) -> list[str]:
    """The messages against ``body``. A message about an output starts with its index.

    No rule is checked after an error of the schema. The API server checks them after some errors,
    such as a number that is too high, and not after others, such as a wrong type.
    """
    causes = [f"{where}: {problem}" for where, problem in schema.causes(body)]
    return causes or list(_broken_rules(schema.root, body, ""))


def _broken_rules(node: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", ()):
        unknown = "oldSelf" in rule["rule"] or "quantity(" in rule["rule"]
        # A rule that ends in an error rejects, too.
        if not unknown and _evaluated(rule["rule"], value) is not True:
            yield where + _message(rule, value)
    if isinstance(value, dict):
        for name, child in node.get("properties", {}).items():
            if name in value:
                yield from _broken_rules(child, value[name], where)
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _broken_rules(node.get("items", {}), item, f"outputs[{number}]: ")


def _message(rule: dict[str, str], value: Any) -> str:
    if "messageExpression" not in rule:
        return rule["message"]
    made = _evaluated(rule["messageExpression"], value)
    # The API server falls back to the message, and only logs that the expression fails.
    assert isinstance(made, str), f"{rule['messageExpression']}: {made}"
    return made


def _evaluated(expression: str, value: Any) -> Any:
    return _compiled(expression).eval(data={"self": value}).plain_value()


@cache
def _compiled(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    return cel.NewEnv(variables={"self": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])
