"""Warning Events for what conversions wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.reasons import REASONS, Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.cluster.objects import Event
from conversion_operator.controller.waiting_events import (
    _OWN,
    _SHARED,
    CAUSES_OF_NAMESPACE,
    NAMESPACES,
    SHARED_SECONDS,
    WaitingEvents,
)
from conversion_operator.core.model import Conversion, Key
from tests.unit.operator.builders import POLICY, conversion

CONFIG_MAP = Key("ops", "settings", "config-uid")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events(clock: Clock) -> WaitingEvents:
    return WaitingEvents(lambda: POLICY, "ops", lambda: CONFIG_MAP, clock)


def waits(reason: str, phase: Phase = Phase.QUEUED, message: str = "m") -> ConversionJobStatus:
    return ConversionJobStatus(phase=phase, conditions=[], reason=reason, message=message)


def of(uid: str, before: ConversionJobStatus | None = None, **fields: Any) -> Conversion:
    subject = conversion(uid, **fields)
    return replace(subject, status=before)


def with_profile(subject: Conversion, profile: str) -> Conversion:
    assert subject.spec
    return replace(subject, spec=subject.spec.model_copy(update={"profile": profile}))


@pytest.mark.parametrize("reason", sorted(_OWN))
def test_a_reason_of_its_own_has_one_event_with_its_cure(
    events: WaitingEvents, reason: Reason
) -> None:
    stored = waits(reason, Phase.STARTING, "it waits.")
    found = events.find(of("u"), stored)
    assert found
    assert (found.about.uid, found.type, found.reason) == ("u", "Warning", reason)
    assert found.message.startswith("it waits. ")
    assert REASONS[reason].cure[:20] in found.message
    assert found.name == f"u.{reason.lower()}"
    assert events.find(of("u", stored), stored) is None


@pytest.mark.parametrize(
    ("reason", "kind", "about"),
    [
        (Reason.PAUSED, "ConfigMap", CONFIG_MAP),
        (Reason.CLAIM_MISSING, "PersistentVolumeClaim", Key("n", "my-network-shared", "")),
        (Reason.QUOTA_EXCEEDED, "PersistentVolumeClaim", Key("n", "my-network-shared", "")),
        (Reason.POD_REJECTED, "PersistentVolumeClaim", Key("n", "my-network-shared", "")),
        (Reason.PROFILE_MISSING, "ConversionProfile", Key("n", "web", "")),
        (Reason.PROFILE_UNREADABLE, "ConversionProfile", Key("n", "web", "")),
    ],
)
def test_a_shared_cause_has_one_event(
    events: WaitingEvents, clock: Clock, reason: Reason, kind: str, about: Key
) -> None:
    def told(uid: str) -> Event | None:
        return events.find(with_profile(of(uid, namespace="n"), "web"), waits(reason))

    first = told("u-1")
    assert first
    assert (first.kind, first.about, first.reason, first.name) == (kind, about, reason, "")
    assert [told(f"u-{n}") for n in range(2, 100)] == [None] * 98
    clock.now = SHARED_SECONDS
    assert told("u-100")


@pytest.mark.parametrize("reason", [Reason.QUEUE_MISSING, Reason.PROFILE_MISSING])
def test_names_that_users_choose_cause_no_flood(
    events: WaitingEvents, clock: Clock, reason: Reason
) -> None:
    def told(number: int, namespace: str = "n") -> Event | None:
        subject = with_profile(of(f"u-{number}", namespace=namespace), f"p-{number}")
        return events.find(replace(subject, queue=f"q-{number}"), waits(reason))

    found = [told(number) for number in range(3000)]
    assert [each is not None for each in found[: CAUSES_OF_NAMESPACE + 1]] == [
        *(True,) * CAUSES_OF_NAMESPACE,
        False,
    ]
    assert found.count(None) == 3000 - CAUSES_OF_NAMESPACE
    assert told(1, "other")
    clock.now = SHARED_SECONDS
    assert told(5000)


def test_a_pause_is_told_once_for_all_namespaces(events: WaitingEvents) -> None:
    found = [events.find(of("u", namespace=f"n-{n}"), waits(Reason.PAUSED)) for n in range(300)]
    assert len(list(filter(None, found))) == 1


def test_a_missing_queue_is_told_where_its_user_can_read_it(events: WaitingEvents) -> None:
    found = events.find(of("u"), waits(Reason.QUEUE_MISSING))
    assert found
    assert (found.kind, found.about.uid) == ("ConversionJob", "u")


def test_a_cure_has_the_names_instead_of_placeholders(events: WaitingEvents) -> None:
    stored = waits(Reason.JOB_SUSPENDED, Phase.STARTING)
    stored = stored.model_copy(update={"job_name": "converter-1"})
    found = events.find(of("u", namespace="films"), stored)
    assert found
    assert "kubectl -n films patch job converter-1 " in found.message
    for reason in _OWN | _SHARED:
        fresh = WaitingEvents(lambda: POLICY, "ops", lambda: CONFIG_MAP)
        each = fresh.find(
            with_profile(of("u"), "web"), stored.model_copy(update={"reason": reason})
        )
        assert each
        assert "NAMESPACE" not in each.message


def test_each_shared_reason_has_a_cause(events: WaitingEvents) -> None:
    for reason in _SHARED:
        assert events.find(with_profile(of("u"), "web"), waits(reason)), reason


def test_other_reasons_have_no_event(events: WaitingEvents) -> None:
    for reason in set(Reason) - _OWN - _SHARED:
        assert events.find(of("u"), waits(reason)) is None


def test_ends_and_pending_conversions_have_other_events(events: WaitingEvents) -> None:
    for phase in (Phase.PENDING, Phase.FAILED, Phase.CANCELLED):
        assert events.find(of("u"), waits(Reason.UNSCHEDULABLE, phase)) is None


def test_the_memory_for_shared_causes_is_bounded(events: WaitingEvents) -> None:
    for number in range(NAMESPACES + 5):
        subject = of("u", namespace=f"n-{number}")
        assert events.find(subject, waits(Reason.CLAIM_MISSING))
    assert len(events._told) == NAMESPACES


def test_the_settings_may_not_be_read_yet(clock: Clock) -> None:
    events = WaitingEvents(lambda: POLICY, "ops", lambda: None, clock)
    assert events.find(of("u"), waits(Reason.PAUSED)) is None


def test_a_long_message_keeps_the_cure(events: WaitingEvents) -> None:
    found = events.find(of("u"), waits(Reason.UNSCHEDULABLE, message="<" * 1024))
    assert found
    assert len(found.message.encode()) <= 1024
    assert found.message.endswith(REASONS[Reason.UNSCHEDULABLE].cure.replace("`", "")[-20:])
