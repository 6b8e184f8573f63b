"""What administrators add to the Jobs and pods of converters: the setting CONVERTER_POD_SETTINGS.

The document has the names of Kubernetes. It cannot set what isolates converters: the models know
only the fields that do not. docs/pod-settings.md describes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator

from conversion_operator.api import names
from conversion_operator.api.label_syntax import is_label_name, is_subdomain
from conversion_operator.api.scheduling import (
    Affinity,
    LabelName,
    Labels,
    LabelValue,
    ObjectName,
    Toleration,
)
from conversion_operator.api.strict_yaml import StrictModel, Text, parse_document

POD_SETTINGS_MAX_LENGTH: Final = 65536
COPIED_MAX_LENGTH: Final = 16384
"""How many characters the copied labels and annotations of a conversion have together."""

_ISOLATION: Final = frozenset(
    (
        "args",
        "automountServiceAccountToken",
        "command",
        "containers",
        "env",
        "ephemeralContainers",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "image",
        "initContainers",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "shareProcessNamespace",
        "volumeMounts",
        "volumes",
    )
)
"""Fields of pods, and of their containers, that isolate converters."""

_ISOLATING_ANNOTATIONS: Final = (
    "container.apparmor.security.beta.kubernetes.io",
    "container.seccomp.security.alpha.kubernetes.io",
    "seccomp.security.alpha.kubernetes.io",
)
_JOB_CONTROLLER: Final = frozenset(("job-name", "controller-uid"))
_OWN: Final = frozenset(
    (
        names.NAME_LABEL,
        names.MANAGED_BY_LABEL,
        names.UID_LABEL,
        names.CONVERSION_NAME_LABEL,
        names.ATTEMPT_LABEL,
        names.CONVERSION_ANNOTATION,
        names.MARK_ANNOTATION,
        names.IMAGE_ANNOTATION,
        names.POD_SETTINGS_ANNOTATION,
        names.QUEUE_ANNOTATION,
    )
)
"""The names that the operator itself writes on Jobs and pods."""

_NOT_BY_PREFIX: Final = (
    names.GROUP,
    "kubernetes.io",
    "k8s.io",
    "x-k8s.io",
    "cncf.io",
    "cilium.io",
    "datadoghq.com",
    "dapr.io",
    "dynatrace.com",
    "hashicorp.com",
    "istio.io",
    "kuma.io",
    "linkerd.io",
    "openservicemesh.io",
    "opentelemetry.io",
)
"""Prefixes that make others do something to a pod, such as adding a container, a network or a
device, or holding it. With their subdomains, but without app.kubernetes.io."""


def _by_name_only(name: str) -> bool:
    """True for a label or an annotation that must be named in full to be copied."""
    prefix, _, last = name.rpartition("/")
    if name in _OWN or "inject" in last.lower():
        return True
    return prefix != "app.kubernetes.io" and any(
        prefix == domain or prefix.endswith(f".{domain}") for domain in _NOT_BY_PREFIX
    )


def _settable(name: str) -> str:
    prefix = name.rpartition("/")[0]
    if name in _OWN or prefix == names.GROUP:
        raise ValueError(f"{name} cannot be set: the operator uses it")
    if name in _JOB_CONTROLLER or prefix == "batch.kubernetes.io":
        raise ValueError(f"{name} cannot be set: the Job controller sets it")
    if prefix in _ISOLATING_ANNOTATIONS:
        raise ValueError(f"{name} cannot be set: converters are isolated by it")
    return name


def _copyable(entry: str) -> str:
    """Check an entry of copyLabels or copyAnnotations: a prefix with a slash, or a full name."""
    if entry.endswith("/"):
        if not is_subdomain(entry[:-1]):
            raise ValueError(f"{entry!r} is not a prefix: write one such as example.com/")
        if _by_name_only(f"{entry}x"):
            raise ValueError(
                f"{entry} has names that others act on: write the full names, such as {entry}name"
            )
        return entry
    if not is_label_name(entry):
        raise ValueError(
            f"{entry!r} is neither a name, such as example.com/team, nor a prefix, such as "
            "example.com/"
        )
    if entry in _OWN:
        raise ValueError(f"{entry} cannot be copied: the operator uses it")
    if entry in _JOB_CONTROLLER or entry.startswith("batch.kubernetes.io/"):
        raise ValueError(f"{entry} cannot be copied: the Job controller sets it")
    if entry.rpartition("/")[0] in _ISOLATING_ANNOTATIONS:
        raise ValueError(f"{entry} cannot be copied: converters are isolated by it")
    return entry


def _namespace(text: str) -> str:
    if not re.fullmatch(names.NAMESPACE_PATTERN, text):
        raise ValueError(f"{text!r} is not the name of a namespace")
    return text


_Settable = Annotated[LabelName, AfterValidator(_settable)]
_Copied = Annotated[Text, AfterValidator(_copyable)]
_Namespace = Annotated[Text, AfterValidator(_namespace)]


class _PullSecret(StrictModel):
    """A Secret with the password of a registry."""

    name: ObjectName


class _Section(StrictModel):
    """The settings of all namespaces, or of one."""

    labels: dict[_Settable, LabelValue] | None = None
    annotations: dict[_Settable, Text] | None = None
    copy_labels: list[_Copied] | None = None
    copy_annotations: list[_Copied] | None = None
    node_selector: Labels | None = None
    tolerations: list[Toleration] | None = None
    affinity: Affinity | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    host_users: bool | None = None
    image_pull_secrets: list[_PullSecret] | None = None
    scheduler_name: ObjectName | None = None

    @classmethod
    def unknown_key(cls, key: str, known: list[str]) -> str:
        """Also says that the fields that isolate converters cannot be set."""
        if key in _ISOLATION:
            return f"{key} cannot be set: converters are isolated by it. Remove it"
        return super().unknown_key(key, known)


class _Document(_Section):
    """The whole document."""

    namespaces: dict[_Namespace, _Section] | None = None


class TooMuchCopied(ValueError):
    """The labels and annotations to copy are too long."""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the Jobs and pods of one namespace get.

    ``spec`` has fields of the pod's spec. ``copy_labels`` and ``copy_annotations`` have names, and
    prefixes that end with a slash. ``fingerprint`` is "" if nothing is set, and otherwise differs
    between different settings.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    copy_labels: tuple[str, ...] = ()
    copy_annotations: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def copies(self) -> bool:
        """True if something of the ConversionJob is copied."""
        return bool(self.copy_labels or self.copy_annotations)

    def with_copied(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> PodSettings:
        """These settings with what is copied of a ConversionJob. Those of the setting count more.

        Raises TooMuchCopied.
        """
        copied = _chosen(labels, self.copy_labels), _chosen(annotations, self.copy_annotations)
        length = sum(len(name) + len(text) for part in copied for name, text in part.items())
        if length > COPIED_MAX_LENGTH:
            raise TooMuchCopied(
                f"the labels and annotations that are copied to its Job have {length} characters; "
                f"at most {COPIED_MAX_LENGTH} are allowed: remove some, or make them shorter"
            )
        return replace(
            self,
            labels=copied[0] | dict(self.labels),
            annotations=copied[1] | dict(self.annotations),
        )


@dataclass(frozen=True, slots=True)
class PodSettingsByNamespace:
    """The settings of all namespaces. ``common`` is for those without a section of their own."""

    common: PodSettings = PodSettings()
    by_namespace: Mapping[str, PodSettings] = field(default_factory=dict)

    def of(self, namespace: str) -> PodSettings:
        """The settings of one namespace."""
        return self.by_namespace.get(namespace, self.common)


NO_POD_SETTINGS: Final = PodSettingsByNamespace()


@lru_cache(maxsize=4)
def parse_pod_settings(text: str) -> PodSettingsByNamespace:
    """Parse the document. Raises ValueError.

    Decisions ask for the settings all the time, so the last documents are kept.
    """
    if len(text) > POD_SETTINGS_MAX_LENGTH:
        raise ValueError(f"write at most {POD_SETTINGS_MAX_LENGTH} characters")
    document = parse_document(_Document, text)
    return PodSettingsByNamespace(
        _resolve(document),
        {name: _resolve(document, own) for name, own in (document.namespaces or {}).items()},
    )


def _resolve(*sections: _Section) -> PodSettings:
    """The settings of a namespace: the common section, then its own.

    Labels and annotations of both count. Each other field of its own replaces the common one.
    """
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    spec: dict[str, Any] = {}
    for section in sections:
        labels |= section.labels or {}
        annotations |= section.annotations or {}
        spec |= section.model_dump(by_alias=True, exclude_unset=True, exclude={"namespaces"})
    for known in ("labels", "annotations"):
        spec.pop(known, None)
    copy_labels = tuple(spec.pop("copyLabels", None) or ())
    copy_annotations = tuple(spec.pop("copyAnnotations", None) or ())
    spec = {name: value for name, value in spec.items() if value is not None}
    content = [labels, annotations, spec, copy_labels, copy_annotations]
    text = json.dumps(content, sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16] if any(content) else ""
    return PodSettings(labels, annotations, spec, copy_labels, copy_annotations, fingerprint)


def _chosen(given: Mapping[str, str], entries: Iterable[str]) -> dict[str, str]:
    allowed = frozenset(entries)
    return {
        name: text
        for name, text in given.items()
        if name in allowed or (f"{name.rpartition('/')[0]}/" in allowed and not _by_name_only(name))
    }
