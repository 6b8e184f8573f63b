"""The Job controller of Kubernetes 1.34: creates pods, counts them, and writes the Job's status.

A Job with podFailurePolicy, successPolicy, indexes, a parallelism above one or an
activeDeadlineSeconds of its own raises NotImplementedError. The operator uses none of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.component.support import metadata, podstatus
from tests.component.support.clock import ServerClock, from_stamp
from tests.component.support.errors import Obj, StatusError
from tests.component.support.kinds import JOBS, PODS
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.recorder import ACTOR, Recorder
from tests.component.support.scripts import Stage
from tests.component.support.storage import Key, ObjectStorage
from tests.component.support.strategies import JOB_UID_LABELS, TRACKING_FINALIZER

if TYPE_CHECKING:
    from tests.component.support.cluster import FakeCluster

_COMPONENT: Final = "job-controller"
_UNMODELLED: Final = ("podFailurePolicy", "successPolicy", "activeDeadlineSeconds", "managedBy")
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0


def finished(job: Obj) -> bool:
    status = job.get("status", {})
    return any(podstatus.condition(status, kind) for kind in ("Complete", "Failed"))


class JobController:
    """Does one step for one Job at a time."""

    def __init__(
        self, storage: ObjectStorage, clock: ServerClock, recorder: Recorder, cluster: FakeCluster
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._recorder = recorder
        self._cluster = cluster
        self._retries: dict[str, tuple[datetime, float]] = {}

    def retry_now(self, uid: str) -> None:
        """Resets the back-off of a Job whose pod could not be created."""
        self._retries.pop(uid, None)

    def pods_of(self, uid: str) -> list[Obj]:
        """Pods controlled by the Job with this UID."""
        found = sorted(self._storage.dependents.get(uid, ()), key=lambda d: d[1])
        pods = [self._storage.get(kind, *key).obj for kind, key in found if kind is PODS]
        return [p for p in pods if (metadata.controller_of(p) or {}).get("uid") == uid]

    def sync(self, key: Key) -> None:
        """One step of the Job at ``key``."""
        version = self._storage.find(JOBS, *key)
        if version is None:
            return
        job = version.obj
        pods = self.pods_of(job["metadata"]["uid"])
        if "deletionTimestamp" in job["metadata"]:
            self._untrack(pods)
            return
        if finished(job):
            self._untrack(pods)
            self._expire(key, job)
            return
        self._check_modelled(job)
        status = dict(job["status"])
        if job["spec"]["suspend"]:
            pods = self._stop(key, pods)
        ended = [pod for pod in pods if _tracked(pod) and self._counts(job, pod)]
        self._account(status, ended)
        self._write(key, self._judge(job, status, pods))
        self._untrack(ended)
        self._replace(key, pods)

    def release_orphan(self, pod: Obj) -> None:
        """Removes the tracking finalizer from a pod whose Job no longer exists."""
        owner = metadata.controller_of(pod)
        if _tracked(pod) and not (owner and self._job(pod, owner)):
            self._untrack([pod])

    def _job(self, pod: Obj, owner: Obj) -> bool:
        found = self._storage.find(JOBS, pod["metadata"]["namespace"], owner["name"])
        return found is not None and found.obj["metadata"]["uid"] == owner["uid"]

    def _check_modelled(self, job: Obj) -> None:
        spec = job["spec"]
        used = [key for key in _UNMODELLED if spec.get(key)]
        if spec["parallelism"] != 1 or spec["completions"] != 1:
            used.append("parallelism")
        if used:
            raise NotImplementedError(f"the simulation does not model {', '.join(used)} of a Job")

    def _counts(self, job: Obj, pod: Obj) -> bool:
        """Whether the Job counts the pod as ended."""
        if podstatus.is_terminal(pod):
            return True
        if job["spec"]["podReplacementPolicy"] == "Failed":
            return False
        return "deletionTimestamp" in pod["metadata"]

    def _account(self, status: Obj, ended: list[Obj]) -> None:
        for pod in ended:
            succeeded = pod["status"]["phase"] == "Succeeded"
            word = "succeeded" if succeeded else "failed"
            status[word] = status.get(word, 0) + 1

    def _judge(self, job: Obj, status: Obj, pods: list[Obj]) -> Obj:
        """The status of a Job with these pods."""
        stamp = self._clock.stamp()
        status["conditions"] = [dict(c) for c in status.get("conditions", [])]
        live = [pod for pod in pods if not podstatus.is_terminal(pod)]
        terminating = [pod for pod in live if "deletionTimestamp" in pod["metadata"]]
        ready = [p for p in live if _is_ready(p) and p not in terminating]
        _set(status, "active", len(live) - len(terminating))
        status["ready"], status["terminating"] = len(ready), len(terminating)
        status["uncountedTerminatedPods"] = {}
        if not job["spec"]["suspend"]:
            status.setdefault("startTime", stamp)
        if status.get("succeeded"):
            text = ("CompletionsReached", "Reached expected number of succeeded pods")
            before = podstatus.condition(status, "SuccessCriteriaMet")
            podstatus.set_condition(status, "SuccessCriteriaMet", "True", stamp, *text)
            if before and not live:
                podstatus.set_condition(status, "Complete", "True", stamp, *text)
                status["completionTime"] = stamp
                self._recorder.record(job, _COMPONENT, "Completed", "Job completed")
        elif status.get("failed", 0) > job["spec"]["backoffLimit"]:
            text = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            before = podstatus.condition(status, "FailureTarget")
            podstatus.set_condition(status, "FailureTarget", "True", stamp, *text)
            if before and not live:
                podstatus.set_condition(status, "Failed", "True", stamp, *text)
                self._recorder.record(job, _COMPONENT, *text, warning=True)
        else:
            self._suspend_or_resume(job, status, stamp)
        if not status["conditions"]:
            del status["conditions"]
        return status

    def _stop(self, key: Key, pods: list[Obj]) -> list[Obj]:
        """Deletes the active pods of a suspended Job, which then do not count for it.

        Returns the pods of the Job as they are now.
        """
        uid = self._storage.get(JOBS, *key).obj["metadata"]["uid"]
        active = [
            pod
            for pod in pods
            if not podstatus.is_terminal(pod)
            and "deletionTimestamp" not in pod["metadata"]
            # Somebody else created a pod that the Job's selector does not match.
            and (pod["metadata"].get("labels") or {}).get(JOB_UID_LABELS[0]) == uid
        ]
        self._untrack(active)
        for pod in active:
            meta = pod["metadata"]
            self._storage.delete(PODS, meta["namespace"], meta["name"], DeleteOptions(), ACTOR)
        return self.pods_of(uid)

    def _suspend_or_resume(self, job: Obj, status: Obj, stamp: str) -> None:
        before = podstatus.condition(status, "Suspended")
        if job["spec"]["suspend"]:
            if before is None or before["status"] != "True":
                text = ("JobSuspended", "Job suspended")
                podstatus.set_condition(status, "Suspended", "True", stamp, *text)
                self._recorder.record(job, _COMPONENT, "Suspended", text[1])
        elif before is not None and before["status"] == "True":
            text = ("JobResumed", "Job resumed")
            podstatus.set_condition(status, "Suspended", "False", stamp, *text)
            status["startTime"] = stamp
            self._recorder.record(job, _COMPONENT, "Resumed", text[1])

    def _replace(self, key: Key, pods: list[Obj]) -> None:
        """Creates a pod if the Job needs one."""
        job = self._storage.get(JOBS, *key).obj
        status = job["status"]
        over = any(podstatus.condition(status, kind) for kind in ("Failed", "FailureTarget"))
        if job["spec"]["suspend"] or over or status.get("succeeded"):
            return
        if any(not self._counts(job, pod) for pod in pods):
            return
        due, _ = self._retries.get(job["metadata"]["uid"], (self._clock.now(), 0.0))
        if self._clock.now() < due:
            return
        why = self._cluster.pod_rejection(job)
        obstacle = self._cluster.script_of(job).obstacle
        if why is None and obstacle is not None and obstacle.stage is Stage.NO_POD:
            why = obstacle.message
        if why is None:
            try:
                self._create(job, key[0])
            except StatusError as error:
                why = error.message
        if why is not None:
            self._rejected(key, job, why)

    def _create(self, job: Obj, namespace: str) -> None:
        pod = podstatus.from_job(job, namespace)
        made = self._storage.create(PODS, namespace, pod, ACTOR)
        name = made.obj["metadata"]["name"]
        self._recorder.record(job, _COMPONENT, "SuccessfulCreate", f"Created pod: {name}")

    def _rejected(self, key: Key, job: Obj, why: str) -> None:
        name = f"{job['metadata']['name']}-xxxxx"
        text = why if "is forbidden" in why else f'pods "{name}" is forbidden: {why}'
        self._recorder.record(
            job, _COMPONENT, "FailedCreate", f"Error creating: {text}", warning=True
        )
        uid = job["metadata"]["uid"]
        _, before = self._retries.get(uid, (self._clock.now(), _FIRST_RETRY / 2))
        seconds = min(2 * before, _LAST_RETRY)
        due = self._clock.now() + timedelta(seconds=seconds)
        self._retries[uid] = (due, seconds)
        self._cluster.wake_at(JOBS, key, due)

    def _expire(self, key: Key, job: Obj) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        conditions = job["status"]["conditions"]
        ends = [c["lastTransitionTime"] for c in conditions if c["type"] in ("Complete", "Failed")]
        due = from_stamp(ends[0]) + timedelta(seconds=ttl)
        if self._clock.now() >= due:
            self._storage.delete(JOBS, *key, DeleteOptions(propagation="Foreground"), ACTOR)
        else:
            self._cluster.wake_at(JOBS, key, due)

    def _write(self, key: Key, status: Obj) -> None:
        self._storage.mutate(JOBS, *key, lambda job: job.update(status=status), ACTOR)

    def _untrack(self, pods: list[Obj]) -> None:
        def drop(pod: Obj) -> None:
            pod["metadata"]["finalizers"].remove(TRACKING_FINALIZER)

        for pod in pods:
            meta = pod["metadata"]
            if _tracked(pod) and self._storage.find(PODS, meta["namespace"], meta["name"]):
                self._storage.mutate(PODS, meta["namespace"], meta["name"], drop, ACTOR)


def _tracked(pod: Obj) -> bool:
    return TRACKING_FINALIZER in (pod["metadata"].get("finalizers") or [])


def _is_ready(pod: Obj) -> bool:
    ready = podstatus.condition(pod.get("status", {}), "Ready")
    return ready is not None and ready["status"] == "True"


def _set(status: Obj, key: str, value: int) -> None:
    """Sets a number. Leaves it out if it is zero, as Go's omitempty does."""
    if value:
        status[key] = value
    else:
        status.pop(key, None)
