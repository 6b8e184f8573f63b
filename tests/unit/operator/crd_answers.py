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
    """The messages against ``body``. As in the API server, no rule is checked after other errors.

    A message about an output starts with its index.
    """
    causes = [f"{where}: {problem}" for where, problem in schema.causes(body)]
    return causes or list(_broken_rules(schema.root, body, ""))


def _broken_rules(node: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", ()):
        unknown = "oldSelf" in rule["rule"] or "quantity(" in rule["rule"]
        # A rule that ends in an error rejects, too.
        if not unknown and _evaluated(rule["rule"], value) is not True:
            expression = rule.get("messageExpression")
            yield where + (_evaluated(expression, value) if expression else rule["message"])
    if isinstance(value, dict):
        for name, child in node.get("properties", {}).items():
            if name in value:
                yield from _broken_rules(child, value[name], where)
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _broken_rules(node.get("items", {}), item, f"outputs[{number}]: ")


def _evaluated(expression: str, value: Any) -> Any:
    return _compiled(expression).eval(data={"self": value}).plain_value()


@cache
def _compiled(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    return cel.NewEnv(variables={"self": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])
