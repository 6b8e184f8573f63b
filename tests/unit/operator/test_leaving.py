"""What keeps a namespace that leaves the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conversion_operator.api.names import MANAGER_PREFIX
from conversion_operator.api.status import ConversionJobStatus, Notification, NotifyState, Phase
from conversion_operator.core import leaving
from conversion_operator.core.children import Children
from conversion_operator.core.model import Conversion
from tests.unit.operator import builders
from tests.unit.operator.builders import children

OWN = "my-network-converter"


def is_under_way(
    conversion: Conversion | None, parts: Children, *managers: str, marked: bool = True
) -> bool:
    if conversion:
        conversion = replace(conversion, status_managers=frozenset(managers))
    return leaving.is_under_way(conversion, parts, OWN, marked=marked)


@pytest.mark.parametrize(
    ("phase", "notify", "under_way"),
    [
        (None, None, False),
        (Phase.PENDING, None, False),
        (Phase.QUEUED, None, False),
        (Phase.STARTING, None, True),
        (Phase.RUNNING, None, True),
        (Phase.SUCCEEDED, None, False),
        (Phase.SUCCEEDED, NotifyState.PENDING, True),
        (Phase.FAILED, NotifyState.DELIVERED, False),
        (Phase.CANCELLED, NotifyState.GAVE_UP, False),
    ],
)
def test_what_is_under_way_without_jobs_and_pods(
    phase: Phase | None, notify: NotifyState | None, under_way: bool
) -> None:
    status = None
    if phase is not None:
        notification = notify and Notification(state=notify, attempts=1)
        status = ConversionJobStatus(
            phase=phase, conditions=[], reason="R", message="m", notify=notification
        )
    conversion = builders.conversion(status=status)
    assert is_under_way(conversion, Children()) == under_way
    assert not is_under_way(None, Children())


def test_every_job_and_pod_that_may_run_counts() -> None:
    job, pod = builders.job(), builders.pod()
    assert is_under_way(None, Children(jobs=(job,)))
    assert is_under_way(builders.conversion(), Children(pods=(pod,)))


def test_the_job_of_an_earlier_attempt_keeps_no_queued_conversion() -> None:
    subject, failed = builders.conversion(maxRetries=2), builders.ended(75)
    job = builders.job(finished="Failed")
    before = children(job, failed)
    assert is_under_way(subject, before)  # the end of the attempt is not recorded yet
    _, queued = builders.step(subject, before)
    assert builders.status(queued).phase is Phase.QUEUED
    assert not is_under_way(queued, before)
    assert is_under_way(queued, children(builders.job(), failed))
    assert is_under_way(queued, children(job, failed, builders.job(2, finished="Failed")))


def test_what_is_left_after_the_end_is_deleted_first() -> None:
    job, succeeded = builders.job(finished="Complete"), builders.succeeded()
    left = children(job, succeeded)
    _, running = builders.step(builders.conversion(), children(builders.job(), builders.running()))
    assert is_under_way(running, left)
    _, ended = builders.step(running, left)
    assert ended.finished
    assert is_under_way(ended, left)
    assert is_under_way(None, left)
    gone = children(
        replace(job, deletion_timestamp=builders.at(20)), replace(succeeded, deleted=True)
    )
    assert not is_under_way(ended, gone)
    assert not is_under_way(None, gone)
    orphans_dependents = replace(ended, deleting=True, orphans_dependents=True)
    assert not is_under_way(orphans_dependents, left)


def test_an_attempt_whose_status_cannot_be_read_keeps_nothing_once_it_is_over() -> None:
    unreadable = replace(builders.conversion(), status_error="the phase is unknown")
    assert is_under_way(unreadable, children(builders.job()))
    assert not is_under_way(unreadable, children(builders.job(finished="Failed")))


def test_what_another_installation_has_begun_does_not_count() -> None:
    ours, theirs = f"{MANAGER_PREFIX}{OWN}", f"{MANAGER_PREFIX}converter-b"
    parts = children(builders.job(), builders.running())
    _, running = builders.step(builders.conversion(), parts)
    _, ended = builders.step(running, children(builders.job(), builders.succeeded()), now=20)
    for subject in (running, ended):
        assert is_under_way(subject, parts, ours, marked=False)
        assert not is_under_way(subject, parts, theirs, marked=False)
        assert not is_under_way(subject, parts, ours, theirs, marked=False)
        # The other one may write the status while our Job runs.
        assert is_under_way(subject, parts, ours, theirs, marked=True)
    assert is_under_way(None, parts, marked=True)
    assert not is_under_way(None, parts, marked=False)
