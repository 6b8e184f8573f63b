"""The fake API server's interface for tests, over a real kube-apiserver."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

import orjson
import yaml

from tests.component.support import kinds, patching
from tests.component.support.api import (
    NAMESPACE,
    PROFILE_CRD_FILE,
    QUEUE_CRD_FILE,
    FakeApi,
    crd_of_this_release,
)
from tests.component.support.audit import AuditLog
from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj, StatusError
from tests.component.support.kinds import CONVERSIONJOBS, NAMESPACES, STORED, Kind
from tests.component.support.real.cluster import RealSimulation
from tests.component.support.real.processes import ControlPlane, insecure_tls
from tests.component.support.real.server import RealServer
from tests.component.support.real.storage import RealStorage, path_of

_CUSTOM: Final = (kinds.CONVERSIONJOBS, kinds.CONVERSIONQUEUES, kinds.CONVERSIONPROFILES)
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SCHEMA: Final = f"/openapi/v3/apis/{CONVERSIONJOBS.group}/{CONVERSIONJOBS.version}"
_CRD_SECONDS: Final = 20.0
_CLEAR_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_MERGE_PATCH: Final = "application/merge-patch+json"


class RealApi(FakeApi):
    """One test's view of a control plane. ``start`` removes what the test before left."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self.clock = ServerClock()
        storage = RealStorage(self.clock, plane.url, insecure_tls())
        self.storage = self.real = storage
        self.audit = AuditLog()
        self.server = RealServer(storage, self.clock, self.audit)
        self.simulation = RealSimulation(storage, self.clock)

    async def start(self) -> None:
        await self.real.start()
        await self._clear()
        await self.use_crd(crd_of_this_release())
        for changes in (self.real.changes, *(t.log for t in self.real.tables.values())):
            changes.clear()
        if self.find(NAMESPACES, NAMESPACE) is None:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        self.add_claim(NAMESPACE)
        await super().start()

    async def stop(self) -> None:
        await self.real.stop()
        await super().stop()

    def create(self, obj: Obj, *, check: bool = True) -> Obj:
        kind = kinds.of(obj)
        namespace = obj["metadata"].get("namespace") or (NAMESPACE if kind.namespaced else "")
        return self.real.create(kind, namespace, obj, "test", check=check).obj

    def find(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj | None:
        try:
            return self.get(resource, name, namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    def get(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj:
        return self.real.request("GET", path_of(kinds.by_plural(resource), namespace, name))

    def objects(
        self,
        resource: str | Kind,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> list[Obj]:
        kind = kinds.by_plural(resource)
        query = urlencode({"labelSelector": labels, "fieldSelector": fields})
        items: list[Obj] = self.real.request("GET", f"{path_of(kind, namespace or '')}?{query}")[
            "items"
        ]
        return [item for item in items if not _is_of_kubernetes(item)]

    def patch(
        self,
        resource: str | Kind,
        name: str,
        patch: Obj,
        namespace: str = NAMESPACE,
        subresource: str = "",
    ) -> Obj:
        path = path_of(kinds.by_plural(resource), namespace, name, subresource)
        return self.real.request("PATCH", path, patch, _MERGE_PATCH)

    async def use_crd(self, crd: Obj) -> None:
        """Replace the CRD if it is not the one that is served, and wait until it is served."""
        wanted = _with_mark(crd)
        if wanted == self._plane.crd:
            return
        path = f"{_CRDS}/{crd['metadata']['name']}"
        version = self.real.request("GET", path)["metadata"]["resourceVersion"]
        metadata = wanted["metadata"] | {"resourceVersion": version}
        self.real.request("PUT", path, wanted | {"metadata": metadata})
        self._plane.crd = wanted
        deadline = time.monotonic() + _CRD_SECONDS
        while not self._serves(wanted):
            assert time.monotonic() < deadline, "the CRD is not served"
            await self.real.changed.wait(0.1)

    def _serves(self, crd: Obj) -> bool:
        """Whether this CRD is served.

        While the API server replaces the schema and the storage, it answers 404 and 429 to these
        requests.
        """
        try:
            schema = self.real.request("GET", _SCHEMA)
            self.real.request("GET", f"{path_of(CONVERSIONJOBS, NAMESPACE)}?limit=1")
        except StatusError:
            return False
        return _mark_of(crd) in str(schema)

    async def _clear(self) -> None:
        """Delete the objects of the test before, until the controllers create no new ones."""
        deadline = time.monotonic() + _CLEAR_SECONDS
        while left := self._left():
            if time.monotonic() > deadline:
                raise AssertionError(f"objects of the test before are not deleted: {left}")
            self.real.clear(NAMESPACE)
            await self.real.changed.wait(_POLL_SECONDS)

    def _left(self) -> list[str]:
        """What the test before left."""
        versions = [v for kind in STORED for v in self.real.objects(kind)]
        return [f"{v.kind.plural} {v.obj['metadata']}" for v in versions if _is_left(v.obj)]


def _is_left(obj: Obj) -> bool:
    if obj["kind"] != NAMESPACES.kind:
        return not _is_of_kubernetes(obj)
    return bool(obj["status"]["phase"] == "Terminating")


def _is_of_kubernetes(obj: Obj) -> bool:
    """Whether it is one of Kubernetes' own Leases or ConfigMaps."""
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace.startswith("kube-") or obj["metadata"]["name"] == "kube-root-ca.crt"


def _with_mark(crd: Obj) -> Obj:
    """The CRD with a description by which its served schema is recognized."""
    digest = hashlib.sha256(orjson.dumps(crd, option=orjson.OPT_SORT_KEYS)).hexdigest()
    marked: Obj = patching.copy(crd)
    marked["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = digest
    return marked


def _mark_of(crd: Obj) -> str:
    mark: str = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
    return mark


def install_crd(plane: ControlPlane) -> None:
    """Create the CRDs and wait until they are served."""
    storage = RealStorage(ServerClock(), plane.url, insecure_tls())
    plane.crd = _with_mark(crd_of_this_release())
    with contextlib.closing(storage):
        storage.request("POST", _CRDS, plane.crd)
        for file in (QUEUE_CRD_FILE, PROFILE_CRD_FILE):
            storage.request("POST", _CRDS, yaml.safe_load(file.read_text(encoding="utf-8")))
        until_served(storage, _CUSTOM)


def until_served(storage: RealStorage, custom: Iterable[Kind]) -> None:
    """Wait until the API server serves these custom resources. Raises RuntimeError."""
    deadline = time.monotonic() + _CRD_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(StatusError):
            for kind in custom:
                storage.request("GET", path_of(kind, ""))
            return
        time.sleep(0.1)  # the API server reports this in no other way
    raise RuntimeError("the CRD is not served")
