"""What a retry is: a new ConversionJob with the spec of one that has ended. Pure.

The old ConversionJob stays, with its reason and its log. The name of the new one follows from the
uid of the old one, so two callers that retry at the same time create one retry, not two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from kubectl_conversion import data
from kubectl_conversion.guess import MAX_NAME
from kubectl_conversion.model import Conversion, dig, items_at, text_at

RETRY_OF: Final = "converter.mynetwork.io/retry-of"
"""The annotation with the uid of the ConversionJob that is retried."""
_SUFFIX: Final = re.compile(r"-retry-[0-9a-f]{8}$")
_NOT_COPIED: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",  # of the old object
    "converter.mynetwork.io/",  # the HTTP API's own: a retry is not part of its upload
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",  # tools that delete what is not in Git
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "helm.sh/",
    "velero.io/",  # the operator takes an object with such a label for a restored one
)


def retry_name(conversion: Conversion) -> str:
    """The name of the retry. A retry of a retry has the base of the first name."""
    digest = hashlib.sha256(conversion.uid.encode()).hexdigest()[:8]
    base = conversion.name
    if is_retry(conversion.raw):
        base = _SUFFIX.sub("", base)
    suffix = f"-retry-{digest}"
    return base[: MAX_NAME - len(suffix)].rstrip("-.") + suffix


def is_retry(obj: Mapping[str, Any]) -> bool:
    """Whether an object has been created as a retry."""
    return bool(retried_uid(obj))


def retried_uid(obj: Mapping[str, Any]) -> str:
    """The uid of the ConversionJob that this one retries. Empty if it is no retry."""
    return text_at(obj, "metadata", "annotations", RETRY_OF)


def retry_of(conversion: Conversion, restored: Collection[str] = ()) -> dict[str, Any]:
    """The ConversionJob that retries one that has ended.

    ``restored`` are the labels that the operator takes for those of a restored object.
    """
    metadata: dict[str, Any] = {
        "name": retry_name(conversion),
        "namespace": conversion.namespace,
        "annotations": _copied(conversion, "annotations") | {RETRY_OF: conversion.uid},
    }
    labels = _copied(conversion, "labels")
    if kept := {name: text for name, text in labels.items() if name not in restored}:
        metadata["labels"] = kept
    spec = {
        name: value
        for name, value in (dig(conversion.raw, "spec") or {}).items()
        if name not in ("cancel", "suspend")
    }
    if conversion.phase != "Succeeded" and "outputs" in spec:
        spec["outputs"] = _missing(conversion)
    return {
        "apiVersion": data.api_version(),
        "kind": "ConversionJob",
        "metadata": metadata,
        "spec": spec,
    }


def _copied(conversion: Conversion, kind: str) -> dict[str, Any]:
    """The labels or annotations that a retry has, too."""
    texts = dig(conversion.raw, "metadata", kind) or {}
    return {name: text for name, text in texts.items() if not name.startswith(_NOT_COPIED)}


def _missing(conversion: Conversion) -> list[Mapping[str, Any]]:
    """The outputs that do not exist. Files that are complete are not made again."""
    asked = items_at(conversion.raw, "spec", "outputs")
    states = [output.state for output in conversion.outputs]
    missing = [
        each
        for each, state in zip(asked, states, strict=True)
        if state not in ("Succeeded", "Skipped")
    ]
    chosen = missing or asked
    if all(dig(each, "optional") is True for each in chosen):
        # At least one output of a ConversionJob must not be optional.
        return [
            {name: value for name, value in each.items() if name != "optional"} for each in chosen
        ]
    return chosen
