"""Checks of the operator, its settings and the HTTP API. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from kubectl_conversion import data, installation
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
_DNS: Final = 53
_NODE_IMAGES: Final = 50
"""A node reports this many of its images."""
_INSTALL: Final = "Install the operator: docs/install.md."


def installations(facts: Facts) -> Iterator[Finding]:
    """Whether exactly one installation serves the namespace."""
    subject = "installation"
    if not facts.deployments.known:
        yield unknown("other installations", facts.deployments)
    homes = set(installation.homes(facts.deployments.value or []))
    if facts.deployments.known and not homes:
        yield fault(subject, "there is no operator in this cluster", _INSTALL)
        return
    serving, blind = [], []
    for home, answer in sorted(facts.installations.items()):
        if not answer.known:
            blind.append(home)
            yield unknown(f"settings in {home}", answer)
        elif _exists(facts, home, homes) and installation.serves(answer.value, facts.namespace):
            serving.append(home)
    if len(serving) > 1:
        others = [home for home in serving if home != facts.operator]
        text = f"several installations serve {facts.namespace}: those in {', '.join(serving)}"
        yield fault(subject, text, _without(facts, others[-1]))
    elif not serving and not blind and facts.deployments.known:
        text = f"no operator serves namespace {facts.namespace}"
        yield fault(subject, text, _with(facts))
    elif serving:
        yield _label(facts, serving[0])
    if not facts.operator:
        text = installation.not_known(facts.namespace)
        yield Finding(Level.UNKNOWN, "namespace of the operator", text)


def _label(facts: Facts, home: str) -> Finding:
    """Whether the label of the namespace, if it has one, names the installation that serves it."""
    label = data.load()["operatorNamespaceLabel"]
    named = text_at(facts.place.value, "metadata", "labels", label)
    if named in ("", home):
        return ok("installation", f"the operator in {home} serves {facts.namespace}")
    text = f"{home} serves {facts.namespace}, but its label names {named}"
    change = ("kubectl", "label", "--overwrite", "namespace", facts.namespace, f"{label}={home}")
    return fault("installation", text, command(*change))


def _exists(facts: Facts, home: str, homes: set[str]) -> bool:
    """Whether a namespace has an operator. Without a ConfigMap, it has the default settings."""
    if facts.deployments.known:
        return home in homes
    return facts.installations[home].value is not None


def _without(facts: Facts, home: str) -> str:
    """How the installation in ``home`` stops to serve the namespace."""
    names = installation.served_by(facts.installations[home].value)
    if "*" in names:
        return f"Name the namespaces of the installation in {home} in its setting WATCH_NAMESPACES."
    left = ",".join(name for name in names if name != facts.namespace)
    if not left:
        # An empty setting is invalid, or stands for something else.
        text = f"The installation in {home} serves this namespace only: uninstall its operator, or"
        scale = ("kubectl", "-n", home, "scale", f"deployment/{data.OPERATOR}", "--replicas=0")
        return f"{text} scale it to 0: {command(*scale)}"
    return set_setting(home, "WATCH_NAMESPACES", left)


def _with(facts: Facts) -> str:
    """How an installation begins to serve the namespace, and keeps those that it serves."""
    answer = facts.installations.get(facts.operator)
    if answer is None:
        return f"Add {facts.namespace} to the setting WATCH_NAMESPACES of one of the installations."
    names = installation.served_by(answer.value)
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
    if facts.setting("CONVERTER_ENABLED").lower() in ("false", "0", "no", "off"):
        cure = set_setting(home, "CONVERTER_ENABLED", "true")
        found.append(warning(subject, "conversions are paused: CONVERTER_ENABLED is false", cure))
    if facts.setting("CONVERTER_MAX_PARALLEL") == "0":
        cure = set_setting(home, "CONVERTER_MAX_PARALLEL", "3")
        found.append(warning(subject, "nothing starts: CONVERTER_MAX_PARALLEL is 0", cure))
    if not facts.events.known:
        found.append(unknown("events of the settings", facts.events))
    yield from found or [ok(subject, f"the operator understands the ConfigMap in {home}")]


def _not_known(facts: Facts) -> Iterator[Finding]:
    """Settings that this plugin does not know. Only the operator says what it does not know.

    The operator may be of a later release, which knows more.
    """
    known = data.load()["settings"]
    for name in _unknown_names(facts):
        if not facts.events.known:
            text = f"this plugin does not know the setting {name}; could not look at the events"
            yield Finding(Level.UNKNOWN, "settings", text)
            continue
        told = [text for text in _told(facts) if text.startswith(f"{name} ")]
        if not told:
            text = f"this plugin does not know the setting {name}"
            yield warning("settings", text, "Install the plugin of the release of the operator.")
            continue
        if not any(_is_unknown(name, text) for text in told):
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
    """What the operator says of the present texts, without what ``_not_known`` says."""
    cure = command("kubectl", "-n", facts.operator, "edit", "configmap", _CONFIG_MAP)
    names = _unknown_names(facts)
    for text in _told(facts):
        if not any(_is_unknown(name, text) for name in names):
            yield fault("settings", text, cure)


def _told(facts: Facts) -> list[str]:
    """The Events for invalid settings. Those before the last change are about other texts.

    The ConfigMap has Events with other reasons, too, such as that of a deliberate pause.
    """
    changed = _changed(facts.settings.value)
    told: dict[str, None] = {}
    for event in facts.events.value or []:
        if text_at(event, "reason") != data.load()["settingInvalid"]:
            continue
        times = [time_at(event, name) for name in ("eventTime", "lastTimestamp", "firstTimestamp")]
        at = max((time for time in times if time), default=None)
        # Events have whole seconds.
        if at and changed and at < changed.replace(microsecond=0):
            continue
        told[text_at(event, "message")] = None
    return list(told)


def _unknown_names(facts: Facts) -> list[str]:
    known = data.load()["settings"]
    return [name for name in dig(facts.settings.value, "data") or {} if name not in known]


def _is_unknown(name: str, text: str) -> bool:
    """Whether an Event says that the operator does not know a setting."""
    return text.startswith(f"{name} is not a setting ")


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
    targets, ports = items_at(rule, "to"), items_at(rule, "ports")
    reached = not targets or any("ipBlock" in target for target in targets)
    return reached and (not ports or any(map(_may_be_api_server, ports)))


def _may_be_api_server(port: Mapping[str, Any]) -> bool:
    """Whether it is a port of TCP other than that of DNS."""
    if (text_at(port, "protocol") or "TCP") != "TCP":
        return False
    return dig(port, "port") != _DNS or (number_at(port, "endPort") or 0) > _DNS


def image(facts: Facts) -> Iterator[Finding]:
    """Whether the nodes have the converter's image, or can pull it."""
    subject, name = "image", facts.setting("CONVERTER_IMAGE")
    if not facts.settings.known:
        yield unknown(subject, facts.settings)
        return
    if not name:
        yield fault(subject, "the setting CONVERTER_IMAGE is empty", _INSTALL)
        return
    if not facts.nodes.known:
        yield unknown(f"image {name} on the nodes", facts.nodes)
        return
    nodes = facts.nodes.value or []
    having = [node for node in nodes if _full(name) in _images(node)]
    cut = any(len(items_at(node, "status", "images")) >= _NODE_IMAGES for node in nodes)
    edit = command("kubectl", "-n", facts.operator, "edit", "configmap", _CONFIG_MAP)
    cure = f"Push the image to a registry, and set CONVERTER_IMAGE to its full name: {edit}"
    if not nodes or having or cut or _has_registry(name):
        pulls = "; the others pull it" if len(having) < len(nodes) else ""
        yield ok(subject, f"{len(having)} of {len(nodes)} nodes have {name}{pulls}")
    elif "/" in name:
        yield warning(subject, f"no node has {name}, so nodes pull it from Docker Hub", cure)
    else:
        text = f"no node has {name}, and its name has no registry to pull it from"
        yield fault(subject, text, cure)


def _has_registry(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _images(node: Mapping[str, Any]) -> set[str]:
    """The images of a node, with their full names."""
    listed = [items for each in items_at(node, "status", "images") if (items := each.get("names"))]
    return {_full(name) for names in listed for name in names}


def _full(name: str) -> str:
    """The name without the registry that is the default, with a digest or a tag."""
    short, at, digest = name.removeprefix("docker.io/").removeprefix("library/").partition("@")
    folder, slash, last = short.rpartition("/")
    base, _, tag = last.partition(":")
    return f"{folder}{slash}{base}" + (f"@{digest}" if at else f":{tag or 'latest'}")
