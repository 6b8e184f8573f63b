"""A receiver of callbacks on loopback, and what the operator needs to be let there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from conversion_operator.callbacks.addresses import may_connect
from conversion_operator.callbacks.loop import CallbackConfig
from conversion_operator.callbacks.sender import CallbackSender
from mynetwork_converter import callbacks

HOST: Final = "receiver.test"
SLOW_HOST: Final = "slow.test"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - that of the standard's example
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class Delivery:
    """One request. ``event`` is None for one without a genuine signature."""

    headers: Mapping[str, str]
    path: str
    body: bytes

    @property
    def event(self) -> callbacks.Event:
        """What it tells, if it is signed; its age is not looked at, the clock being the test's."""
        at = float(self.headers["webhook-timestamp"])
        return callbacks.verify(SECRET, self.headers, self.body, now=at)

    @property
    def id(self) -> str:
        return self.event["id"]


@dataclass
class Receiver:
    """Answers each request with the next of ``answers``, then with 200.

    A request to SLOW_HOST is not answered before ``release`` is set. ``tell`` is called whenever
    something came.
    """

    tell: Callable[[], None]
    port: int = 0
    answers: list[int | web.Response] = field(default_factory=list)
    received: list[Delivery] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0
    most_open: int = 0

    def url(self, host: str = HOST, path: str = "/hook") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            body = await request.read()
            self.received.append(Delivery(request.headers.copy(), request.path_qs, body))
            self.tell()
            if request.url.host == SLOW_HOST:
                await self.release.wait()
            answer = self.answers.pop(0) if self.answers else 200
            return web.Response(status=answer) if isinstance(answer, int) else answer
        finally:
            self.open -= 1
            self.tell()

    def about(self, name: str) -> list[Delivery]:
        return [delivery for delivery in self.received if delivery.event["subject"] == name]


@asynccontextmanager
async def receiving(
    tell: Callable[[], None] = lambda: None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver until the block ends."""
    receiver = Receiver(tell)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.release.set()
        await runner.cleanup()


async def on_loopback(host: str) -> list[str]:
    """Every name of the reserved domain .test is this machine."""
    if not host.endswith(".test"):
        raise OSError("no such name")
    return [LOOPBACK]


def loopback_allowed(address: str) -> bool:
    """The operator's own check, but for the one address tests can listen on."""
    return address == LOOPBACK or may_connect(address)


def callback_config(
    folder: Path, secret: str | None = SECRET, **sender_options: Any
) -> CallbackConfig:
    """Callbacks that may go to loopback, and a secret to sign them with."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "callback-secret"
    if secret is not None:
        file.write_text(secret + "\n", encoding="utf-8")
    options = {"check": loopback_allowed, "lookup": on_loopback} | sender_options
    return CallbackConfig(CallbackSender(**options), file)


def data_of(delivery: Delivery) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(delivery.body)["data"]
    return data
