"""What keeps a namespace that leaves the settings."""

from __future__ import annotations

import pytest

from conversion_operator.api.status import ConversionJobStatus, Notification, NotifyState, Phase
from conversion_operator.core.leaving import is_under_way
from conversion_operator.core.model import Children
from tests.unit.operator import builders


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


def test_every_job_and_pod_counts() -> None:
    job, pod = builders.job(), builders.pod()
    assert is_under_way(None, Children(jobs=(job,)))
    assert is_under_way(builders.conversion(), Children(pods=(pod,)))
