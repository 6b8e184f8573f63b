"""Decisions about Jobs and pods that do not count, and about those of a deleted conversion."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.children import Children
from conversion_operator.core.plan import (
    Action,
    DeleteJob,
    DeletePod,
)
from conversion_operator.core.reconcile import decide_without_conversion
from tests.unit.operator.builders import (
    POLICY,
    at,
    attempts_of,
    children,
    conversion,
    ended,
    failed_once,
    is_running,
    job,
    pod,
    running,
    status,
    step,
    succeeded,
)


class TestDuplicates:
    """A second Job of the attempt, or a pod with a copied mark: they run, but are not read."""

    second = replace(job(), uid="job-second", duplicate=True)
    copy = replace(succeeded(), uid="pod-copy", duplicate=True)

    def test_a_duplicate_is_not_read(self) -> None:
        plan, subject = step(is_running(), children(job(deleted=True), self.copy), 12)
        assert status(subject).phase is Phase.QUEUED
        assert attempts_of(subject)[-1].reason == Reason.JOB_DELETED
        assert plan.actions == ()
        plan, subject = step(is_running(), children(self.second), 12)
        assert attempts_of(subject)[-1].reason == Reason.JOB_DELETED
        assert plan.actions == (DeleteJob(self.second, foreground=True),)

    def test_a_duplicate_job_is_deleted_while_the_attempt_runs(self) -> None:
        plan, _ = step(is_running(), children(job(), self.second, running()), 12)
        assert plan.actions == (DeleteJob(self.second, foreground=True),)
        assert plan.status is None

    def test_a_duplicate_job_is_deleted_after_the_end(self) -> None:
        done = step(is_running(), children(job(finished="Complete"), succeeded()), 12)[1]
        plan, _ = step(done, children(job(finished="Complete"), self.second, succeeded()), 20)
        assert plan.actions == (DeleteJob(self.second, foreground=True),)

    def test_a_cancelled_conversion_ends_when_its_duplicates_have_ended(self) -> None:
        copy = replace(running(), uid="pod-copy", duplicate=True)
        subject = replace(failed_once(), spec=conversion(cancel=True).spec)
        plan, _ = step(subject, children(copy), 15)
        assert (plan.actions, plan.status) == ((DeletePod(copy, force=False),), None)
        subject = replace(is_running(), spec=conversion(cancel=True).spec)
        stopped = children(job(deleted=True), ended(143, "Error"), self.second)
        plan, after = step(subject, stopped, 15)
        assert DeleteJob(self.second, foreground=True) in plan.actions
        assert status(after).reason == Reason.CANCELLING

    def test_the_status_keeps_the_uids_of_what_counts(self) -> None:
        parts = children(job(), self.second, running(), replace(self.copy, terminated=None))
        _plan, subject = step(conversion(), parts)
        attempt = attempts_of(subject)[-1]
        assert (attempt.job_uid, attempt.pod_uid) == (job().uid, running().uid)

    def test_a_recorded_uid_is_not_replaced(self) -> None:
        _plan, subject = step(
            is_running(), children(replace(job(), uid="job-other"), succeeded()), 12
        )
        assert attempts_of(subject)[-1].job_uid == job().uid


ORPHAN_JOB = job(controller=None)
STOPPING_JOB = job(controller=None, deletion_timestamp=at(290))
ENDING_POD = replace(succeeded(), phase="Running")
LOST_POD = running(deletion_timestamp=at(10))
ENDED_ORPHAN = succeeded(controller=None)
ENDED_ORPHAN_JOB = job(controller=None, finished="Complete")


@pytest.mark.parametrize(
    ("orphans", "now", "actions", "requeue"),
    [
        (children(ORPHAN_JOB, running()), 900, (), None),
        (children(running()), 900, (), None),
        (children(ENDED_ORPHAN), 20, (DeletePod(ENDED_ORPHAN, force=False),), None),
        (children(succeeded()), 20, (), None),
        (children(running(deleted=True)), 20, (), None),
        (children(ENDED_ORPHAN_JOB), 20, (DeleteJob(ENDED_ORPHAN_JOB, foreground=False),), None),
        (children(ORPHAN_JOB), 20, (), 280),
        (children(ORPHAN_JOB), 300, (DeleteJob(ORPHAN_JOB, foreground=True),), None),
        (children(ORPHAN_JOB, pod()), 20, (), 280),
        (children(ORPHAN_JOB, pod()), 300, (DeleteJob(ORPHAN_JOB, foreground=True),), None),
        (children(ORPHAN_JOB, ENDING_POD), 20, (), 1),
        (children(ORPHAN_JOB, ENDING_POD), 21, (DeleteJob(ORPHAN_JOB, foreground=True),), None),
        (children(STOPPING_JOB, pod()), 300, (), None),
        (children(pod()), 20, (), 280),
        (children(pod()), 300, (DeletePod(pod(), force=False),), None),
        (children(pod(deletion_timestamp=at(290))), 300, (), 890),
        (children(ENDING_POD), 20, (), 1),
        (children(ENDING_POD), 21, (DeletePod(ENDING_POD, force=False),), None),
        (children(STOPPING_JOB), 20, (), None),
        (children(pod(deletion_timestamp=at(10))), 20, (), 890),
        (children(STOPPING_JOB, LOST_POD), 909, (), 1),
        (children(STOPPING_JOB, LOST_POD), 910, (DeletePod(LOST_POD, force=True),), None),
        (children(LOST_POD), 910, (DeletePod(LOST_POD, force=True),), None),
    ],
    ids=[
        "Job runs",
        "pod runs",
        "pod ended",
        "ended pod with an owner",
        "pod gone",
        "Job ended",
        "no pod yet",
        "no pod",
        "pod of the Job starts",
        "pod of the Job does not start",
        "converter of the Job has ended",
        "sidecar of the Job runs on",
        "Job is being deleted",
        "pod starts",
        "pod does not start",
        "pod is being deleted",
        "converter has ended",
        "sidecar runs on",
        "Job is being deleted early",
        "pod is being deleted early",
        "node of the Job does not respond",
        "node of the Job is lost",
        "node is lost",
    ],
)
def test_orphans_of_a_deleted_conversion_are_deleted_when_they_end(
    orphans: Children, now: float, actions: tuple[Action, ...], requeue: float | None
) -> None:
    plan = decide_without_conversion(orphans, at(now), POLICY)
    assert plan.actions == actions
    assert plan.requeue_after == (None if requeue is None else timedelta(seconds=requeue))
