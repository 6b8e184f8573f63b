"""Builds the Job of an attempt or a sweep as plain values. Users cannot supply a pod template.

Every value is a constant, a setting, or a validated field of the spec. Paths and options reach
the converter in environment variables only, never in arguments, labels or names. Of a
ConversionJob's metadata, only what the administrator lists in the pod settings is copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.pod_settings import PodSettings
from conversion_operator.api.spec import (
    ConversionJobSpec,
    OutputSpec,
    ResourceList,
    normal_path,
)
from conversion_operator.core.model import NO_METADATA, Conversion, Metadata, Policy
from conversion_operator.core.outputs import reported_sha256
from conversion_operator.core.sweep import SWEEP_ATTEMPT
from media_converter.contract import ConversionType, DamagedInput
from media_converter.typed_options import DEFAULT_SIZE

CONTAINER: Final = "converter"
WORKSPACE: Final = "/workspace"
"""Where the converter finds the shared volume."""
GRACE_SECONDS: Final = 10
_BACKSTOP_SLACK_SECONDS: Final = 60
_SWEEP_DEADLINE_SECONDS: Final = 120
_LABEL_MAX: Final = 63
_LABEL_HASH: Final = 10

_QUANTITY_SUFFIXES: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


def job_name(uid: str, attempt: int) -> str:
    """The name of an attempt's Job. It is valid whatever the name of the ConversionJob is.

    It is derived from the uid, so each attempt has exactly one name. A ConversionJob that is
    deleted and created again under the same name gets Jobs with other names.
    """
    return _job_name(uid, str(attempt))


def sweep_name(uid: str) -> str:
    """The name of the Job that sweeps for a conversion. There is at most one at a time."""
    return _job_name(uid, "sweep")


def _job_name(uid: str, suffix: str) -> str:
    return f"converter-{hashlib.sha256(uid.encode()).hexdigest()[:16]}-{suffix}"


def attempt_job_name(uid: str, attempt: int) -> str:
    """The name of the Job of an attempt, or of the sweep if this is SWEEP_ATTEMPT."""
    return sweep_name(uid) if attempt == SWEEP_ATTEMPT else job_name(uid, attempt)


def name_label(name: str) -> str:
    """The name of a ConversionJob as the value of a label: at most 63 characters.

    Names that are longer are cut, and get a hash of the whole name. The label is for people. The
    operator never reads it.
    """
    if len(name) <= _LABEL_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_LABEL_HASH]
    return f"{name[: _LABEL_MAX - _LABEL_HASH - 1].rstrip('-.')}-{digest}"


def build_job(
    conversion: Conversion,
    attempt: int,
    policy: Policy,
    memory_doubled: bool,
    mark: str,
    source: Metadata = NO_METADATA,
) -> Any:
    """The Job of one attempt. Raises ValueError for a conversion without a valid spec.

    ``source`` is the metadata of the ConversionJob, of which the pod settings may copy a part.
    ``memory_doubled`` doubles the memory limit, up to ``policy.max_memory``. It is used for the
    attempts after one that ran out of memory. ``mark`` proves that the operator created the Job,
    see :mod:`conversion_operator.core.identity`.
    """
    spec = conversion.spec
    if spec is None or not spec.all_outputs():
        raise ValueError(f"{conversion.key.name} has no valid spec: {conversion.spec_error}")
    pods = policy.pods.of(conversion.key.namespace)
    pods = pods.with_copied(source.labels, source.annotations)
    labels = dict(pods.labels) | {
        names.NAME_LABEL: names.CONVERTER_NAME,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.UID_LABEL: conversion.key.uid,
        names.CONVERSION_NAME_LABEL: name_label(conversion.key.name),
        names.ATTEMPT_LABEL: str(attempt),
    }
    annotations = dict(pods.annotations) | {
        names.CONVERSION_ANNOTATION: conversion.key.name,
        names.MARK_ANNOTATION: mark,
        names.QUEUE_ANNOTATION: conversion.queue,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt_job_name(conversion.key.uid, attempt),
            "namespace": conversion.key.namespace,
            "labels": labels,
            "annotations": annotations | _requested(policy, pods),
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": conversion.key.name,
                    "uid": conversion.key.uid,
                    # No blockOwnerDeletion: nothing needs it, and some clusters require an extra
                    # permission for it.
                    "controller": True,
                }
            ],
        },
        "spec": {
            # A retry is another attempt with another Job. With a backoffLimit the Job controller
            # would start a second pod without asking for a slot.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": _with_pod_settings(
                    _pod_spec(conversion, attempt, spec, policy, memory_doubled), pods
                ),
            },
        },
    }


def _requested(policy: Policy, pods: PodSettings) -> dict[str, str]:
    """What the operator compares with its settings later. Admission may change the Job's fields."""
    requested = {names.IMAGE_ANNOTATION: policy.image}
    return requested | (
        {names.POD_SETTINGS_ANNOTATION: pods.fingerprint} if pods.fingerprint else {}
    )


def build_sweep(
    conversion: Conversion, policy: Policy, mark: str, source: Metadata = NO_METADATA
) -> Any:
    """The Job that removes the temporary files of killed attempts from the outputs' folders."""
    body = build_job(conversion, SWEEP_ATTEMPT, policy, False, mark, source)
    pod = body["spec"]["template"]["spec"]
    pod["activeDeadlineSeconds"] = _SWEEP_DEADLINE_SECONDS
    (container,) = pod["containers"]
    container["args"] = ["sweep"]
    # The resources of the spec are not used. The conversion may have failed because they were too
    # small.
    container["resources"] = {"requests": dict(policy.requests), "limits": dict(policy.limits)}
    needed = ("JOB_ID", "OUTPUT_FILE", "OUTPUTS")
    container["env"] = [entry for entry in container["env"] if entry["name"] in needed]
    return body


def resources(
    spec: ConversionJobSpec, policy: Policy, memory_doubled: bool
) -> dict[str, dict[str, str]]:
    """The container's requests and limits: from the spec, otherwise from the settings.

    A default request above its limit is lowered to the limit, so a spec may set only small limits.
    Another request above its limit is refused before, see :mod:`conversion_operator.core.bounds`.
    """
    given = spec.resources
    limits = dict(policy.limits) | _amounts(given.limits if given else None)
    requests = dict(policy.requests) | _amounts(given.requests if given else None)
    if memory_doubled:
        current = parse_quantity(limits["memory"])
        doubled = max(current, min(current * 2, parse_quantity(policy.max_memory)))
        limits["memory"] = str(int(doubled))
    for name, limit in limits.items():
        if parse_quantity(requests[name]) > parse_quantity(limit):
            requests[name] = limit
    return {"requests": requests, "limits": limits}


def _amounts(given: ResourceList | None) -> dict[str, str]:
    if given is None:
        return {}
    pairs = (("cpu", given.cpu), ("memory", given.memory))
    return {name: str(amount) for name, amount in pairs if amount is not None}


def _pod_spec(
    conversion: Conversion,
    attempt: int,
    spec: ConversionJobSpec,
    policy: Policy,
    memory_doubled: bool,
) -> dict[str, Any]:
    timeout = spec.timeout_seconds or policy.timeout
    unreachable = {
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": policy.unreachable_toleration,
    }
    return {
        "restartPolicy": "Never",
        # The converter enforces its time limit and reports it. This deadline stops a converter
        # that hangs. It is set on the pod, because a Job's deadline would also count the time
        # before the pod is scheduled.
        "activeDeadlineSeconds": timeout + policy.start_timeout + _BACKSTOP_SLACK_SECONDS,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [
            unreachable | {"key": "node.kubernetes.io/unreachable"},
            unreachable | {"key": "node.kubernetes.io/not-ready"},
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": policy.run_as_user,
            "runAsGroup": policy.run_as_group,
            "fsGroup": policy.run_as_group,
            # Changing the owner of every file on a large volume takes longer than most
            # conversions.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": policy.image,
                "imagePullPolicy": "IfNotPresent",
                "env": _environment(conversion, attempt, spec, policy),
                "resources": resources(spec, policy, memory_doubled),
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    *_volume_mounts(conversion.key.namespace, policy),
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (a path in the container)
                ],
            }
        ],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": policy.claim_name}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _with_pod_settings(pod: dict[str, Any], pods: PodSettings) -> dict[str, Any]:
    """The pod's spec with what the administrator adds. It replaces nothing that we set.

    Tolerations are added to our own.
    """
    tolerations = [*pod["tolerations"], *pods.spec.get("tolerations", ())]
    return dict(pods.spec) | pod | {"tolerations": tolerations}


def _volume_mounts(namespace: str, policy: Policy) -> list[dict[str, Any]]:
    """The mount of the shared volume, and one more for each folder that is read-only.

    With a subPath, the pod does not see the rest of the volume.
    """
    root = policy.volume_folder.replace("{namespace}", namespace)
    mount: dict[str, Any] = {"name": "shared", "mountPath": WORKSPACE}
    return [
        mount | ({"subPath": root} if root else {}),
        *(
            mount
            | {
                "mountPath": WORKSPACE + folder,
                "subPath": (root + folder).lstrip("/"),
                "readOnly": True,
            }
            for folder in policy.read_only_folders
        ),
    ]


def _environment(
    conversion: Conversion, attempt: int, spec: ConversionJobSpec, policy: Policy
) -> list[dict[str, str]]:
    values: Mapping[str, str] = {
        "JOB_ID": conversion.key.name,
        **_what_to_make(conversion, spec),
        "TIMEOUT_SECONDS": str(spec.timeout_seconds or policy.timeout),
        "STALL_SECONDS": str(policy.stall_timeout),
        # With both, the converter replaces no file, and recognises what an earlier attempt wrote.
        **(
            {"OVERWRITE": "false", "CONVERSION_UID": conversion.key.uid}
            if spec.overwrite is False
            else {}
        ),
        "DAMAGED_INPUT": spec.damaged_input or DamagedInput.FAIL,
        "MAX_DAMAGED_PERCENT": str(policy.max_damaged_percent),
        "MAX_MISSING_SECONDS": str(policy.max_missing_seconds),
        "MAX_OUTPUT_BYTES": str(policy.max_output),
        **_log(conversion, attempt, policy),
    }
    # Kubernetes expands $(NAME) in values. A path may contain that, so each $ is doubled.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in values.items()]


def _log(conversion: Conversion, attempt: int, policy: Policy) -> dict[str, str]:
    """The variables about the log on the volume. A dry run writes no file there."""
    if not policy.log_retention or conversion.dry_run:
        return {}
    return {
        "LOG_NAME": f"{conversion.key.uid}/{attempt}",
        "LOG_RETENTION_SECONDS": str(policy.log_retention),
    }


def _what_to_make(conversion: Conversion, spec: ConversionJobSpec) -> dict[str, str]:
    """The variables about the input and the outputs.

    A dry run always has OUTPUTS. A converter of a release without dry runs then refuses it, instead
    of writing a file.
    """
    outputs = spec.all_outputs()
    if not conversion.has_output_list and not conversion.dry_run:
        (output,) = outputs
        return {
            "CONVERSION_TYPE": output.conversion_type,
            "INPUT_FILE": conversion.input_path,
            "OUTPUT_FILE": normal_path(output.output_file),
            "CONVERSION_OPTIONS": json.dumps(_options(output), sort_keys=True),
        }
    known = reported_sha256(conversion.status, len(outputs))
    listed = [
        {
            "conversionType": output.conversion_type,
            "outputFile": normal_path(output.output_file),
            "options": _options(output) if conversion.has_output_list else _with_size(output),
            "optional": bool(output.optional),
        }
        | ({"sha256": sha256} if sha256 else {})
        for output, sha256 in zip(outputs, known, strict=True)
    ]
    return {
        "INPUT_FILE": conversion.input_path,
        "OUTPUTS": json.dumps(listed, sort_keys=True, ensure_ascii=False),
        "CONVERSION_UID": conversion.key.uid,
        **({"DRY_RUN": "true"} if conversion.dry_run else {}),
    }


def _with_size(output: OutputSpec) -> dict[str, Any]:
    """The options of the only output. Of several outputs, an image without a size keeps its own."""
    options = _options(output)
    if output.conversion_type is ConversionType.IMAGE_RESIZE:
        options.setdefault("size", "x".join(map(str, DEFAULT_SIZE)))
    return options


def _options(output: OutputSpec) -> dict[str, Any]:
    return output.options.model_dump(by_alias=True, exclude_none=True) if output.options else {}


def parse_quantity(text: str | int) -> Decimal:
    """A Kubernetes quantity as a number: CPUs or bytes. Raises ValueError if it is not valid.

    Only the notations that the settings and the CRD accept are supported.
    """
    value = str(text)
    for width in (2, 1):
        factor = _QUANTITY_SUFFIXES.get(value[-width:])
        if factor is not None and len(value) > width:
            return _parse_decimal(value[:-width]) * factor
    return _parse_decimal(value)


def _parse_decimal(text: str) -> Decimal:
    # Digits of other scripts too, such as ², satisfy isdigit().
    if not (text.isascii() and text.replace(".", "", 1).isdigit()):
        raise ValueError(f"not a Kubernetes quantity: {text!r}")
    return Decimal(text)
