"""What the settings allow in a spec, beyond the constant rules of the CRD.

The settings can change, so the CRD cannot have these limits. A conversion that exceeds one fails as
InvalidSpec before its next attempt, and never gets a slot.
"""

from __future__ import annotations

from collections.abc import Iterator

from conversion_operator.api.spec import ConversionJobSpec, Resources, normal_path
from conversion_operator.core.manifest import parse_quantity
from conversion_operator.core.model import Policy


def violation(spec: ConversionJobSpec, policy: Policy) -> str:
    """Which setting does not allow this spec, and what it allows. "" if all allow it.

    Called for each reconcile of a waiting conversion, and when the conversion, its Jobs or pods, or
    the settings have changed. An admission pass does not call it for all conversions.
    """
    return next(_violations(spec, policy), "")


def _violations(spec: ConversionJobSpec, policy: Policy) -> Iterator[str]:
    yield from _amounts(spec, policy)
    numbers = (
        ("priority", spec.priority, "CONVERTER_MAX_PRIORITY", policy.max_priority),
        (
            "timeoutSeconds",
            spec.timeout_seconds,
            "CONVERTER_MAX_TIMEOUT_SECONDS",
            policy.max_timeout,
        ),
        ("maxRetries", spec.max_retries, "CONVERTER_MAX_RETRIES_ALLOWED", policy.retries_allowed),
    )
    for field, value, setting, highest in numbers:
        if value is not None and value > highest:
            yield f"spec.{field} is {value}, but the setting {setting} allows at most {highest}"
    for folder in policy.read_only_folders:
        for number, output in enumerate(spec.all_outputs()):
            where = "spec.outputFile" if spec.output_file else f"outputs[{number}].outputFile"
            if f"{normal_path(output.output_file)}/".startswith(f"{folder}/"):
                yield (
                    f"{where} is in {folder}, but the setting CONVERTER_READ_ONLY_FOLDERS "
                    "makes this folder read-only; choose another folder"
                )


def _amounts(spec: ConversionJobSpec, policy: Policy) -> Iterator[str]:
    if spec.resources is None:
        return
    highest = (
        ("cpu", "CONVERTER_MAX_CPU", policy.max_cpu),
        ("memory", "CONVERTER_MAX_MEMORY", policy.max_memory),
    )
    for kind in ("requests", "limits"):
        given = getattr(spec.resources, kind)
        for name, setting, most in highest:
            amount = getattr(given, name) if given else None
            if amount is None:
                continue
            where = f"spec.resources.{kind}.{name}"
            if parse_quantity(amount) <= 0:
                # The kubelet treats a limit of 0 as no limit.
                yield f"{where} must be more than 0"
            elif most and parse_quantity(amount) > parse_quantity(most):
                yield f"{where} is {amount}, but the setting {setting} allows at most {most}"
    yield from _requests_above_limits(spec.resources, policy)


def _requests_above_limits(resources: Resources, policy: Policy) -> Iterator[str]:
    """Kubernetes rejects a pod whose request exceeds its limit.

    The operator lowers a default request, but not a request of the spec.
    """
    for name in ("cpu", "memory"):
        request = getattr(resources.requests, name) if resources.requests else None
        given = getattr(resources.limits, name) if resources.limits else None
        limit = policy.limits[name] if given is None else given
        if request is not None and parse_quantity(request) > parse_quantity(limit):
            default = "" if given else f" (from the setting CONVERTER_LIMITS_{name.upper()})"
            yield (
                f"spec.resources.requests.{name} is {request}, but the limit is {limit}{default}: "
                f"lower the request, or raise spec.resources.limits.{name}"
            )
