"""The storage interface of the fake API server over the objects of a real one.

Reads come from a mirror that watches feed. Writes are requests. The mirror also keeps the log of
changes, so that the invariants can be checked on the real server too.
"""

from __future__ import annotations

import asyncio
import bisect
import http.client
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson

from tests.component.support import patching
from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj, StatusError
from tests.component.support.kinds import JOBS, NAMESPACES, PODS, STORED, Kind
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.real.processes import AUTHORIZATION
from tests.component.support.storage import ObjectStorage, StoredChange, Version
from tests.component.support.strategies import Strategy

_TRIES: Final = 5
_LINE_BYTES: Final = 2**22
_MERGE_PATCH: Final = "application/merge-patch+json"


def path_of(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    """The path of an object, or of a list if ``name`` is empty."""
    parts = ["apis", kind.group] if kind.group else ["api"]
    parts += [kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    return "/" + "/".join(part for part in (*parts, kind.plural, name, subresource) if part)


class RealStorage(ObjectStorage):
    """Sends each write to the API server at ``url``."""

    def __init__(self, clock: ServerClock, url: str, tls: ssl.SSLContext) -> None:
        super().__init__(clock, Strategy(None))
        self.url, self._tls = url, tls
        self._connection: http.client.HTTPSConnection | None = None
        self._seen: set[int] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections that do not block the event loop."""
        assert self._session is not None, "not started"
        return self._session

    # The mirror

    async def start(self) -> None:
        """List and watch all kinds."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=_LINE_BYTES,
        )
        for kind in STORED:
            listed = self.request("GET", path_of(kind, ""))
            for obj in listed["items"]:
                obj |= {"apiVersion": kind.api_version, "kind": kind.kind}
                self._record("ADDED", kind, obj)
            version = listed["metadata"]["resourceVersion"]
            self._watchers.append(asyncio.create_task(self._watch(kind, version)))

    async def stop(self) -> None:
        """End the watches. The session comes first: it closes TLS connections at once."""
        await self.session.close()
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Close the connection for writes."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _watch(self, kind: Kind, version: str) -> None:
        """The API server ends the watches of a kind whose CRD changes. Then it goes on."""
        while True:
            query = urlencode({"watch": "true", "resourceVersion": version})
            url = f"{self.url}{path_of(kind, '')}?{query}"
            async with self.session.get(url, headers=AUTHORIZATION) as response:
                if response.status != 200:  # for a moment nothing serves the kind
                    await self.changed.wait(0.1)
                    continue
                async for line in response.content:
                    event = orjson.loads(line)
                    assert event["type"] != "ERROR", f"the watch of {kind} ended: {event}"
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._record(event["type"], kind, event["object"])

    def _record(self, event: str, kind: Kind, obj: Obj) -> None:
        """Take over a change, once. Writes record it before their watch event arrives."""
        obj["metadata"].pop("managedFields", None)
        rv = int(obj["metadata"]["resourceVersion"])
        if rv in self._seen:
            return
        self._seen.add(rv)
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        table = self.tables[kind]
        old, version = table.live.get(key), Version(kind, obj, rv)
        if event == "DELETED":
            if old is not None and old.obj["metadata"]["uid"] == meta["uid"]:
                del table.live[key]
        elif old is None or old.rv < rv:
            table.live[key] = version
        change = StoredChange(
            rv, self.clock.now(), event, kind, key, meta["uid"], old, version, "server"
        )
        for log in (table.log, self.changes):
            bisect.insort(log, change, key=lambda c: c.rv)
        self._index(kind, key, old, None if event == "DELETED" else version)
        self.rv = max(self.rv, rv)
        for listener in list(self.listeners):
            listener(change)
        self.changed.fire()

    # Requests

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Obj:
        """One request. Raises StatusError for an error. Blocks the event loop for milliseconds."""
        if self._connection is None:
            address = urlsplit(self.url)
            self._connection = http.client.HTTPSConnection(
                address.hostname or "", address.port, context=self._tls, timeout=30
            )
        data = None if body is None else orjson.dumps(body)
        headers = AUTHORIZATION | {"Content-Type": content_type, "Accept": "application/json"}
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        data = response.read()
        if not response.headers.get("Content-Type", "").startswith("application/json"):
            raise StatusError(response.status, "", data.decode(errors="replace"))
        answer: Obj = orjson.loads(data)
        if response.status >= 400:
            raise StatusError(
                response.status,
                answer.get("reason", ""),
                answer.get("message", ""),
                answer.get("details"),
            )
        return answer

    def create(
        self, kind: Kind, namespace: str, obj: Obj, actor: str, *, check: bool = True
    ) -> Version:
        assert check, "a real API server always validates"
        body = patching.copy(obj) | {"apiVersion": kind.api_version, "kind": kind.kind}
        body["metadata"].pop("namespace", None)
        status = body.pop("status", None)
        made = self.request("POST", path_of(kind, namespace), body)
        if status and "status" in kind.subresources:
            made = self.request("PUT", self._path(kind, made, "status"), made | {"status": status})
        self._record("ADDED", kind, made)
        return Version(kind, made, int(made["metadata"]["resourceVersion"]))

    def update(
        self, kind: Kind, namespace: str, name: str, new: Obj, actor: str, subresource: str = ""
    ) -> Version:
        made = self.request("PUT", path_of(kind, namespace, name, subresource), new)
        self._record("MODIFIED", kind, made)
        return Version(kind, made, int(made["metadata"]["resourceVersion"]))

    def mutate(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Obj], Any], actor: str
    ) -> Version:
        """Change an object: its spec and metadata with one request, its status with another."""
        for attempt in range(_TRIES):
            old = self.request("GET", path_of(kind, namespace, name))
            new = patching.copy(old)
            change(new)
            try:
                made = self._put(kind, old, new)
            except StatusError as error:
                if error.code != 409 or attempt == _TRIES - 1:
                    raise
                continue
            return Version(kind, made, int(made["metadata"]["resourceVersion"]))
        raise AssertionError("unreachable")

    def _put(self, kind: Kind, old: Obj, new: Obj) -> Obj:
        node = new.get("spec", {}).get("nodeName")
        if kind is PODS and node and not old["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            binding = {"metadata": {"name": new["metadata"]["name"]}, "target": target}
            self.request("POST", self._path(kind, old, "binding"), binding)
            bound = self.request("GET", self._path(kind, old))
            self._record("MODIFIED", kind, bound)
            new["spec"], new["metadata"] = bound["spec"], bound["metadata"]
            old = bound | {"status": old.get("status")}
        made = old
        if _without_status(new) != _without_status(old):
            made = self.request("PUT", self._path(kind, old), new)
            self._record("MODIFIED", kind, made)
        if "status" in kind.subresources and new.get("status") != old.get("status"):
            body = made | {"status": new.get("status")}
            made = self.request("PUT", self._path(kind, old, "status"), body)
            self._record("MODIFIED", kind, made)
        return made

    def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions, actor: str
    ) -> tuple[Version, bool]:
        conditions = {"uid": options.uid, "resourceVersion": options.resource_version}
        body = {
            "propagationPolicy": options.propagation,
            "gracePeriodSeconds": options.grace,
            "preconditions": {k: v for k, v in conditions.items() if v is not None} or None,
        }
        last = self.find(kind, namespace, name)
        given = {key: value for key, value in body.items() if value is not None}
        self.request("DELETE", path_of(kind, namespace, name), given)
        try:
            left = self.request("GET", path_of(kind, namespace, name))
        except StatusError as error:
            if error.code != 404:
                raise
            assert last is not None
            return last, True
        return Version(kind, left, int(left["metadata"]["resourceVersion"])), False

    def remove(
        self, kind: Kind, namespace: str, name: str, actor: str, last: Obj | None = None
    ) -> Version:
        """Remove an object at once, whatever its finalizers."""
        version = self.find(kind, namespace, name)
        assert version is not None
        self._force_delete(kind, version.obj)
        return version

    def clear(self, keep: str) -> None:
        """Remove all objects that tests create. Namespaces other than ``keep`` too."""
        kinds = [kind for kind in STORED if kind is not NAMESPACES]
        for kind in kinds:
            for version in self.objects(kind):
                self._force_delete(kind, version.obj)
        for version in self.objects(NAMESPACES):
            name = version.obj["metadata"]["name"]
            terminating = version.obj["status"]["phase"] == "Terminating"
            if (name not in (keep, "default") and not name.startswith("kube-")) or terminating:
                self._force_delete(NAMESPACES, version.obj)
                self._finalize(name)

    def _force_delete(self, kind: Kind, obj: Obj) -> None:
        if kind in (JOBS, PODS) or obj["metadata"].get("finalizers"):
            patch = {"metadata": {"finalizers": None}}
            try:
                self.request("PATCH", self._path(kind, obj), patch, _MERGE_PATCH)
            except StatusError as error:
                if error.code not in (404, 422):
                    raise
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            self.request("DELETE", self._path(kind, obj), options)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def _finalize(self, name: str) -> None:
        """Remove a namespace at once. The namespace controller looks again after seconds only."""
        path = path_of(NAMESPACES, "", name)
        try:
            left = self.request("GET", path)
            self.request("PUT", f"{path}/finalize", left | {"spec": {"finalizers": []}})
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def _path(self, kind: Kind, obj: Obj, subresource: str = "") -> str:
        meta = obj["metadata"]
        return path_of(kind, meta.get("namespace", ""), meta["name"], subresource)


def _without_status(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key != "status"}
