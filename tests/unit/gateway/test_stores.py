"""When the store of a namespace is current, over a cluster made of queues."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.errors import Unavailable
from conversion_operator.cluster.objects import ObjectList, WatchEvent
from converter_gateway import store_watch, stores
from converter_gateway.__main__ import _freeze
from converter_gateway.errors import ApiError
from converter_gateway.metrics import Metrics
from converter_gateway.store_set import Listed
from converter_gateway.stores import Stores
from tests.unit.gateway.test_events import conversion
from tests.unit.gateway.test_feed import Cluster

N = "n"


async def turns(count: int = 20) -> None:
    """Let the loop run everything that waits for nothing."""
    for _ in range(count):
        await asyncio.sleep(0)


class Silent(Cluster):
    """The server accepts no watch, or accepts one that tells nothing."""

    def __init__(self, *, accepts: bool) -> None:
        super().__init__()
        self.accepts = accepts

    async def watch(
        self, namespace: str, version: str, opened: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[WatchEvent[Conversion]]:
        if self.accepts:
            opened()
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", version)


class Refusing(Cluster):
    """The server has no time for lists."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = 0

    async def list_all(self, namespace: str, parse: object) -> ObjectList[Listed]:
        self.lists += 1
        raise Unavailable("too many requests", 30)


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_store_is_not_current_while_the_server_does_not_accept_its_watch(
    monkeypatch: pytest.MonkeyPatch, *, accepts: bool
) -> None:
    """The watch may take a minute to fail. Nobody knows what has changed until then."""
    monkeypatch.setattr(store_watch, "PATIENCE_SECONDS", 0.0)
    cluster: Any = Silent(accepts=accepts)
    watch = Stores(cluster).watch(N)
    await turns()
    assert watch.store.version == 1
    assert watch.is_current is accepts


async def test_a_caller_does_not_shorten_the_pause_that_the_server_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_watch, "_SHORTEST_DELAY_SECONDS", 0.0)
    cluster: Any = Refusing()
    watch = Stores(cluster).watch(N)
    for _ in range(3):
        with pytest.raises((ApiError, Unavailable)):
            await watch.current(0)
        await turns()
    assert cluster.lists == 1


async def test_the_number_of_stores_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_MAX_STORES", 2)
    cluster: Any = Cluster()
    found = Stores(cluster)
    for namespace in ("a", "b", "a"):
        found.watch(namespace)
    with pytest.raises(ApiError, match="too many namespaces") as refused:
        found.watch("c")
    assert refused.value.code == 503


async def test_the_metrics_have_the_namespaces_of_the_settings_only() -> None:
    """The store of another one may be refused for ever, and callers choose how many there are."""
    cluster: Any = Cluster()
    found = Stores(cluster, lambda: (N, "not-open-yet"))
    for namespace in (N, "named-by-a-caller"):
        found.watch(namespace)
    registry = CollectorRegistry()
    Metrics(registry, {}, found.of_settings)
    page = generate_latest(registry).decode()
    assert f'converter_api_store_current{{namespace="{N}"}}' in page
    assert "named-by-a-caller" not in page


async def test_an_event_that_is_older_than_a_repair_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The watch was only late. Readers must not see the job go back."""
    monkeypatch.setattr(store_watch, "_AUDIT_GRACE_SECONDS", 0.0)
    cluster: Any = Silent(accepts=True)
    watch = Stores(cluster)._open(N)
    await watch.wait_until_current(1)
    store = watch.stores.of(N)
    log = store.log
    await cluster.write(9)
    await watch._audit()
    late = conversion({"phase": "Running"}, name="j9", rv=8)
    store.apply(WatchEvent("MODIFIED", "8", late))
    record = store.get("j9")
    assert record is not None
    assert (record.version, record.phase, store.version) == (9, "Failed", 9)
    assert (log.alive, store.log.events_after(0)) == (False, ())


async def test_audits_go_on_after_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "AUDIT_SECONDS", 0.0)
    cluster: Any = Cluster()
    watch = Stores(cluster)._open(N)
    await watch.wait_until_current(1)
    begun = 0

    def begin() -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(watch.stores, "begin_audit", begin)
    await turns(100)
    watch.stop()
    assert begun > 1


async def test_first_tries_end_with_the_first_answer() -> None:
    cluster: Any = Refusing()
    found = Stores(cluster, lambda: (N,))
    found.open_configured()
    assert not found.has_tried
    await found.first_tries()
    assert found.has_tried


async def test_the_garbage_collector_leaves_out_what_exists_when_the_replica_is_ready() -> None:
    """A full collection of 20 000 records stops the loop for 80 ms."""
    cluster: Any = Cluster()
    found = Stores(cluster, lambda: (N,))
    found.open_configured()
    try:
        await _freeze(found)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


async def test_a_store_closes_by_itself_when_nobody_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "_UNUSED_FAILING_SECONDS", 0.01)
    cluster: Any = Refusing()
    opened = Stores(cluster, lambda: ["configured"])
    opened.open_configured()
    opened.watch("unserved")
    assert opened.namespaces() == {"configured", "unserved"}
    async with asyncio.timeout(10):
        while "unserved" in opened.namespaces():  # noqa: ASYNC110  nothing tells it
            await asyncio.sleep(0.01)
    assert [watch.namespace for watch in opened] == ["configured"]
    assert opened._timer is None, "nothing is left to close"


async def test_a_store_that_is_current_stays_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_UNUSED_FAILING_SECONDS", 0.01)
    cluster: Any = Silent(accepts=True)
    opened = Stores(cluster)
    opened.watch(N)
    await turns()
    await asyncio.sleep(0.05)
    assert [watch.namespace for watch in opened] == [N]
    monkeypatch.setattr(stores, "_UNUSED_SECONDS", 0.0)
    async with asyncio.timeout(10):
        while list(opened):  # noqa: ASYNC110  nothing tells it
            await asyncio.sleep(0.01)
