"""Carries out the verbs: get, list, create, update, patch and delete."""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import dataclass, field

import orjson

from tests.component.support import errors, metadata, patching, rest
from tests.component.support.audit import Request
from tests.component.support.errors import Obj
from tests.component.support.kinds import EVENTS, NEW_EVENTS, Kind
from tests.component.support.selectors import Predicate, compile_selectors
from tests.component.support.storage import ObjectStorage, Version
from tests.component.support.strategies import event_from_new, event_to_new

_SNAPSHOTS_KEPT = 32


@dataclass(slots=True)
class Answer:
    """Status code, JSON body and headers of an answer."""

    code: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def selection(request: Request, kind: Kind) -> Predicate:
    """The predicate for the objects that a list or watch selects."""
    query = request.query
    fields = query.get("fieldSelector", "")
    if request.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={request.name}")))
    accepts = compile_selectors(kind, query.get("labelSelector", ""), fields)
    namespace = request.namespace
    if kind is NEW_EVENTS:
        return lambda obj: (
            namespace in (None, obj["metadata"]["namespace"]) and accepts(event_to_new(obj))
        )
    return lambda obj: namespace in (None, obj["metadata"].get("namespace")) and accepts(obj)


def stored(kind: Kind) -> Kind:
    """The kind that stores the objects of a kind: both Event APIs share theirs."""
    return EVENTS if kind is NEW_EVENTS else kind


class Handlers:
    """The verbs, on one object storage."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._snapshots: OrderedDict[str, list[Version]] = OrderedDict()

    def handle(self, request: Request, kind: Kind) -> Answer:
        """Carries out any verb except watch."""
        if request.query.get("dryRun"):
            raise errors.unmodelled("dryRun")
        verbs = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        before = self._storage.rv
        try:
            return verbs[request.verb](request, kind)
        finally:
            request.changed = self._storage.rv != before

    def _get(self, request: Request, kind: Kind) -> Answer:
        version = self._storage.get(stored(kind), request.namespace or "", request.name)
        return Answer(200, self._raw(kind, version))

    def _list(self, request: Request, kind: Kind) -> Answer:
        query = request.query
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise errors.bad_request(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
        if asked and int(asked) > self._storage.rv:
            raise errors.version_too_large(int(asked), self._storage.rv)
        rv, rest_of = self._storage.rv, None
        limit = int(query.get("limit") or 0)
        if token := query.get("continue"):
            rv, versions = self._continue(token)
        else:
            accepts = selection(request, kind)
            if _is_exact(kind, query):
                rv = int(asked)
                found = self._storage.objects_at(stored(kind), rv, request.namespace)
            else:
                found = self._storage.objects(stored(kind), request.namespace)
            versions = [version for version in found if accepts(version.obj)]
        if limit and len(versions) > limit:
            versions, rest_of = versions[:limit], versions[limit:]
        meta: Obj = {"resourceVersion": str(rv)}
        if kind.custom:
            meta["continue"] = ""
        if rest_of:
            meta["continue"] = self._keep(rv, rest_of)
            meta["remainingItemCount"] = len(rest_of)
        head = {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.api_version,
            "metadata": meta,
        }
        items = b",".join(self._item(kind, version) for version in versions)
        body = b"".join((orjson.dumps(head)[:-1], b',"items":[', items, b"]}"))
        return Answer(200, body)

    def _keep(self, rv: int, rest_of: list[Version]) -> str:
        raw = f"{rv}:{len(self._snapshots)}:{len(rest_of)}:{id(rest_of)}"
        token = base64.urlsafe_b64encode(raw.encode()).decode()
        self._snapshots[token] = rest_of
        while len(self._snapshots) > _SNAPSHOTS_KEPT:
            self._snapshots.popitem(last=False)
        return token

    def _continue(self, token: str) -> tuple[int, list[Version]]:
        rest_of = self._snapshots.get(token)
        if rest_of is None:
            message = (
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
            raise errors.StatusError(410, "Expired", message)
        return int(base64.urlsafe_b64decode(token).split(b":")[0]), rest_of

    def expire_lists(self) -> None:
        """Makes every unfinished list continue with 410."""
        self._snapshots.clear()

    def _create(self, request: Request, kind: Kind) -> Answer:
        obj = rest.json_body(request)
        rest.check_type(kind, obj)
        rest.check_names(request, obj)
        if kind.namespaced and request.namespace is None:
            raise errors.method_not_allowed()
        obj, headers = self._decode(request, kind, obj)
        if kind is NEW_EVENTS:
            obj = event_from_new(obj)
        namespace = request.namespace or ""
        version = self._storage.create(stored(kind), namespace, obj, request.endpoint)
        request.name = version.obj["metadata"]["name"]
        return self._written(request, kind, version, 201, headers)

    def _update(self, request: Request, kind: Kind) -> Answer:
        obj = rest.json_body(request)
        rest.check_type(kind, obj)
        rest.check_names(request, obj)
        obj, headers = self._decode(request, kind, obj)
        if kind is NEW_EVENTS:
            obj = event_from_new(obj)
        namespace = request.namespace or ""
        old = self._storage.get(stored(kind), namespace, request.name)
        uid = obj["metadata"].get("uid")
        if uid and uid != old.obj["metadata"]["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
                f"{old.obj['metadata']['uid']}"
            )
            raise errors.conflict(kind, request.name, why)
        version = self._storage.update(
            stored(kind), namespace, request.name, obj, request.endpoint, request.subresource
        )
        return self._written(request, kind, version, 200, headers)

    def _patch(self, request: Request, kind: Kind) -> Answer:
        if kind is NEW_EVENTS:
            raise errors.unmodelled("patches of events.k8s.io")
        namespace = request.namespace or ""
        old = self._storage.get(kind, namespace, request.name)
        content_type = request.content_type
        patched = patching.apply(content_type, old.obj, request.body, custom=kind.custom)
        rest.check_type(kind, patched)
        rest.check_names(request, patched)
        obj, headers = self._decode(request, kind, patched)
        manager = request.query.get("fieldManager")
        if manager and request.subresource == "status":
            obj["metadata"]["managedFields"] = metadata.managed_fields(old.obj, manager)
        version = self._storage.update(
            kind, namespace, request.name, obj, request.endpoint, request.subresource
        )
        return self._written(request, kind, version, 200, headers)

    def _delete(self, request: Request, kind: Kind) -> Answer:
        options = rest.delete_options(request)
        namespace = request.namespace or ""
        version, deleted = self._storage.delete(
            stored(kind), namespace, request.name, options, request.endpoint
        )
        self._note(request, version)
        if deleted and not kind.returns_deleted:
            details = {"name": request.name, "kind": kind.plural, "uid": request.uid}
            if kind.group:
                details["group"] = kind.group
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": details,
            }
            return Answer(200, orjson.dumps(status))
        return Answer(200, self._raw(kind, version))

    def _delete_collection(self, request: Request, kind: Kind) -> Answer:
        options = rest.delete_options(request)
        accepts = selection(request, kind)
        found = self._storage.objects(stored(kind), request.namespace)
        chosen = [version for version in found if accepts(version.obj)]
        for version in chosen:
            meta = version.obj["metadata"]
            namespace = meta.get("namespace", "")
            self._storage.delete(stored(kind), namespace, meta["name"], options, request.endpoint)
        items = [version.obj for version in chosen]
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": {}}
        return Answer(200, orjson.dumps(head | {"items": items}))

    def _decode(self, request: Request, kind: Kind, obj: Obj) -> tuple[Obj, dict[str, str]]:
        decoded, dropped = self._storage.strategy.decode(kind, obj)
        mode = request.query.get("fieldValidation", "Warn")
        if dropped and mode == "Strict":
            names = ", ".join(f'unknown field "{path}"' for path in dropped)
            raise errors.bad_request(f"strict decoding error: {names}")
        if dropped and mode == "Warn":
            text = ", ".join(f'unknown field \\"{path}\\"' for path in dropped)
            request.warning = f'299 - "{text}"'
            return decoded, {"Warning": request.warning}
        return decoded, {}

    def _written(
        self, request: Request, kind: Kind, version: Version, code: int, headers: dict[str, str]
    ) -> Answer:
        self._note(request, version)
        return Answer(code, self._raw(kind, version), headers)

    def _note(self, request: Request, version: Version) -> None:
        request.uid = version.obj["metadata"]["uid"]
        owner = metadata.controller_of(version.obj)
        request.owner = owner["uid"] if owner else ""

    def _raw(self, kind: Kind, version: Version) -> bytes:
        return orjson.dumps(event_to_new(version.obj)) if kind is NEW_EVENTS else version.raw

    def _item(self, kind: Kind, version: Version) -> bytes:
        return version.as_item if kind is not NEW_EVENTS else self._raw(kind, version)


def _is_exact(kind: Kind, query: dict[str, str]) -> bool:
    """Whether the request asks for the state at exactly its resourceVersion."""
    match = query.get("resourceVersionMatch", "")
    if not match:
        return False
    if query.get("resourceVersion", "") in ("", "0"):
        problem = "Forbidden: exact match needs a resourceVersion greater than 0"
        raise errors.invalid(kind, "", [("resourceVersionMatch", problem)])
    if match != "Exact":
        raise errors.unmodelled(f"resourceVersionMatch={match}")
    return True
