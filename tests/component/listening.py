"""The HTTP API over a real socket, and a listener to its events, in the test's own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx2 as httpx
from fastapi import FastAPI

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.conversions import ConversionClient
from converter_gateway.app import create_app
from converter_gateway.server import GatewayServer, open_listener
from converter_gateway.settings import GatewaySettings
from converter_gateway.stores import Stores
from tests.component.support import FakeApi
from tests.component.support.tools import configuration

EVENTS = "/api/v1/converter/events"


def caught_up(api: FakeApi, app: FastAPI) -> dict[str, list[Callable[[httpx.Request], Any]]]:
    """Hooks of a client, which send each request when the stores know what the test has done.

    A store that is not current is not waited for.
    """
    stores: Stores = app.state.stores

    async def wait(_: httpx.Request) -> None:
        async with asyncio.timeout(20):
            for watch in list(stores):
                last = last_version(api, watch.namespace)
                while watch.is_current and watch.stores.version < last:  # noqa: ASYNC110  no event
                    await asyncio.sleep(0.005)

    return {"request": [wait]}


_apps: WeakKeyDictionary[httpx.AsyncClient, FastAPI] = WeakKeyDictionary()


def app_of(client: httpx.AsyncClient) -> FastAPI:
    """The application behind a client of :func:`serving`."""
    return _apps[client]


async def until_in_progress(client: httpx.AsyncClient, kind: str, count: int) -> None:
    """Wait until so many requests of a kind are in progress. ``client`` is of :func:`serving`."""
    open_now = _apps[client].state.in_progress
    async with asyncio.timeout(20):
        while open_now[kind].total() != count:  # noqa: ASYNC110  no event
            await asyncio.sleep(0.01)


def last_version(api: FakeApi, namespace: str) -> int:
    """The version of the last change of a ConversionJob in the namespace, or in all of them."""
    for change in reversed(api.storage.changes):
        if change.kind.plural == "conversionjobs" and namespace in (ALL_NAMESPACES, change.key[0]):
            return change.rv
    return 0


@asynccontextmanager
async def serving(
    api: FakeApi, token: str | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A replica of the API, and a client of it. Its requests wait for :func:`caught_up`."""
    cluster = ConversionClient(configuration(api.url, token), "gateway")
    configured = GatewaySettings(**({"gateway_auth": "network"} | settings))
    app = create_app(cluster, configured)
    # Any free port, unless a test starts the replica again that it has stopped.
    port = settings.get("gateway_port", 0)
    listener = open_listener("127.0.0.1", port, configured.gateway_stall_seconds)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = GatewayServer(app, configured, listener)
    task = asyncio.create_task(server._serve())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    try:
        async with httpx.AsyncClient(
            base_url=url, timeout=30, limits=limits, event_hooks=caught_up(api, app)
        ) as client:
            _apps[client] = app
            yield client
    finally:
        app.state.shutdown.end()
        server.should_exit = True
        await task
        await cluster.close()


@dataclass(frozen=True)
class Block:
    """One block of a stream; ``event`` is empty if it has no data and so is none."""

    event: str = ""
    id: str = ""
    data: Any = None
    comment: str = ""
    retry: str = ""

    @property
    def told(self) -> tuple[str, str]:
        """What happened to whom."""
        return self.event, (self.data or {}).get("job_id", "")


class Listener:
    """An open stream of events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def block(self, seconds: float = 20) -> Block:
        """The next block. Raises EOFError at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                if not line:
                    data = json.loads(fields.pop("data")) if "data" in fields else None
                    return Block(data=data, **fields)
                name, _, value = line.partition(": ")
                assert name not in fields, f"{name} twice in a block"
                fields[name.lstrip(":") or "comment"] = value
        raise EOFError

    async def event(self) -> Block:
        """The next block that is an event."""
        while True:
            block = await self.block()
            if block.event:
                return block

    async def rest(self) -> list[Block]:
        """All blocks until the stream ends."""
        blocks = []
        try:
            while True:
                blocks.append(await self.block())
        except EOFError:
            return blocks

    async def begun(self) -> list[Block]:
        """All events of the current state, and the block that ends it."""
        blocks: list[Block] = []
        while not blocks or "current state" not in blocks[-1].comment:
            blocks.append(await self.block())
        return blocks


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, last: str | None = None, **asked: str
) -> AsyncIterator[Listener]:
    """A stream, from the event after ``last`` on."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    async with client.stream("GET", EVENTS, params=asked, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        # Kept here: a generator that nobody holds is closed, and its connection with it.
        listener = Listener(response)
        yield listener
