"""Checks of the operator, its settings and the HTTP API. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from kubectl_conversion import data
from kubectl_conversion.diagnosis.facts import Facts
from kubectl_conversion.diagnosis.findings import (
    Finding,
    Level,
    command,
    fault,
    ok,
    pod_problems,
    selects,
    unknown,
    warning,
)
from kubectl_conversion.model import dig, items_at, number_at, text_at, time_at
from kubectl_conversion.text import duration

_CONFIG_MAP: Final = "my-network-converter-operator"
_NODE_IMAGES: Final = 50
"""A node reports this many of its images."""
_INSTALL: Final = "Install the operator: docs/install.md."


def installations(facts: Facts) -> Iterator[Finding]:
    """Whether exactly one installation serves the namespace."""
    subject = "installation"
    if not facts.deployments.known:
        yield unknown("other installations", facts.deployments)
    homes = {text_at(item, "metadata", "namespace") for item in facts.deployments.value or []}
    if facts.deployments.known and not homes:
        yield fault(subject, "there is no operator in this cluster", _INSTALL)
        return
    serving, blind = [], []
    for home, answer in sorted(facts.installations.items()):
        if not answer.known:
            blind.append(home)
            yield unknown(f"settings in {home}", answer)
        elif _exists(facts, home, homes) and serves(answer.value or {}, facts.namespace):
            serving.append(home)
    if len(serving) > 1:
        others = [home for home in serving if home != facts.operator] or serving[1:]
        text = f"several installations serve {facts.namespace}: those in {', '.join(serving)}"
        yield fault(subject, text, _without(facts, others[0]))
    elif not serving and not blind:
        text = f"no operator serves namespace {facts.namespace}"
        yield fault(subject, text, _with(facts))
    elif (
        serving
        and serving[0] != facts.operator
        and text_at(facts.place.value, "metadata", "labels", data.load()["operatorNamespaceLabel"])
    ):
        label = data.load()["operatorNamespaceLabel"]
        text = f"{serving[0]} serves {facts.namespace}, but its label names {facts.operator}"
        cure = command(
            *("kubectl", "label", "--overwrite", "namespace", facts.namespace),
            f"{label}={serving[0]}",
        )
        yield fault(subject, text, cure)
    elif serving:
        yield ok(subject, f"the operator in {serving[0]} serves {facts.namespace}")


def _exists(facts: Facts, home: str, homes: set[str]) -> bool:
    """Whether a namespace has an operator. Without a ConfigMap, it has the default settings."""
    if facts.deployments.known:
        return home in homes
    return facts.installations[home].value is not None


def served_by(settings: Mapping[str, Any]) -> list[str]:
    """The namespaces in WATCH_NAMESPACES."""
    text = text_at(settings, "data", "WATCH_NAMESPACES") or "my-network"
    return [name.strip() for name in text.split(",") if name.strip()]


def serves(settings: Mapping[str, Any], namespace: str) -> bool:
    """Whether an installation with these settings serves a namespace."""
    names = served_by(settings)
    return "*" in names or namespace in names


def _without(facts: Facts, home: str) -> str:
    answer = facts.installations.get(home)
    names = served_by(answer.value) if answer and answer.value else []
    if "*" in names:
        return f"Name the namespaces of the installation in {home} in its setting WATCH_NAMESPACES."
    left = ",".join(name for name in names if name != facts.namespace)
    return set_setting(home, "WATCH_NAMESPACES", left)


def _with(facts: Facts) -> str:
    answer = facts.installations.get(facts.operator)
    names = served_by(answer.value) if answer and answer.value else []
    return set_setting(facts.operator, "WATCH_NAMESPACES", ",".join([*names, facts.namespace]))


def set_setting(home: str, name: str, text: str) -> str:
    """The command that changes a setting."""
    patch = json.dumps({"data": {name: text}}, separators=(",", ":"))
    return command(
        *("kubectl", "-n", home, "patch", "configmap", _CONFIG_MAP, "--type=merge", "-p", patch)
    )


def deployment(facts: Facts) -> Iterator[Finding]:
    """Whether the operator runs."""
    yield from _deployment("operator", data.OPERATOR, facts, facts.deployment)


def gateway(facts: Facts) -> Iterator[Finding]:
    """Whether the HTTP API runs."""
    yield from _deployment("HTTP API", data.GATEWAY, facts, facts.gateway)


def _deployment(subject: str, name: str, facts: Facts, answer: Any) -> Iterator[Finding]:
    home = facts.operator
    if not answer.known:
        yield unknown(subject, answer)
        return
    if answer.value is None:
        text = f"there is no Deployment {name} in {home}"
        if name == data.GATEWAY:
            yield warning(subject, f"{text}: programs cannot use the HTTP API", _INSTALL)
        else:
            yield fault(subject, text, _INSTALL)
        return
    wanted = number_at(answer.value, "spec", "replicas")
    wanted = 1 if wanted is None else wanted
    ready = number_at(answer.value, "status", "availableReplicas") or 0
    target = f"deployment/{name}"
    if wanted == 0:
        cure = command("kubectl", "-n", home, "scale", target, "--replicas=1")
        yield fault(subject, f"{target} in {home} has 0 replicas", cure)
    elif ready == 0:
        pods = facts.pods.value or [] if name == data.OPERATOR else []
        why = "; ".join([*pod_problems(pods)][:2])
        text = f"no pod of {target} in {home} is ready" + (f": {why}" if why else "")
        yield fault(subject, text, command("kubectl", "-n", home, "describe", target))
    elif ready < wanted:
        cure = command("kubectl", "-n", home, "describe", target)
        yield warning(subject, f"{ready} of {wanted} pods of {target} are ready", cure)
    else:
        yield ok(subject, f"{target} in {home} is ready")


def leader(facts: Facts) -> Iterator[Finding]:
    """Whether an operator renews the Lease. Only its holder starts conversions."""
    subject, lease = "Lease", facts.lease
    if not lease.known:
        yield unknown(subject, lease)
        return
    cure = command("kubectl", "-n", facts.operator, "logs", f"deployment/{data.OPERATOR}")
    if lease.value is None:
        text = f"there is no Lease {data.OPERATOR} in {facts.operator}: no operator has led yet"
        yield fault(subject, text, cure)
        return
    holder = text_at(lease.value, "spec", "holderIdentity")
    renewed = time_at(lease.value, "spec", "renewTime")
    if not holder or renewed is None:
        yield fault(subject, "no operator holds the Lease", cure)
        return
    if facts.now is None:
        why = "could not look at the time of the API server"
        yield Finding(Level.UNKNOWN, subject, f"{holder} holds the Lease; {why}")
        return
    late = (facts.now - renewed).total_seconds()
    allowed = number_at(lease.value, "spec", "leaseDurationSeconds") or 0
    if late > allowed:
        text = f"{holder} has not renewed the Lease for {duration(late)}: nothing starts or ends"
        yield fault(subject, text, cure)
    else:
        yield ok(subject, f"{holder} leads")


def settings(facts: Facts) -> Iterator[Finding]:
    """Whether the operator understands all settings, and lets conversions start."""
    subject, home = "settings", facts.operator
    if not facts.settings.known:
        yield unknown(subject, facts.settings)
        return
    if facts.settings.value is None:
        yield fault(subject, f"there is no ConfigMap {_CONFIG_MAP} in {home}", _INSTALL)
        return
    found = [*_not_known(facts), *_invalid(facts)]
    if facts.setting("CONVERTER_ENABLED", "true").lower() in ("false", "0", "no", "off"):
        cure = set_setting(home, "CONVERTER_ENABLED", "true")
        found.append(warning(subject, "conversions are paused: CONVERTER_ENABLED is false", cure))
    if facts.setting("CONVERTER_MAX_PARALLEL") == "0":
        cure = set_setting(home, "CONVERTER_MAX_PARALLEL", "3")
        found.append(warning(subject, "nothing starts: CONVERTER_MAX_PARALLEL is 0", cure))
    if not facts.events.known:
        found.append(unknown("events of the settings", facts.events))
    yield from found or [ok(subject, f"the operator understands the ConfigMap in {home}")]


def _not_known(facts: Facts) -> Iterator[Finding]:
    known = data.load()["settings"]
    for name in dig(facts.settings.value, "data") or {}:
        if name in known:
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        patch = json.dumps([{"op": "remove", "path": f"/data/{name}"}], separators=(",", ":"))
        cure = command(
            *("kubectl", "-n", facts.operator, "patch", "configmap", _CONFIG_MAP),
            *("--type=json", "-p", patch),
        )
        yield fault("settings", f"the operator does not know the setting {name}{hint}", cure)


def _invalid(facts: Facts) -> Iterator[Finding]:
    """The Events that are about the present texts. Older ones are about other texts."""
    changed = _changed(facts.settings.value)
    cure = command("kubectl", "-n", facts.operator, "edit", "configmap", _CONFIG_MAP)
    told = set()
    for event in facts.events.value or []:
        if text_at(event, "type") != "Warning":
            continue
        times = [time_at(event, name) for name in ("eventTime", "lastTimestamp", "firstTimestamp")]
        at = max((time for time in times if time), default=None)
        # Events have whole seconds.
        if at and changed and at < changed.replace(microsecond=0):
            continue
        text = text_at(event, "message")
        if text not in told and not _is_of_unknown(text, facts):
            told.add(text)
            yield fault("settings", text, cure)


def _is_of_unknown(text: str, facts: Facts) -> bool:
    """Whether another finding names the setting that an Event is about."""
    known = data.load()["settings"]
    names = [name for name in dig(facts.settings.value, "data") or {} if name not in known]
    return any(name in text for name in names)


def _changed(config_map: object) -> datetime | None:
    """When somebody last changed a text of the ConfigMap."""
    times = [time_at(each, "time") for each in items_at(config_map, "metadata", "managedFields")]
    known = [time for time in times if time]
    return max(known) if known else None


def operator_policy(facts: Facts) -> Iterator[Finding]:
    """Whether a NetworkPolicy cuts the operator off."""
    subject, answer = "NetworkPolicy of the operator", facts.operator_policies
    if not answer.known:
        yield unknown(subject, answer)
        return
    labels = {"app.kubernetes.io/name": data.OPERATOR}
    mine = [
        policy
        for policy in answer.value or []
        if selects(dig(policy, "spec", "podSelector"), labels)
        and "Egress" in (dig(policy, "spec", "policyTypes") or [])
    ]
    rules = [rule for policy in mine for rule in items_at(policy, "spec", "egress")]
    if mine and not any(_reaches_api_server(rule) for rule in rules):
        name = text_at(mine[0], "metadata", "name")
        text = f"NetworkPolicy {name} in {facts.operator} keeps the operator from the API server"
        cure = "kubectl -n NAMESPACE apply -f deploy/base/network-policy.yaml"
        yield fault(subject, text, cure.replace("NAMESPACE", facts.operator))
    else:
        yield ok(subject, "the operator may send requests")


def _reaches_api_server(rule: Mapping[str, Any]) -> bool:
    """Whether an egress rule may allow it. The API server is no pod, so no selector matches it."""
    targets = items_at(rule, "to")
    return not targets or any("ipBlock" in target for target in targets)


def image(facts: Facts) -> Iterator[Finding]:
    """Whether the nodes have the converter's image, or can pull it."""
    subject, name = "image", facts.setting("CONVERTER_IMAGE")
    if not name:
        if facts.settings.known and facts.settings.value is not None:
            yield fault(subject, "the setting CONVERTER_IMAGE is empty", _INSTALL)
        return
    if not facts.nodes.known:
        yield unknown(f"image {name} on the nodes", facts.nodes)
        return
    nodes = facts.nodes.value or []
    having = [node for node in nodes if name in _images(node)]
    cut = any(len(items_at(node, "status", "images")) >= _NODE_IMAGES for node in nodes)
    if nodes and not having and not cut and "." not in name.split("/")[0]:
        text = f"no node has {name}, and its name has no registry to pull it from"
        cure = "Push the image, then: " + set_setting(
            facts.operator, "CONVERTER_IMAGE", f"registry.example.com/{name.split('/')[-1]}"
        )
        yield fault(subject, text, cure)
    else:
        pulls = "; the others pull it" if len(having) < len(nodes) else ""
        yield ok(subject, f"{len(having)} of {len(nodes)} nodes have {name}{pulls}")


def _images(node: Mapping[str, Any]) -> set[str]:
    """The images of a node, with the names that users write."""
    full = {name for each in items_at(node, "status", "images") for name in each.get("names") or []}
    return full | {name.removeprefix("docker.io/").removeprefix("library/") for name in full}
