"""Pods that do not terminate, because their node does not respond, while no attempt is in progress.

A container that did not start in time may start after its attempt was closed. Its pod may convert
until it is known to have terminated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.children import Pod
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import DeletePod
from tests.unit.operator.builders import (
    POLICY,
    at,
    children,
    conversion,
    job,
    pod,
    running,
    status,
    step,
    succeeded,
)

STOPPING = job(deletion_timestamp=at(300))


def given_up() -> Conversion:
    """A conversion whose first attempt did not start in time."""
    return step(step(conversion(), children(job()))[1], children(job(), pod()), 300)[1]


@pytest.mark.parametrize("lost", [pod, running])
def test_a_conversion_fails_with_the_node_of_a_pod_that_does_not_terminate(
    lost: Callable[..., Pod],
) -> None:
    subject = given_up()
    assert status(subject).phase is Phase.QUEUED
    stuck = children(STOPPING, lost(deletion_timestamp=at(330), node="n1"))
    waits, still = step(subject, stuck, 330 + POLICY.lost_timeout - 1)
    assert (waits.status, waits.actions) == (None, ())
    assert waits.requeue_after == timedelta(seconds=1)
    _plan, failed = step(still, stuck, 330 + POLICY.lost_timeout)
    assert (status(failed).phase, status(failed).reason) == (Phase.FAILED, Reason.NODE_LOST)
    assert "n1" in status(failed).message
    (attempt,) = status(failed).attempts or []
    assert attempt.reason != Reason.NODE_LOST


def test_a_copy_of_a_pod_does_not_fail_the_conversion() -> None:
    copy = replace(running(deletion_timestamp=at(330)), duplicate=True)
    plan, _ = step(given_up(), children(STOPPING, copy), 330 + POLICY.lost_timeout)
    assert plan.status is None


def test_a_sidecar_on_a_lost_node_does_not_keep_the_next_attempt_waiting() -> None:
    """The converter has ended, so the pod writes nothing more."""
    subject = given_up()
    with_sidecar = replace(succeeded(), phase="Running", deletion_timestamp=at(330))
    parts = children(STOPPING, with_sidecar)
    assert step(subject, parts, 389)[0].actions == ()
    plan, _ = step(subject, parts, 390)
    assert (plan.actions, plan.status) == ((DeletePod(with_sidecar, force=True),), None)
