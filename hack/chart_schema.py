"""Generates values.schema.json of the Helm chart, so that Helm refuses values that do not exist."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from conversion_operator.controller.settings import Settings
from converter_gateway.settings import GatewaySettings

Schema = dict[str, Any]

_DNS_LABEL: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_TEXT: Final[Schema] = {"type": "string"}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_MAP: Final[Schema] = {"type": "object"}
_LIST: Final[Schema] = {"type": "array"}
_LABELS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_FOLDER: Final = "^([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$"
_OPTIONAL_NAMESPACE: Final[Schema] = {"type": "string", "pattern": f"^$|{_DNS_LABEL}"}


def render_schema(settings: dict[str, list[str]]) -> str:
    """The schema. ``settings`` has the names of the settings of the operator and the HTTP API."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#"} | _object(
        # `helm` passes these to each chart.
        **{"global": _MAP},
        watchAllNamespaces=_BOOLEAN,
        namespaces={"type": "array", "minItems": 1, "items": _namespace()},
        images=_object(
            registry=_TEXT,
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
            operator=_image(),
            gateway=_image(),
            converter=_image(),
        ),
        imagePullSecrets={"type": "array", "items": _object(("name",), name=_TEXT)},
        extraLabels=_LABELS,
        crds=_object(enabled=_BOOLEAN, keep=_BOOLEAN),
        operator=_object(
            settings=_settings(Settings, settings["operator"]), extraEgress=_LIST, **_pod()
        ),
        gateway=_object(
            enabled=_BOOLEAN,
            replicas={"type": "integer", "minimum": 0},
            settings=_settings(GatewaySettings, settings["gateway"]),
            namespace=_OPTIONAL_NAMESPACE,
            callerNamespace=_OPTIONAL_NAMESPACE,
            contentRules=_MAP,
            **_pod(),
        ),
        userRoles=_object(enabled=_BOOLEAN),
        policies=_object(enabled=_BOOLEAN),
        monitoring=_object(
            enabled=_BOOLEAN,
            labels=_LABELS,
            runbooks={"type": "string", "pattern": "^https?://[^#]+$"},
            ingressFrom=_LIST | {"minItems": 1},
            serviceMonitor=_object(
                enabled=_BOOLEAN,
                interval={"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                labels=_LABELS,
            ),
        ),
        test=_object(
            folder={"type": "string", "pattern": _FOLDER},
            timeoutSeconds={"type": "integer", "minimum": 1},
        ),
    )
    return json.dumps(schema, indent=2) + "\n"


def _object(required: Iterable[str] = (), /, **properties: Schema) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return schema | ({"required": list(required)} if required else {})


def _namespace() -> Schema:
    return _object(
        ("name",),
        name={"type": "string", "pattern": _DNS_LABEL},
        create=_BOOLEAN,
        serve=_BOOLEAN,
        fileServer=_BOOLEAN,
        maxConversions={"type": "integer", "minimum": 0},
        claim=_object(
            create=_BOOLEAN,
            size={"type": "string", "pattern": _QUANTITY},
            storageClassName=_TEXT,
            volumeName=_TEXT,
        ),
    )


def _image() -> Schema:
    digest = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
    return _object(repository={"type": "string", "minLength": 1}, tag=_TEXT, digest=digest)


def _pod() -> dict[str, Schema]:
    return {
        "resources": _object(requests=_MAP, limits=_MAP),
        "podAnnotations": _LABELS,
        "priorityClassName": _TEXT,
        "nodeSelector": _LABELS,
        "tolerations": _LIST,
        "affinity": _MAP,
    }


def _settings(model: type[BaseModel], names: Iterable[str]) -> Schema:
    fields = model.model_json_schema()["properties"]
    settings = {name: _setting(fields[name.lower()]) for name in names}
    if "CONVERTER_POD_SETTINGS" in settings:
        # A YAML document: values may contain it as it is. The operator checks what is in it.
        settings["CONVERTER_POD_SETTINGS"]["type"] = ["string", "object"]
    return _object(**settings)


def _setting(field: Schema) -> Schema:
    """What YAML may have for a setting: a number or a text for a number, and the like."""
    kind = field.get("type")
    about = {"description": field["description"]} if "description" in field else {}
    bounds = {
        name: field[name] for name in ("minimum", "maximum", "exclusiveMinimum") if name in field
    }
    if kind == "boolean":
        return about | {"enum": [True, False, "true", "false"]}
    if kind in ("integer", "number"):
        digits = r"^-?[0-9]+$" if kind == "integer" else r"^-?[0-9]+(\.[0-9]+)?$"
        return about | {"anyOf": [{"type": kind} | bounds, {"type": "string", "pattern": digits}]}
    if "enum" in field:
        return about | {"enum": field["enum"]}
    # A text, such as a quantity, may look like a number.
    return about | {"type": ["string", "number"]}
