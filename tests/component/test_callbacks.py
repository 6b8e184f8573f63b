"""Callbacks: every end is told, signed, at least once, and nobody waits for a receiver."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conversion_operator.callbacks.addresses import may_connect
from conversion_operator.callbacks.lanes import PER_HOST
from mynetwork_converter import callbacks
from tests.component.receiver import (
    HOST,
    SECRET,
    SLOW_HOST,
    Receiver,
    callback_config,
    data_of,
    receiving,
)
from tests.component.running import Running, phase_of, running, status_of
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all, check_statuses, check_writes
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job
from tests.component.test_two_operators import expire, holder

HOSTS = f"{HOST},{SLOW_HOST}"
TRACEPARENT = "00-11111111111111111111111111111111-2222222222222222-01"
NOTE: dict[str, Any] = {
    "verb": "patch",
    "subresource": "status",
    "where": lambda request: b'"/status/notify"' in request.body,
}


def note_of(api: FakeApi, name: str) -> dict[str, Any]:
    found: dict[str, Any] = status_of(api, name).get("notify") or {}
    return found


def state_of(api: FakeApi, name: str) -> str | None:
    return note_of(api, name).get("state")


async def attempted(api: FakeApi, name: str, times: int = 1) -> dict[str, Any]:
    """status.notify after so many attempts."""
    await api.until(lambda: note_of(api, name).get("attempts") == times)
    return note_of(api, name)


def wanting(name: str, url: str, **spec: Any) -> dict[str, Any]:
    body: dict[str, Any] = conversion_job(name, notify={"url": url}, **spec)
    return body


async def go_to(api: FakeApi, op: Running, moment: str) -> None:
    """Set the clock to a moment, and have the operator notice."""
    ahead = datetime.fromisoformat(moment) - api.clock.now()
    api.clock.advance(max(0.0, ahead / timedelta(seconds=1)) + 1)
    await op.reconcile_all()


@pytest.fixture
async def receiver(api: FakeApi) -> Any:
    async with receiving(api.storage.changed.fire) as made:
        yield made


@pytest.mark.parametrize("end", ["Succeeded", "Failed", "Cancelled"])
async def test_each_end_is_told_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver, end: str
) -> None:
    cluster.script("c", fail("InputDamaged") if end == "Failed" else succeed(hold=True))
    notes = {
        "converter.mynetwork.io/content-id": "film-17",
        "converter.mynetwork.io/caller-input-file": "/storage/in/c.mov",
        "converter.mynetwork.io/traceparent": TRACEPARENT,
    }
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ) as op:
        api.create(wanting("c", receiver.url(), metadata={"annotations": notes}))
        if end != "Failed":
            await api.until(lambda: phase_of(api, "c") == "Running")
            assert not note_of(api, "c")
        if end == "Cancelled":
            api.patch("conversionjobs", "c", {"spec": {"cancel": True}})
        elif end == "Succeeded":
            cluster.finish("c")
        await api.until(lambda: state_of(api, "c") == "Delivered")
        mark = api.audit.mark()
        for _ in range(3):
            api.clock.advance(1200)
            await op.reconcile_all()
        assert op.metric('converter_callbacks_sent_total{result="delivered"}') == 1
        assert not api.audit.writes(since=mark, resource="conversionjobs")
    (delivery,) = receiver.received
    status, uid = status_of(api, "c"), api.get("conversionjobs", "c")["metadata"]["uid"]
    event, data = delivery.event, data_of(delivery)
    assert delivery.headers["content-type"] == "application/cloudevents+json"
    assert delivery.headers["traceparent"] == TRACEPARENT
    assert delivery.headers["host"] == f"{HOST}:{receiver.port}"
    assert event["id"] == f"{uid}-{end.lower()}"
    assert event["type"] == f"io.mynetwork.converter.conversion.{end.lower()}"
    assert event["source"] == "/namespaces/my-network/conversionjobs/c"
    assert (event["subject"], event["time"]) == ("c", status["completionTime"])
    words = {"Succeeded": "completed", "Failed": "failed", "Cancelled": "cancelled"}
    assert (
        data.items()
        >= {
            "namespace": "my-network",
            "name": "c",
            "uid": uid,
            "phase": end,
            "status": words[end],
            "reason": status["reason"],
            "message": status["message"],
            "inputFile": "input/c.mov",
            "outputFile": "output/c.mp4",
            "contentId": "film-17",
            "callerInputFile": "/storage/in/c.mov",
        }.items()
    )
    if end == "Succeeded":
        assert data["outputSize"] == status["outputSize"]
        assert data["sha256"] == status["output"]["sha256"]
    assert note_of(api, "c").keys() == {"state", "attempts", "lastAttemptTime"}
    check_writes(api, most=7)
    check_all(api, limit=3)


async def test_a_receiver_that_fails_is_called_again_with_the_same(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """404 may be a receiver that is just being installed; 503 may say when to come again."""
    busy = web.Response(status=503, headers={"Retry-After": "200"})
    receiver.answers = [500, busy, 404]
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ) as op:
        api.create(wanting("c", receiver.url()))
        waits = []
        for n in (1, 2, 3):
            note = await attempted(api, "c", n)
            times = (note["lastAttemptTime"], note["nextAttemptTime"])
            last, due = (datetime.fromisoformat(text) for text in times)
            waits.append(round((due - last).total_seconds()))
            assert note["state"] == "Pending"
            await go_to(api, op, note["nextAttemptTime"])
        await api.until(lambda: state_of(api, "c") == "Delivered")
        assert op.metric('converter_callbacks_sent_total{result="failed"}') == 3
    assert waits == [5, 200, 20]
    assert len(receiver.received) == 4
    assert len({(delivery.id, delivery.body) for delivery in receiver.received}) == 1
    assert note_of(api, "c")["attempts"] == 4
    check_all(api, limit=3)


async def test_a_result_is_stored_whatever_else_was_changed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """The status has an unknown field, and another field changes while the callback is sent."""
    receiver.answers = [500]
    receiver.release.set()
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ) as op:
        api.create(wanting("c", receiver.url(SLOW_HOST)))
        note = await attempted(api, "c")
        receiver.release.clear()
        api.mutate("conversionjobs", "c", lambda body: body["status"]["notify"].update(new="x"))
        version = int(api.get("conversionjobs", "c")["metadata"]["resourceVersion"])
        await api.until(lambda: any(c.version == version for c in op.operator.store.conversions()))
        await go_to(api, op, note["nextAttemptTime"])
        await api.until(lambda: receiver.open == 1)
        api.mutate("conversionjobs", "c", lambda body: body["status"].update(logs="changed"))
        receiver.release.set()
        await api.until(lambda: state_of(api, "c") == "Delivered")
    assert status_of(api, "c")["logs"] == "changed"
    assert len(receiver.received) == 2


async def test_a_receiver_that_is_silent_holds_nobody_up(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    slow = [f"s{n}" for n in range(PER_HOST + 3)]
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ):
        for name in slow:
            api.create(wanting(name, receiver.url(SLOW_HOST)))
        await api.until(lambda: receiver.open == PER_HOST)
        api.create(wanting("c", receiver.url()))
        await api.until(lambda: state_of(api, "c") == "Delivered", 8)
        await api.until(lambda: all(phase_of(api, name) == "Succeeded" for name in slow))
        assert [state_of(api, name) for name in slow] == ["Pending"] * len(slow)
        assert receiver.most_open <= PER_HOST + 1
        receiver.release.set()
        await api.until(lambda: all(state_of(api, name) == "Delivered" for name in slow))
    check_all(api, limit=3)


@pytest.mark.timeout(240)
async def test_thousands_that_are_owed_to_a_silent_host_delay_no_other(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """Neither does their number decide how many tasks there are."""
    owed = {"state": "Pending", "attempts": 0}
    made = callback_config(tmp_path / "s", seconds=600)
    settings: dict[str, Any] = {"converter_callback_hosts": HOSTS}
    async with running(api, tmp_path / "a", **settings):
        api.create(conversion_job("model"))
        await api.until(lambda: phase_of(api, "model") == "Succeeded")
    status = status_of(api, "model") | {"notify": owed}
    for number in range(5000):
        api.create(wanting(f"s{number}", receiver.url(SLOW_HOST)), check=False)
        api.mutate("conversionjobs", f"s{number}", lambda c: c.update(status=status))
    async with running(api, tmp_path / "b", callbacks=made, **settings) as op:
        await api.until(lambda: receiver.open == PER_HOST, 60)
        assert len(asyncio.all_tasks()) < 300
        api.create(wanting("c", receiver.url()))
        await api.until(lambda: phase_of(api, "c") == "Succeeded", 120)
        await api.until(lambda: state_of(api, "c") == "Delivered", 5)
        assert {d.headers["host"].split(":")[0] for d in receiver.received} == {HOST, SLOW_HOST}
        assert len(receiver.received) == PER_HOST + 1
        assert op.metric("converter_reconcile_errors_total") == 0


async def test_results_that_cannot_be_stored_hold_nobody_up(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """More of them than there are workers. They are stored later, and not sent again."""
    names = [f"s{n}" for n in range(12)]
    refused = NOTE | {"where": lambda request: request.name in names and NOTE["where"](request)}
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS):
        with api.faults.status(503, **refused) as struck:
            for name in names:
                api.create(wanting(name, receiver.url()))
            await api.until(lambda: len(receiver.received) == len(names))
            await api.until(lambda: struck.hits >= 3 * len(names))  # the next pause is long
            api.create(wanting("c", receiver.url()))
            await api.until(lambda: state_of(api, "c") == "Delivered", 2)
        await api.until(lambda: all(state_of(api, name) == "Delivered" for name in names), 40)
    assert len(receiver.received) == len(names) + 1
    check_all(api, limit=3)


async def test_killed_between_the_callback_and_the_word_of_it(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """It comes again, under the same id."""
    async with running(
        api,
        tmp_path / "a",
        callbacks=callback_config(tmp_path / "s"),
        converter_callback_hosts=HOSTS,
    ) as a:
        with api.faults.black_hole(**NOTE) as struck:
            api.create(wanting("c", receiver.url()))
            await struck.wait_hit()
            await a.kill()
    assert note_of(api, "c") == {"state": "Pending", "attempts": 0}
    assert len(receiver.received) == 1
    async with running(
        api,
        tmp_path / "b",
        callbacks=callback_config(tmp_path / "s"),
        converter_callback_hosts=HOSTS,
    ):
        await api.until(lambda: state_of(api, "c") == "Delivered")
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    check_all(api, limit=3)


async def test_a_word_that_cannot_be_stored_is_not_sent_again_for_that(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ):
        with (
            api.faults.status(503, times=2, **NOTE),
            api.faults.conflict(times=1, skip=2, **NOTE),
        ):
            api.create(wanting("c", receiver.url()))
            await api.until(lambda: state_of(api, "c") == "Delivered")
    assert len(receiver.received) == 1
    check_all(api, limit=3)


async def test_the_next_leader_goes_on(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """It counts on from what is stored, and one that does not lead sends nothing."""
    receiver.answers = [500]
    options: dict[str, Any] = {"converter_callback_hosts": HOSTS}
    async with running(
        api, tmp_path / "a", "op-a", callbacks=callback_config(tmp_path / "s"), **options
    ) as a:
        await api.until(lambda: a.operator.health.ready and holder(api) == "op-a")
        async with running(
            api, tmp_path / "b", "op-b", callbacks=callback_config(tmp_path / "s"), **options
        ) as b:
            await api.until(lambda: b.operator.health.ready)
            api.create(wanting("c", receiver.url()))
            await attempted(api, "c")
            await a.kill()
            expire(api)
            await api.until(lambda: holder(api) == "op-b", 20)
            await go_to(api, b, note_of(api, "c")["nextAttemptTime"])
            await api.until(lambda: state_of(api, "c") == "Delivered", 20)
    assert note_of(api, "c")["attempts"] == 2
    assert len(receiver.received) == 2
    check_all(api, limit=3)


@pytest.mark.parametrize("end", ["Delivered", "GaveUp"])
async def test_one_that_is_not_told_of_yet_is_not_deleted(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver, end: str
) -> None:
    receiver.answers = [500, 200 if end == "Delivered" else 410]
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ) as op:
        api.create(wanting("c", receiver.url(), ttlSecondsAfterFinished=0))
        await attempted(api, "c")
        deletes = api.audit.count(verb="delete", resource="conversionjobs")
        await op.reconcile_all()
        await api.until(lambda: api.audit.count(verb="list", resource="jobs") > 1)
        assert deletes == 0
        assert api.find("conversionjobs", "c") is not None
        await go_to(api, op, note_of(api, "c")["nextAttemptTime"])
        await api.until(lambda: api.find("conversionjobs", "c") is None)
    assert len(receiver.received) == 2


async def test_given_up_after_an_hour(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers = [500] * 100
    async with running(
        api, tmp_path, callbacks=callback_config(tmp_path / "s"), converter_callback_hosts=HOSTS
    ) as op:
        api.create(wanting("c", receiver.url()))
        for n in range(1, 100):
            note = await attempted(api, "c", n)
            if note["state"] != "Pending":
                break
            await go_to(api, op, note["nextAttemptTime"])
        await api.until(lambda: op.metric("converter_callbacks_given_up_total") == 1)
    assert (note["state"], note["message"]) == ("GaveUp", "The receiver responded 500")
    assert len(receiver.received) == note["attempts"] == 12
    ended = datetime.fromisoformat(status_of(api, "c")["completionTime"])
    last = datetime.fromisoformat(note["lastAttemptTime"])
    assert timedelta(minutes=49) < last - ended < timedelta(hours=1)
    check_all(api, limit=3)


async def test_after_hours_without_an_operator_it_is_tried_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers = [500, 500]
    async with running(
        api,
        tmp_path / "a",
        callbacks=callback_config(tmp_path / "s"),
        converter_callback_hosts=HOSTS,
    ) as a:
        with api.faults.black_hole(**NOTE) as struck:
            api.create(wanting("c", receiver.url(), ttlSecondsAfterFinished=0))
            await struck.wait_hit()
            await a.kill()
    api.clock.advance(3 * 3600)
    async with running(
        api,
        tmp_path / "b",
        callbacks=callback_config(tmp_path / "s"),
        converter_callback_hosts=HOSTS,
    ):
        await api.until(lambda: api.find("conversionjobs", "c") is None)
    assert len(receiver.received) == 2


def warnings(api: FakeApi, name: str) -> list[tuple[str, str]]:
    """Reason and message of the Warning Events about a ConversionJob's callback."""
    return [
        (event["reason"], event["message"])
        for event in api.objects("events")
        if event["involvedObject"]["name"] == name and event["reason"].startswith("Callback")
    ]


async def test_a_host_that_is_not_on_the_list_is_never_called(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """It waits some minutes for the list to change, and Events say so."""
    async with running(
        api,
        tmp_path,
        callbacks=callback_config(tmp_path / "s"),
        converter_callback_hosts="other.test",
    ) as op:
        api.create(wanting("c", receiver.url(path="/hook?token=abc")))
        await api.until(lambda: len(warnings(api, "c")) == 1)
        assert state_of(api, "c") == "Pending"
        api.clock.advance(601)
        await op.reconcile_all()
        await api.until(lambda: len(warnings(api, "c")) == 2)
    note = note_of(api, "c")
    assert (note["state"], note["attempts"]) == ("GaveUp", 0)
    assert note["message"] == f"The host {HOST} is not in CONVERTER_CALLBACK_HOSTS"
    first, last = warnings(api, "c")
    assert (first[0], last[0]) == ("CallbackWaits", "CallbackGaveUp")
    assert f"{note['message']}. Add it before " in first[1]
    for text in (note["message"], first[1], last[1]):
        assert "abc" not in text
    assert not receiver.received
    check_all(api, limit=3)


async def test_a_host_that_is_added_to_the_list_in_time_is_called(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made) as op:
        api.create(wanting("c", receiver.url()))
        await api.until(lambda: "not in" in note_of(api, "c").get("message", ""))
        op.configure(converter_callback_hosts=HOSTS)
        await api.until(lambda: state_of(api, "c") == "Delivered")
    assert "message" not in note_of(api, "c")
    assert len(receiver.received) == 1
    check_all(api, limit=3)


async def test_namespaces_may_have_hosts_and_secrets_of_their_own(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    api.add_namespace("team-b")
    made = callback_config(tmp_path / "s")
    made.secret.with_name(f"{made.secret.name}.team-b").write_text("the secret of team b")
    async with running(
        api,
        tmp_path,
        callbacks=made,
        watch_namespaces="my-network,team-b",
        converter_callback_hosts=HOST,
        converter_callback_hosts_by_namespace=f"team-b={SLOW_HOST}",
    ):
        receiver.release.set()
        for namespace, name, host in (
            ("my-network", "common", HOST),
            ("team-b", "own", SLOW_HOST),
            ("team-b", "refused", HOST),
        ):
            body = wanting(name, receiver.url(host))
            body["metadata"]["namespace"] = namespace
            api.create(body)
        await api.until(lambda: len(receiver.received) == 2)
        await api.until(lambda: bool(warnings(api, "refused")))
    assert "list of namespace team-b" in warnings(api, "refused")[0][1]
    secrets = {"common": SECRET, "own": "the secret of team b"}
    for delivery in receiver.received:
        at = float(delivery.headers["webhook-timestamp"])
        secret = secrets.pop(data_of(delivery)["name"])
        callbacks.verify(secret, delivery.headers, delivery.body, now=at)
    assert secrets == {}


async def test_an_address_that_is_rejected_is_never_connected_to(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """With the operator's own check, which no loopback address passes."""
    made = callback_config(tmp_path / "s", check=may_connect)
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS):
        api.create(wanting("c", receiver.url()))
        note = await attempted(api, "c")
    assert "must not use" in note["message"]
    assert not receiver.received


async def test_nothing_is_sent_unsigned(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """It waits for the Secret, which may come late, and says so, once."""
    made = callback_config(tmp_path / "s", secret=None)
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS) as op:
        api.create(wanting("late", receiver.url()))
        await api.until(lambda: "secret" in note_of(api, "late").get("message", ""))
        assert note_of(api, "late")["state"] == "Pending"
        api.clock.advance(600)
        await op.reconcile_all()
        made.secret.write_text(SECRET, encoding="utf-8")
        await op.reconcile_all()
        await api.until(lambda: state_of(api, "late") == "Delivered")
        assert api.audit.count(**NOTE) == 2
        made.secret.unlink()
        api.create(wanting("never", receiver.url()))
        await api.until(lambda: "secret" in note_of(api, "never").get("message", ""))
        api.clock.advance(3601)
        await op.reconcile_all()
        await api.until(lambda: state_of(api, "never") == "GaveUp")
    assert [delivery.event["subject"] for delivery in receiver.received] == ["late"]
    check_all(api, limit=3)


async def test_a_late_write_of_the_end_does_not_take_the_callback_back(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """The worker writes the end again, having had no answer, while it is told already."""
    ends: dict[str, Any] = {
        "verb": "patch",
        "subresource": "status",
        "where": lambda request: (
            b'"Succeeded"' in request.body and b'"completionTime"' in request.body
        ),
    }
    told = {"state": "Delivered", "attempts": 1, "lastAttemptTime": "2026-01-01T00:00:00Z"}
    cluster.default = succeed(hold=True)
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS):
        api.create(wanting("c", receiver.url()))
        await api.until(lambda: phase_of(api, "c") == "Running")
        with (
            api.faults.hold_watches(resource="conversionjobs"),
            api.faults.drop_answer(times=1, **ends) as dropped,
        ):
            cluster.finish("c")
            await dropped.wait_hit()
            await api.until(lambda: phase_of(api, "c") == "Succeeded")
            api.mutate("conversionjobs", "c", lambda c: c["status"].update(notify=told))
            await api.until(lambda: api.audit.count(**ends) >= 2)
            await api.until(lambda: api.audit.matching(**ends)[1].code is not None)
            assert note_of(api, "c") == told
    assert note_of(api, "c") == told
    check_statuses(api)


async def test_one_that_is_deleted_is_not_told_of(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """Neither again, nor does it hold up anything that it went while it was being told of."""
    receiver.answers = [500]
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS) as op:
        api.create(wanting("c", receiver.url()))
        note = await attempted(api, "c")
        api.delete("conversionjobs", "c")
        await api.until(lambda: not [*op.operator.store.conversions()])
        await go_to(api, op, note["nextAttemptTime"])
        api.create(wanting("during", receiver.url(SLOW_HOST)))
        await api.until(lambda: receiver.open == 1)
        api.delete("conversionjobs", "during")
        receiver.release.set()
        await api.until(lambda: api.audit.count(code=404, **NOTE) == 1)
        api.create(wanting("d", receiver.url()))
        await api.until(lambda: state_of(api, "d") == "Delivered")
        assert op.metric("converter_reconcile_errors_total") == 0
    assert [d.event["subject"] for d in receiver.received] == ["c", "during", "d"]


async def test_the_default_is_for_what_ends_from_now_on(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS) as op:
        api.create(conversion_job("before"))
        await api.until(lambda: phase_of(api, "before") == "Succeeded")
        op.configure(converter_callback_url=receiver.url(path="/default"))
        api.create(conversion_job("after"))
        api.create(wanting("own", receiver.url(path="/own")))
        await api.until(lambda: state_of(api, "after") == state_of(api, "own") == "Delivered")
    assert {d.event["subject"]: d.path for d in receiver.received} == {
        "after": "/default",
        "own": "/own",
    }
    assert "notify" not in status_of(api, "before")
    check_all(api, limit=3)


async def test_what_another_leader_has_written_stays(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, receiver: Receiver
) -> None:
    """One that was paused while it sent does not write over what came of it since."""
    theirs = {"state": "Pending", "attempts": 1, "nextAttemptTime": "2100-01-01T00:00:00Z"}
    made = callback_config(tmp_path / "s")
    async with running(api, tmp_path, callbacks=made, converter_callback_hosts=HOSTS):
        api.create(wanting("c", receiver.url(SLOW_HOST)))
        await api.until(lambda: receiver.open == 1)
        with api.faults.hold_watches(resource="conversionjobs"):
            api.mutate("conversionjobs", "c", lambda c: c["status"].update(notify=theirs))
            receiver.release.set()
            await api.until(lambda: api.audit.count(code=409, **NOTE) > 0)
        api.create(wanting("d", receiver.url()))
        await api.until(lambda: state_of(api, "d") == "Delivered")
    assert note_of(api, "c") == theirs
    check_all(api, limit=3)
