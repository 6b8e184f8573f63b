"""What the kubectl plugin knows of the API, as JSON.

The plugin is one file of pure Python, so it cannot import the operator. ``make crds`` writes this
file from the same source as the CRD and the pages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from conversion_operator.api import names
from conversion_operator.api.reasons import REASONS
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.controller.settings import Settings
from conversion_operator.controller.settings_watch import SETTING_INVALID
from conversion_operator.core.manifest import CONTAINER
from media_converter.contract import ConversionType
from media_converter.options import FORMATS, options_of

PATH = "plugin/kubectl_conversion/data.json"
_ROOT = Path(__file__).parent.parent


def render_plugin_data() -> str:
    """The text of the file."""
    data = {
        "group": names.GROUP,
        "version": names.VERSION,
        "uidLabel": names.UID_LABEL,
        "attemptLabel": names.ATTEMPT_LABEL,
        "operatorNamespaceLabel": names.OPERATOR_NAMESPACE_LABEL,
        "converterName": names.CONVERTER_NAME,
        "configMap": names.CONFIG_MAP,
        "defaultQueue": names.DEFAULT_QUEUE,
        "reasons": {
            str(reason): {"meaning": text.meaning, "cure": text.cure}
            for reason, text in REASONS.items()
        },
        "types": {
            str(kind): {
                "extensions": list(FORMATS[kind]),
                "options": {name: row.kind.must_be for name, row in options_of(kind).items()},
            }
            for kind in ConversionType
        },
        "settings": sorted(name.upper() for name in Settings.model_fields),
        "defaults": {
            name.upper(): _text(field.default) for name, field in Settings.model_fields.items()
        },
        "container": CONTAINER,
        "settingInvalid": SETTING_INVALID,
        "fields": {
            "spec": _fields(ConversionJobSpec),
            "status": _fields(ConversionJobStatus),
        },
        "operatorRules": _rules(_ROOT / "deploy/namespace/operator-role.yaml"),
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _text(default: object) -> str:
    """The text of a default, as a ConfigMap would have it."""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _fields(model: Any) -> list[str]:
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _rules(path: Path) -> list[list[str]]:
    """Group, resource and verb of each right that the operator has in a namespace."""
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    role = next(each for each in documents if each["kind"] == "Role")
    return [
        [group, resource, verb]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
