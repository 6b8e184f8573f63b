"""The rest of the cluster around the API server: Job controller, scheduler, kubelets and nodes.

Every Job gets a pod, and every pod follows a script (``scripts``). Each Job of a conversion takes
the next script of its name. The last script repeats::

    cluster.script("holiday", evicted(), succeed(size=12))
    cluster.default = succeed(run_seconds=5)

Time is the server's clock. In automatic mode (the default of the ``api`` fixture) the cluster
reacts to writes of clients. After ``await api.manual()`` it only acts in ``cluster.step()``,
``await cluster.settle()`` and ``await cluster.advance(seconds)``.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.component.support import metadata, podstatus
from tests.component.support.clock import ServerClock
from tests.component.support.errors import Obj
from tests.component.support.jobcontroller import JobController
from tests.component.support.kinds import CLAIMS, JOBS, NODES, PODS, Kind
from tests.component.support.kubelet import Kubelet, Run
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.logs import PodLog
from tests.component.support.recorder import ACTOR, Recorder
from tests.component.support.scripts import Ending, Script, Stage, drained, succeed
from tests.component.support.simulation import Simulation
from tests.component.support.storage import Key, ObjectStorage, StoredChange


@dataclass(order=True, slots=True)
class _Alarm:
    moment: datetime
    number: int
    kind: Kind = field(compare=False)
    key: Key = field(compare=False)


class FakeCluster:
    """Runs Jobs and pods. ``name`` is the name of a ConversionJob, Job or pod."""

    def __init__(
        self,
        storage: ObjectStorage,
        clock: ServerClock,
        simulation: Simulation,
        pod_logs: dict[str, PodLog],
        nodes: tuple[str, ...] = ("node-1", "node-2"),
    ) -> None:
        self._default = succeed()
        self.storage = storage
        self._clock = clock
        self._simulation = simulation
        self._logs = pod_logs
        self._recorder = Recorder(storage, clock)
        self._jobs = JobController(storage, clock, self._recorder, self)
        self._kubelet = Kubelet(storage, clock, self._recorder, self)
        self._dirty: dict[tuple[Kind, Key], None] = {}
        self._alarms: list[_Alarm] = []
        self._alarm_number = 0
        self._scripts: dict[str, list[Script]] = {}
        self._by_job: dict[str, Script] = {}
        self._runs: dict[str, Run] = {}
        self._lost: set[str] = set()
        self._rejections: dict[str, str] = {}
        self._next_node = 0
        self.job_seconds = 0.0
        """How long a Job takes to follow a change of its pod. On a real server it is a second."""
        for name in nodes:
            self.add_node(name)
        storage.listeners.append(self._on_change)
        simulation.steppers.append(self)

    # Scripts

    @property
    def default(self) -> Script:
        """The script of conversions that have none of their own."""
        return self._default

    @default.setter
    def default(self, script: Script) -> None:
        if not isinstance(script, Script):
            raise TypeError(f"one Script, not {script!r}")
        self._default = script

    def script(self, name: str, *scripts: Script) -> None:
        """Sets the scripts of a conversion's pods, one per attempt. The last one repeats."""
        self._scripts[name] = list(scripts)

    def script_of(self, job: Obj) -> Script:
        """The script of a Job's pod."""
        owner = metadata.controller_of(job)
        name = owner["name"] if owner else job["metadata"]["name"]
        return self._script_for(job["metadata"]["uid"], name)

    def _script_for(self, uid: str, name: str) -> Script:
        """The script of the pod of the Job with this uid, for the conversion of this name."""
        if uid not in self._by_job:
            waiting = self._scripts.get(name) or [self.default]
            self._by_job[uid] = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return self._by_job[uid]

    def fix(self, name: str) -> None:
        """Removes the obstacle that prevents the conversion's current pod from starting."""
        for job in self.jobs(name):
            uid = job["metadata"]["uid"]
            self._by_job[uid] = replace(self.script_of(job), obstacle=None)
            self._jobs.retry_now(uid)
            self._mark(JOBS, job)
        for pod in self.pods(name):
            run = self._run_of(pod)
            run.script = replace(run.script, obstacle=None)
            self._mark(PODS, pod)

    def finish(self, name: str, how: Script | Ending | None = None) -> None:
        """Ends the conversion's running pods now, by default as their script says."""
        for pod in self.pods(name):
            if podstatus.is_terminal(pod):
                continue
            run = self._run_of(pod)
            chosen = run.script if how is None else how
            ending = chosen.ending if isinstance(chosen, Script) else chosen
            self._kubelet.finish(_key(pod), ending, run)

    def log(self, name: str, data: bytes) -> None:
        """The conversion's live pods write ``data`` to their logs."""
        for pod in self.pods(name):
            if not podstatus.is_terminal(pod):
                self._run_of(pod).log.write(self._clock.now(), data)

    def delete_pods(self, name: str, *, force: bool = False) -> None:
        """Like ``kubectl delete pod``. ``force`` is --force --grace-period=0."""
        options = DeleteOptions(grace=0 if force else None)
        for pod in self.pods(name):
            self.storage.delete(PODS, *_key(pod), options, "test")

    # Nodes and namespaces

    def add_node(self, name: str) -> None:
        node: Obj = {"metadata": {"name": name}, "status": {}}
        self.storage.create(NODES, "", node, ACTOR)
        self._set_node(name, "True", "KubeletReady")

    def lose_node(self, name: str) -> None:
        """The node stops answering until ``restore_node``.

        Its pods become unready and, after their toleration, Terminating.
        """
        self._lost.add(name)
        self._set_node(name, "Unknown", "NodeStatusUnknown")
        self._mark_node(name)

    def restore_node(self, name: str, ending: Ending | Script | None = None) -> None:
        """The node answers again. ``ending`` is how its pods have ended meanwhile."""
        self._lost.discard(name)
        self._set_node(name, "True", "KubeletReady")
        late_ending = ending.ending if isinstance(ending, Script) else ending
        for pod in self._pods_on(name):
            run = self._run_of(pod)
            run.lost_at, run.late_ending = None, late_ending
        self._mark_node(name)

    def drain(self, name: str) -> None:
        """Cordons the node and evicts its pods."""

        def cordon(node: Obj) -> None:
            node.setdefault("spec", {})["unschedulable"] = True

        self.storage.mutate(NODES, "", name, cordon, ACTOR)
        for pod in self._pods_on(name):
            if not podstatus.is_terminal(pod):
                self._kubelet.finish(_key(pod), drained().ending, self._run_of(pod))

    def forbid_pods(self, namespace: str, why: str) -> None:
        """Rejects all pods in the namespace, with ``why`` as the admission plugin's message."""
        self._rejections[namespace] = why

    def allow_pods(self, namespace: str) -> None:
        """Ends ``forbid_pods``.

        The Job controller notices at its next try, up to a minute later. ``fix`` makes it try
        at once.
        """
        self._rejections.pop(namespace, None)

    # Time

    def step(self) -> int:
        """Does one step for every Job and pod that has work. Returns the number of writes."""
        before = self.storage.rv
        for kind, key in self._take_dirty():
            if kind is JOBS:
                self._jobs.sync(key)
            elif kind is PODS:
                self._sync_pod(key)
        return self.storage.rv - before

    def _take_dirty(self) -> dict[tuple[Kind, Key], None]:
        """The objects that have work now."""
        dirty, self._dirty = self._dirty, {}
        now = self._clock.now()
        while self._alarms and self._alarms[0].moment <= now:
            alarm = heapq.heappop(self._alarms)
            dirty[alarm.kind, alarm.key] = None
        return dirty

    def next_due(self) -> datetime | None:
        return self._alarms[0].moment if self._alarms else None

    async def settle(self) -> None:
        """Does steps until nothing is left to do at the current time."""
        await self._simulation.settle()

    async def advance(self, seconds: float) -> None:
        """Advances the clock, and does everything that is due then."""
        self._clock.advance(seconds)
        await self._simulation.settle()

    # Jobs and pods

    def jobs(self, name: str) -> list[Obj]:
        """The Jobs of a conversion, or the Job of this name."""
        found = [version.obj for version in self.storage.objects(JOBS)]
        return [job for job in found if name in (job["metadata"]["name"], _owner_name(job))]

    def pods(self, name: str) -> list[Obj]:
        """The pods of a conversion or Job, or the pod of this name."""
        jobs = {job["metadata"]["uid"] for job in self.jobs(name)}
        found = [version.obj for version in self.storage.objects(PODS)]
        return [
            pod
            for pod in found
            if pod["metadata"]["name"] == name
            or (metadata.controller_of(pod) or {}).get("uid") in jobs
        ]

    # For the Job controller and the kubelets

    def pod_rejection(self, job: Obj) -> str | None:
        return self._rejections.get(job["metadata"]["namespace"])

    def pick_node(self, script: Script) -> str | None:
        nodes = [version.obj for version in self.storage.objects(NODES)]
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

    def wake_at(self, kind: Kind, key: Key, moment: datetime) -> None:
        self._alarm_number += 1
        heapq.heappush(self._alarms, _Alarm(moment, self._alarm_number, kind, key))

    # Inside

    def _on_change(self, change: StoredChange) -> None:
        if change.kind is PODS:
            self._dirty[PODS, change.key] = None
            owner = metadata.controller_of(change.new.obj)
            if owner is not None:
                self._on_pod_of((change.key[0], owner["name"]))
            if change.type == "DELETED" and change.uid in self._runs:
                self._runs.pop(change.uid).log.close()
        elif change.kind in (CLAIMS, NODES):
            # The scheduler tries pods without a node again.
            for version in self.storage.objects(PODS):
                if not version.obj["spec"].get("nodeName"):
                    self._mark(PODS, version.obj)
        elif change.kind is JOBS:
            self._dirty[JOBS, change.key] = None
            if change.type == "DELETED":
                dependents = self.storage.dependents.get(change.uid, ())
                self._dirty |= dict.fromkeys(sorted(dependents, key=lambda d: d[1]))

    def _on_pod_of(self, job: Key) -> None:
        if self.job_seconds:
            self.wake_at(JOBS, job, self._clock.now() + timedelta(seconds=self.job_seconds))
        else:
            self._dirty[JOBS, job] = None

    def _sync_pod(self, key: Key) -> None:
        version = self.storage.find(PODS, *key)
        if version is None:
            return
        self._jobs.release_orphan(version.obj)
        version = self.storage.find(PODS, *key)
        if version is not None:
            self._kubelet.sync(key, version.obj, self._run_of(version.obj))

    def _run_of(self, pod: Obj) -> Run:
        uid = pod["metadata"]["uid"]
        if uid not in self._runs:
            owner = metadata.controller_of(pod)
            namespace = pod["metadata"]["namespace"]
            job = self.storage.find(JOBS, namespace, owner["name"]) if owner else None
            if job is not None:
                script = self.script_of(job.obj)
            elif owner is not None:
                # The watch of pods may be ahead of the watch of Jobs.
                noted = pod["metadata"].get("annotations") or {}
                name = noted.get("converter.mynetwork.io/conversion", "")
                script = self._script_for(owner["uid"], name)
            else:
                script = self.default
            obstacle = script.obstacle
            if obstacle is not None and obstacle.stage is Stage.NO_POD:
                script = replace(script, obstacle=None)
            self._runs[uid] = Run(script)
            self._logs[uid] = self._runs[uid].log
        return self._runs[uid]

    def _pods_on(self, node: str) -> list[Obj]:
        pods = [version.obj for version in self.storage.objects(PODS)]
        return [pod for pod in pods if pod["spec"].get("nodeName") == node]

    def _mark(self, kind: Kind, obj: Obj) -> None:
        self._dirty[kind, _key(obj)] = None
        self._simulation.wake()

    def _mark_node(self, name: str) -> None:
        for pod in self._pods_on(name):
            self._mark(PODS, pod)

    def _set_node(self, name: str, ready: str, reason: str) -> None:
        stamp = self._clock.stamp()

        def change(node: Obj) -> None:
            podstatus.set_condition(node.setdefault("status", {}), "Ready", ready, stamp, reason)

        self.storage.mutate(NODES, "", name, change, ACTOR)


def _key(obj: Obj) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _owner_name(job: Obj) -> str | None:
    owner = metadata.controller_of(job)
    return owner["name"] if owner else None
