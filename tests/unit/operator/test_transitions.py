"""The next status: which fields each transition sets, keeps and drops."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api.spec import MAX_TIMEOUT_SECONDS
from conversion_operator.api.status import ATTEMPTS_KEPT, ConversionJobStatus, Phase, Retries
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from conversion_operator.core.status_size import (
    STATUS_MAX_BYTES,
    limit_status_size,
    max_printed_size,
    printed_size,
)
from conversion_operator.core.transitions import (
    Transition,
    with_progress,
)
from conversion_operator.core.verdict import Ended, Outcome
from media_converter.contract import Progress, Report
from tests.unit.operator.builders import (
    T0,
    at,
    children,
    conversion,
    good_report,
    job,
    pod,
    running,
    snapshot,
    status,
    step,
    succeeded,
)

TERMINAL = [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED]
RUNNING = step(conversion(), children(job(), running()))[1]


def to(phase: Phase, subject: Conversion = RUNNING, now: float = 20) -> Transition:
    return Transition.to(snapshot(subject, now=now), phase, "Reason", "message")


def end(**changes: object) -> Ended:
    base = Ended(Outcome.FAILURE, "DiskFull", "no space", None, None, at(2), at(12))
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", list(Phase))
def test_only_terminal_phases_have_a_completion_time(phase: Phase) -> None:
    assert to(phase).status.completion_time == (at(20) if phase in TERMINAL else None)
    finished = to(phase).with_attempt(children(job())).with_result(end()).status
    assert finished.completion_time == (at(12) if phase in TERMINAL else None)
    assert finished.duration_seconds == (10 if phase in TERMINAL else None)


@pytest.mark.parametrize("phase", list(Phase))
def test_queued_and_starting_have_no_pod_and_no_start_time(phase: Phase) -> None:
    next_status = to(phase).status
    found = (next_status.pod_name, next_status.node_name, next_status.start_time)
    none = phase in (Phase.QUEUED, Phase.STARTING)
    assert found == ((None, None, None) if none else (running().name, "node-1", at(1)))


@pytest.mark.parametrize("phase", list(Phase))
def test_history_is_kept_and_the_progress_of_the_last_phase_is_not(phase: Phase) -> None:
    changes = {"logs": "log", "retries": Retries(failures=1), "queue_position": 3}
    stored = with_progress(status(RUNNING).model_copy(update=changes), Progress(41), "", at(9))
    next_status = to(phase, replace(RUNNING, status=stored)).status
    assert (next_status.logs, next_status.retries) == ("log", Retries(failures=1))
    assert next_status.attempts == stored.attempts
    assert (next_status.progress, next_status.queue_position) == (None, None)


def test_an_estimated_end_moves_with_the_progress_only() -> None:
    first = with_progress(status(RUNNING), Progress(41, 2.5, 90), "", at(10))
    assert first.progress
    assert first.progress.estimated_end_time == at(100)
    # A converter that hangs repeats its progress. That causes no write.
    for left in (90, 30, 0):
        assert with_progress(first, Progress(41, 2.5, left), "", at(300)) == first
    for latest in (Progress(42, 2.5, 80), Progress(41, 2.4, 80)):
        later = with_progress(first, latest, "", at(25.25)).progress
        assert later
        assert later.estimated_end_time == at(105)
    slower = with_progress(first, Progress(41, 2.5, 95), "", at(25.75)).progress
    assert slower
    assert slower.estimated_end_time == at(121)  # the nearest second


@pytest.mark.parametrize("left", [None, MAX_TIMEOUT_SECONDS + 1, 2**63 - 1])
def test_what_no_attempt_may_take_is_no_estimate(left: int | None) -> None:
    progress = with_progress(status(RUNNING), Progress(41, 2.5, left), "", at(10)).progress
    assert progress
    assert (progress.eta_seconds, progress.estimated_end_time) == (left, None)


def test_a_condition_keeps_its_transition_time_until_its_status_changes() -> None:
    def times(value: ConversionJobStatus) -> list[object]:
        return [condition.last_transition_time for condition in value.conditions]

    assert times(to(Phase.QUEUED).status) == times(status(RUNNING)) == [at(5), at(5), at(5)]
    assert times(to(Phase.FAILED).status) == [at(20), at(20), at(20)]


@pytest.mark.parametrize("phase", list(Phase))
def test_reconciling_and_stalled_exist_only_while_they_are_true(phase: Phase) -> None:
    found = {c.type: c.status for c in to(phase).status.conditions}
    wanted = {"Reconciling"} if not phase.terminal else set()
    if phase is Phase.FAILED:
        wanted = {"Stalled"}
    assert found.keys() == {"Succeeded", "Finished"} | wanted
    assert all(found[kind] == "True" for kind in wanted)


def test_conditions_of_others_are_kept() -> None:
    stored = status(RUNNING)
    foreign = stored.conditions[0].model_copy(update={"type": "Audited"})
    subject = replace(
        RUNNING, status=stored.model_copy(update={"conditions": [*stored.conditions, foreign]})
    )
    assert foreign in to(Phase.FAILED, subject).status.conditions


def test_a_reason_within_the_phase() -> None:
    assert Transition.within_phase(snapshot(RUNNING), "R", "m").status.phase is Phase.RUNNING
    assert Transition.within_phase(snapshot(conversion()), "R", "m").status.phase is Phase.STARTING


def test_an_attempt_is_recorded_once_and_the_last_few_are_kept() -> None:
    step_to = to(Phase.STARTING, conversion())
    for number in range(1, ATTEMPTS_KEPT + 3):
        step_to = step_to.with_attempt(children(job(number))).with_attempt(children(job(number)))
    numbers = [attempt.number for attempt in step_to.status.attempts or []]
    assert numbers == [3, 4, 5, 6, 7]
    assert step_to.status.job_name == job(7).name
    assert step_to.with_attempt(Children()).status == step_to.status


def test_an_attempt_without_a_job_is_known_from_its_pod() -> None:
    recorded = to(Phase.RUNNING, conversion()).with_attempt(children(running(2, 3))).status
    assert [(a.number, a.start_time) for a in recorded.attempts or []] == [(2, at(3))]


def test_a_final_attempt_ends_with_the_conversion_and_any_other_ends_now() -> None:
    for phase, expected in ((Phase.FAILED, at(12)), (Phase.QUEUED, at(20))):
        (attempt,) = to(phase).with_result(end()).status.attempts or []
        assert (attempt.reason, attempt.message) == ("DiskFull", "no space")
        assert attempt.completion_time == expected


def test_an_end_without_times_uses_what_is_stored() -> None:
    ended = to(Phase.FAILED).with_result(end(started_at=None, finished_at=None)).status
    assert (ended.start_time, ended.completion_time, ended.duration_seconds) == (at(1), at(20), 19)


@pytest.mark.parametrize(
    ("final", "reported", "expected"),
    [
        (True, None, 10_000),
        (True, 9_345, 9_345),
        (True, 12_000, 12_000),
        # Any program may write a report.
        (True, 12_001, 10_000),
        (True, 10**15, 10_000),
        (True, 0, 10_000),
        # The run was killed.
        (False, 9_345, 10_000),
    ],
)
def test_the_converter_measures_its_run_time(
    final: bool, reported: int | None, expected: int
) -> None:
    report = Report(final=final, run_milliseconds=reported)
    ended = to(Phase.FAILED).with_result(end(report=report)).status
    assert (ended.duration_seconds, ended.duration_milliseconds) == (10, expected)


def test_a_conversion_that_never_ran_has_no_run_time() -> None:
    ended = to(Phase.FAILED, conversion()).with_result(end(started_at=None, finished_at=None))
    assert (ended.status.duration_seconds, ended.status.duration_milliseconds) == (None, None)


def test_an_end_without_a_log_keeps_the_stored_one() -> None:
    stored = replace(RUNNING, status=status(RUNNING).model_copy(update={"logs": "log"}))
    assert to(Phase.FAILED, stored).with_result(end()).status.logs == "log"
    report = Report(final=True, logs="later")
    assert to(Phase.FAILED, stored).with_result(end(report=report)).status.logs == "later"


def test_only_success_has_facts_about_the_output() -> None:
    report = Report(final=True, output_size=7)
    for phase in TERMINAL:
        ended = to(phase).with_result(end(report=report)).status
        is_success = phase is Phase.SUCCEEDED
        assert ended.output_size == (7 if is_success else None)
        assert (ended.progress is not None) == is_success


def test_warnings_of_the_converter_are_facts_about_the_output() -> None:
    subject = step(conversion(), children(job(), running()))[1]
    pod = succeeded(report=good_report(warnings=("3 frames are missing.",)))
    for current, expected in ((pod, ["3 frames are missing."]), (succeeded(), None)):
        facts = status(step(subject, children(job(), current))[1]).output
        assert facts is not None
        assert facts.warnings == expected


def test_a_start_drops_the_log_of_the_attempt_before() -> None:
    stored = replace(RUNNING, status=status(RUNNING).model_copy(update={"logs": "log"}))
    started = to(Phase.RUNNING, stored).with_start(running(since=9, node="node-2")).status
    assert (started.start_time, started.node_name, started.logs) == (at(9), "node-2", None)


def test_without_a_pod_nothing_changes() -> None:
    assert to(Phase.STARTING).with_pod(None).status == to(Phase.STARTING).status
    assert to(Phase.STARTING).with_pod(pod(node="")).status.node_name is None


@given(
    st.text(alphabet=st.characters(), max_size=5000),
    st.text(max_size=3000),
    st.sampled_from(["", "<", "&", '"', "\\", "é", "😀"]),
)
def test_a_status_never_exceeds_its_size(logs: str, message: str, filler: str) -> None:
    subject = step(conversion(), children(job(), running()))[1]
    report = Report(final=True, logs=logs + filler * 4000, message=message + filler * 2000)
    end = Ended(Outcome.NOT_RETRYABLE, "InputDamaged", report.message, None, report, T0, at(10))
    stored = limit_status_size(Transition(at(10), status(subject)).with_result(end).status)
    stored = limit_status_size(
        with_progress(stored, Progress(3, 1.0, 604800), logs + filler * 4000, at(9))
    )
    printed = json.dumps(stored.to_json(), ensure_ascii=False)
    escaped = re.sub("[<>&]", lambda sign: f"\\u00{ord(sign[0]):x}", printed)
    assert len(escaped.encode()) <= STATUS_MAX_BYTES
    assert len((stored.logs or "").encode()) <= 2048
    assert printed_size(stored) <= max_printed_size(stored)
