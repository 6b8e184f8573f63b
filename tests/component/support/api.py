"""The in-process API server, as tests use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

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
    CONVERSIONPROFILES,
    CONVERSIONQUEUES,
    JOBS,
    NAMESPACES,
    PODS,
    STORED,
    Kind,
)
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.schema import CustomSchema
from tests.component.support.selectors import compile_selectors
from tests.component.support.server import HttpServer
from tests.component.support.simulation import Simulation
from tests.component.support.storage import ObjectStorage
from tests.component.support.strategies import Strategy
from tests.component.support.watch import Watch

T = TypeVar("T")

NAMESPACE: Final = "my-network"
CLAIM: Final = "my-network-shared"
CRD_FILE: Final = Path(__file__).parents[3] / "crds" / "conversionjobs.converter.mynetwork.io.yaml"
QUEUE_CRD_FILE: Final = CRD_FILE.with_name("conversionqueues.converter.mynetwork.io.yaml")
PROFILE_CRD_FILE: Final = CRD_FILE.with_name("conversionprofiles.converter.mynetwork.io.yaml")
_TEST: Final = "test"
_MOST_LINES: Final = 30


def crd_of_this_release() -> Obj:
    """The CRD as it is in crds/. Each call returns a copy."""
    return _copy(_parsed_crd())


@cache
def _parsed_crd() -> Obj:
    """Parsing takes longer than most tests."""
    crd: Obj = yaml.safe_load(CRD_FILE.read_text(encoding="utf-8"))
    return crd


class FakeApi:
    """One API server, with everything that a test may do to it.

    Writes of a test go straight to the storage, so they are not in ``audit``, which holds HTTP
    requests. All methods return copies of objects.
    """

    def __init__(
        self, crd: Path | None = CRD_FILE, namespaces: tuple[str, ...] = (NAMESPACE,)
    ) -> None:
        schema = None
        if crd is not None and crd.exists():
            schema = CustomSchema.load(crd, CONVERSIONJOBS.version)
        queues = CustomSchema.load(QUEUE_CRD_FILE, CONVERSIONQUEUES.version)
        profiles = CustomSchema.load(PROFILE_CRD_FILE, CONVERSIONPROFILES.version)
        self.clock = ServerClock()
        self.storage = ObjectStorage(self.clock, Strategy(schema, queues, profiles))
        self.audit = AuditLog()
        self.server = HttpServer(self.storage, self.clock, self.audit)
        self.simulation = Simulation(self.storage, self.clock)
        self.gc = GarbageCollector(self.storage)
        self.simulation.steppers += [self.gc, NamespaceController(self.storage)]
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
        self.simulation.start()

    async def stop(self) -> None:
        """Closes every connection. Raises the error that stopped the simulation, if any."""
        await self.server.stop()
        await self.simulation.stop()

    async def manual(self) -> None:
        """From now on, the cluster only acts when the test tells it to."""
        await self.simulation.stop()

    async def automatic(self) -> None:
        """Ends ``manual``."""
        self.simulation.start()

    async def settle(self) -> None:
        """Lets the cluster do everything that it can do at the current time."""
        await self.simulation.settle()

    async def add_endpoint(self, name: str) -> str:
        """Adds a URL. Faults and the audit log know its requests by ``name``."""
        return await self.server.add_endpoint(name)

    def down(self) -> AbstractAsyncContextManager[None]:
        """``async with api.down():`` breaks connections and refuses new ones."""
        return self.server.down()

    # Objects

    def create(self, obj: Obj, *, check: bool = True) -> Obj:
        """Stores an object. ``check=False`` skips validation."""
        kind = kinds.of(obj)
        decoded, unknown = self.storage.strategy.decode(kind, obj) if check else (obj, [])
        assert not unknown, f"a test's object has unknown fields: {unknown}"
        namespace = obj["metadata"].get("namespace") or (NAMESPACE if kind.namespaced else "")
        return _copy(self.storage.create(kind, namespace, decoded, _TEST, check=check).obj)

    def find(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj | None:
        version = self.storage.find(kinds.by_plural(resource), namespace, name)
        return None if version is None else _copy(version.obj)

    def get(self, resource: str | Kind, name: str, namespace: str = NAMESPACE) -> Obj:
        return _copy(self.storage.get(kinds.by_plural(resource), namespace, name).obj)

    def objects(
        self,
        resource: str | Kind,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> list[Obj]:
        """Objects that match selectors, which are the same as for a client."""
        kind = kinds.by_plural(resource)
        accepts = compile_selectors(kind, labels, fields)
        found = self.storage.objects(kind, namespace)
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
        old = self.storage.get(kind, namespace, name)
        new = self.storage.strategy.decode(kind, _copy(patching.merge(old.obj, patch)))[0]
        return _copy(self.storage.update(kind, namespace, name, new, _TEST, subresource).obj)

    def mutate(
        self,
        resource: str | Kind,
        name: str,
        change: Callable[[Obj], Any],
        namespace: str = NAMESPACE,
    ) -> Obj:
        """Changes an object without any checks."""
        kind = kinds.by_plural(resource)
        return _copy(self.storage.mutate(kind, namespace, name, change, _TEST).obj)

    def delete(
        self,
        resource: str | Kind,
        name: str,
        namespace: str = NAMESPACE,
        propagation: str | None = "Background",
    ) -> None:
        kind = kinds.by_plural(resource)
        self.storage.delete(kind, namespace, name, DeleteOptions(propagation), _TEST)

    async def use_crd(self, crd: Obj) -> None:
        """Serve another version of the CRD of ConversionJobs."""
        self.storage.strategy.custom = CustomSchema(crd, CONVERSIONJOBS.version)

    def add_claim(
        self, namespace: str = NAMESPACE, name: str = CLAIM, phase: str = "Bound"
    ) -> None:
        """Creates a PersistentVolumeClaim in the given phase."""
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
        self.storage.delete(NAMESPACES, "", name, DeleteOptions(), _TEST)

    # Watches

    def watches(self, **match: Any) -> list[Watch]:
        """The open watches that match; the arguments are those of ``audit.Match``."""
        matches = Match(**match)
        return [watch for watch in self.server.open_watches() if matches(watch.request)]

    def replay(
        self,
        resource: str | Kind,
        name: str,
        namespace: str = NAMESPACE,
        chosen: Callable[[Obj], bool] = lambda _: True,
    ) -> None:
        """Sends the oldest version that ``chosen`` accepts again, as MODIFIED."""
        kind = kinds.by_plural(resource)
        watches = self.watches(resource=kind.plural)
        assert watches, f"no watch of {kind} is open"
        for change in self.storage.tables[kind].log:
            if change.key == (namespace, name) and chosen(change.new.obj):
                for watch in watches:
                    watch.inject("MODIFIED", change.new.obj)
                return
        raise LookupError(f"no version of {kind} {namespace}/{name} fits")

    def compact(self, *resources: str, as_status: bool = False) -> None:
        """Forgets old versions: watches and lists that continue from one get 410.

        A watch gets it as an ERROR event in the stream, as from a real server, or with
        ``as_status`` as the HTTP status.
        """
        chosen = [kinds.by_plural(resource) for resource in resources] or STORED
        self.server.expire_as_status = as_status
        self.server.handlers.expire_lists()
        self.storage.compact(chosen)

    # Waiting

    def describe(self) -> str:
        """The state of the cluster, for the message of a failed test."""
        lines = [f"server's clock {self.clock.stamp()}, {len(self.watches())} open watches"]
        for kind in (CONVERSIONJOBS, JOBS, PODS):
            for version in self.storage.objects(kind):
                status = version.obj.get("status", {})
                ends = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
                state = f"{status.get('phase', '')} {status.get('reason', '')} {ends}"
                lines.append(f"{kind.plural} {version.obj['metadata']['name']}: {state}")
        return "\n".join([*lines[:_MOST_LINES], *map(str, self.audit.requests[-_MOST_LINES:])])

    async def until(
        self, condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition"
    ) -> T:
        """Waits for the first true value of ``condition``.

        It is checked after every write and every request.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self.simulation.check()
            if value := condition():
                return value
            if not await self.storage.changed.wait(max(0.0, deadline - loop.time())):
                if value := condition():
                    return value
                raise AssertionError(
                    f"timed out after {seconds} s waiting for {what}\n{self.describe()}"
                )


def _copy(obj: Obj) -> Obj:
    copied: Obj = patching.copy(obj)
    return copied
