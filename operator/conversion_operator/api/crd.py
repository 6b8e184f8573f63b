"""Generates the CustomResourceDefinition from the pydantic models.

``make crds`` writes it to crds/. A test fails when the committed file is out of date. The operator
never installs it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import yaml
from pydantic import BaseModel

from conversion_operator.api import names
from conversion_operator.api.cel import ValidationRule, add_rules
from conversion_operator.api.profile_rules import (
    profile_root_rules,
    profile_rules,
    template_rules,
)
from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.queues import ConversionQueueSpec, ConversionQueueStatus
from conversion_operator.api.reasons import Reason
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Condition, ConversionJobStatus, Phase
from conversion_operator.api.validation import (
    output_rules,
    queue_root_rules,
    queue_rules,
    root_rules,
    spec_rules,
)

_DROPPED = ("title", "default", "additionalProperties", "const")

_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Type", "string", ".spec.conversionType", 0),
    ("Phase", "string", ".status.phase", 0),
    ("Progress", "string", ".status.display.progress", 0),
    ("Size", "string", ".status.display.size", 0),
    ("Reason", "string", ".status.reason", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Input", "string", ".spec.inputFile", 1),
    ("Output", "string", ".spec.outputFile", 1),
    ("Profile", "string", ".spec.profile", 1),
    ("Dry Run", "boolean", ".spec.dryRun", 1),
    ("Queue", "string", ".spec.queue", 1),
    ("Position", "integer", ".status.queuePosition", 1),
    ("Node", "string", ".status.nodeName", 1),
    ("Duration", "string", ".status.display.duration", 1),
    ("Message", "string", ".status.message", 1),
)

_SELECTABLE: tuple[str, ...] = (".status.phase", ".status.reason", ".spec.conversionType")
"""Fields for ``kubectl get --field-selector``."""

_QUEUE_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Max", "integer", ".spec.maxParallel", 0),
    ("Stop Policy", "string", ".spec.stopPolicy", 0),
    ("Queued", "integer", ".status.queued", 0),
    ("Running", "integer", ".status.running", 0),
    ("Blocked", "integer", ".status.blocked", 0),
    ("Active", "string", ".status.conditions[?(@.type=='Active')].status", 0),
    ("Accepted", "string", ".status.conditions[?(@.type=='Accepted')].status", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


_PROFILE_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Priority", "integer", ".spec.priority", 0),
    ("Queue", "string", ".spec.queue", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of a model: without $ref and null, with int-or-string for unions."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    converted: dict[str, Any] = _convert(schema, definitions)
    return converted


def _convert(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_convert(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _convert(target | siblings, definitions)
    if "anyOf" in node:
        return _convert_union(node, definitions)
    return {
        key: (
            {name: _convert(child, definitions) for name, child in value.items()}
            if key == "properties"
            else _convert(value, definitions)
        )
        for key, value in node.items()
        if key not in _DROPPED
    }


def _convert_union(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a union: X for ``X | None``, Kubernetes' int-or-string for ``int | str``."""
    rest = {key: value for key, value in node.items() if key not in ("anyOf", *_DROPPED)}
    variants: list[dict[str, Any]] = [
        _convert(v, definitions) for v in node["anyOf"] if v != {"type": "null"}
    ]
    if len(variants) == 1:
        return variants[0] | rest
    by_type = {variant["type"]: variant for variant in variants}
    if set(by_type) != {"integer", "string"}:
        raise TypeError(f"a structural schema has no union of {sorted(by_type)}")
    # The validations of both types can be merged: the API server checks a pattern on strings only
    # and a minimum on integers only.
    merged = {k: v for variant in variants for k, v in variant.items() if k != "type"}
    return {"x-kubernetes-int-or-string": True} | merged | rest


def _leave_to_rules(node: dict[str, Any]) -> None:
    """Remove what a rule of validation.py says in words: patterns, and bounds of int-or-string.

    The API server would report a pattern as a regular expression, beside the message of the rule.
    """
    node.pop("pattern", None)
    if node.get("x-kubernetes-int-or-string"):
        for bound in ("minimum", "maximum"):
            node.pop(bound, None)
    for child in node.get("properties", {}).values():
        _leave_to_rules(child)
    if "items" in node:
        _leave_to_rules(node["items"])


def pending_status() -> dict[str, Any]:
    """The status of a ConversionJob that no operator has seen: the default in the CRD.

    Without it, tools that wait for an object would take a new ConversionJob for a finished one.
    """
    message = "no operator has seen this conversion yet"
    reconciling = Condition(
        type=names.CONDITION_RECONCILING,
        status="True",
        reason=Reason.PENDING,
        message=message,
        last_transition_time=datetime.fromtimestamp(0, UTC),
    )
    return ConversionJobStatus(
        phase=Phase.PENDING, conditions=[reconciling], reason=Reason.PENDING, message=message
    ).to_json()


def _leave_options_to_rules(options: dict[str, Any]) -> None:
    """After an error about a type, the API server checks no rule, so nothing says what to write."""
    for option in options["properties"].values():
        option.pop("type", None)
        option["x-kubernetes-int-or-string"] = True


def build_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ConversionJobs as a dictionary."""
    spec = structural_schema(ConversionJobSpec)
    _leave_to_rules(spec)
    output = spec["properties"]["outputs"]["items"]
    for options in (spec["properties"]["options"], output["properties"]["options"]):
        _leave_options_to_rules(options)
    add_rules(output, output_rules())
    add_rules(spec, spec_rules())
    status = structural_schema(ConversionJobStatus)
    status["default"] = pending_status()
    _as_map(status["properties"]["conditions"], "type")
    rules = root_rules()
    kind = _names(names.KIND, names.PLURAL, names.SINGULAR, names.SHORT_NAME)
    description = "ConversionJob converts one media file on the shared volume."
    definition = _definition(kind, description, spec, status, rules, _COLUMNS)
    (version,) = definition["spec"]["versions"]
    version["selectableFields"] = [{"jsonPath": path} for path in _SELECTABLE]
    return definition


def build_queue_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ConversionQueues as a dictionary."""
    spec = structural_schema(ConversionQueueSpec)
    add_rules(spec, queue_rules())
    _as_map(spec["properties"]["namespaces"], "name")
    status = structural_schema(ConversionQueueStatus)
    _as_map(status["properties"]["conditions"], "type")
    _as_map(status["properties"]["namespaces"], "name")
    kind = _names(
        names.QUEUE_KIND, names.QUEUE_PLURAL, names.QUEUE_SINGULAR, names.QUEUE_SHORT_NAME
    )
    description = (
        "ConversionQueue limits how many of its conversions run at a time, and shares slots "
        "between namespaces. It has an effect only in the namespace of the operator."
    )
    rules = queue_root_rules()
    return _definition(kind, description, spec, status, rules, _QUEUE_COLUMNS)


def build_profile_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ConversionProfiles as a dictionary."""
    spec = structural_schema(ConversionProfileSpec)
    _leave_to_rules(spec)
    output = spec["properties"]["outputs"]["items"]
    _leave_options_to_rules(output["properties"]["options"])
    add_rules(output, template_rules())
    add_rules(spec, profile_rules())
    kind = _names(
        names.PROFILE_KIND, names.PROFILE_PLURAL, names.PROFILE_SINGULAR, names.PROFILE_SHORT_NAME
    )
    description = (
        "ConversionProfile lists outputs for any input. ConversionJobs of its namespace name it in "
        "spec.profile."
    )
    rules = profile_root_rules()
    return _definition(kind, description, spec, None, rules, _PROFILE_COLUMNS)


def _names(kind: str, plural: str, singular: str, short_name: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": singular,
        "shortNames": [short_name],
        "categories": [names.CATEGORY],
    }


def _as_map(schema: dict[str, Any], key: str) -> None:
    schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _definition(
    names_of_kind: dict[str, Any],
    description: str,
    spec: dict[str, Any],
    status: dict[str, Any] | None,
    rules: list[ValidationRule],
    columns: tuple[tuple[str, str, str, int], ...],
) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            **({} if status is None else {"status": status}),
        },
    }
    add_rules(schema, rules)
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        **({} if status is None else {"subresources": {"status": {}}}),
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in columns
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names_of_kind['plural']}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": names_of_kind,
            "versions": [version],
        },
    }


def render_crd(definition: dict[str, Any]) -> str:
    """A CustomResourceDefinition as the YAML of crds/."""
    header = "# Generated from operator/conversion_operator/api by `make crds`. Do not edit.\n"
    # A round trip through JSON turns enums and tuples into strings and lists for YAML.
    plain = json.loads(json.dumps(definition))
    return header + yaml.safe_dump(plain, sort_keys=False, width=100)


def render_crds() -> dict[str, str]:
    """The CustomResourceDefinitions by their plural names, as the YAML of crds/."""
    definitions = {
        names.PLURAL: build_crd(),
        names.PROFILE_PLURAL: build_profile_crd(),
        names.QUEUE_PLURAL: build_queue_crd(),
    }
    return {plural: render_crd(each) for plural, each in definitions.items()}
