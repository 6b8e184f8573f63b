"""Asks the API server where what the watches have shown would lead to a wrong conclusion.

The three watches are not synchronized, and whoever removes a label from an object hides it from
them. So a reconcile reads single objects before it concludes anything from a missing one. Each
method is for one conversion and raises ClusterError if the API server cannot say.
"""

from __future__ import annotations

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import NotFound, TooLarge
from conversion_operator.controller.store import Store
from conversion_operator.core.attempts import (
    awaits_attempt,
    last_recorded_attempt,
    latest_attempt_number,
)
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.manifest import job_name
from conversion_operator.core.model import Conversion


class Lookups:
    """Reads single Jobs and pods, and gives them to the store."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster, self._store = cluster, store

    async def confirm_missing(self, uid: str) -> None:
        """Ask the API server for the live Jobs and pods of one conversion that look deleted.

        Whoever removes our label from an object hides it from our lists and watches. While the
        object exists with its uid, it counts. Raises ClusterError if the API server cannot say.
        """
        for child in self._store.missing(uid):
            get = self._cluster.get_job if isinstance(child, Job) else self._cluster.get_pod
            try:
                read: Job | Pod | None = await get(child.namespace, child.name)
            except NotFound:
                read = None
            self._store.confirm(child, read)

    async def find_pods_of_suspended(self, uid: str) -> None:
        """List the pods of a Job that was suspended later than created: one may not be known yet.

        While one may run, the Job holds its slot. Each suspension needs one list.
        """
        children = self._store.children(uid)
        for job in children.jobs:
            known = [pod for pod in children.pods if pod.job_name == job.name]
            if not job.needs_list_of_pods or any(pod.live for pod in known):
                continue
            for pod in await self._cluster.list_pods(job.namespace, uid):
                self._store.update(pod)
            found = [pod for pod in self._store.children(uid).pods if pod.job_name == job.name]
            if not any(pod.live for pod in found):
                self._store.confirm_no_pod_left(job)

    async def refresh(self, conversion: Conversion, children: Children) -> Children:
        """Read from the API server where the store alone would lead to a wrong conclusion.

        The three watches are not synchronized. A Job that is missing in the store may have been
        created a moment ago by another operator, so it is not simply deleted. A finished Job has a
        pod that ended, and its report must not be lost because the watch of pods lags.
        """
        if conversion.finished or awaits_attempt(conversion, children):
            return children
        key, number = conversion.key, latest_attempt_number(conversion, children)
        mine = children.of_attempt(number)
        try:
            if not mine.jobs and not mine.pods:
                name = _name_of_job(conversion, number)
                self._store.adopt_if_own(key, await self._cluster.get_job(key.namespace, name))
            elif stopped := _job_of_stopped_pod(mine):
                # Somebody may have suspended it, which the watch of Jobs has not shown yet.
                job = await self._cluster.get_job(key.namespace, stopped.name)
                if job.uid == stopped.uid:
                    self._store.update(job)
            elif any(job.finished for job in mine.jobs) and not any(
                pod.terminated for pod in mine.pods
            ):
                for pod in await self._cluster.list_pods(key.namespace, key.uid):
                    self._store.update(pod)
        except NotFound:
            pass
        except TooLarge:
            # A Job with our label is in the list, and the list was read. So this Job is foreign.
            if mine.jobs:
                raise
        await self._find_recorded_pod(conversion, number)
        return self._store.children(key.uid)

    async def _find_recorded_pod(self, conversion: Conversion, number: int) -> None:
        """Read the pod in the status if it is not known after a restart: it may have no label."""
        status, key = conversion.status, conversion.key
        recorded = (status and status.attempts) or ()
        uid = next((attempt.pod_uid for attempt in recorded if attempt.number == number), None)
        known = {pod.uid for pod in self._store.children(key.uid).pods}
        if not status or not status.pod_name or not uid or uid in known:
            return
        try:
            pod = await self._cluster.get_pod(key.namespace, status.pod_name)
        except NotFound:
            return
        if pod.uid == uid:
            self._store.adopt_recorded_pod(key, number, pod)


def _name_of_job(conversion: Conversion, number: int) -> str:
    """The name of the Job of the last attempt. It may have run earlier attempts, too."""
    status, last = conversion.status, last_recorded_attempt(conversion.status)
    if status and status.job_name and last and last.number == number:
        return status.job_name
    return job_name(conversion.key.uid, number)


def _job_of_stopped_pod(children: Children) -> Job | None:
    """The Job whose pod has ended because somebody deleted the pod. None if there is none."""
    stopped = [
        pod for pod in children.pods if not pod.live and (pod.deleted or pod.deletion_timestamp)
    ]
    jobs = (
        job
        for job in children.jobs
        if job.live and any(p.job_name == job.name and not job.suspended_since(p) for p in stopped)
    )
    return next(jobs, None)
