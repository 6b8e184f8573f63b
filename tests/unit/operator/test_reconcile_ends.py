"""Decisions about retries, cancelled conversions, and those that have ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.api.stored import read_status
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import (
    DeleteConversion,
    DeleteJob,
    DeletePod,
    Plan,
)
from conversion_operator.core.status_size import limit_status_size
from media_converter.contract import EXIT_CODES, ExitReason, Report
from media_converter.report_json import dump_report
from tests.unit.operator.builders import (
    NONE,
    POLICY,
    at,
    bad_report,
    children,
    conversion,
    ended,
    failed_once,
    is_running,
    job,
    pod,
    queued,
    retries,
    running,
    status,
    step,
    succeeded,
)


class TestRetry:
    def test_a_bad_input_file_is_not_retried(self) -> None:
        subject = failed_once(ExitReason.INPUT_EMPTY)
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "InputEmpty")
        assert status(subject).message == "because"

    def test_a_long_log_is_shortened_before_the_status_is_written(self) -> None:
        report = Report(True, ExitReason.INPUT_DAMAGED, "m", logs="<" * 2048)
        end = ended(EXIT_CODES[ExitReason.INPUT_DAMAGED], "Error", dump_report(report).decode())
        stored = status(step(is_running(), children(job(), end), 12)[1])
        assert stored == limit_status_size(stored)
        assert 0 < len(stored.logs or "") < 2048

    def test_other_failures_are_retried(self) -> None:
        subject = failed_once()
        assert (status(subject).phase, status(subject).reason) == (Phase.QUEUED, "RetryBackoff")
        assert "DiskFull" in status(subject).message
        assert retries(subject).failures == 1
        assert status(subject).logs == "tail"
        assert [(a.number, a.reason) for a in status(subject).attempts or []] == [(1, "DiskFull")]

    def test_the_job_of_an_ended_attempt_may_show_its_end_late(self) -> None:
        """Its conditions follow the end of its pod by a second or two on a real API server."""
        late = children(job(), ended(42, "Error"))
        plan, _ = step(failed_once(), late, 13, position=1)
        assert plan.actions == ()
        plan, _ = step(failed_once(), late, 42, position=1)
        assert plan.actions == (DeleteJob(job(), foreground=True),)

    def test_a_live_job_of_an_ended_attempt_without_an_ended_pod_is_deleted(self) -> None:
        for pods in ((), (running(),)):
            plan, _ = step(failed_once(), children(job(), *pods), 13, position=1)
            assert plan.actions == (DeleteJob(job(), foreground=True),)

    def test_a_live_job_of_an_earlier_attempt_is_deleted(self) -> None:
        old = children(job(), ended(42, "Error"), job(2, finished="Failed"), ended(42, "E", "", 2))
        second = step(failed_once(), old, 30)[1]
        plan, _ = step(second, old, 31, position=1)
        assert plan.actions == (DeleteJob(job(), foreground=True),)

    def test_the_end_of_an_attempt_is_counted_once(self) -> None:
        parts = children(job(finished="Failed"), ended(42, "Error"))
        plan, subject = step(failed_once(), parts, 15, position=1)
        assert plan.status is None
        assert retries(subject).failures == 1

    def test_an_attempt_reads_its_own_pod_only(self) -> None:
        old = (job(finished="Failed"), ended(42, "Error"))
        _, subject = step(failed_once(), children(*old, job(2), running(2, 40)), 41)
        assert status(subject).phase is Phase.RUNNING
        assert status(subject).pod_name == running(2).name
        _, subject = step(subject, children(*old, job(2), succeeded(2)), 60)
        assert status(subject).phase is Phase.SUCCEEDED
        assert [a.number for a in status(subject).attempts or []] == [1, 2]

    def test_failures_are_retried_up_to_max_retries(self) -> None:
        subject = conversion(maxRetries=1)
        for attempt in (1, 2):
            end = ended(42, "Error", bad_report(ExitReason.DISK_FULL), attempt)
            subject = step(subject, children(job(attempt), end), 12 * attempt)[1]
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "DiskFull")
        assert retries(subject).failures == 2

    def test_disruptions_do_not_count_against_retries(self) -> None:
        subject = conversion(maxRetries=0)
        for attempt in range(1, 6):
            parts = children(job(attempt), pod(attempt, phase="Failed", reason="Evicted"))
            subject = step(subject, parts, 12)[1]
            assert status(subject).phase is Phase.QUEUED
        assert len(status(subject).attempts or []) == 5

    def test_disruptions_are_bounded(self) -> None:
        subject, attempt = conversion(), 0
        while status_or_none(subject) is not Phase.FAILED:
            attempt += 1
            parts = children(job(attempt), pod(attempt, phase="Failed", reason="Evicted"))
            subject = step(subject, parts, 12)[1]
            assert attempt < 50
        assert (attempt, status(subject).reason) == (11, Reason.EVICTED)

    def test_out_of_memory_is_retried_once(self) -> None:
        subject = step(conversion(), children(job(), ended(137, "OOMKilled")), 12)[1]
        assert (status(subject).phase, retries(subject).out_of_memory) == (Phase.QUEUED, 1)
        subject = step(subject, children(job(2), ended(137, "OOMKilled", attempt=2)), 40)[1]
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "OutOfMemory")

    def test_a_deleted_job_is_retried_with_its_reason(self) -> None:
        subject = step(is_running(), children(job(deleted=True), running(deleted=True)), 20)[1]
        assert (status(subject).phase, status(subject).reason) == (Phase.QUEUED, "RetryBackoff")
        assert [a.reason for a in status(subject).attempts or []] == ["JobDeleted"]

    def test_a_stale_job_is_deleted_while_running(self) -> None:
        late = job(1)
        plan, _ = step(failed_once(), children(late, job(2), running(2, 40)), 41)
        assert plan.actions == (DeleteJob(late, foreground=True),)

    def test_a_stale_job_is_deleted_while_waiting(self) -> None:
        plan, _ = step(failed_once(), children(job(1)), 41, position=1)
        assert plan.actions == (DeleteJob(job(1), foreground=True),)

    def test_a_pod_without_a_job_is_deleted_while_waiting(self) -> None:
        for orphan in (pod(1), running(1), replace(pod(1), uid="pod-copy", duplicate=True)):
            for now in (15, 41):  # in the back-off, and after it
                plan, _ = step(failed_once(), children(orphan), now, position=1)
                assert plan.actions == (DeletePod(orphan, force=False),)
        stopping = running(1, deletion_timestamp=at(40))
        assert step(failed_once(), children(stopping), 41, position=1)[0].actions == ()

    def test_a_pod_that_is_known_before_its_job_is_not_deleted(self) -> None:
        early = pod(2, created=at(40))
        plan, _ = step(failed_once(), children(early), 41, position=1)
        assert (plan.actions, plan.requeue_after) == ((), timedelta(seconds=60))
        late = 40 + POLICY.start_timeout
        plan, _ = step(failed_once(), children(early), late - 1, position=1)
        assert plan.actions == ()
        plan, _ = step(failed_once(), children(early), late, position=1)
        assert plan.actions == (DeletePod(early, force=False),)


def status_or_none(subject: Conversion) -> Phase | None:
    return subject.status.phase if subject.status else None


class TestCancel:
    def cancel(self, subject: Conversion) -> Conversion:
        return replace(subject, spec=conversion(cancel=True).spec)

    def test_running(self) -> None:
        plan, subject = step(self.cancel(is_running()), children(job(), running()))
        assert plan.actions == (DeleteJob(job(), foreground=True),)
        assert (status(subject).phase, status(subject).reason) == (
            Phase.RUNNING,
            Reason.CANCELLING,
        )
        # The Job is deleted once, and the cancel is not over before the pod is deleted.
        dying = children(job(deletion_timestamp=at(1)), running(deletion_timestamp=at(16)))
        plan, subject = step(subject, dying, 7)
        assert (plan.actions, plan.status) == ((), None)
        over = ended(47, "Error", bad_report(ExitReason.TERMINATED), deleted=True)
        _, subject = step(subject, children(job(deletion_timestamp=at(1), deleted=True), over), 18)
        assert (status(subject).phase, status(subject).reason) == (Phase.CANCELLED, "Cancelled")
        assert status(subject).output_size is None

    def test_a_complete_conversion_keeps_its_result(self) -> None:
        subject = self.cancel(is_running())
        _, subject = step(
            subject,
            children(job(deletion_timestamp=at(1)), succeeded(deletion_timestamp=at(16))),
            12,
        )
        assert status(subject).phase is Phase.SUCCEEDED

    def test_a_pod_of_an_ended_attempt_that_does_not_terminate_is_deleted_by_force(self) -> None:
        """Its node is lost. The attempt was closed because its container did not start."""
        parts = children(job(), pod(waiting_reason="ImagePullBackOff"))
        _, given_up = step(queued(), parts, 300)
        cancelled = replace(given_up, cancel=True)
        stuck = pod(deletion_timestamp=at(310))
        stopping = job(deletion_timestamp=at(300))
        assert step(cancelled, children(stopping, stuck), 360)[0].actions == ()
        plan, _ = step(cancelled, children(stopping, stuck), 371)
        assert plan.actions == (DeletePod(stuck, force=True),)

    def test_a_pod_that_does_not_terminate_is_deleted_by_force(self) -> None:
        stuck = running(deletion_timestamp=at(10))
        subject = self.cancel(is_running())
        plan, _ = step(subject, children(job(deletion_timestamp=at(1)), stuck), 69)
        assert plan.actions == ()
        plan, _ = step(subject, children(job(deletion_timestamp=at(1)), stuck), 71)
        assert plan.actions == (DeletePod(stuck, force=True),)

    def test_an_orphan_pod_is_deleted(self) -> None:
        plan, _ = step(self.cancel(is_running()), children(running()))
        assert plan.actions == (DeletePod(running(), force=False),)

    def test_between_attempts(self) -> None:
        _, subject = step(self.cancel(failed_once()), NONE, 13)
        assert status(subject).phase is Phase.CANCELLED
        assert [a.reason for a in status(subject).attempts or []] == ["DiskFull"]

    def test_a_stale_job_is_deleted_before_a_waiting_conversion_is_cancelled(self) -> None:
        subject = self.cancel(failed_once())
        plan, subject = step(subject, children(job()), 41)
        assert (plan.actions, plan.status) == ((DeleteJob(job(), foreground=True),), None)
        assert plan.requeue_after == timedelta(seconds=60)
        assert status(step(subject, NONE, 42)[1]).phase is Phase.CANCELLED

    def test_the_job_of_a_container_that_ended_is_stopped_first(self) -> None:
        end = ended(42, "Error", bad_report(ExitReason.DISK_FULL))
        plan, subject = step(self.cancel(is_running()), children(job(), end), 12)
        assert plan.actions == (DeleteJob(job(), foreground=True),)
        assert status(subject).reason == Reason.CANCELLING
        finished = children(job(finished="Failed"), end)
        assert status(step(subject, finished, 13)[1]).phase is Phase.CANCELLED

    def test_after_the_end(self) -> None:
        done = step(is_running(), children(job(), succeeded()), 12)[1]
        plan, _ = step(self.cancel(done), children(job(finished="Complete")), 20)
        assert (plan.actions, plan.status) == ((), None)


class TestAfterTheEnd:
    done = step(is_running(), children(job(), succeeded()), 12)[1]  # completed at T0 + 11 s

    def test_the_job_is_deleted_after_two_minutes(self) -> None:
        finished = job(finished="Complete")
        plan, _ = step(self.done, children(finished, succeeded()), 100)
        assert plan == Plan(requeue_after=timedelta(seconds=31))
        plan, _ = step(self.done, children(finished, succeeded()), 131)
        assert plan.actions == (DeleteJob(finished, foreground=False),)
        assert plan.status is None

    def test_a_job_without_its_condition_stays(self) -> None:
        plan, _ = step(self.done, children(job(), succeeded()), 12)
        assert plan.actions == ()
        late = replace(succeeded(), phase="Running")
        assert step(self.done, children(job(), late), 12)[0].actions == ()
        plan, _ = step(self.done, children(job(), succeeded()), 131)
        assert plan.actions == (DeleteJob(job(), foreground=True),)

    def test_a_second_pod_of_the_job_is_stopped(self) -> None:
        second = replace(running(), uid="another")
        plan, _ = step(self.done, children(job(), succeeded(), second), 12)
        assert plan.actions == (DeleteJob(job(), foreground=True),)

    def test_a_pod_whose_sidecar_runs_on_is_deleted_but_not_its_job(self) -> None:
        """The Job stays as the tombstone of its name."""
        runs_on = replace(succeeded(), phase="Running")
        plan, _ = step(self.done, children(job(), runs_on), 12)
        assert plan == Plan(requeue_after=timedelta(seconds=9))
        plan, _ = step(self.done, children(job(), runs_on), 21)
        assert plan.actions == (DeletePod(runs_on, force=False),)
        stopping = replace(runs_on, deletion_timestamp=at(51))
        assert step(self.done, children(job(), stopping), 22)[0].actions == ()

    def test_a_stale_job_is_deleted_at_once(self) -> None:
        plan, _ = step(self.done, children(job(2)), 20)
        assert plan.actions == (DeleteJob(job(2), foreground=True),)

    def test_time_to_live(self) -> None:
        plan, _ = step(self.done, NONE, 11 + POLICY.ttl - 1)
        assert plan == Plan(requeue_after=timedelta(seconds=1))
        plan, _ = step(self.done, NONE, 11 + POLICY.ttl)
        assert plan.actions == (DeleteConversion(),)

    def test_time_to_live_of_the_spec(self) -> None:
        subject = replace(self.done, ttl=0)
        assert step(subject, NONE, 12)[0].actions == (DeleteConversion(),)

    def test_its_status_says_which_generation_it_describes(self) -> None:
        subject = replace(self.done, generation=7)
        plan, _ = step(subject, NONE, 12)
        assert (plan.write_generation, plan.status) == (True, None)
        assert not step(self.done, NONE, 12)[0].write_generation
        assert not step(subject, NONE, 1e9)[0].write_generation
        assert not step(replace(subject, deleting=True), NONE, 12)[0].write_generation

    def test_a_conversion_that_is_not_supported_is_kept(self) -> None:
        subject = replace(
            self.done, unsupported="spec.new", spec=conversion(ttlSecondsAfterFinished=0).spec
        )
        assert step(subject, NONE, 1e9)[0].actions == ()

    def test_a_conversion_whose_end_is_not_known_is_kept(self) -> None:
        """Its status is not valid: a later release has written it."""
        stored: dict[str, Any] = {"phase": "Failed", "reason": "New", "message": "m"}
        stored |= {"outputSize": "large", "observedGeneration": 1}
        subject = replace(
            self.done,
            status=read_status(stored).status,
            spec=conversion(ttlSecondsAfterFinished=0).spec,
        )
        assert step(subject, NONE, 1e9)[0] == Plan()
        assert step(subject, children(job()), 12)[0].actions == (DeleteJob(job(), foreground=True),)
        finished = job(finished="Complete", finished_at=at(11))
        plan, _ = step(subject, children(finished, succeeded()), 12)
        assert plan == Plan(requeue_after=timedelta(seconds=119))
        plan, _ = step(subject, children(finished, succeeded()), 131)
        assert plan == Plan((DeleteJob(finished, foreground=False),))

    def test_an_orphan_pod_is_deleted_after_the_end(self) -> None:
        orphan = succeeded(controller=None)
        plan, _ = step(self.done, children(orphan), 20)
        assert plan.actions == (DeletePod(orphan, force=False),)
        plan, _ = step(self.done, children(running()), 20)
        assert plan.actions == (DeletePod(running(), force=False),)

    def test_an_ended_pod_is_left_to_the_garbage_collector(self) -> None:
        plan, _ = step(self.done, children(succeeded()), 200)
        assert plan.actions == ()
