"""A proxy between an operator and an API server that injects faults.

The API server is the one in a component test's process, or that of a real cluster
(:func:`upstream_of` reads its kubeconfig). Every fault is a context manager. It selects requests by
verb and path, and counts its ``hits``::

    proxy = Proxy(api.url)
    url = await proxy.start()
    with proxy.drop_answer(verb="create", path=r"/jobs$", times=1) as fault:
        ...
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Headers of the connection, which a proxy must not forward.
_HOP: Final = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}
)


class FaultKind(Enum):
    """The effect of a fault."""

    BLACK_HOLE = auto()
    DROP_ANSWER = auto()
    STATUS = auto()
    DELAY = auto()
    EXPIRE = auto()


@dataclass(eq=False)
class Fault:
    """One enabled fault. It skips ``skip`` requests, then hits ``times`` of them, or all."""

    kind: FaultKind
    verb: str | None = None
    path: re.Pattern[str] = re.compile("")
    times: int | None = None
    skip: int = 0
    code: int = 503
    seconds: float = 0.0
    hits: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, verb: str, path: str) -> bool:
        """True if the fault applies to such a request. Does not count a hit."""
        return self.verb in (None, verb) and self.path.search(path) is not None

    def strikes(self, verb: str, path: str) -> bool:
        """True if the fault hits this request. Counts the hit."""
        if not self.matches(verb, path) or (self.times is not None and self.hits >= self.times):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        self._hit.set()
        return True

    async def wait_hit(self, more_than: int = 0, seconds: float = 30.0) -> None:
        """Wait until it has more hits than ``more_than``. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.hits <= more_than:
                self._hit.clear()
                await self._hit.wait()


@dataclass(eq=False)
class _Stream:
    """An open watch and the faults in its stream."""

    verb: str
    path: str
    expire: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False


class Proxy:
    """Listens on its own port with plain HTTP, and forwards to ``upstream``.

    ``account`` is the user whose requests they are, if it is not the user of the certificate.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None, account: str = "") -> None:
        self._upstream, self._tls = upstream.rstrip("/"), tls
        self._identity = {"Impersonate-User": account} if account else {}
        self._faults: list[Fault] = []
        self._streams: list[_Stream] = []
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> str:
        """Listen, and return the URL."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Break all connections."""
        self.cut()
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # Faults

    @contextmanager
    def _on(self, kind: FaultKind, path: str, **options: Any) -> Iterator[Fault]:
        fault = Fault(kind, path=re.compile(path), **options)
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    @contextmanager
    def black_hole(self, path: str = "", **options: Any) -> Iterator[Fault]:
        """Requests are neither forwarded nor answered, and nothing closes.

        Open watches send nothing any more, even after the end of the fault.
        """
        with self._on(FaultKind.BLACK_HOLE, path, **options) as fault:
            for stream in self._streams:
                stream.silent |= fault.strikes(stream.verb, stream.path)
            yield fault

    @contextmanager
    def drop_answer(self, path: str = "", **options: Any) -> Iterator[Fault]:
        """Requests are carried out, then the connection breaks."""
        with self._on(FaultKind.DROP_ANSWER, path, **options) as fault:
            yield fault

    @contextmanager
    def status(self, code: int, path: str = "", **options: Any) -> Iterator[Fault]:
        """Requests get this code, and are not carried out."""
        with self._on(FaultKind.STATUS, path, code=code, **options) as fault:
            yield fault

    @contextmanager
    def delay_watches(self, seconds: float, path: str = "", **options: Any) -> Iterator[Fault]:
        """New watches receive their lines late, in order."""
        with self._on(FaultKind.DELAY, path, verb="watch", seconds=seconds, **options) as fault:
            yield fault

    def expire_watches(self, path: str = "") -> int:
        """Send a 410 in the middle of the stream, as a server does for a compacted version.

        Returns the number of watches hit.
        """
        once = Fault(FaultKind.EXPIRE, "watch", re.compile(path))
        for stream in self._streams:
            if once.strikes(stream.verb, stream.path):
                stream.expire.set()
        return once.hits

    def cut(self) -> int:
        """Break every connection. Returns their number."""
        server = self._runner.server
        connections = list(server.connections) if server else []
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()
        return len(connections)

    def _struck(self, verb: str, path: str) -> dict[FaultKind, Fault]:
        return {fault.kind: fault for fault in tuple(self._faults) if fault.strikes(verb, path)}

    # Requests

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") in ("true", "1")
        verb = "watch" if watch else _VERBS.get(request.method, "get")
        struck = self._struck(verb, request.path)
        body = await request.read()
        if FaultKind.BLACK_HOLE in struck:
            await asyncio.Event().wait()
        if rejection := struck.get(FaultKind.STATUS):
            return web.json_response(_status(rejection.code), status=rejection.code)
        try:
            return await self._forward(request, verb, body, struck)
        except (
            aiohttp.ClientError,
            ConnectionError,
        ):  # the server broke the connection, so the proxy does too
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _forward(
        self, request: web.Request, verb: str, body: bytes, struck: Mapping[FaultKind, Fault]
    ) -> web.StreamResponse:
        assert self._session is not None
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.raw_path}",
            headers=_passed_on(request.headers) | self._identity,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            if FaultKind.DROP_ANSWER in struck:
                await answer.read()
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            if verb != "watch" or answer.status != 200:
                content = await answer.read()
                return web.Response(
                    status=answer.status, headers=_passed_on(answer.headers), body=content
                )
            delay = struck[FaultKind.DELAY].seconds if FaultKind.DELAY in struck else 0.0
            return await self._stream(request, answer, delay)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, delay: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_passed_on(answer.headers))
        response.enable_chunked_encoding()
        await response.prepare(request)
        stream = _Stream("watch", request.path)
        self._streams.append(stream)
        try:
            async for line in _until(stream.expire, _late(answer.content, delay)):
                if stream.silent:
                    await asyncio.Event().wait()
                await response.write(line)
            if stream.silent:  # the client does not see the end either
                await asyncio.Event().wait()
            if stream.expire.is_set():
                event = {"type": "ERROR", "object": _status(410)}
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._streams.remove(stream)
        return response


async def _late(lines: AsyncIterable[bytes], delay: float) -> AsyncIterator[bytes]:
    """The lines, each ``delay`` seconds late. Reading continues meanwhile."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes | BaseException | None]] = asyncio.Queue()

    async def read() -> None:
        end: BaseException | None = None
        try:
            async for line in lines:
                queue.put_nowait((loop.time() + delay, line))
        except aiohttp.ClientError as error:
            end = error
        queue.put_nowait((loop.time() + delay, end))

    reader = asyncio.create_task(read())
    try:
        while True:
            due, item = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _until(stop: asyncio.Event, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines until ``stop`` is set, even if it is set between two lines."""
    stopped = asyncio.ensure_future(stop.wait())
    following: asyncio.Future[bytes] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(lines))
            await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return
            try:
                line = following.result()
            except StopAsyncIteration:
                return
            yield line
    finally:
        ends = [task for task in (stopped, following) if task is not None]
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


def _status(code: int) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "a fault of the test",
        "reason": "Expired" if code == 410 else "InternalError",
        "code": code,
    }


def upstream_of(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The URL of a kind cluster, and TLS with the client certificate of its kubeconfig."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    tls = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile(suffix=".pem") as pair:  # the ssl module reads files only
        for part in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[part]) + b"\n")
        pair.flush()
        tls.load_cert_chain(pair.name)
    return str(cluster["server"]), tls
