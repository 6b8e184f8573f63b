"""The in-process API server as a test sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.component.support import kinds, patching
from tests.component.support.access import Access
from tests.component.support.audit import AuditLog, Match
from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj
from tests.component.support.faults import Faults
from tests.component.support.gc import GarbageCollector, NamespaceController
from tests.component.support.kinds import (
    CLAIMS,
    CONVERSIONJOBS,
    JOBS,
    NAMESPACES,
    PODS,
    STORED,
    Kind,
)
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.machinery import Machinery
from tests.component.support.schema import CustomSchema
from tests.component.support.selectors import compile_selectors
from tests.component.support.server import HttpServer
from tests.component.support.store import Store
from tests.component.support.strategies import Strategy
from tests.component.support.watch import Watch

T = TypeVar("T")

NAMESPACE: Final = "my-network"
CLAIM: Final = "my-network-shared"
CRD_FILE: Final = Path(__file__).parents[3] / "crds" / "conversionjobs.converter.mynetwork.io.yaml"
_TEST: Final = "test"
_MOST_LINES: Final = 30


class FakeApi:
    """One API server with everything a test may do to it.

    What tests write goes straight into the store and is not in ``audit``, which holds requests
    only. Objects that come out are copies.
    """

    def __init__(
        self, crd: Path | None = CRD_FILE, namespaces: tuple[str, ...] = (NAMESPACE,)
    ) -> None:
        schema = None
        if crd is not None and crd.exists():
            schema = CustomSchema.load(crd, CONVERSIONJOBS.version)
        self.clock = ServerClock()
        self.store = Store(self.clock, Strategy(schema))
        self.audit = AuditLog()
        self.server = HttpServer(self.store, self.clock, self.audit)
        self.machinery = Machinery(self.store, self.clock)
        self.gc = GarbageCollector(self.store)
        self.machinery.steppers += [self.gc, NamespaceController(self.store)]
        for name in ("default", "kube-system", *namespaces):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in namespaces:
            self.add_claim(name)

    @property
    def url(self) -> str:
        return self.server.url()

    @property
    def faults(self) -> Faults:
        return self.server.faults

    @property
    def access(self) -> Access:
        return self.server.access

    @property
    def pod_logs(self) -> dict[str, Any]:
        return self.server.pod_logs

    async def start(self) -> None:
        await self.server.start()
        self.machinery.start()

    async def stop(self) -> None:
        """Closes every connection; raises what went wrong in the world meanwhile."""
        await self.server.stop()
        await self.machinery.stop()

    async def manual(self) -> None:
        """From now on controllers and the world only move when the test says so."""
        await self.machinery.stop()

    async def settle(self) -> None:
        """Everything that controllers and the world can do at this moment is done."""
        await self.machinery.settle()

    async def front(self, name: str) -> str:
        """A further door, with a URL of its own, that faults and the audit log know by name."""
        return await self.server.add_front(name)

    def down(self) -> AbstractAsyncContextManager[None]:
        """``async with api.down():`` - connections break and new ones are refused."""
        return self.server.down()

    # Objects

    def create(self, obj: Obj, *, check: bool = True) -> Obj:
        """Stores an object; with ``check=False`` also one that today's rules refuse."""
        kind = kinds.of(obj)
        decoded = self.store.strategy.decode(kind, obj)[0] if check else obj
        namespace = obj["metadata"].get("namespace") or (NAMESPACE if kind.namespaced else "")
        return _copy(self.store.create(kind, namespace, decoded, _TEST, check=check).obj)

    def find(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj | None:
        version = self.store.find(kinds.by_plural(resource), namespace, name)
        return None if version is None else _copy(version.obj)

    def get(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj:
        return _copy(self.store.get(kinds.by_plural(resource), namespace, name).obj)

    def objects(
        self,
        resource: str | Kind,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> list[Obj]:
        """Objects by the same selectors that a client has."""
        kind = kinds.by_plural(resource)
        accepts = compile_selectors(kind, labels, fields)
        found = self.store.objects(kind, namespace)
        return [_copy(version.obj) for version in found if accepts(version.obj)]

    def patch(
        self,
        resource: str | Kind,
        name: str,
        patch: Obj,
        namespace: str = NAMESPACE,
        subresource: str = "",
    ) -> Obj:
        """A merge patch, with all checks: ``api.patch("conversionjobs", "a", {"spec": …})``."""
        kind = kinds.by_plural(resource)
        old = self.store.get(kind, namespace, name)
        new = self.store.strategy.decode(kind, _copy(patching.merge(old.obj, patch)))[0]
        return _copy(self.store.update(kind, namespace, name, new, _TEST, subresource).obj)

    def mutate(
        self,
        resource: str | Kind,
        name: str,
        change: Callable[[Obj], Any],
        namespace: str = NAMESPACE,
    ) -> Obj:
        """Changes an object past all checks."""
        kind = kinds.by_plural(resource)
        return _copy(self.store.mutate(kind, namespace, name, change, _TEST).obj)

    def delete(
        self,
        resource: str | Kind,
        name: str,
        namespace: str = NAMESPACE,
        propagation: str | None = "Background",
    ) -> None:
        kind = kinds.by_plural(resource)
        self.store.delete(kind, namespace, name, DeleteOptions(propagation), _TEST)

    def add_claim(
        self, namespace: str = NAMESPACE, name: str = CLAIM, phase: str = "Bound"
    ) -> None:
        """A PersistentVolumeClaim in that phase."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        self.create(claim)
        self.mutate(CLAIMS, name, lambda c: c["status"].update(phase=phase), namespace)

    def add_namespace(self, name: str) -> None:
        """A namespace with its claim."""
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.add_claim(name)

    def delete_namespace(self, name: str = NAMESPACE) -> None:
        self.store.delete(NAMESPACES, "", name, DeleteOptions(), _TEST)

    # Watches

    def watches(self, **match: Any) -> list[Watch]:
        """Watches that are open now, by the parts of ``audit.Match``."""
        matches = Match(**match)
        return [watch for watch in self.server.open_watches() if matches(watch.request)]

    def replay(
        self,
        resource: str | Kind,
        name: str,
        namespace: str = NAMESPACE,
        chosen: Callable[[Obj], bool] = lambda _: True,
    ) -> None:
        """Sends the oldest version of an object that ``chosen`` accepts once more, as MODIFIED."""
        kind = kinds.by_plural(resource)
        for change in self.store.tables[kind].log:
            if change.key == (namespace, name) and chosen(change.new.obj):
                for watch in self.watches(resource=kind.plural):
                    watch.inject("MODIFIED", change.new.obj)
                return
        raise LookupError(f"no version of {kind} {namespace}/{name} fits")

    def compact(self, *resources: str, as_status: bool = False) -> None:
        """Forgets old versions: watches and lists that go on from one get 410.

        As an ERROR event in the stream, as the real server does it, or as the HTTP status.
        """
        chosen = [kinds.by_plural(resource) for resource in resources] or STORED
        self.server.gone_as_status = as_status
        self.server.handlers.expire_lists()
        self.store.compact(chosen)

    # Waiting

    def describe(self) -> str:
        """Where things stand, for whoever reads a failed test."""
        lines = [f"server's clock {self.clock.stamp()}, {len(self.watches())} open watches"]
        for kind in (CONVERSIONJOBS, JOBS, PODS):
            for version in self.store.objects(kind):
                status = version.obj.get("status", {})
                ends = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
                state = f"{status.get('phase', '')} {status.get('reason', '')} {ends}"
                lines.append(f"{kind.plural} {version.obj['metadata']['name']}: {state}")
        return "\n".join([*lines[:_MOST_LINES], *map(str, self.audit.requests[-_MOST_LINES:])])

    async def until(
        self, condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition"
    ) -> T:
        """The first true value of ``condition``, tried again after every write and request."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self.machinery.check()
            if value := condition():
                return value
            if not await self.store.changed.wait(max(0.0, deadline - loop.time())):
                if value := condition():
                    return value
                raise AssertionError(
                    f"{what} did not come true within {seconds} s\n{self.describe()}"
                )


def _copy(obj: Obj) -> Obj:
    copied: Obj = patching.copy(obj)
    return copied
