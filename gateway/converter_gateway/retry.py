"""What a retry is: a new ConversionJob with the spec of one that has ended. Pure.

The kubectl plugin decides the same, with the same names. A test compares both. So one conversion
has one retry, whoever asks for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.status import Phase
from conversion_operator.cluster.objects import Body
from media_converter.contract import OutputState

_NAME_MAX_LENGTH: Final = 253
_SUFFIX: Final = re.compile(r"-retry-[0-9a-f]{8}$")
_NOT_COPIED: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",  # of the old object
    f"{names.GROUP}/",  # of the old request
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",  # tools that delete what is not in Git
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "helm.sh/",
    "velero.io/",  # the operator takes an object with such a label for a restored one
)


def retry_name(name: str, uid: str, *, is_retry: bool) -> str:
    """The name of the retry of a conversion. A retry of a retry has the base of the first name."""
    suffix = f"-retry-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"
    base = _SUFFIX.sub("", name) if is_retry else name
    return base[: _NAME_MAX_LENGTH - len(suffix)].rstrip("-.") + suffix


def retry_of(body: Body, caller: str, restored: Collection[str] = ()) -> Body:
    """The ConversionJob that retries one that has ended.

    ``caller`` is who asks for it, "" if nobody knows. ``restored`` are the labels that the operator
    takes for those of a restored object. Of several outputs, the retry has only those that do not
    exist yet.
    """
    old = body["metadata"]
    before: Mapping[str, str] = old.get("annotations") or {}
    spec = {
        name: value
        for name, value in (body.get("spec") or {}).items()
        if name not in ("cancel", "suspend")
    }
    outputs = spec.get("outputs")
    status = body.get("status") or {}
    if outputs is not None and status.get("phase") != Phase.SUCCEEDED:
        spec["outputs"] = _missing(outputs, status.get("outputs") or [])
    annotations = _copied(before) | {names.RETRY_ANNOTATION: old["uid"]}
    if spec.get("outputs") == outputs:
        # The words of the caller for these paths. The operator does not read them.
        paths = (
            names.CALLER_INPUT_ANNOTATION,
            names.CALLER_OUTPUT_ANNOTATION,
            names.CALLER_PREFIXES_ANNOTATION,
        )
        annotations |= {name: before[name] for name in paths if name in before}
    if caller:
        annotations[names.CALLER_ANNOTATION] = caller
    is_retry = bool(before.get(names.RETRY_ANNOTATION))
    labels = _copied(old.get("labels") or {})
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": retry_name(old["name"], old["uid"], is_retry=is_retry),
            "namespace": old["namespace"],
            "annotations": annotations,
            "labels": {name: text for name, text in labels.items() if name not in restored},
        },
        "spec": spec,
    }


def _copied(texts: Mapping[str, str]) -> dict[str, str]:
    """The labels or annotations that a retry has, too."""
    return {name: text for name, text in texts.items() if not name.startswith(_NOT_COPIED)}


def _missing(asked: list[dict[str, Any]], states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs that do not exist. Files that are complete are not made again."""
    known = [state.get("state") for state in states][: len(asked)]
    known += [None] * (len(asked) - len(known))
    made = (OutputState.SUCCEEDED, OutputState.SKIPPED)
    missing = [each for each, state in zip(asked, known, strict=True) if state not in made]
    chosen = missing or asked
    if all(each.get("optional") is True for each in chosen):
        # At least one output of a ConversionJob must not be optional.
        return [
            {name: value for name, value in each.items() if name != "optional"} for each in chosen
        ]
    return chosen
