"""The world around the API server: Job controller, scheduler, kubelets, and what goes wrong there.

Every Job gets a pod, and every pod lives by a script (``scripts``). The next script of a
conversion's name is taken for each further Job of it, the last one for all that follow::

    world.script("holiday", evicted(), succeed(size=12))
    world.default = succeed(run_seconds=5)

Time is the server's clock. In automatic mode (the ``api`` fixture's default) the world goes on by
itself as clients write; ``await api.manual()`` leaves it to ``world.step()``, ``await
world.settle()`` and ``await world.advance(seconds)``.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import datetime

from tests.component.support import metadata, podstatus
from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj
from tests.component.support.jobcontroller import JobController
from tests.component.support.kinds import CLAIMS, JOBS, NODES, PODS, Kind
from tests.component.support.kubelet import Kubelet, Run
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.logs import PodLog
from tests.component.support.machinery import Machinery
from tests.component.support.recorder import ACTOR, Recorder
from tests.component.support.scripts import Ending, Script, Stage, drained, succeed
from tests.component.support.store import Change, Key, Store


@dataclass(order=True, slots=True)
class _Alarm:
    moment: datetime
    number: int
    kind: Kind = field(compare=False)
    key: Key = field(compare=False)


class World:
    """Makes Jobs and pods live. A name below is that of a ConversionJob, Job or pod."""

    def __init__(
        self,
        store: Store,
        clock: ServerClock,
        machinery: Machinery,
        pod_logs: dict[str, PodLog],
        nodes: tuple[str, ...] = ("node-1", "node-2"),
    ) -> None:
        self._default = succeed()
        self.store = store
        self._clock = clock
        self._machinery = machinery
        self._logs = pod_logs
        self._recorder = Recorder(store, clock)
        self._jobs = JobController(store, clock, self._recorder, self)
        self._kubelet = Kubelet(store, clock, self._recorder, self)
        self._dirty: dict[tuple[Kind, Key], None] = {}
        self._alarms: list[_Alarm] = []
        self._alarm_number = 0
        self._scripts: dict[str, list[Script]] = {}
        self._by_job: dict[str, Script] = {}
        self._runs: dict[str, Run] = {}
        self._lost: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._next_node = 0
        for name in nodes:
            self.add_node(name)
        store.listeners.append(self._on_change)
        machinery.steppers.append(self)

    # Scripts

    @property
    def default(self) -> Script:
        """What happens to conversions that have no script of their own."""
        return self._default

    @default.setter
    def default(self, script: Script) -> None:
        if not isinstance(script, Script):
            raise TypeError(f"one Script, not {script!r}")
        self._default = script

    def script(self, name: str, *scripts: Script) -> None:
        """What happens to this conversion's pods, attempt by attempt; the last one repeats."""
        self._scripts[name] = list(scripts)

    def script_of(self, job: Obj) -> Script:
        """The script of a Job's pod."""
        uid = job["metadata"]["uid"]
        if uid not in self._by_job:
            owner = metadata.controller_of(job)
            name = owner["name"] if owner else job["metadata"]["name"]
            waiting = self._scripts.get(name) or [self.default]
            self._by_job[uid] = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return self._by_job[uid]

    def fix(self, name: str) -> None:
        """Takes away what keeps this conversion's present pod from starting."""
        for job in self.jobs(name):
            uid = job["metadata"]["uid"]
            self._by_job[uid] = replace(self.script_of(job), obstacle=None)
            self._jobs.retry_now(uid)
            self._mark(JOBS, job)
        for pod in self.pods(name):
            run = self._run_of(pod)
            run.script = replace(run.script, obstacle=None)
            self._mark(PODS, pod)

    def fix_all(self) -> None:
        """Takes away every obstacle there is, and those of scripts to come."""
        for scripts in self._scripts.values():
            scripts[:] = [replace(script, obstacle=None) for script in scripts]
        self.default = replace(self.default, obstacle=None)
        self._refusals.clear()
        for version in self.store.objects(JOBS):
            self.fix(version.obj["metadata"]["name"])

    def finish(self, name: str, how: Script | Ending | None = None) -> None:
        """Ends this conversion's running pods now; without ``how`` as their script says."""
        for pod in self.pods(name):
            if podstatus.is_terminal(pod):
                continue
            run = self._run_of(pod)
            chosen = run.script if how is None else how
            ending = chosen.ending if isinstance(chosen, Script) else chosen
            self._kubelet.finish(_key(pod), ending, run)

    def log(self, name: str, data: bytes) -> None:
        """This conversion's live pods print ``data``."""
        for pod in self.pods(name):
            if not podstatus.is_terminal(pod):
                self._run_of(pod).log.write(self._clock.now(), data)

    def delete_pods(self, name: str, *, force: bool = False) -> None:
        """As ``kubectl delete pod`` does by hand; ``force`` is --force --grace-period=0."""
        options = DeleteOptions(grace=0 if force else None)
        for pod in self.pods(name):
            self.store.delete(PODS, *_key(pod), options, "test")

    # Nodes and namespaces

    def add_node(self, name: str) -> None:
        node: Obj = {"metadata": {"name": name}, "status": {}}
        self.store.create(NODES, "", node, ACTOR)
        self._set_node(name, "True", "KubeletReady")

    def lose_node(self, name: str) -> None:
        """The node stops answering: its pods become unready and, after their toleration,
        Terminating, and stay so until ``restore_node``."""
        self._lost.add(name)
        self._set_node(name, "Unknown", "NodeStatusUnknown")
        self._mark_node(name)

    def restore_node(self, name: str, ending: Ending | Script | None = None) -> None:
        """The node is back and reports; ``ending`` is how its pods have ended meanwhile."""
        self._lost.discard(name)
        self._set_node(name, "True", "KubeletReady")
        found = ending.ending if isinstance(ending, Script) else ending
        for pod in self._pods_on(name):
            run = self._run_of(pod)
            run.lost_at, run.found = None, found
        self._mark_node(name)

    def delete_node(self, name: str) -> None:
        """Removes the Node object, upon which the pod collector takes its pods."""
        self.store.remove(NODES, "", name, ACTOR)
        self._mark_node(name)

    def drain(self, name: str) -> None:
        """Cordons the node and evicts its pods."""

        def cordon(node: Obj) -> None:
            node.setdefault("spec", {})["unschedulable"] = True

        self.store.mutate(NODES, "", name, cordon, ACTOR)
        for pod in self._pods_on(name):
            if not podstatus.is_terminal(pod):
                self._kubelet.finish(_key(pod), drained().ending, self._run_of(pod))

    def forbid_pods(self, namespace: str, why: str) -> None:
        """No pod can be created in the namespace; ``why`` in the admission plugin's words."""
        self._refusals[namespace] = why

    def allow_pods(self, namespace: str) -> None:
        """Takes ``forbid_pods`` back. The Job controller learns it at its next try, up to a
        minute later; ``fix`` makes it try at once."""
        self._refusals.pop(namespace, None)

    # Time

    def step(self) -> int:
        """Every Job and pod with something to do does one step; the number of writes."""
        before = self.store.rv
        dirty, self._dirty = self._dirty, {}
        now = self._clock.now()
        while self._alarms and self._alarms[0].moment <= now:
            alarm = heapq.heappop(self._alarms)
            dirty[alarm.kind, alarm.key] = None
        for kind, key in dirty:
            if kind is JOBS:
                self._jobs.sync(key)
            elif kind is PODS:
                self._sync_pod(key)
        return self.store.rv - before

    def next_due(self) -> datetime | None:
        return self._alarms[0].moment if self._alarms else None

    async def settle(self) -> None:
        """Steps until the world has nothing to do at this moment of the clock."""
        await self._machinery.settle()

    async def advance(self, seconds: float) -> None:
        """Moves the clock on, and lets the world do what has come due."""
        self._clock.advance(seconds)
        await self._machinery.settle()

    # What there is

    def jobs(self, name: str) -> list[Obj]:
        """Jobs of this conversion, or of this name."""
        found = [version.obj for version in self.store.objects(JOBS)]
        return [job for job in found if name in (job["metadata"]["name"], _owner_name(job))]

    def pods(self, name: str) -> list[Obj]:
        """Pods of this conversion, Job or name."""
        jobs = {job["metadata"]["uid"] for job in self.jobs(name)}
        found = [version.obj for version in self.store.objects(PODS)]
        return [
            pod
            for pod in found
            if pod["metadata"]["name"] == name
            or (metadata.controller_of(pod) or {}).get("uid") in jobs
        ]

    # What its parts ask for

    def pod_refusal(self, job: Obj) -> str | None:
        return self._refusals.get(job["metadata"]["namespace"])

    def pick_node(self, script: Script) -> str | None:
        nodes = [version.obj for version in self.store.objects(NODES)]
        free = [
            node["metadata"]["name"]
            for node in nodes
            if not node.get("spec", {}).get("unschedulable")
            and node["metadata"]["name"] not in self._lost
        ]
        if script.node is not None:
            return script.node if script.node in free else None
        self._next_node += 1
        return free[self._next_node % len(free)] if free else None

    def is_lost(self, node: str) -> bool:
        return node in self._lost

    def has_node(self, node: str) -> bool:
        return self.store.find(NODES, "", node) is not None

    def wake_at(self, kind: Kind, key: Key, moment: datetime) -> None:
        self._alarm_number += 1
        heapq.heappush(self._alarms, _Alarm(moment, self._alarm_number, kind, key))

    # Inside

    def _on_change(self, change: Change) -> None:
        if change.kind is PODS:
            self._dirty[PODS, change.key] = None
            owner = metadata.controller_of(change.new.obj)
            if owner is not None:
                self._dirty[JOBS, (change.key[0], owner["name"])] = None
            if change.type == "DELETED" and change.uid in self._runs:
                self._runs.pop(change.uid).log.close()
        elif change.kind in (CLAIMS, NODES):
            # What has no node yet is tried again.
            for version in self.store.objects(PODS):
                if not version.obj["spec"].get("nodeName"):
                    self._mark(PODS, version.obj)
        elif change.kind is JOBS:
            self._dirty[JOBS, change.key] = None
            if change.type == "DELETED":
                dependents = self.store.dependents.get(change.uid, ())
                self._dirty |= dict.fromkeys(sorted(dependents, key=lambda d: d[1]))

    def _sync_pod(self, key: Key) -> None:
        version = self.store.find(PODS, *key)
        if version is None:
            return
        self._jobs.release_orphan(version.obj)
        version = self.store.find(PODS, *key)
        if version is not None:
            self._kubelet.sync(key, version.obj, self._run_of(version.obj))

    def _run_of(self, pod: Obj) -> Run:
        uid = pod["metadata"]["uid"]
        if uid not in self._runs:
            owner = metadata.controller_of(pod)
            namespace = pod["metadata"]["namespace"]
            job = self.store.find(JOBS, namespace, owner["name"]) if owner else None
            script = self.default if job is None else self.script_of(job.obj)
            obstacle = script.obstacle
            if obstacle is not None and obstacle.stage is Stage.NO_POD:
                script = replace(script, obstacle=None)
            self._runs[uid] = Run(script)
            self._logs[uid] = self._runs[uid].log
        return self._runs[uid]

    def _pods_on(self, node: str) -> list[Obj]:
        pods = [version.obj for version in self.store.objects(PODS)]
        return [pod for pod in pods if pod["spec"].get("nodeName") == node]

    def _mark(self, kind: Kind, obj: Obj) -> None:
        self._dirty[kind, _key(obj)] = None
        self._machinery.wake()

    def _mark_node(self, name: str) -> None:
        for pod in self._pods_on(name):
            self._mark(PODS, pod)

    def _set_node(self, name: str, ready: str, reason: str) -> None:
        stamp = self._clock.stamp()

        def change(node: Obj) -> None:
            podstatus.set_condition(node.setdefault("status", {}), "Ready", ready, stamp, reason)

        self.store.mutate(NODES, "", name, change, ACTOR)


def _key(obj: Obj) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _owner_name(job: Obj) -> str | None:
    owner = metadata.controller_of(job)
    return owner["name"] if owner else None
