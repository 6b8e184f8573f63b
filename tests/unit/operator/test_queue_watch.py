"""ConversionQueues: what they mean together, and what is known when they cannot be read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.api.crd import build_queue_crd
from conversion_operator.api.queues import ConversionQueueStatus, StopPolicy
from conversion_operator.api.reasons import Reason
from conversion_operator.cluster.errors import ClusterError, Rejected, Unavailable
from conversion_operator.cluster.objects import WatchEvent
from conversion_operator.cluster.queues import parse_queue
from conversion_operator.controller.queue_watch import QueueWatch
from conversion_operator.core.conversion_queues import NO_QUEUES, ConversionQueues, combine
from conversion_operator.core.holds import hold
from conversion_operator.core.model import Policy
from conversion_operator.core.queue_status import ACTIVE, QueueObject, has_stopped, next_status
from tests.unit.operator.builders import T0, at, conversion


def queue(name: str, created: int = 0, **spec: Any) -> QueueObject:
    meta = {
        "namespace": "ops",
        "name": name,
        "uid": name,
        "resourceVersion": "1",
        "generation": 3,
        "creationTimestamp": at(created).isoformat(),
    }
    return parse_queue({"metadata": meta, "spec": spec})


def combined(*queues: QueueObject) -> tuple[ConversionQueues, Any]:
    return combine((each.key.name, each.spec, each.unreadable) for each in queues)


class Api:
    """Answers each list with the next of ``answers``, and each watch with ``events``."""

    def __init__(self, *answers: Any, served: bool = True) -> None:
        self.answers, self.served = list(answers), served
        self.events: list[WatchEvent[QueueObject]] = []

    async def list_queues(self, _: str) -> tuple[tuple[QueueObject, ...], str]:
        answer = self.answers.pop(0) if self.answers else ClusterError("the end")
        if isinstance(answer, Exception):
            raise answer
        return answer, "1"

    async def watch_queues(self, *_: str) -> AsyncIterator[WatchEvent[QueueObject]]:
        for event in self.events:
            yield event
        raise ClusterError("the watch ended")

    async def serves_queues(self) -> bool:
        return self.served


async def seen(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, list[str], bool]]:
    """Whether the queues were known, their names, and whether there was a problem, by delay."""
    watch = QueueWatch(api, "ops")  # type: ignore[arg-type]
    found: list[tuple[bool, list[str], bool]] = []

    async def sleep(_: float) -> None:
        found.append((watch.known, [*watch.table.limits], bool(watch.problem)))
        if not api.answers:
            raise asyncio.CancelledError

    monkeypatch.setattr(
        "conversion_operator.controller.queue_watch.asyncio",
        SimpleNamespace(sleep=sleep, timeout=asyncio.timeout),
    )
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    return found


async def test_queues_that_cannot_be_read_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Rejected("no right", 403), Unavailable("slow"), (queue("a"),), Rejected("no", 403))
    assert await seen(api, monkeypatch) == [
        (False, [], True),
        (False, [], True),
        (True, ["a"], False),  # the watch has ended
        (True, ["a"], True),
    ]


@pytest.mark.parametrize("answer", [Unavailable("404 page not found"), Rejected("no right", 403)])
async def test_without_the_crd_there_are_no_queues(
    monkeypatch: pytest.MonkeyPatch, answer: Exception
) -> None:
    """The API server may check the permission first."""
    found = await seen(Api(answer, served=False), monkeypatch)
    assert found == [(True, [], True)]


async def test_events_change_the_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api((queue("a"), queue("b")))
    api.events = [
        WatchEvent("ADDED", "2", queue("c")),
        WatchEvent("BOOKMARK", "3", None),
        WatchEvent("DELETED", "4", queue("a")),
    ]
    assert await seen(api, monkeypatch) == [(True, ["b", "c"], False)]


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        (None, Reason.QUEUE_MISSING, "no ConversionQueue bulk"),
        ({}, None, ""),
        ({"maxParallel": 1}, None, ""),
        ({"maxParallel": 0}, Reason.QUEUE_HELD, "maxParallel is 0"),
        ({"stopPolicy": "Hold"}, Reason.QUEUE_HELD, "stopPolicy is Hold"),
        ({"stopPolicy": "HoldAndDrain"}, Reason.QUEUE_HELD, "stopPolicy is HoldAndDrain"),
        ({"namespaces": [{"name": "my-network", "maxParallel": 0}]}, Reason.QUEUE_HELD, "is 0"),
        ({"namespaces": [{"name": "others", "maxParallel": 0}]}, None, ""),
        ({"maxTotal": 3}, Reason.QUEUE_HELD, "spec.maxTotal"),
        ({"maxParallel": -1}, Reason.QUEUE_HELD, "spec.maxParallel"),
        ({"namespaces": [{"name": "a", "weight": 0}]}, Reason.QUEUE_HELD, "weight"),
    ],
)
def test_why_a_queue_lets_nothing_start(
    spec: dict[str, Any] | None, reason: str | None, words: str
) -> None:
    table, _ = combined(*(() if spec is None else (queue("bulk", **spec),)))
    subject = conversion()
    object.__setattr__(subject, "queue", "bulk")
    block = hold(subject, Policy(queues=table))
    assert (block and block.reason) == reason
    assert words in (block.message if block else "")


def test_the_default_queue_always_exists() -> None:
    assert hold(conversion(), Policy(queues=NO_QUEUES)) is None
    table, _ = combined(queue(names.DEFAULT_QUEUE, stopPolicy="Hold"))
    held = hold(conversion(), Policy(queues=table))
    assert held
    assert held.reason == Reason.QUEUE_HELD


def test_the_older_queue_decides_about_a_weight() -> None:
    share = [{"name": "n", "weight": 2}, {"name": "m"}]
    later = [{"name": "n", "weight": 5, "maxParallel": 1}, {"name": "m", "weight": 7}]
    table, problems = combined(queue("a", namespaces=share), queue("b", 1, namespaces=later))
    assert table.weights == {"n": 2, "m": 7}
    assert table.limits["b"].namespaces == {"n": 1}
    assert [*problems] == ["b"]
    assert "older queue a" in problems["b"][0]


@pytest.mark.parametrize(
    ("spec", "total", "active", "accepted"),
    [
        ({}, 3, "Active", "Accepted"),
        ({"stopPolicy": "HoldAndDrain"}, 3, "Drained", "Accepted"),
        ({"light": {"reserved": 3}}, 3, "Active", "NoEffect"),
        ({"light": {"reserved": 2}}, 3, "Active", "Accepted"),
        ({"later": True}, 3, "Unreadable", "NoEffect"),
    ],
)
def test_the_conditions(spec: dict[str, Any], total: int, active: str, accepted: str) -> None:
    found = queue("a", **spec)
    _, problems = combined(found)
    policy = Policy(max_parallel=total)
    status = next_status(found, {}, problems.get("a", ()), policy, at(5))
    assert [c.reason for c in status.conditions or ()] == [active, accepted]
    assert status.observed_generation == found.generation
    assert {c.last_transition_time for c in status.conditions or ()} == {at(5)}


def test_the_schema_and_the_page_name_the_reasons_of_the_conditions() -> None:
    fields = build_queue_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    condition = fields["status"]["properties"]["conditions"]["items"]["properties"]
    page = (Path(__file__).parents[3] / "docs/queues.md").read_text(encoding="utf-8")
    (active,) = re.findall(r"\*\*Active\*\* is False .*?(?=\n- )", page, re.DOTALL)
    specs: tuple[dict[str, Any], ...] = (
        {},
        {"stopPolicy": "Hold"},
        {"stopPolicy": "HoldAndDrain"},
        {"maxParallel": 0},
    )
    found = [queue("a", **spec) for spec in (*specs, {"maxTotal": 3})]
    statuses = [
        next_status(each, {}, problems, policy, T0)
        for each in found
        for problems in ((), ("spec.x has no effect",))
        for policy in (Policy(), Policy(enabled=False))
    ]
    conditions = [each for status in statuses for each in status.conditions or ()]
    assert len({each.reason for each in conditions}) == 8
    for each in conditions:
        assert each.type in condition["type"]["description"]
        assert re.search(rf"\b{each.reason}\b", condition["reason"]["description"])
        if each.type == ACTIVE and each.status == "False":
            assert re.search(rf"\b{each.reason}\b", active)
    assert "conversion" not in str(condition)


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = queue("a")
    before = next_status(first, {}, (), Policy(), T0)
    after = next_status(_with_status(first, before), {}, (), Policy(), at(60))
    assert after == before


def test_a_queue_says_when_it_stops_and_when_all_are_paused() -> None:
    held, free = queue("a", stopPolicy="Hold"), queue("a")
    active = next_status(free, {}, (), Policy(), T0)
    stopped = next_status(_with_status(held, active), {}, (), Policy(), T0)
    paused = next_status(_with_status(free, active), {}, (), Policy(enabled=False), T0)
    told = [has_stopped(*change) for change in permutations((active, stopped, paused), 2)]
    assert [each and each.reason for each in told] == [
        *("Held", "Paused"),  # from active
        *(None, "Paused"),  # from held
        *(None, "Held"),  # from paused
    ]
    assert has_stopped(stopped, stopped) is None
    first = has_stopped(held.status, next_status(held, {}, (), Policy(), T0))
    assert first
    assert first.reason == "Held"


def _with_status(found: QueueObject, status: ConversionQueueStatus) -> QueueObject:
    return QueueObject(**_fields(found) | {"status": status})


def _fields(found: QueueObject) -> dict[str, Any]:
    return {name: getattr(found, name) for name in QueueObject.__slots__}


def test_the_words_are_those_of_kueue() -> None:
    assert [*StopPolicy] == ["None", "Hold", "HoldAndDrain"]
