"""Reads conversions and follows their changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from kubectl_conversion import data, installation, kubectl, model
from kubectl_conversion.kubectl import Failure, Kubectl, KubectlError, Obj
from kubectl_conversion.model import Conversion

_WATCH_SECONDS: Final = 300
_TRIES: Final = 5
_SHORT_SECONDS: Final = 1.0
"""A watch that ends within this time is not opened again at once."""
_TRANSIENT: Final = (Failure.UNREACHABLE, Failure.OTHER)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: kubectl, and the namespace. An empty namespace stands for all."""

    kubectl: Kubectl
    namespace: str


def conversions(caller: Caller, selector: str = "") -> tuple[list[Conversion], str]:
    """All conversions of the namespace, and the version of the list. One list request per page."""
    query = {"labelSelector": selector} if selector else {}
    found = caller.kubectl.get_list(kubectl.path(data.JOBS, caller.namespace, **query))
    version = str(found.get("metadata", {}).get("resourceVersion", ""))
    return [model.parse(_typed(item, "ConversionJob")) for item in found["items"]], version


def _typed(item: Obj, kind: str) -> Obj:
    """The API server leaves these two out of the items of some lists."""
    return {"apiVersion": data.api_version(), "kind": kind} | item


def conversion(caller: Caller, name: str) -> Conversion:
    """One conversion. Raises KubectlError if there is none."""
    return model.parse(caller.kubectl.get(kubectl.path(data.JOBS, caller.namespace, name)))


def named(caller: Caller, names: Iterable[str]) -> tuple[list[Conversion], list[KubectlError]]:
    """The conversions of these names, and why others cannot be read. One request for each."""
    found, failed = [], []
    for name in dict.fromkeys(names):
        try:
            found.append(conversion(caller, name))
        except KubectlError as error:
            failed.append(error)
    return found, failed


def queues(kubectl_: Kubectl, namespace: str) -> list[Obj]:
    """The ConversionQueues of an installation."""
    found = kubectl_.get_list(kubectl.path(data.QUEUES, namespace))
    return [_typed(item, "ConversionQueue") for item in found["items"]]


def operator_namespace(caller: Caller) -> str:
    """The namespace of the installation that serves the caller's namespace.

    Its label says so. A cluster-wide installation needs no label, so the installations are listed.
    Raises KubectlError if it is not known: another installation may have queues of the same name.
    """
    try:
        found = caller.kubectl.get(kubectl.api_path("api/v1", "namespaces", "", caller.namespace))
        label = data.load()["operatorNamespaceLabel"]
        if home := model.text_at(found, "metadata", "labels", label):
            return home
        labels = f"app.kubernetes.io/name={data.OPERATOR}"
        url = kubectl.api_path("apis/apps/v1", "deployments", "", labelSelector=labels)
        homes = installation.homes(caller.kubectl.get_list(url)["items"])
        settings = {home: _settings(caller.kubectl, home) for home in homes}
    except KubectlError as error:
        if error.failure not in (Failure.FORBIDDEN, Failure.NOT_FOUND):
            raise
        text = f"{installation.not_known(caller.namespace)}. {error.message}"
        raise KubectlError(Failure.OTHER, text) from None
    if chosen := installation.choose(caller.namespace, settings):
        return chosen
    raise KubectlError(Failure.OTHER, installation.not_known(caller.namespace))


def restore_labels(caller: Caller) -> frozenset[str]:
    """The labels that the operator takes for those of a restored object, or the default ones."""
    settings: Obj | None = None
    with suppress(KubectlError):
        settings = _settings(caller.kubectl, operator_namespace(caller))
    found = installation.setting(settings, "CONVERTER_RESTORE_LABELS")
    default = installation.setting(None, "CONVERTER_RESTORE_LABELS")
    return frozenset(name.strip() for text in (found, default) for name in text.split(","))


def _settings(kubectl_: Kubectl, home: str) -> Obj | None:
    """The settings of an installation. None if nobody could read them."""
    try:
        return kubectl_.get(
            kubectl.api_path("api/v1", "configmaps", home, data.load()["configMap"])
        )
    except KubectlError as error:
        return {} if error.failure is Failure.NOT_FOUND else None


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed: ``LISTED`` has all conversions, the others have one."""

    kind: str
    found: tuple[Conversion, ...]


def changes(caller: Caller, selector: str, name: str, deadline: float | None) -> Iterator[Change]:
    """All conversions, then their changes until the deadline. Connects again if a watch ends."""
    failures, version = 0, ""
    query = {"labelSelector": selector} if selector else {}
    if name:
        query["fieldSelector"] = f"metadata.name={name}"
    while deadline is None or time.monotonic() < deadline:
        began = time.monotonic()
        try:
            if not version:
                listed = caller.kubectl.get_list(kubectl.path(data.JOBS, caller.namespace, **query))
                version = str(listed.get("metadata", {}).get("resourceVersion", ""))
                yield Change(
                    "LISTED",
                    tuple(model.parse(_typed(i, "ConversionJob")) for i in listed["items"]),
                )
            for kind, obj in _watch(caller, query, version, deadline):
                failures = 0
                if kind == "ERROR":
                    version = ""
                    break
                version = model.text_at(obj, "metadata", "resourceVersion") or version
                if kind != "BOOKMARK":
                    yield Change(kind, (model.parse(obj),))
            _pause_after(began, deadline)
        except KubectlError as error:
            failures += 1
            if error.failure is Failure.EXPIRED:
                version = ""
            elif error.failure not in _TRANSIENT or failures >= _TRIES:
                raise
            time.sleep(min(2.0**failures / 2, _left(deadline)))


def _pause_after(began: float, deadline: float | None) -> None:
    """Wait if the watch was short, so that an API server that ends each is not flooded."""
    if time.monotonic() - began < _SHORT_SECONDS:
        time.sleep(min(_SHORT_SECONDS, _left(deadline)))


def _left(deadline: float | None) -> float:
    return _WATCH_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())


def _watch(
    caller: Caller, query: dict[str, str], version: str, deadline: float | None
) -> Iterator[tuple[str, Obj]]:
    seconds = max(1, min(_WATCH_SECONDS, int(_left(deadline) + 0.999)))
    asked = query | {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
    asked["allowWatchBookmarks"] = "true"
    with caller.kubectl.stream(kubectl.path(data.JOBS, caller.namespace, **asked)) as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                raise KubectlError(
                    Failure.OTHER, "a watch has sent a line that is no JSON"
                ) from None
            yield str(event.get("type")), event.get("object") or {}


def until_ended(
    caller: Caller, names: Sequence[str], timeout: float | None
) -> Iterator[Conversion]:
    """The conversions of these names, whenever one changes, until all have ended or time is up.

    Raises KubectlError if one does not exist, or is deleted before it ends.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    single = names[0] if len(set(names)) == 1 else ""
    open_, first = set(names), True
    for change in changes(caller, "", single, deadline):
        found = {each.name: each for each in change.found}
        if change.kind == "LISTED":
            missing = open_ - set(found)
        else:
            missing = open_ & set(found) if change.kind == "DELETED" else set()
        if missing:
            verb = "does not exist" if first else "was deleted"
            raise KubectlError(Failure.NOT_FOUND, f"ConversionJob {min(missing)} {verb}")
        first = False
        for name in [each for each in found if each in open_]:
            yield found[name]
            if found[name].finished:
                open_.discard(name)
        if not open_:
            return
