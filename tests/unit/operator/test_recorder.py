"""What is recorded about a change. The number of Events is bounded, and each is posted once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from conversion_operator.api.status import OutputStatus
from conversion_operator.cluster.objects import Event
from conversion_operator.controller import recorder
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.profile_reader import ProfileReader
from conversion_operator.controller.recorder import FOREIGN_EVENTS, EventRecorder
from conversion_operator.controller.store import Store
from conversion_operator.controller.worker import Worker
from conversion_operator.controller.workqueue import WorkQueue
from media_converter.contract import ExitReason, Output, OutputResult, OutputState
from tests.unit.operator.builders import (
    T0,
    children,
    conversion,
    good_report,
    job,
    running,
    step,
    succeeded,
)

LIMIT = 3


class Recorder(EventRecorder):
    """Keeps the Events that it would post."""

    def __init__(self) -> None:
        nothing: Any = None
        cluster: Any = SimpleNamespace(now=lambda: T0)
        super().__init__(cluster, Metrics(CollectorRegistry()), "test", nothing)
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
    queue = WorkQueue(lambda: 0.0)
    profiles = ProfileReader(nothing, context.leads, queue.add)
    queued: Any = SimpleNamespace(forget=lambda _: None)
    worker = Worker(context, queue, nothing, told, profiles, queued)
    await worker._reconcile_or_requeue(conversion().key.uid)
    told.record_foreign(conversion(), [job()])
    assert len(told.posted) == 2


class Poster:
    """An API server that answers no Event before ``release`` is set."""

    def __init__(self) -> None:
        self.started: list[Event] = []
        self.release = asyncio.Event()

    async def create_event(self, event: Event, *_: Any) -> None:
        self.started.append(event)
        await self.release.wait()


def permit() -> Any:
    """Every write may be sent."""
    return None


def an_event(number: int, kind: str = "Normal") -> Event:
    return Event(conversion().key, kind, f"r-{number}", "message")


async def test_few_events_are_posted_at_the_same_time() -> None:
    cluster: Any = Poster()
    told = EventRecorder(cluster, Metrics(CollectorRegistry()), "test", permit)
    before = len(asyncio.all_tasks())
    for number in range(100):
        told.post(an_event(number))
    assert len(asyncio.all_tasks()) - before == recorder.POSTERS
    await asyncio.sleep(0)
    assert len(cluster.started) == recorder.POSTERS
    cluster.release.set()
    await asyncio.gather(*told._posters)
    assert [event.reason for event in cluster.started] == [f"r-{n}" for n in range(100)]
    assert not told._posters


async def test_of_too_many_events_the_warnings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "WAITING_EVENTS", 3)
    monkeypatch.setattr(recorder, "WAITING_WARNINGS", 5)
    cluster: Any = Poster()
    told = EventRecorder(cluster, Metrics(CollectorRegistry()), "test", permit)
    for kind in ("Normal", "Warning"):
        for number in range(10):
            told.post(an_event(number, kind))
    cluster.release.set()
    await asyncio.gather(*told._posters)
    posted = [(event.type, event.reason) for event in cluster.started]
    assert posted == [("Normal", f"r-{n}") for n in range(3)] + [
        ("Warning", f"r-{n}") for n in range(2)
    ]


@pytest.mark.parametrize("long", [False, True])
def test_the_wait_is_counted_once_however_short_the_run(told: Recorder, long: bool) -> None:
    subject, parts = conversion(), [children(job(), running()), children(job(), succeeded())]
    for seen in parts if long else parts[1:]:
        plan, after = step(subject, seen, 12)
        assert plan.status is not None
        told.record(subject, plan.status)
        subject = after
    count = told._metrics.registry.get_sample_value(
        "converter_wait_seconds_count", {"conversion_type": "video_to_mp4"}
    )
    assert count == 1


def test_a_conversion_without_trouble_has_one_event(told: Recorder) -> None:
    subject = conversion()
    for seen in (children(job()), children(job(), running()), children(job(), succeeded())):
        plan, after = step(subject, seen, 12)
        assert plan.status is not None
        told.record(subject, plan.status)
        subject = after
    assert [(event.type, event.reason) for event in told.posted] == [("Normal", "Completed")]


def test_an_optional_output_that_fails_has_an_event_and_few_words_name_the_type(
    told: Recorder,
) -> None:
    outputs = [
        {"conversionType": "extract_thumbnail", "outputFile": "a.jpg"},
        {"conversionType": "audio_to_mp3", "outputFile": "a.mp3", "optional": True},
    ]
    subject = conversion(conversionType=None, outputFile=None, outputs=outputs)
    made = OutputResult(OutputState.SUCCEEDED, 7, Output("a" * 64, "jpg"))
    failed = OutputResult(OutputState.FAILED, reason=ExitReason.ENCRYPTED, message="m")
    report = good_report(output=None, outputs=(made, failed))
    plan, after = step(subject, children(job(), succeeded(report=report)), 12)
    assert plan.status is not None
    told.record(subject, plan.status)
    assert [(event.type, event.reason) for event in told.posted] == [
        ("Normal", "Completed"),
        ("Warning", "OutputIncomplete"),
    ]
    assert told.posted[1].message == "outputs[1] has failed: Encrypted."
    for each, word in ((after, "outputs"), (conversion(dryRun=True), "dry_run")):
        told.record(replace(each, status=None), plan.status)
        labels = {"conversion_type": word, "phase": "Succeeded", "reason": "Completed"}
        name = "converter_conversions_finished_total"
        assert told._metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("output", "whole", "crashes"),
    [(None, "DecoderCrashed", 1), ("DecoderCrashed", "Completed", 1), ("Encrypted", "DiskFull", 0)],
)
def test_each_crash_of_a_decoder_is_counted(
    told: Recorder, output: str | None, whole: str, crashes: int
) -> None:
    """Also that of an optional output, whose conversion succeeds."""
    subject = conversion()
    plan, _ = step(subject, children(job(), succeeded()), 12)
    assert plan.status is not None
    outputs = [OutputStatus(state=OutputState.FAILED, reason=output)] if output else None
    told.record(subject, plan.status.model_copy(update={"reason": whole, "outputs": outputs}))
    labels = {"conversion_type": "video_to_mp4"}
    value = told._metrics.registry.get_sample_value("converter_decoder_crashes_total", labels)
    assert value == crashes


def test_the_end_is_counted_with_its_delay_and_the_size_of_the_output(
    told: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = conversion()
    plan, _ = step(subject, children(job(), succeeded()), 12)
    assert plan.status is not None
    assert plan.status.completion_time is not None
    late = plan.status.completion_time + timedelta(seconds=3)
    monkeypatch.setattr(told._cluster, "now", lambda: late)
    told.record(subject, plan.status, converter_ended=True)
    value = told._metrics.registry.get_sample_value
    assert value("converter_end_to_status_seconds_sum") == 3
    size = value("converter_output_bytes_total", {"conversion_type": "video_to_mp4"})
    assert size == plan.status.output_size
    assert size


def test_an_end_that_the_operator_decides_has_no_delay(told: Recorder) -> None:
    """Its time is that of the decision, so it would count as an end without any delay."""
    subject = conversion()
    plan, _ = step(subject, children(job(), succeeded()), 12)
    assert plan.status is not None
    told.record(subject, plan.status)
    assert told._metrics.registry.get_sample_value("converter_end_to_status_seconds_count") == 0


def test_a_conversion_that_never_ran_has_no_delay_of_its_end(told: Recorder) -> None:
    subject = conversion(cancel=True)
    plan, _ = step(subject, children(), 12)
    assert plan.status is not None
    assert plan.status.phase.terminal
    told.record(subject, plan.status)
    assert told._metrics.registry.get_sample_value("converter_end_to_status_seconds_count") == 0
