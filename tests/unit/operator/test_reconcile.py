"""Decisions about one conversion from its creation to the end of an attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.children import Children, Job, Pod
from conversion_operator.core.conversion_queues import ConversionQueues, QueueLimits
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import (
    Block,
    DeleteJob,
    Plan,
)
from conversion_operator.core.reconcile import decide
from conversion_operator.core.running import child_to_read_events_of
from media_converter.contract import Progress
from tests.unit.operator.builders import (
    NONE,
    POLICY,
    at,
    attempts_of,
    children,
    conversion,
    is_running,
    job,
    pod,
    queued,
    retries,
    running,
    snapshot,
    status,
    step,
    succeeded,
)


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

    @pytest.mark.parametrize(
        ("kind", "limits"),
        [
            (
                "video_to_mp4",
                "at most 2 of ConversionQueue default, at most 1 of namespace my-network in "
                "ConversionQueue default, ConversionQueue default reserves 1 for light conversions",
            ),
            (
                "audio_to_mp3",
                "at most 2 of ConversionQueue default, at most 1 of namespace my-network in "
                "ConversionQueue default",
            ),
        ],
    )
    def test_the_limits_of_a_queue_are_told(self, kind: str, limits: str) -> None:
        queue = QueueLimits(max_parallel=2, reserved=1, namespaces={"my-network": 1})
        policy = replace(POLICY, queues=ConversionQueues({"default": queue}))
        subject = conversion(conversionType=kind)
        told = step(subject, NONE, position=4, policy=policy)[1]
        start = f"waiting for a slot: at most {POLICY.max_parallel} conversions run at a time, "
        assert status(told).message == start + limits

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
        subject = replace(conversion(), deleting=True, orphans_dependents=True)
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
    assert child_to_read_events_of(parts, at(now)) == silent


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
