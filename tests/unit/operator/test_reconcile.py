"""Decisions about one conversion, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Attempt, Phase
from conversion_operator.api.stored import read_status
from conversion_operator.core.model import Children, Conversion, Job, Pod
from conversion_operator.core.plan import (
    Action,
    Block,
    DeleteConversion,
    DeleteJob,
    DeletePod,
    Plan,
)
from conversion_operator.core.reconcile import decide, decide_without_conversion
from conversion_operator.core.running import find_silent
from conversion_operator.core.transitions import shorten_log
from media_converter.contract import EXIT_CODES, ExitReason, Progress, Report
from media_converter.report_json import dump_report
from tests.unit.operator.builders import (
    POLICY,
    at,
    bad_report,
    children,
    conversion,
    ended,
    job,
    pod,
    retries,
    running,
    snapshot,
    status,
    step,
    succeeded,
)

NONE = Children()


def queued(**changes: Any) -> Conversion:
    return step(conversion(**changes), NONE, position=4)[1]


def is_running() -> Conversion:
    return step(conversion(), children(job(), running()))[1]


def failed_once(reason: ExitReason = ExitReason.DISK_FULL) -> Conversion:
    end = ended(EXIT_CODES[reason], "Error", bad_report(reason))
    return step(is_running(), children(job(), end), 12)[1]


class TestWaiting:
    def test_nothing_is_written_before_the_queue_is_built(self) -> None:
        assert decide(snapshot(conversion())) == Plan()

    def test_queued_with_its_position(self) -> None:
        subject = queued()
        assert status(subject).phase is Phase.QUEUED
        assert status(subject).reason == Reason.WAITING_FOR_SLOT
        assert status(subject).queue_position == 4
        assert {c.type: c.status for c in status(subject).conditions} == {
            "Succeeded": "Unknown",
            "Finished": "False",
            "Reconciling": "True",
        }

    def test_a_new_generation_is_observed(self) -> None:
        plan, _ = step(replace(queued(), generation=2), NONE, position=4)
        assert plan == Plan(write_generation=True)
        plan, subject = step(replace(queued(), generation=2), NONE, position=1, refresh=True)
        assert plan.status
        assert status(subject).observed_generation == 2

    def test_an_unchanged_position_is_not_written(self) -> None:
        assert step(queued(), NONE, position=4)[0] == Plan()

    @pytest.mark.parametrize(
        ("new", "refresh", "written"),
        [(3, True, True), (3, False, False), (4, True, False), (4, False, False)],
    )
    def test_position_writes(self, new: int, refresh: bool, written: bool) -> None:
        subject = step(conversion(), NONE, position=4)[1]
        plan, _ = step(subject, NONE, position=new, refresh=refresh)
        assert (plan.status is not None) == written
        assert plan.requeue_after is None

    def test_a_block_says_why(self) -> None:
        _plan, subject = step(conversion(), NONE, block=Block(Reason.PAUSED, "paused"))
        assert status(subject).reason == Reason.PAUSED
        assert status(subject).queue_position is None
        assert step(subject, NONE, block=Block(Reason.PAUSED, "paused"))[0].status is None

    def test_cancelled_while_queued(self) -> None:
        subject = replace(queued(), spec=conversion(cancel=True).spec)
        plan, subject = step(subject, NONE, position=4)
        assert status(subject).phase is Phase.CANCELLED
        assert plan.actions == ()
        assert status(subject).completion_time == at(5)

    def test_an_invalid_spec_fails_at_once(self) -> None:
        subject = replace(conversion(), spec=None, spec_error="spec.inputFile: missing")
        _, subject = step(subject, NONE)
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "InvalidSpec")
        assert "inputFile" in status(subject).message

    def test_an_invalid_spec_can_be_cancelled(self) -> None:
        subject = replace(
            conversion(), spec=None, spec_error="spec.inputFile: missing", cancel=True
        )
        _, subject = step(subject, NONE)
        assert status(subject).phase is Phase.CANCELLED

    def test_a_spec_that_is_not_supported_waits(self) -> None:
        subject = replace(conversion(), spec=None, unsupported="spec.new", spec_error="spec.old: x")
        _, subject = step(subject, NONE)
        assert (status(subject).phase, status(subject).reason) == (Phase.QUEUED, "UnsupportedField")
        assert "spec.new" in status(subject).message

    def test_of_a_conversion_whose_status_cannot_be_read_only_a_cancel_stops_jobs(self) -> None:
        subject = replace(conversion(), status_error="status.phase: Verifying")
        parts = children(job(), running())
        assert step(subject, parts, 1e6)[0] == Plan()
        plan, after = step(replace(subject, cancel=True), parts)
        assert plan.actions == (DeleteJob(job(), foreground=True),)
        assert after.status is None

    def test_a_conversion_being_deleted_ends(self) -> None:
        _, subject = step(replace(conversion(), deleting=True), NONE, position=1)
        assert status(subject).phase is Phase.CANCELLED
        assert "deleted" in status(subject).message

    def test_a_conversion_being_orphaned_is_left_alone(self) -> None:
        subject = replace(conversion(), deleting=True, orphaning=True)
        assert decide(snapshot(subject, position=1)) == Plan()
        assert decide(snapshot(subject, children(job(), running()))) == Plan()


class TestStarting:
    def test_starting_is_written_after_two_seconds_only(self) -> None:
        plan, _ = step(conversion(), children(job()), 1)
        assert plan == Plan(requeue_after=timedelta(seconds=1))
        _, subject = step(conversion(), children(job()), 2)
        assert status(subject).phase is Phase.STARTING
        assert status(subject).job_name == job().name
        assert [a.number for a in status(subject).attempts or []] == [1]

    def test_starting_after_a_short_wait_is_written_after_ten_seconds_only(self) -> None:
        plan, _ = step(queued(), children(job(created=at(3))), 12)
        assert plan == Plan(requeue_after=timedelta(seconds=1))
        _, subject = step(queued(), children(job(created=at(3))), 13)
        assert status(subject).phase is Phase.STARTING

    def test_starting_after_a_long_wait_is_written_after_two_seconds(self) -> None:
        plan, _ = step(queued(), children(job(created=at(30))), 31)
        assert plan == Plan(requeue_after=timedelta(seconds=1))
        _, subject = step(queued(), children(job(created=at(30))), 32)
        assert status(subject).phase is Phase.STARTING

    def test_a_job_whose_pod_is_refused_is_looked_at_after_two_seconds(self) -> None:
        plan, _ = step(queued(), children(job(has_no_pod=True)), 0.5)
        assert plan == Plan(requeue_after=timedelta(seconds=1.5))

    def test_a_problem_is_written_at_once(self) -> None:
        parts = children(job(), pod(waiting_reason="ErrImagePull", waiting_message="no such"))
        _, subject = step(queued(), parts, 1)
        assert status(subject).reason == Reason.IMAGE_PULL_FAILED
        assert "no such" in status(subject).message

    def test_alternating_messages_are_written_once(self) -> None:
        first = children(job(), pod(waiting_reason="ErrImagePull", waiting_message="one"))
        second = children(job(), pod(waiting_reason="ImagePullBackOff", waiting_message="two"))
        _, subject = step(queued(), first, 5)
        assert step(subject, second, 6)[0].status is None

    def test_the_start_timeout_releases_the_slot(self) -> None:
        parts = children(job(), pod(waiting_reason="ImagePullBackOff"))
        plan, subject = step(queued(), parts, 300)
        assert plan.actions == (DeleteJob(job(), foreground=True),)
        assert (status(subject).phase, status(subject).reason) == (
            Phase.QUEUED,
            Reason.IMAGE_PULL_FAILED,
        )
        assert retries(subject).not_started == 1
        assert plan.requeue_after == timedelta(seconds=30)
        # Until the pause is over, nothing is written.
        plan, _ = step(subject, NONE, 310, position=1)
        assert plan == Plan(requeue_after=timedelta(seconds=20))

    def test_pauses_double_up_to_ten_minutes(self) -> None:
        subject, now, pauses = queued(), 0.0, []
        for attempt in range(1, 8):
            now += 1000
            parts = children(job(attempt, created=at(now - 300)))
            plan, subject = step(subject, parts, now)
            assert plan.requeue_after
            pauses.append(plan.requeue_after.total_seconds())
        assert pauses == [30, 60, 120, 240, 480, 600, 600]

    def test_it_fails_after_the_queue_timeout(self) -> None:
        subject, now, tries = queued(), 0.0, 0
        while status(subject).phase is not Phase.FAILED:
            tries, now = tries + 1, now + 1000
            subject = step(subject, children(job(tries, created=at(now - 300))), now)[1]
            assert tries < 200
        assert status(subject).reason == Reason.QUEUE_TIMEOUT
        # Each attempt takes 300 s. The first five pauses are 30 to 480 s, all others 600 s.
        assert tries == 99

    def test_a_changed_image_does_not_wait_for_the_timeout(self) -> None:
        parts = children(job(image="wrong:1"), pod(waiting_reason="ImagePullBackOff"))
        plan, subject = step(queued(), parts, 20)
        assert plan.actions == (DeleteJob(parts.jobs[0], foreground=True),)
        assert status(subject).reason == Reason.IMAGE_CHANGED
        assert plan.requeue_after == timedelta(seconds=1)

    def test_changed_pod_settings_do_not_wait_for_the_timeout(self) -> None:
        parts = children(job(pod_settings="others"), pod(waiting_reason="ImagePullBackOff"))
        plan, subject = step(queued(), parts, 20)
        assert plan.actions == (DeleteJob(parts.jobs[0], foreground=True),)
        assert status(subject).reason == Reason.POD_SETTINGS_CHANGED
        retries = status(subject).retries
        assert retries is not None
        assert retries.not_started == 0
        assert plan.requeue_after == timedelta(seconds=1)

    def test_a_running_attempt_keeps_its_image_and_pod_settings(self) -> None:
        parts = children(job(image="old:1", pod_settings="others"), running())
        plan, subject = step(conversion(), parts)
        assert plan.actions == ()
        assert status(subject).phase is Phase.RUNNING


FAR = 7200.0


class TestShortRuns:
    """Without trouble, one write before the end is enough for a short wait and a short run."""

    def test_a_first_status_is_written_at_once(self) -> None:
        assert status(step(conversion(), children(job(), running()), 1)[1]).start_time == at(1)

    @pytest.mark.parametrize("before", [queued, lambda: step(conversion(), children(job()), 2)[1]])
    def test_a_second_status_is_written_after_ten_seconds(
        self, before: Callable[[], Conversion]
    ) -> None:
        parts = children(job(), running(since=3))
        plan, _ = step(before(), parts, 4)
        assert plan == Plan(requeue_after=timedelta(seconds=9))
        assert status(step(before(), parts, 13)[1]).phase is Phase.RUNNING

    def test_a_run_that_ends_earlier_is_told_by_its_end(self) -> None:
        subject = step(queued(), children(job(), succeeded()), 12)[1]
        assert (status(subject).phase, status(subject).start_time) == (Phase.SUCCEEDED, at(1))
        assert attempts_of(subject)[-1].job_uid == job().uid
        assert attempts_of(subject)[-1].pod_uid == succeeded().uid

    def test_after_a_long_wait_running_is_written_at_once(self) -> None:
        parts = children(job(created=at(29)), running(since=30))
        assert status(step(queued(), parts, 30)[1]).phase is Phase.RUNNING

    def test_after_a_problem_running_is_written_at_once(self) -> None:
        waiting = children(job(), pod(waiting_reason="ErrImagePull"))
        _, subject = step(queued(), waiting, 2)
        assert status(step(subject, children(job(), running(since=3)), 4)[1]).reason == "Running"

    @pytest.mark.parametrize("since", [-FAR, FAR])
    def test_a_clock_of_a_node_that_is_wrong_delays_nothing(self, since: float) -> None:
        parts = children(job(), running(since=since))
        assert status(step(queued(), parts, 3)[1]).phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("parts", "now", "silent"),
    [
        (children(job()), 19, None),
        (children(job()), 20, job()),
        (children(job(has_no_pod=True)), 1, None),
        (children(job(has_no_pod=True)), 2, job(has_no_pod=True)),
        (children(job(), pod(node="")), FAR, None),
        (children(job(), pod(scheduled_at=at(10))), 24, None),
        (children(job(), pod(scheduled_at=at(10))), 25, pod(scheduled_at=at(10))),
        (children(job(), pod()), 15, pod()),
        (children(job(), pod(scheduled_at=at(10), has_sandbox=True)), FAR, None),
        (children(job(), running()), FAR, None),
        (children(job(), succeeded()), FAR, None),
        (children(pod()), FAR, None),
    ],
    ids=[
        "the Job controller is slow",
        "no pod for long",
        "the Event may not be there yet",
        "the pod is refused",
        "no node",
        "has a node",
        "nothing is mounted for long",
        "nobody says when it got its node",
        "the image is large",
        "it runs",
        "it has ended",
        "no Job",
    ],
)
def test_events_are_read_only_if_nothing_else_says_why(
    parts: Children, now: float, silent: Job | Pod | None
) -> None:
    assert find_silent(parts, at(now)) == silent


class TestRunning:
    def test_running(self) -> None:
        subject = is_running()
        assert status(subject).phase is Phase.RUNNING
        assert status(subject).start_time == at(1)
        assert (status(subject).pod_name, status(subject).node_name) == (running().name, "node-1")

    def test_progress_describes_the_latest_generation(self) -> None:
        _, subject = step(conversion(), children(job(), running()))
        news: dict[str, Any] = {"progress": Progress(41, 2.5, 9), "logs": ""}
        _, subject = step(replace(subject, generation=2), children(job(), running()), 20, **news)
        assert status(subject).observed_generation == 2

    def test_progress_is_written_every_ten_seconds_at_most(self) -> None:
        parts = children(job(), running())
        news: dict[str, Any] = {"progress": Progress(41, 2.5, 9), "logs": "frame 1\n"}
        soon = timedelta(seconds=9)
        plan, _ = step(is_running(), parts, last_write_age=soon, **news)
        assert (plan.status, plan.requeue_after) == (None, timedelta(seconds=1))
        plan, subject = step(is_running(), parts, last_write_age=timedelta(seconds=10), **news)
        progress = status(subject).progress
        assert progress
        assert (progress.percent, progress.speed, progress.eta_seconds) == (
            41,
            "2.50x",
            9,
        )
        assert status(subject).logs == "frame 1"
        # Progress that repeats itself costs no write.
        assert step(subject, parts, last_write_age=timedelta(seconds=10), **news)[0].status is None

    def test_success(self) -> None:
        plan, subject = step(is_running(), children(job(), succeeded()), 12)
        stored = status(subject)
        assert plan.actions == ()
        assert (stored.phase, stored.reason) == (Phase.SUCCEEDED, "Completed")
        assert (stored.output_size, stored.duration_seconds) == (1234, 10)
        assert stored.output
        assert stored.output.duration_seconds == "5.280"
        assert stored.completion_time == at(11)
        assert stored.logs == "all is well"
        assert {c.type: c.status for c in stored.conditions} == {
            "Succeeded": "True",
            "Finished": "True",
        }
        attempts = stored.attempts or []
        assert [(a.number, a.reason) for a in attempts] == [(1, "Completed")]

    def test_success_before_any_status_was_stored(self) -> None:
        _, subject = step(conversion(), children(job(), succeeded()), 12)
        assert status(subject).phase is Phase.SUCCEEDED
        assert [a.number for a in status(subject).attempts or []] == [1]

    def test_unreachable_node(self) -> None:
        parts = children(job(), running(deletion_timestamp=at(100)))
        subject = step(is_running(), parts, 200)[1]
        assert (status(subject).phase, status(subject).reason) == (
            Phase.RUNNING,
            Reason.NODE_UNREACHABLE,
        )
        assert step(subject, parts, 300)[0].status is None
        _plan, subject = step(subject, parts, 100 + POLICY.lost_timeout)
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "NodeLost")


class TestRetry:
    def test_a_bad_input_file_is_not_retried(self) -> None:
        subject = failed_once(ExitReason.INPUT_EMPTY)
        assert (status(subject).phase, status(subject).reason) == (Phase.FAILED, "InputEmpty")
        assert status(subject).message == "because"

    def test_a_long_log_is_shortened_before_the_status_is_written(self) -> None:
        report = Report(True, ExitReason.INPUT_DAMAGED, "m", logs="<" * 2048)
        end = ended(EXIT_CODES[ExitReason.INPUT_DAMAGED], "Error", dump_report(report).decode())
        stored = status(step(is_running(), children(job(), end), 12)[1])
        assert stored == shorten_log(stored)
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


def attempts_of(subject: Conversion) -> list[Attempt]:
    return status(subject).attempts or []


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
