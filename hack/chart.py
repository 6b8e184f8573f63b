"""Derives the generated templates of the Helm chart from deploy/.

deploy/ is the source of truth. Each of its files becomes one template, which chart_template.py
writes. The table ``VALUES`` says which fields become values of the chart, and the functions below
do what kustomize does with ``namespace:`` and with deploy/installation. A unit test compares the
rendered chart with the output of kustomize, object by object. So a change in deploy/ that needs a
row in the table is noticed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from hack.chart_template import Edit, Expression, Lines, edit, rendered

ROOT: Final = Path(__file__).parents[1]
CHART: Final = "charts/my-network-converter"
_PREFIX: Final = "my-network-converter"
_RELEASE: Final = "$.Release.Namespace"
_NAMESPACE: Final = "$namespace.name"
_OPERATOR: Final = "my-network-converter-operator"
_GATEWAY: Final = "my-network-converter-gateway"
SETTINGS: Final = {_OPERATOR: "operator", _GATEWAY: "gateway"}
"""The ConfigMaps with settings, and the part of the values that has them."""
CLUSTER_SCOPED: Final = (
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


class Folder(NamedTuple):
    """One kustomization of deploy/. ``condition`` must hold for its objects to exist."""

    path: str
    template: str
    namespace: str | None
    condition: str


_WITH_FILES: Final = 'dig "fileServer" false $namespace'
FOLDERS: Final = (
    Folder("deploy/base", "operator", _RELEASE, ""),
    Folder("deploy/gateway", "gateway", _RELEASE, "$.Values.gateway.enabled"),
    Folder("deploy/cluster-wide", "cluster-wide", None, "$.Values.watchAllNamespaces"),
    Folder("deploy/monitoring", "monitoring", _RELEASE, "$.Values.monitoring.enabled"),
    Folder("deploy/policies", "policies", None, "$.Values.policies.enabled"),
    Folder("deploy/namespace", "namespaces", _NAMESPACE, ""),
    Folder("deploy/namespace/quota", "namespaces", _NAMESPACE, ""),
    Folder("deploy/namespace/files", "namespaces", _NAMESPACE, _WITH_FILES),
)
LEFT_OUT: Final = ("deploy/base/namespace.yaml",)
"""Helm stores the release in this namespace, so it exists before the chart is installed."""

_WITH_TOKENS: Final = 'ne (toString $.Values.gateway.settings.GATEWAY_AUTH) "network"'
CONDITIONS: Final = {
    "deploy/base/user-roles.yaml": "$.Values.userRoles.enabled",
    "deploy/cluster-wide/gateway-role.yaml": "$.Values.gateway.enabled",
    "deploy/gateway/reviews.yaml": _WITH_TOKENS,
    "deploy/gateway/disruption-budget.yaml": "gt (int $.Values.gateway.replicas) 1",
    # The chart's own ServiceMonitor scrapes the operator, too.
    "deploy/monitoring/operator-monitor.yaml": "not $.Values.monitoring.serviceMonitor.enabled",
    "deploy/monitoring/gateway-monitor.yaml": "$.Values.gateway.enabled",
    "deploy/policies/unserved.yaml": "not $.Values.watchAllNamespaces",
    "deploy/namespace/namespace.yaml": 'dig "create" true $namespace',
    "deploy/namespace/gateway-role.yaml": "$.Values.gateway.enabled",
    "deploy/namespace/claim.yaml": 'dig "claim" "create" true $namespace',
    "deploy/namespace/quota/quota.yaml": 'gt (int (dig "maxConversions" 10000 $namespace)) 0',
}
KEPT: Final = ("Namespace", "PersistentVolumeClaim")
"""`helm uninstall` does not delete them, because they contain ConversionJobs and files."""


def _items(expression: str) -> Lines:
    """A value as it is written in the values, at the end of a list or of a map."""
    return Lines(f"{{{{- with {expression} }}}}\n{{{{- toYaml . | nindent 0 }}}}\n{{{{- end }}}}")


def _value(key: str, expression: str) -> Lines:
    """A key with a value as it is written in the values. Nothing, if the value is empty."""
    return Lines(
        f"{{{{- with {expression} }}}}\n{key}:\n  {{{{- toYaml . | nindent 2 }}}}\n{{{{- end }}}}"
    )


def _included(name: str, arguments: str) -> Lines:
    """The lines of a named template of templates/_helpers.tpl."""
    return Lines(f'{{{{- include "my-network-converter.{name}" {arguments} | nindent 0 }}}}')


def _image(name: str) -> Expression:
    return Expression(f'{{{{ include "my-network-converter.image" (list $ "{name}") | quote }}}}')


def _setting(part: str, name: str) -> Callable[[str], Expression]:
    return lambda default: Expression(
        f'{{{{ include "my-network-converter.setting" (list $ "{part}" "{name}" '
        f"{json.dumps(default)}) | quote }}}}"
    )


def _setting_number(name: str) -> Callable[[str], Expression]:
    """A setting of the operator in the place of a number."""
    return lambda default: Expression(
        f'{{{{ include "my-network-converter.setting" (list $ "operator" "{name}" '
        f'"{default}") | int }}}}'
    )


def _from(dig: str) -> Callable[[str], Expression]:
    """A key of the namespace's values, with the value in deploy/ as its default."""
    return lambda default: Expression(
        f'{{{{ include "my-network-converter.text" (dig {dig} {json.dumps(default)} $namespace) '
        "| quote }}"
    )


def _or_own_namespace(expression: str) -> Expression:
    """A CEL expression that ends with ''. If all namespaces are watched, with the release's."""
    own = expression.removesuffix("''") + "'%s'"
    return Expression(
        f"{{{{ ternary (printf {json.dumps(own)} {_RELEASE}) {json.dumps(expression)} "
        "$.Values.watchAllNamespaces | quote }}"
    )


def _content_rules(default: str) -> Lines:
    own = "rules.yaml: |\n  {{- toYaml . | nindent 2 }}"
    rules = "rules.yaml: |\n" + textwrap.indent(default.rstrip(), "  ")
    return Lines(
        f"{{{{- with $.Values.gateway.contentRules }}}}\n{own}\n{{{{- else }}}}\n{rules}\n"
        "{{- end }}"
    )


def _pod(part: str) -> dict[str, Edit]:
    """The fields of a Deployment that are values of the chart."""
    template = "spec.template.spec"
    return {
        f"{template}.containers.0.image": _image(part),
        f"{template}.containers.0.imagePullPolicy": Expression("{{ $.Values.images.pullPolicy }}"),
        f"{template}.containers.0.resources": _value("resources", f"$.Values.{part}.resources"),
        f"{template}.+": _included("pod", f'(list $ "{part}")'),
        "spec.template.metadata.labels.+": _items("$.Values.extraLabels"),
        "spec.template.metadata.+": _included("annotations", f'(list $ "{part}")'),
    }


def _monitoring_labels() -> dict[str, Edit]:
    return {"metadata.labels.+monitoring": _items("$.Values.monitoring.labels")}


def _runbooks() -> dict[str, Edit]:
    """The address of the section of each alert."""
    rules = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text(encoding="utf-8"))
    return {
        f"spec.groups.{group}.rules.{place}.annotations.runbook_url": _runbook
        for group, each in enumerate(rules["spec"]["groups"])
        for place, rule in enumerate(each["rules"])
        if "alert" in rule
    }


def _runbook(default: str) -> Expression:
    _, section = default.split("#")
    return Expression(f'{{{{ printf "%s#{section}" $.Values.monitoring.runbooks | quote }}}}')


VALUES: Final[dict[tuple[str, str], dict[str, Edit]]] = {
    ("Deployment", _OPERATOR): _pod("operator"),
    ("Deployment", _GATEWAY): _pod("gateway")
    | {"spec.replicas": Expression("{{ int $.Values.gateway.replicas }}")},
    ("ConfigMap", _OPERATOR): {
        "data.CONVERTER_IMAGE": _image("converter"),
        "data.WATCH_NAMESPACES": Expression(
            '{{ include "my-network-converter.watched" $ | quote }}'
        ),
    },
    ("ConfigMap", _GATEWAY): {
        "data.GATEWAY_AUDIENCE": Expression(f"{{{{ {_RELEASE} | quote }}}}"),
        "data.GATEWAY_NAMESPACE": Expression(
            '{{ include "my-network-converter.gatewayNamespace" $ | quote }}'
        ),
    },
    ("ConfigMap", "my-network-converter-content-rules"): {"data.*": _content_rules},
    ("NetworkPolicy", _OPERATOR): {
        "spec.ingress.0.from.0": _items("$.Values.monitoring.ingressFrom"),
        "spec.egress.+": _items("$.Values.operator.extraEgress"),
    },
    ("NetworkPolicy", f"{_GATEWAY}-metrics"): {
        "spec.ingress.0.from.0": _items("$.Values.monitoring.ingressFrom"),
    },
    ("NetworkPolicy", _GATEWAY): {"spec.ingress.0.from.0": _included("callers", "$")},
    ("PersistentVolumeClaim", "my-network-shared"): {
        "metadata.name": _setting("operator", "SHARED_VOLUME_CLAIM"),
        "spec.resources.requests.storage": _from('"claim" "size"'),
        "spec.+": _included("claim", "$namespace"),
    },
    ("LimitRange", _PREFIX): {
        f"spec.limits.0.{bound}.{resource}": _setting("operator", f"CONVERTER_{setting}_{name}")
        for bound, setting in (
            ("max", "MAX"),
            ("default", "LIMITS"),
            ("defaultRequest", "REQUESTS"),
        )
        for resource, name in (("cpu", "CPU"), ("memory", "MEMORY"))
    },
    ("ValidatingAdmissionPolicy", f"{_PREFIX}-caller"): {
        "spec.variables.2.expression": _or_own_namespace
    },
    ("PodMonitor", _OPERATOR): _monitoring_labels(),
    ("PodMonitor", _GATEWAY): _monitoring_labels(),
    ("PrometheusRule", _PREFIX): _monitoring_labels() | _runbooks(),
    ("Deployment", f"{_PREFIX}-files"): {
        "spec.template.spec.containers.0.image": _image("gateway"),
        "spec.template.spec.containers.0.imagePullPolicy": Expression(
            "{{ $.Values.images.pullPolicy }}"
        ),
        "spec.template.spec.containers.0.env.1.value": Expression(
            f'{{{{ include "{_PREFIX}.volumeFolder" (list $ $namespace.name) | quote }}}}'
        ),
        "spec.template.spec.volumes.0.persistentVolumeClaim.claimName": _setting(
            "operator", "SHARED_VOLUME_CLAIM"
        ),
        "spec.template.spec.securityContext.runAsUser": _setting_number("CONVERTER_RUN_AS_USER"),
        "spec.template.spec.securityContext.runAsGroup": _setting_number("CONVERTER_RUN_AS_GROUP"),
        "spec.template.spec.securityContext.fsGroup": _setting_number("CONVERTER_RUN_AS_GROUP"),
        "spec.template.spec.+": _included("pod", '(list $ "gateway")'),
        "spec.template.metadata.labels.+": _items("$.Values.extraLabels"),
    },
    ("ResourceQuota", _PREFIX): {"spec.hard.*": _from('"maxConversions"')},
}
"""Kind and name of an object → path of a field, see ``edit`` → what the template has there."""


def chart_files(crds: Mapping[str, str], generated: Mapping[str, str]) -> dict[str, str]:
    """The generated templates: path in the repository → content.

    ``crds`` are the CustomResourceDefinitions by plural name. ``generated`` has the files of
    deploy/ that are generated, too.
    """
    files = {
        f"{CHART}/templates/crds/{plural}.yaml": _crd_template(crd) for plural, crd in crds.items()
    }
    for folder in FOLDERS:
        for source in _sources(folder.path):
            text = generated.get(source) or (ROOT / source).read_text(encoding="utf-8")
            name = f"{CHART}/templates/{folder.template}/{Path(source).name}"
            files[name] = _template(folder, source, text)
    return files


def settings() -> dict[str, list[str]]:
    """The settings that the values may have: ``operator`` or ``gateway`` → names."""
    found = {}
    for folder in ("deploy/base", "deploy/gateway"):
        item = yaml.safe_load((ROOT / folder / "settings.yaml").read_text(encoding="utf-8"))
        name = item["metadata"]["name"]
        derived = {path.removeprefix("data.") for path in VALUES["ConfigMap", name]}
        found[SETTINGS[name]] = [setting for setting in item["data"] if setting not in derived]
    return found


def _sources(folder: str) -> Iterator[str]:
    kustomization = (ROOT / folder / "kustomization.yaml").read_text(encoding="utf-8")
    for name in yaml.safe_load(kustomization)["resources"]:
        if f"{folder}/{name}" not in LEFT_OUT:
            yield f"{folder}/{name}"


def _template(folder: Folder, source: str, text: str) -> str:
    documents = yaml.safe_load_all(text)
    text = "---\n".join(rendered(_object(folder, item)) for item in documents)
    conditions = [c for c in (folder.condition, CONDITIONS.get(source)) if c]
    for condition in reversed(conditions):
        text = f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"
    if folder.namespace == _NAMESPACE:
        loop = "{{- range $namespace := $.Values.namespaces }}"
        text = f"{loop}\n---\n{text}{{{{- end }}}}\n"
    return _header(source) + text


def _header(source: str) -> str:
    return f"{{{{- /* Generated from {source} and hack/chart.py by `make crds`. */}}}}\n"


def _crd_template(crd: str) -> str:
    body = yaml.safe_load(crd)
    keep = "annotations:\n  helm.sh/resource-policy: keep"
    body["metadata"]["+annotations"] = Lines(
        f"{{{{- if $.Values.crds.keep }}}}\n{keep}\n{{{{- end }}}}"
    )
    _label(body)
    header = "{{- /* Generated from crds/ by `make crds`. */}}\n"
    return f"{header}{{{{- if $.Values.crds.enabled }}}}\n{rendered(body)}{{{{- end }}}}\n"


def _object(folder: Folder, item: dict[str, Any]) -> dict[str, Any]:
    kind, metadata = item["kind"], item["metadata"]
    edits = VALUES.get((kind, metadata["name"]), {})
    if kind == "ConfigMap" and metadata["name"] in SETTINGS:
        part = SETTINGS[metadata["name"]]
        edits = {f"data.{name}": _setting(part, name) for name in item["data"]} | edits
    _follow_namespace(item)
    if kind in CLUSTER_SCOPED:
        metadata["name"] = _prefixed(metadata["name"])
    elif kind == "Namespace":
        metadata["name"] = Expression(f"{{{{ {folder.namespace} | quote }}}}")
    else:
        metadata["namespace"] = Expression(f"{{{{ {folder.namespace} | quote }}}}")
    if kind in KEPT:
        metadata["annotations"] = {"helm.sh/resource-policy": "keep"}
    edit(item, edits)
    _label(item)
    return item


def _follow_namespace(item: dict[str, Any]) -> None:
    """Let references follow the namespace of the release, as deploy/installation does."""
    for subject in item.get("subjects", ()):
        subject["namespace"] = Expression(f"{{{{ {_RELEASE} | quote }}}}")
    if item.get("roleRef", {}).get("kind") == "ClusterRole":
        item["roleRef"]["name"] = _prefixed(item["roleRef"]["name"])
    if "policyName" in item.get("spec", {}):
        item["spec"]["policyName"] = _prefixed(item["spec"]["policyName"])
    for labels in _selected_labels(item):
        for name, value in labels.items():
            if value == _PREFIX:
                labels[name] = Expression(f"{{{{ {_RELEASE} | quote }}}}")


def _selected_labels(value: Any) -> Iterator[dict[str, Any]]:
    """The labels of an object, and those that select other objects."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("labels", "matchLabels") and isinstance(inner, dict):
                yield inner
            yield from _selected_labels(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _selected_labels(inner)


def _prefixed(name: str) -> Expression:
    return Expression(f"{{{{ {_RELEASE} }}}}{name.removeprefix(_PREFIX)}")


def _label(item: dict[str, Any]) -> None:
    """Add the labels of the chart's values."""
    labels = item["metadata"].get("labels")
    if labels:
        labels["+"] = _items("$.Values.extraLabels")
    else:
        item["metadata"]["+labels"] = _value("labels", "$.Values.extraLabels")
