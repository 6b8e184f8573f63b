"""Checks of the namespace of the conversions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from kubectl_conversion import data, installation
from kubectl_conversion.diagnosis.facts import Answer, Facts, Right
from kubectl_conversion.diagnosis.findings import (
    Finding,
    Level,
    command,
    fault,
    ok,
    quantity,
    selects,
    unknown,
    warning,
)
from kubectl_conversion.model import dig, items_at, text_at
from kubectl_conversion.text import counted

_SETUP: Final = "Apply deploy/namespace: docs/operations.md says how."
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_NEEDS: Final = {
    "pods": "",
    "count/pods": "",
    "count/jobs.batch": "",
    "count/conversionjobs.converter.mynetwork.io": "",
    "requests.cpu": "CONVERTER_REQUESTS_CPU",
    "cpu": "CONVERTER_REQUESTS_CPU",
    "requests.memory": "CONVERTER_REQUESTS_MEMORY",
    "memory": "CONVERTER_REQUESTS_MEMORY",
    "limits.cpu": "CONVERTER_LIMITS_CPU",
    "limits.memory": "CONVERTER_LIMITS_MEMORY",
}
"""The resources of a quota that a conversion needs, and the setting that says how much."""
_ESSENTIAL: Final = frozenset({"create", "get", "list"})


def place(facts: Facts) -> Iterator[Finding]:
    """Whether the namespace exists and belongs to an installation."""
    subject, answer = f"namespace {facts.namespace}", facts.place
    if not answer.known:
        yield unknown(subject, answer)
        return
    if answer.value is None:
        cure = command("kubectl", "create", "namespace", facts.namespace)
        yield fault(subject, "it does not exist", f"{cure}   Then: {_SETUP}")
        return
    label = data.load()["operatorNamespaceLabel"]
    if text_at(answer.value, "metadata", "deletionTimestamp"):
        yield fault(subject, "it is being deleted", "Use another namespace: -n NAME.")
    elif text_at(answer.value, "metadata", "labels", label):
        yield ok(subject, f"it belongs to the installation in {facts.operator}")
    elif not facts.operator or not facts.settings.known:
        text = "it does not have the label of an installation, and it is not known which serves it"
        yield Finding(Level.UNKNOWN, subject, text)
    elif "*" in installation.served_by(facts.settings.value):
        text = f"the installation in {facts.operator} serves all namespaces"
        yield ok(subject, f"{text}; without its label, its policies do not hold here")
    else:
        cure = command(
            "kubectl", "label", "namespace", facts.namespace, f"{label}={facts.operator}"
        )
        yield warning(subject, "it does not have the label of an installation", cure)


def claim(facts: Facts) -> Iterator[Finding]:
    """Whether the claim is bound, and all nodes can mount it."""
    name = facts.setting("SHARED_VOLUME_CLAIM")
    subject, found = f"claim {name}", facts.claim.value
    describe = command("kubectl", "-n", facts.namespace, "describe", "pvc", name)
    if not facts.claim.known:
        yield unknown(subject, facts.claim)
    elif not facts.settings.known and not _usable(found):
        # The name is a default. The installation may have another claim.
        yield unknown(subject, facts.settings)
    elif found is None:
        cure = command(
            "kubectl", "-n", facts.namespace, "apply", "-f", "deploy/namespace/claim.yaml"
        )
        yield fault(subject, f"there is no such claim in {facts.namespace}", cure)
    elif text_at(found, "metadata", "deletionTimestamp"):
        yield fault(subject, "it is being deleted", describe)
    elif text_at(found, "status", "phase") != "Bound":
        yield _not_bound(facts, subject, text_at(found, "status", "phase"), describe)
    elif _usable(found):
        yield ok(subject, "bound, ReadWriteMany")
    else:
        modes = ", ".join(map(str, _modes(found)))
        text = f"its access mode is {modes}: one node at a time can mount it"
        storage = "Create a claim with ReadWriteMany from a storage class that offers it: "
        yield fault(subject, text, f"{storage}kubectl get storageclass")


def _modes(found: object) -> list[Any]:
    """What was asked for is in the spec. What the volume can do is in the status."""
    return dig(found, "status", "accessModes") or dig(found, "spec", "accessModes") or []


def _usable(found: object) -> bool:
    deleted = text_at(found, "metadata", "deletionTimestamp")
    bound = text_at(found, "status", "phase") == "Bound" and not deleted
    return bound and "ReadWriteMany" in _modes(found)


def _not_bound(facts: Facts, subject: str, phase: str, cure: str) -> Finding:
    """A storage class may bind a claim only when the first pod uses it."""
    text = f"it is not bound: {phase or 'no phase yet'}"
    if phase != "Pending":
        return fault(subject, text, cure)
    if not facts.storage.known:
        return Finding(Level.UNKNOWN, subject, f"{text}; could not look: {facts.storage.why}", cure)
    if text_at(facts.storage.value, "volumeBindingMode") == "WaitForFirstConsumer":
        return warning(subject, f"{text}: its storage class waits for the first conversion", cure)
    return fault(subject, text, cure)


def operator_rights(facts: Facts) -> Iterator[Finding]:
    """Whether the operator's account has its rights in the namespace."""
    subject = "rights of the operator"
    cure = f"kubectl -n {facts.namespace} apply -f deploy/namespace/operator-role.yaml"
    if facts.operator != data.INSTALLATION:
        cure += f"   with the namespace {facts.operator} in its subjects"
    yield from _rights(subject, facts, facts.operator_rights, cure, essential=None)


def caller_rights(facts: Facts) -> Iterator[Finding]:
    """Whether the caller has the rights that this plugin needs."""
    cure = "An administrator can bind the ClusterRole of the installation that ends with -edit."
    if facts.operator and facts.user:
        bind = command(
            *("kubectl", "-n", facts.namespace, "create", "rolebinding", "converts"),
            *(f"--clusterrole={facts.operator}-edit", f"--user={facts.user}"),
        )
        cure = f"An administrator can run: {bind}"
    yield from _rights("your rights", facts, facts.caller_rights, cure, essential=_ESSENTIAL)


def _rights(
    subject: str,
    facts: Facts,
    rights: Mapping[Right, Answer[bool]],
    cure: str,
    *,
    essential: frozenset[str] | None,
) -> Iterator[Finding]:
    """Name the missing rights. One line names those that could not be checked."""
    blind = [answer for answer in rights.values() if not answer.known]
    if blind:
        yield unknown(subject, blind[0])
    missing = [right for right, answer in rights.items() if answer.known and not answer.value]
    if missing:
        words = [f"{verb} {resource}" for _, resource, verb in missing]
        text = f"missing in {facts.namespace}: {', '.join(words[:6])}" + (
            ", …" if words[6:] else ""
        )
        needed = essential is None or any(
            verb in essential and resource == data.JOBS for _, resource, verb in missing
        )
        yield fault(subject, text, cure) if needed else warning(subject, text, cure)
    elif not blind:
        yield ok(subject, f"{counted(len(rights), 'right')} in {facts.namespace}, none is missing")


def pod_security(facts: Facts) -> Iterator[Finding]:
    """Whether the namespace enforces the restricted standard, which converters meet."""
    if not facts.place.known or facts.place.value is None:
        return
    level = text_at(facts.place.value, "metadata", "labels", _ENFORCE)
    if level == "restricted":
        yield ok("Pod Security", "restricted")
        return
    words = f"enforces {level} only" if level else "enforces nothing"
    label = ("--overwrite", "namespace", facts.namespace, f"{_ENFORCE}=restricted")
    dry_run = command("kubectl", "label", "--dry-run=server", *label)
    cure = (
        f"See which pods it would refuse: {dry_run}   Then: {command('kubectl', 'label', *label)}"
    )
    yield warning("Pod Security", f"namespace {facts.namespace} {words}", cure)


def quota(facts: Facts) -> Iterator[Finding]:
    """Whether a ResourceQuota keeps conversions from starting."""
    if not facts.quotas.known:
        yield unknown("quota", facts.quotas)
        return
    found = [finding for each in facts.quotas.value or [] for finding in _quota(facts, each)]
    yield from found or [ok("quota", "no ResourceQuota is used up")]


def _quota(facts: Facts, item: Mapping[str, Any]) -> Iterator[Finding]:
    name = text_at(item, "metadata", "name")
    subject = f"quota {name}"
    hard = dig(item, "spec", "hard") or {}
    used = dig(item, "status", "used")
    if not isinstance(used, dict):
        yield Finding(Level.UNKNOWN, subject, "Kubernetes has not counted what is used yet")
        return
    scoped = dig(item, "spec", "scopes") or dig(item, "spec", "scopeSelector")
    for resource, setting in _NEEDS.items():
        most, now = quantity(hard.get(resource)), quantity(used.get(resource))
        if most is None or now is None:
            continue
        need = _need(facts, setting)
        if now < most and need is None:
            text = f"could not look at the setting {setting}: {facts.settings.why or 'no quantity'}"
            yield Finding(Level.UNKNOWN, subject, text)
        elif now >= most or now + (need or 0) > most:
            text = f"{resource} is used up: {used[resource]} of {hard[resource]}"
            cure = command("kubectl", "-n", facts.namespace, "edit", "resourcequota", name)
            if scoped:
                words = f"{text}; it has scopes, and may not count conversions"
                yield Finding(Level.UNKNOWN, subject, words)
            else:
                yield fault(subject, text, f"Wait until conversions end, or raise it: {cure}")


def _need(facts: Facts, setting: str) -> Decimal | None:
    """How much a conversion needs. None if it is not known."""
    if not setting:
        return Decimal(1)
    return quantity(facts.setting(setting)) if facts.settings.known else None


def network_policy(facts: Facts) -> Iterator[Finding]:
    """Whether converters have no network, as they read files of strangers."""
    subject, answer = "NetworkPolicy", facts.policies
    if not answer.known:
        yield unknown(subject, answer)
        return
    labels = {"app.kubernetes.io/name": data.load()["converterName"]}
    mine = [
        policy
        for policy in answer.value or []
        if selects(dig(policy, "spec", "podSelector"), labels)
        and "Egress" in (dig(policy, "spec", "policyTypes") or [])
    ]
    opening = [
        text_at(each, "metadata", "name") for each in mine if items_at(each, "spec", "egress")
    ]
    cure = f"kubectl -n {facts.namespace} apply -f deploy/namespace/network-policy.yaml"
    if not mine:
        yield warning(subject, "converters may use the network: no policy forbids it", cure)
    elif opening:
        text = f"NetworkPolicy {opening[0]} allows converters to use the network"
        edit = command("kubectl", "-n", facts.namespace, "edit", "networkpolicy", opening[0])
        name = labels["app.kubernetes.io/name"]
        select = f"Restrict it so that it does not select app.kubernetes.io/name={name}"
        yield warning(subject, text, f"{select}: {edit}")
    else:
        yield ok(subject, "converters have no network")
