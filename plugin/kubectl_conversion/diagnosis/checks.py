"""The checks of ``doctor``: what is wrong, and which command fixes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from kubectl_conversion import data, model
from kubectl_conversion.diagnosis import namespace_checks, operator_checks
from kubectl_conversion.diagnosis.facts import Facts
from kubectl_conversion.diagnosis.findings import (
    Finding,
    fault,
    ok,
    unknown,
    warning,
)
from kubectl_conversion.kubectl import Failure
from kubectl_conversion.model import dig, text_at
from kubectl_conversion.text import counted

_PATIENCE_SECONDS: Final = 30
_NORMAL: Final = frozenset(
    {"WaitingForSlot", "Starting", "Running", "RetryBackoff", "PathBusy", "WaitingForInput"}
    | {"Cancelling", "Suspended"}
)
_APPLY_CRDS: Final = "kubectl apply --server-side --force-conflicts -f crds/"


def connection(facts: Facts) -> list[Finding]:
    """Whether the API server can be asked at all."""
    config, review = facts.config, facts.review
    if not config.known and (config.problem is None or not review.value):
        problem = config.problem
        return [fault("kubeconfig", config.why, problem.cure if problem else "")]
    names = dig(config.value, "contexts")
    context = text_at(names[0], "name") if isinstance(names, list) and names else "of the pod"
    found = [ok("kubeconfig", f"context {context}, namespace {facts.namespace}")]
    if review.problem is None:
        return [*found, ok("API server", f"you are {facts.user or 'known'}")]
    if review.problem.failure is Failure.NO_RESOURCE:
        return [*found, unknown("API server", review)]
    texts = {
        Failure.UNAUTHORIZED: "your token or certificate is expired or not valid",
        Failure.UNREACHABLE: "the API server does not answer",
    }
    text = texts.get(review.problem.failure, "the API server refuses the first request")
    return [*found, fault("API server", f"{text}: {review.why}", review.problem.cure)]


def connected(facts: Facts) -> bool:
    """Whether the other checks make sense."""
    failure = facts.review.problem.failure if facts.review.problem else None
    return (facts.config.known or bool(facts.review.value)) and failure in (
        None,
        Failure.NO_RESOURCE,
        Failure.FORBIDDEN,
    )


def all_checks(facts: Facts) -> list[Finding]:
    """What all checks find, in the order in which one would fix it."""
    checks: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
        crd,
        operator_checks.installations,
        operator_checks.deployment,
        operator_checks.leader,
        operator_checks.settings,
        operator_checks.operator_policy,
        operator_checks.gateway,
        operator_checks.image,
        namespace_checks.place,
        namespace_checks.claim,
        namespace_checks.operator_rights,
        namespace_checks.caller_rights,
        namespace_checks.pod_security,
        namespace_checks.quota,
        namespace_checks.network_policy,
        conversions,
    )
    return [finding for check in checks for finding in check(facts)]


def crd(facts: Facts) -> Iterator[Finding]:
    """Whether the CRDs exist, and have the fields of this release."""
    problem = facts.schema.problem
    if problem is not None and problem.failure is not Failure.NO_RESOURCE:
        yield unknown("CRD", facts.schema)
        return
    if facts.schema.value is None:
        yield fault("CRD", "the CRDs are not installed", _APPLY_CRDS)
        return
    schemas = _schemas(facts.schema.value)
    kinds = ("ConversionJob", "ConversionQueue", "ConversionProfile")
    missing = [kind for kind in kinds if kind not in schemas]
    if missing:
        yield fault("CRD", f"there is no CRD of {', '.join(missing)}", _APPLY_CRDS)
    if "ConversionJob" not in missing:
        yield _compare(schemas["ConversionJob"], complete=not missing)


def _compare(schema: Any, *, complete: bool) -> Finding:
    known = data.load()["fields"]
    served = {part: set(dig(schema, "properties", part, "properties") or {}) for part in known}
    lacks = [f"{part}.{name}" for part in known for name in known[part] if name not in served[part]]
    if lacks:
        text = f"the CRD is older than this plugin: it lacks {', '.join(lacks[:3])}"
        return fault("CRD", text, f"{_APPLY_CRDS}, of the release of the operator")
    more = [f"{part}.{name}" for part in known for name in sorted(served[part] - set(known[part]))]
    if more:
        text = f"the CRD is of a later release than this plugin: it has {', '.join(more[:3])}"
        return warning("CRD", text, "Install the plugin of the release of the operator.")
    return ok(
        "CRD", "installed, and of this release" if complete else "ConversionJob: of this release"
    )


def _schemas(document: Any) -> dict[str, Any]:
    """The schemas of the document, by kind."""
    found = {}
    for schema in (dig(document, "components", "schemas") or {}).values():
        for each in dig(schema, "x-kubernetes-group-version-kind") or []:
            found[text_at(each, "kind")] = schema
    return found


def conversions(facts: Facts) -> Iterator[Finding]:
    """Why conversions wait, if it is for something that somebody must mend."""
    if not facts.jobs.known:
        yield unknown("conversions", facts.jobs)
        return
    waiting: dict[str, list[str]] = {}
    for item in facts.jobs.value or []:
        each = model.parse(item)
        if not each.finished and each.reason not in _NORMAL and not _is_new(facts, each):
            waiting.setdefault(each.reason, []).append(each.name)
    for reason, names in sorted(waiting.items()):
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        text = f"{counted(len(names), 'conversion')} wait with the reason {reason} ({some})"
        words = {"NAMESPACE": facts.namespace, "OPERATOR_NAMESPACE": facts.operator}
        cure = data.cure(reason, **words)
        yield (
            fault("conversions", text, cure)
            if reason == "Pending"
            else warning("conversions", text, cure)
        )
    if not waiting:
        yield ok("conversions", "none waits for something that must be mended")


def _is_new(facts: Facts, conversion: model.Conversion) -> bool:
    """Whether a conversion that no operator has seen is some seconds old only."""
    if conversion.reason != "Pending" or facts.now is None or conversion.created is None:
        return False
    return (facts.now - conversion.created).total_seconds() < _PATIENCE_SECONDS
