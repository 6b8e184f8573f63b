"""The Job of one attempt, as plain values. There is no pod template for users to fill in.

Everything in it is either a constant, a setting, or a validated field of the spec; paths and
options reach the converter as environment values only, never as arguments, labels or names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec, ResourceList
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.naming import job_name, sweep_name
from conversion_operator.core.quantity import parse_quantity

CONTAINER: Final = "converter"
GRACE_SECONDS: Final = 10
_BACKSTOP_SLACK_SECONDS: Final = 60
_SWEEP_SECONDS: Final = 120


def build_job(conversion: Conversion, attempt: int, policy: Policy, memory_doubled: bool) -> Any:
    """The Job for attempt ``attempt``.

    ``memory_doubled`` gives twice the memory limit, at most ``policy.max_memory``, after an
    attempt that ran out of it.
    """
    spec = conversion.spec
    if spec is None:
        raise ValueError(f"{conversion.key.name} has no valid spec: {conversion.invalid}")
    labels = {
        names.NAME_LABEL: names.CONVERTER_NAME,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.UID_LABEL: conversion.key.uid,
        names.ATTEMPT_LABEL: str(attempt),
    }
    annotations = {names.CONVERSION_ANNOTATION: conversion.key.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(conversion.key.uid, attempt),
            "namespace": conversion.key.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": conversion.key.name,
                    "uid": conversion.key.uid,
                    # Without blockOwnerDeletion: nothing waits for it, and on some clusters it
                    # takes a right of its own.
                    "controller": True,
                }
            ],
        },
        "spec": {
            # Retries are attempts of their own with their own Job: the Job controller would start
            # a second pod without asking for a slot.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": _pod_spec(conversion, spec, policy, memory_doubled),
            },
        },
    }


def build_sweep(conversion: Conversion, policy: Policy) -> Any:
    """The Job that removes what killed attempts left in the output's folder."""
    body = build_job(conversion, 0, policy, False)
    body["metadata"]["name"] = sweep_name(conversion.key.uid)
    pod = body["spec"]["template"]["spec"]
    pod["activeDeadlineSeconds"] = _SWEEP_SECONDS
    (container,) = pod["containers"]
    container["args"] = ["sweep"]
    # Not those of the spec, which may have been too little for the conversion itself.
    container["resources"] = {"requests": dict(policy.requests), "limits": dict(policy.limits)}
    needed = ("JOB_ID", "OUTPUT_FILE")
    container["env"] = [entry for entry in container["env"] if entry["name"] in needed]
    return body


def resources(
    spec: ConversionJobSpec, policy: Policy, memory_doubled: bool
) -> dict[str, dict[str, str]]:
    """Requests and limits of the container: the spec's, else the defaults.

    A request above its limit is lowered to it, so that asking for small limits alone works.
    """
    given = spec.resources
    limits = dict(policy.limits) | _amounts(given.limits if given else None)
    requests = dict(policy.requests) | _amounts(given.requests if given else None)
    if memory_doubled:
        current = parse_quantity(limits["memory"])
        doubled = max(current, min(current * 2, Decimal(policy.max_memory)))
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
    conversion: Conversion, spec: ConversionJobSpec, policy: Policy, memory_doubled: bool
) -> dict[str, Any]:
    timeout = spec.timeout_seconds or policy.timeout
    unreachable = {
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": policy.unreachable,
    }
    return {
        "restartPolicy": "Never",
        # The converter keeps the time limit itself and says so in its report; this one is for a
        # container that does not react any more. On the pod, because the Job's counts waiting.
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
            # A recursive change of ownership of a large volume would take longer than most
            # conversions.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": policy.image,
                "imagePullPolicy": "IfNotPresent",
                "env": _environment(conversion, spec, policy, timeout),
                "resources": resources(spec, policy, memory_doubled),
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "shared", "mountPath": "/workspace"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (a path in the container)
                ],
            }
        ],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": policy.claim}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _environment(
    conversion: Conversion, spec: ConversionJobSpec, policy: Policy, timeout: int
) -> list[dict[str, str]]:
    options = spec.options.model_dump(by_alias=True, exclude_none=True) if spec.options else {}
    values: Mapping[str, str] = {
        "JOB_ID": conversion.key.name,
        "CONVERSION_TYPE": spec.conversion_type,
        "INPUT_FILE": conversion.input_path,
        "OUTPUT_FILE": conversion.output_path,
        "CONVERSION_OPTIONS": json.dumps(options, sort_keys=True),
        "TIMEOUT_SECONDS": str(timeout),
        "STALL_SECONDS": str(policy.stall),
    }
    # Kubernetes expands $(NAME) in values, also in a file that is really called that.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in values.items()]
