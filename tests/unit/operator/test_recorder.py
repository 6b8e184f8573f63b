"""The Events about foreign objects: each is posted once, and their number is bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from conversion_operator.cluster.objects import Event
from conversion_operator.controller import recorder
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.recorder import FOREIGN_EVENTS, EventRecorder
from conversion_operator.controller.store import Store
from conversion_operator.controller.worker import Worker
from tests.unit.operator.builders import conversion, job

LIMIT = 3


class Recorder(EventRecorder):
    """Keeps the Events that it would post."""

    def __init__(self) -> None:
        nothing: Any = None
        super().__init__(nothing, Metrics(CollectorRegistry()), "test", nothing)
        self.posted: list[Event] = []

    def post(self, event: Event) -> None:
        self.posted.append(event)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(recorder, "FOREIGN_CONVERSIONS", LIMIT)
    return Recorder()


def test_each_foreign_object_gets_one_event_up_to_a_limit(told: Recorder) -> None:
    jobs = [job(uid=f"j-{number}") for number in range(FOREIGN_EVENTS + 5)]
    for _ in range(2):
        told.record_foreign(conversion(), jobs)
    assert len(told.posted) == FOREIGN_EVENTS


def test_no_event_is_posted_again_however_many_conversions_have_foreign_objects(
    told: Recorder,
) -> None:
    conversions = [conversion(f"u-{number:04}") for number in range(LIMIT + 2)]
    for _ in range(3):
        for subject in conversions:
            told.record_foreign(subject, [job(uid=subject.key.uid)])
    assert [event.about.uid for event in told.posted] == ["u-0000", "u-0001", "u-0002"]
    told.record_foreign(conversions[0], [job(2, uid="u-0000")])
    assert [event.about.uid for event in told.posted[LIMIT:]] == ["u-0000"]


def test_a_deleted_conversion_makes_room_for_another_one(told: Recorder) -> None:
    conversions = [conversion(f"u-{number:04}") for number in range(LIMIT + 1)]
    for subject in conversions:
        told.record_foreign(subject, [job(uid=subject.key.uid)])
    told.forget("u-0001")
    told.forget("u-of-no-foreign-object")
    told.record_foreign(conversions[-1], [job(uid="u-0003")])
    assert [event.about.uid for event in told.posted][-1] == "u-0003"


async def test_the_worker_forgets_a_conversion_that_no_longer_exists(told: Recorder) -> None:
    store = Store(lambda _: None)
    context: Any = SimpleNamespace(
        cluster=None, store=store, leads=lambda: True, metrics=told._metrics
    )
    nothing: Any = None
    told.record_foreign(conversion(), [job()])
    told.record_foreign(conversion(), [job()])
    assert len(told.posted) == 1
    await Worker(context, nothing, nothing, told)._reconcile_or_requeue(conversion().key.uid)
    told.record_foreign(conversion(), [job()])
    assert len(told.posted) == 2
