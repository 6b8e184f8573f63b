"""Random histories: decisions, store and slots against a small model of a cluster.

Watch events arrive late, in any order across resources, or only with the next list. Answers get
lost. The operator dies between any two writes. At every step I1 and I2 hold (one live pod per
conversion, no more live pods than slots), a terminal phase never changes, and an attempt has one
Job. In the end every conversion has finished and nothing is left over (I3, I4).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from conversion_operator.api import names
from conversion_operator.api.status import format_time
from conversion_operator.cluster.objects import Object, ObjectList, Resource, WatchEvent
from conversion_operator.cluster.parse_children import parse_job
from conversion_operator.cluster.parsing import PARSERS, parse_conversion
from conversion_operator.controller.store import Store
from conversion_operator.core.admission import AdmissionPass, Obstacles
from conversion_operator.core.attempts import awaits_attempt, latest_attempt_number
from conversion_operator.core.children import JOB_KIND, Job
from conversion_operator.core.manifest import CONTAINER, build_job, job_name
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import DeleteConversion, DeleteJob, DeletePod, Plan, Snapshot
from conversion_operator.core.reconcile import decide, decide_without_conversion
from media_converter.contract import EXIT_CODES, ExitReason
from tests.unit.operator.builders import KEY, T0, bad_report, good_report
from tests.unit.operator.queueing import new_queue

NAMESPACE = "my-network"
LIMIT = 2
FORGED_SIZE = 666
POLICY = Policy(max_parallel=LIMIT, ttl=10**9)
Body = dict[str, Any]

ENDS: dict[str, tuple[int, str, str]] = {
    "success": (0, "Completed", good_report()),
    "file": (EXIT_CODES[ExitReason.INPUT_DAMAGED], "Error", bad_report(ExitReason.INPUT_DAMAGED)),
    "disk": (EXIT_CODES[ExitReason.DISK_FULL], "Error", bad_report(ExitReason.DISK_FULL)),
    "oom": (137, "OOMKilled", ""),
    "killed": (137, "Error", ""),
}


class FakeServer:
    """A small API server: versions, foreground deletion and owners."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[Resource, dict[str, Body]] = {resource: {} for resource in Resource}
        self.log: list[tuple[Resource, WatchEvent[Object]]] = []
        self.jobs_made: list[tuple[str, str]] = []

    def put(self, resource: Resource, body: Body, kind: str = "MODIFIED") -> Body:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[resource][body["metadata"]["name"]] = body
        self.log.append((resource, WatchEvent(kind, str(self.version), PARSERS[resource](body))))
        return copy.deepcopy(body)

    def remove(self, resource: Resource, name: str) -> None:
        body = self.objects[resource].pop(name, None)
        if body is None:
            return
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        last = PARSERS[resource](body)
        self.log.append((resource, WatchEvent("DELETED", str(self.version), last)))
        uid = body["metadata"]["uid"]
        for child in (Resource.JOBS, Resource.PODS):
            for owned in tuple(self.objects[child].values()):
                owners = owned["metadata"].get("ownerReferences", [])
                if any(owner["uid"] == uid for owner in owners):
                    self.stop(child, owned)

    def stop(self, resource: Resource, body: Body) -> None:
        """Mark for deletion: a pod waits for its container, a Job for its pods."""
        if "deletionTimestamp" not in body["metadata"]:
            body["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
            self.put(resource, body)

    def live_pods(self) -> list[Body]:
        pods = self.objects[Resource.PODS].values()
        return [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


class Machine(RuleBasedStateMachine):
    """The operator is ``store``, ``reserved`` and ``delivered``. The rest is the cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.server = FakeServer()
        self.now = T0
        self.made = 0
        self.ended: dict[str, str] = {}
        self.forged: set[str] = set()
        self.crash()
        for resource in Resource:
            self.list_again(resource)
        for _ in range(3):
            self.submit(shared_output=False, retries=1)

    # --- the operator ---

    @rule()
    def crash(self) -> None:
        self.store = Store(lambda _: None)
        self.store.use_key(KEY)
        self.reserved: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.delivered = {resource: len(self.server.log) for resource in Resource}
        self.listed: set[Resource] = set()

    @rule(resource=st.sampled_from(list(Resource)))
    def list_again(self, resource: Resource) -> None:
        items = tuple(PARSERS[resource](body) for body in self.server.objects[resource].values())
        objects = ObjectList(items, str(self.server.version))
        asyncio.run(self.store.replace(resource, NAMESPACE, objects))
        self.delivered[resource] = len(self.server.log)
        self.listed.add(resource)

    @rule(resource=st.sampled_from(list(Resource)), count=st.integers(1, 5), lossy=st.booleans())
    def deliver(self, resource: Resource, count: int, lossy: bool) -> None:
        """Deliver some events of one resource. A lossy watch drops them until the next list."""
        end = min(self.delivered[resource] + count, len(self.server.log))
        for kind, change in self.server.log[self.delivered[resource] : end]:
            if kind is resource and not lossy:
                self.store.apply(change)
        self.delivered[resource] = end

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Deliver an old event again."""
        if self.server.log:
            _, change = data.draw(st.sampled_from(self.server.log))
            self.store.apply(change)

    @precondition(lambda self: len(self.listed) == len(Resource))
    @rule(lost=st.booleans(), die=st.booleans())
    def admit(self, lost: bool, die: bool) -> None:
        conversions = {c.key.uid: c for c in self.store.conversions()}
        reserved = dict.fromkeys(self.reserved, NAMESPACE)
        queue = new_queue(conversions, self.store.all_children(), POLICY, reserved)
        admission = AdmissionPass(queue, self.now, Obstacles(), queue.namespaces)
        for uid in admission.select(queue.slots_held()).start:
            self.reserved.add(uid)
            self.create(uid, lost)
            if die:
                self.crash()
                return

    @precondition(lambda self: bool(self.reserved))
    @rule(lost=st.booleans())
    def repeat_creates(self, lost: bool) -> None:
        """Repeat requests whose answer was lost until their result is known."""
        for uid in sorted(self.reserved):
            self.create(uid, lost)

    def create(self, uid: str, lost: bool) -> None:
        conversion = self.store.conversion(uid)
        if conversion is None:
            self.reserved.discard(uid)
            return
        children = self.store.children(uid)
        attempt = latest_attempt_number(conversion, children) + 1
        if uid in self.attempts and self.attempts[uid] < attempt:
            self.reserved.discard(uid)  # the requested attempt is known by now
            self.attempts.pop(uid)
            return
        self.attempts[uid] = attempt
        body = build_job(
            conversion, attempt, POLICY, False, self.store.mark(conversion.key, attempt)
        )
        name = body["metadata"]["name"]
        owner = self.server.objects[Resource.CONVERSIONS].get(conversion.key.name)
        existing = self.server.objects[Resource.JOBS].get(name)
        if existing is None and owner is not None and owner["metadata"]["uid"] == uid:
            body["metadata"] |= {
                "uid": f"job-{self.server.version}",
                "creationTimestamp": format_time(self.now),
            }
            self.server.jobs_made.append((uid, name))
            existing = self.server.put(Resource.JOBS, body, "ADDED")
        if lost:
            return
        if existing is not None and not self.store.adopt_if_own(
            conversion.key, parse_job(existing)
        ):
            assert name in self.forged
        self.reserved.discard(uid)
        self.attempts.pop(uid)

    @precondition(lambda self: len(self.listed) == len(Resource))
    @rule(data=st.data(), die=st.booleans())
    def reconcile(self, data: st.DataObject, die: bool) -> None:
        uids = sorted(
            {c.key.uid for c in self.store.conversions()} | set(self.store.all_children())
        )
        if uids:
            self.work(data.draw(st.sampled_from(uids)), die)

    def work(self, uid: str, die: bool = False) -> None:
        for child in self.store.missing(uid):
            resource = Resource.JOBS if isinstance(child, Job) else Resource.PODS
            body = self.server.objects[resource].get(child.name)
            read = PARSERS[resource](body) if body else None
            assert not isinstance(read, Conversion)
            self.store.confirm(child, read)
        conversion = self.store.conversion(uid)
        if conversion is None:
            self.carry_out(decide_without_conversion(self.store.children(uid), self.now, POLICY))
            return
        self.make_sure(conversion)
        plan = decide(Snapshot(conversion, self.store.children(uid), self.now, POLICY, position=1))
        assert plan.status is None or plan.status.output_size != FORGED_SIZE
        self.carry_out(plan, conversion.key.name)
        if die:
            self.crash()
            return
        stored = self.server.objects[Resource.CONVERSIONS].get(conversion.key.name)
        if plan.status is None or stored is None or stored["metadata"]["uid"] != uid:
            return
        if uid in self.ended and plan.status.phase != self.ended[uid]:
            return  # the CRD rejects it
        stored["status"] = plan.status.to_json()
        if plan.status.phase.terminal:
            self.ended[uid] = str(plan.status.phase)
        body = self.server.put(Resource.CONVERSIONS, stored)
        self.store.update(parse_conversion(body))

    def make_sure(self, conversion: Conversion) -> None:
        """Ask the API server, as the worker does, before an object counts as missing."""
        uid = conversion.key.uid
        children = self.store.children(uid)
        if conversion.finished or awaits_attempt(conversion, children):
            return
        mine = children.of_attempt(latest_attempt_number(conversion, children))
        if not mine.jobs and not mine.pods:
            self.look_up(Resource.JOBS, uid)
        elif any(job.finished for job in mine.jobs) and not any(p.terminated for p in mine.pods):
            self.look_up(Resource.PODS, uid)

    def look_up(self, resource: Resource, uid: str) -> None:
        for body in self.server.objects[resource].values():
            if body["metadata"]["labels"][names.UID_LABEL] == uid:
                self.store.update(PARSERS[resource](body))

    def carry_out(self, plan: Plan, name: str = "") -> None:
        for action in plan.actions:
            if isinstance(action, DeleteJob):
                self.if_same(Resource.JOBS, action.job.name, action.job.uid)
            elif isinstance(action, DeletePod):
                self.if_same(Resource.PODS, action.pod.name, action.pod.uid)
            elif isinstance(action, DeleteConversion):
                self.server.remove(Resource.CONVERSIONS, name)

    def if_same(self, resource: Resource, name: str, uid: str) -> None:
        assert name not in self.forged, "a foreign object is never deleted"
        body = self.server.objects[resource].get(name)
        if body is not None and body["metadata"]["uid"] == uid:
            self.server.stop(resource, body)

    # --- people ---

    @precondition(lambda self: self.made < 5)
    @rule(shared_output=st.booleans(), retries=st.integers(0, 2))
    def submit(self, shared_output: bool, retries: int) -> None:
        self.made += 1
        name = f"c{self.made}"
        self.server.put(
            Resource.CONVERSIONS,
            {
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "uid": f"uid-{self.made:04}",
                    "generation": 1,
                    "creationTimestamp": format_time(self.now),
                },
                "spec": {
                    "conversionType": "video_to_mp4",
                    "inputFile": f"in/{name}.mov",
                    "outputFile": "out/same.mp4" if shared_output else f"out/{name}.mp4",
                    "maxRetries": retries,
                },
            },
            "ADDED",
        )

    def forget_unobserved(self, job: Body) -> None:
        """Allow the Job again if the running operator has not observed it.

        Its create got no response, or a former operator created it. Nothing tells this operator
        that the Job existed, so it may create the Job again.
        """
        uid, name = job["metadata"]["labels"][names.UID_LABEL], job["metadata"]["name"]
        observed = {known.name for known in self.store.children(uid).jobs}
        if name not in observed and (uid, name) in self.server.jobs_made:
            self.server.jobs_made.remove((uid, name))

    @rule(data=st.data(), what=st.sampled_from(["cancel", "delete", "job", "pod", "background"]))
    def interfere(self, data: st.DataObject, what: str) -> None:
        kinds = {"job": Resource.JOBS, "background": Resource.JOBS, "pod": Resource.PODS}
        resource = kinds.get(what, Resource.CONVERSIONS)
        candidates = sorted(self.server.objects[resource].keys() - self.forged)
        if not candidates:
            return
        name = data.draw(st.sampled_from(candidates))
        found = self.server.objects[resource][name]
        if resource is Resource.JOBS:
            self.forget_unobserved(found)
        if what == "cancel":
            found["spec"]["cancel"] = True
            self.server.put(resource, found)
        elif what in ("delete", "background"):
            # Deleted at once. Garbage collection deletes its children later.
            self.server.remove(resource, name)
        else:
            self.server.stop(resource, found)

    @precondition(lambda self: len(self.forged) < 4)
    @rule(
        data=st.data(),
        attempt=st.sampled_from([1, 2, 99]),
        owned=st.booleans(),
        mark=st.sampled_from(["", "f" * 64, "copy"]),
        pod=st.booleans(),
    )
    def forge(self, data: st.DataObject, attempt: int, owned: bool, mark: str, pod: bool) -> None:
        """Create a suspended Job, or a pod that has succeeded, with the labels of a conversion.

        The mark of a Job is copied from another attempt, since its own name is taken.
        """
        conversions = self.server.objects[Resource.CONVERSIONS]
        if not conversions:
            return
        victim = conversions[data.draw(st.sampled_from(sorted(conversions)))]["metadata"]
        name = job_name(victim["uid"], attempt)
        existing = self.server.objects[Resource.JOBS].get(name)
        other = self.server.objects[Resource.JOBS].get(job_name(victim["uid"], 3 - attempt))
        copied = existing if pod else other
        if mark == "copy":
            mark = copied["metadata"]["annotations"][names.MARK_ANNOTATION] if copied else ""
        kind, resource = (JOB_KIND, Resource.PODS) if pod else (names.KIND, Resource.JOBS)
        name = f"forged-{self.server.version}" if pod or existing else name
        group = "batch/v1" if pod else names.API_VERSION
        controller = {"apiVersion": group, "kind": kind, "uid": victim["uid"], "controller": True}
        self.forged.add(name)
        body: Body = {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"forged-{self.server.version}",
                "creationTimestamp": format_time(self.now),
                "labels": {
                    names.UID_LABEL: victim["uid"],
                    names.ATTEMPT_LABEL: str(attempt),
                },
                "annotations": {names.MARK_ANNOTATION: mark},
                "ownerReferences": [controller] if owned else [],
            },
        }
        self.server.put(resource, body, "ADDED")
        if pod:
            self.terminate(body, 0, "Completed", good_report(output_size=FORGED_SIZE))

    # --- the cluster ---

    @rule(end=st.sampled_from(list(ENDS)))
    def turn(self, end: str) -> None:
        """The Job controller, the kubelet or the garbage collector takes its next step."""
        next((step for step in self.chores(end) if step()), None)

    @precondition(lambda self: len(self.listed) == len(Resource))
    @rule(
        heard=st.sets(st.sampled_from(list(Resource))),
        turns=st.integers(0, 4),
        end=st.sampled_from(list(ENDS)),
        lost=st.booleans(),
    )
    def proceed(self, heard: set[Resource], turns: int, end: str, lost: bool) -> None:
        """Ordinary progress, so that histories advance. Some resources are seen, others lag."""
        for resource in sorted(heard):
            self.deliver(resource, len(self.server.log), lossy=False)
        self.admit(lost, die=False)
        for uid in sorted({c.key.uid for c in self.store.conversions()}):
            self.work(uid)
        for _ in range(turns):
            self.turn(end)

    @rule(seconds=st.sampled_from([1, 15, 400]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def chores(self, end: str) -> list[Callable[[], bool]]:
        return [self.collect, self.finish_jobs, self.start_pods, lambda: self.run_pods(end)]

    def pods_of(self, job: Body) -> list[Body]:
        pods = self.server.objects[Resource.PODS].values()
        uid = job["metadata"]["uid"]
        return [
            pod for pod in pods if uid in (o["uid"] for o in pod["metadata"]["ownerReferences"])
        ]

    def collect(self) -> bool:
        """Carry out deletions: containers get SIGTERM, Jobs wait for their pods."""
        for pod in tuple(self.server.objects[Resource.PODS].values()):
            if "deletionTimestamp" in pod["metadata"]:
                if pod["status"]["phase"] == "Running":
                    self.terminate(pod, EXIT_CODES[ExitReason.TERMINATED], "Error", "")
                else:
                    self.server.remove(Resource.PODS, pod["metadata"]["name"])
                return True
        for job in tuple(self.server.objects[Resource.JOBS].values()):
            if "deletionTimestamp" in job["metadata"]:
                pods = self.pods_of(job)
                for pod in pods:
                    self.server.stop(Resource.PODS, pod)
                if not pods:
                    self.server.remove(Resource.JOBS, job["metadata"]["name"])
                return True
        return False

    def finish_jobs(self) -> bool:
        for job in self.server.objects[Resource.JOBS].values():
            pods = self.pods_of(job)
            over = [p for p in pods if p["status"]["phase"] in ("Succeeded", "Failed")]
            vanished = job.get("hadPod") and not pods
            if "status" not in job and (over or vanished):
                good = bool(over) and over[0]["status"]["phase"] == "Succeeded"
                kind = "Complete" if good else "Failed"
                stamp = format_time(self.now)
                job["status"] = {
                    "conditions": [{"type": kind, "status": "True", "lastTransitionTime": stamp}]
                }
                self.server.put(Resource.JOBS, job)
                return True
        return False

    def start_pods(self) -> bool:
        for job in self.server.objects[Resource.JOBS].values():
            deleting = "deletionTimestamp" in job["metadata"]
            if job["metadata"]["name"] in self.forged:
                continue  # suspended
            if "status" not in job and not job.get("hadPod") and not deleting:
                job["hadPod"] = True
                meta = job["metadata"]
                self.server.put(
                    Resource.PODS,
                    {
                        "metadata": {
                            "name": f"{meta['name']}-x",
                            "namespace": NAMESPACE,
                            "uid": f"pod-{self.server.version}",
                            "labels": meta["labels"]
                            | {"batch.kubernetes.io/job-name": meta["name"]},
                            "annotations": meta["annotations"],
                            "ownerReferences": [
                                {
                                    "apiVersion": "batch/v1",
                                    "kind": "Job",
                                    "uid": meta["uid"],
                                    "controller": True,
                                }
                            ],
                        },
                        "spec": {"nodeName": "node-1"},
                        "status": {"phase": "Pending"},
                    },
                    "ADDED",
                )
                return True
        return False

    def run_pods(self, end: str) -> bool:
        for pod in self.server.objects[Resource.PODS].values():
            if pod["status"]["phase"] == "Pending":
                pod["status"] = {
                    "phase": "Running",
                    "containerStatuses": [
                        {
                            "name": CONTAINER,
                            "state": {"running": {"startedAt": format_time(self.now)}},
                        }
                    ],
                }
                self.server.put(Resource.PODS, pod)
                return True
        for pod in self.server.objects[Resource.PODS].values():
            if pod["status"]["phase"] == "Running":
                self.terminate(pod, *ENDS[end])
                return True
        return False

    def terminate(self, pod: Body, code: int, reason: str, message: str) -> None:
        stamp = format_time(self.now)
        pod["status"] = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [
                {
                    "name": CONTAINER,
                    "state": {
                        "terminated": {
                            "exitCode": code,
                            "reason": reason,
                            "message": message,
                            "startedAt": stamp,
                            "finishedAt": stamp,
                        }
                    },
                }
            ],
        }
        self.server.put(Resource.PODS, pod)

    # --- what must hold ---

    @invariant()
    def one_live_pod_a_conversion(self) -> None:
        uids = [pod["metadata"]["labels"][names.UID_LABEL] for pod in self.server.live_pods()]
        assert len(uids) == len(set(uids)), "I1"

    @invariant()
    def no_more_than_the_limit(self) -> None:
        assert len(self.server.live_pods()) <= LIMIT, "I2"

    @invariant()
    def an_attempt_has_one_job(self) -> None:
        assert len(self.server.jobs_made) == len(set(self.server.jobs_made))

    def teardown(self) -> None:
        """Without faults everything ends, and no Job or pod is left over.

        People delete what is forged: a Job with the name of an attempt keeps the attempt waiting.
        """
        for resource in (Resource.JOBS, Resource.PODS):
            for name in self.server.objects[resource].keys() & self.forged:
                self.server.remove(resource, name)
        self.forged.clear()
        for _ in range(400):
            for resource in Resource:
                self.list_again(resource)
            for uid in sorted(self.reserved):
                self.create(uid, lost=False)
            self.admit(lost=False, die=False)
            uids = {c.key.uid for c in self.store.conversions()} | set(self.store.all_children())
            for uid in sorted(uids):
                self.work(uid)
            self.turn("success")
            self.now += timedelta(seconds=15)
            if self.at_rest():
                return
        raise AssertionError("I3: not everything has ended")

    def at_rest(self) -> bool:
        open_ones = [
            body
            for body in self.server.objects[Resource.CONVERSIONS].values()
            if body["metadata"]["uid"] not in self.ended
        ]
        left = self.server.objects[Resource.JOBS] or self.server.objects[Resource.PODS]
        return not open_ones and not left


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
