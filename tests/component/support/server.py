"""The HTTP server: endpoints, the steps of a request, watches and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from tests.component.support import discovery, errors, logs, rest
from tests.component.support.access import Access
from tests.component.support.audit import AuditLog, Request
from tests.component.support.clock import ServerClock
from tests.component.support.errors import StatusError
from tests.component.support.fault_types import Fault, Hold
from tests.component.support.faults import Faults
from tests.component.support.handlers import Answer, Handlers, selection, stored
from tests.component.support.kinds import PODS, Kind
from tests.component.support.logs import PodLog
from tests.component.support.storage import ObjectStorage, StoredChange
from tests.component.support.watch import Watch

T = TypeVar("T")

_HOST: Final = "127.0.0.1"
_HEALTH: Final = ("/healthz", "/livez", "/readyz")


class HttpServer:
    """Serves an object storage on any number of endpoints, each with a name and a port.

    Two operators use two endpoints. So faults can hit one of them, and the audit log shows which
    operator sent a request.
    """

    def __init__(self, storage: ObjectStorage, clock: ServerClock, audit: AuditLog) -> None:
        self.storage = storage
        self.clock = clock
        self.audit = audit
        self.access = Access()
        self.faults = Faults(self.open_watches)
        self.handlers = Handlers(storage)
        self.pod_logs: dict[str, PodLog] = {}
        self.expire_as_status = False
        self.bookmark_seconds = 60.0
        self._watches: dict[Kind, list[Watch]] = {}
        self._endpoints: dict[str, tuple[int, web.TCPSite]] = {}
        self._names: dict[int, str] = {}
        self._late: set[asyncio.Task[Any]] = set()
        app = web.Application(client_max_size=2 * rest.MAX_BODY)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        storage.listeners.append(self._on_change)

    # Endpoints

    async def start(self) -> None:
        await self._runner.setup()
        await self.add_endpoint("default")

    async def stop(self) -> None:
        for watch in self.open_watches():
            watch.abort()
        for task in self._late:
            task.cancel()
        await self._runner.cleanup()

    async def add_endpoint(self, name: str, port: int = 0) -> str:
        """Adds an endpoint and returns its URL."""
        site = web.TCPSite(self._runner, _HOST, port, reuse_address=True)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._endpoints[name] = (port, site)
        self._names[port] = name
        return self.url(name)

    def url(self, endpoint: str = "default") -> str:
        return f"http://{_HOST}:{self._endpoints[endpoint][0]}"

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """The server is down: connections break and new ones are refused. Objects stay."""
        for _, site in self._endpoints.values():
            await site.stop()
        for watch in self.open_watches():
            watch.abort()
        server = self._runner.server
        for connection in list(server.connections) if server else []:
            if connection.transport is not None:
                connection.transport.abort()
        try:
            yield
        finally:
            for name, (port, _) in list(self._endpoints.items()):
                await self.add_endpoint(name, port)

    # Watches

    def open_watches(self) -> list[Watch]:
        return [watch for watches in self._watches.values() for watch in watches]

    def _on_change(self, change: StoredChange) -> None:
        for watch in self._watches.get(change.kind, ()):
            watch.deliver(change)

    # Requests

    async def _serve(self, web_request: web.Request) -> web.StreamResponse:
        request = self._record(web_request)
        try:
            request.body = await web_request.read()
            self._identify(request)
            if request.kind is None:
                return await self._serve_other(request)
            self.access.check(request)
            if request.verb == "create":
                request.name = rest.name_in_body(request.body)
            return await self._serve_target(web_request, request, request.kind)
        except StatusError as error:
            body = orjson.dumps(error.to_status())
            return self._respond(request, Answer(error.code, body, error.headers))
        except asyncio.CancelledError:
            request.outcome = request.outcome or "client disconnected"
            self.storage.changed.fire()
            raise

    def _record(self, web_request: web.Request) -> Request:
        socket_name = (
            web_request.transport.get_extra_info("sockname") if web_request.transport else None
        )
        authorization = web_request.headers.get("Authorization", "")
        request = Request(
            number=len(self.audit),
            at=self.clock.now(),
            endpoint=self._names.get(socket_name[1] if socket_name else 0, ""),
            user_agent=web_request.headers.get("User-Agent", ""),
            method=web_request.method,
            path=web_request.path,
            query=dict(web_request.query),
            content_type=web_request.headers.get("Content-Type", ""),
            token=authorization.removeprefix("Bearer ") or None,
        )
        self.audit.requests.append(request)
        return request

    def _identify(self, request: Request) -> None:
        """Find the resource and the verb of a request. The kind is None for other paths."""
        target = rest.parse_path(request.path)
        if target is None:
            return
        request.kind, request.namespace = target.kind, target.namespace
        request.name, request.subresource = target.name, target.subresource
        request.verb = rest.verb_of(request.method, target, request.query)

    async def _serve_other(self, request: Request) -> web.StreamResponse:
        """Serves health, discovery and reviews."""
        request.verb = "create" if request.method == "POST" else "get"
        for fault in self.faults.struck(request):
            await fault.before(request)
        if request.path in _HEALTH:
            request.code, request.outcome = 200, "answered"
            return web.Response(text="ok", headers={"Date": self.clock.http_date()})
        self.access.check(request)
        custom = self.storage.strategy.custom
        code, document = 200, discovery.answer(request.path, custom.root if custom else None)
        if request.method == "POST":
            code, document = 201, self.access.review(request.path, rest.json_body(request))
        if document is None or request.method not in ("GET", "POST"):
            raise errors.no_such_path()
        return self._respond(request, Answer(code, orjson.dumps(document)))

    async def _serve_target(
        self, web_request: web.Request, request: Request, kind: Kind
    ) -> web.StreamResponse:
        struck = self.faults.struck(request)
        if request.verb == "watch" or request.subresource == "log":
            for fault in struck:
                await fault.before(request)
            if request.verb == "watch":
                return await self._watch(web_request, request, kind)
            return await self._log(web_request, request)

        async def carry_out() -> Answer:
            for fault in struck:
                await fault.before(request)
            try:
                answer = self.handlers.handle(request, kind)
            except StatusError as error:
                answer = Answer(error.code, orjson.dumps(error.to_status()), error.headers)
            for fault in struck:
                request.code = answer.code
                await fault.after(request)
            return answer

        answer = await self._until_done(struck, carry_out())
        if request.outcome == "dropped" and web_request.transport is not None:
            web_request.transport.abort()
        return self._respond(request, answer)

    async def _until_done(self, struck: list[Fault], work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. A held request arrives even if its client gives up meanwhile."""
        if not any(isinstance(fault, Hold) for fault in struck):
            return await work
        task = asyncio.create_task(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return await asyncio.shield(task)

    def _respond(self, request: Request, answer: Answer) -> web.Response:
        request.code = answer.code
        request.outcome = request.outcome or "answered"
        # Tests also wait for requests and watches, not only for writes.
        self.storage.changed.fire()
        headers = {"Date": self.clock.http_date(), **answer.headers}
        return web.Response(
            status=answer.code, body=answer.body, headers=headers, content_type="application/json"
        )

    async def _open_stream(
        self, web_request: web.Request, request: Request, content_type: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Date": self.clock.http_date()})
        response.content_type = content_type
        response.enable_chunked_encoding()
        await response.prepare(web_request)
        request.code, request.outcome = 200, "answered"
        self.storage.changed.fire()
        return response

    async def _watch(
        self, web_request: web.Request, request: Request, kind: Kind
    ) -> web.StreamResponse:
        query = request.query
        for key in ("sendInitialEvents", "continue"):
            if query.get(key):
                raise errors.unmodelled(f"watch with {key}")
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise errors.bad_request(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
        limit = float(query["timeoutSeconds"]) if query.get("timeoutSeconds") else None
        bookmarks = rest.is_true(query, "allowWatchBookmarks")
        watch = Watch(request, kind, selection(request, kind), bookmarks=bookmarks)
        if self.expire_as_status and asked not in ("", "0"):
            self.storage.since(stored(kind), int(asked))
        with self._registered(watch, stored(kind)):
            self._begin(watch, stored(kind), int(asked or 0))
            response = await self._open_stream(web_request, request, "application/json")
            try:
                await watch.serve(
                    response,
                    web_request.transport,
                    limit,
                    self.bookmark_seconds,
                    lambda: self.storage.rv,
                )
            except ConnectionError:
                request.outcome = "client disconnected"
        return response

    def _begin(self, watch: Watch, kind: Kind, since: int) -> None:
        if since == 0:
            for version in self.storage.objects(kind):
                watch.add(version)
            return
        if since > self.storage.rv:
            watch.error(errors.version_too_large(since, self.storage.rv))
            return
        try:
            for change in self.storage.since(kind, since):
                watch.deliver(change)
        except StatusError as error:
            watch.error(error)

    async def _log(self, web_request: web.Request, request: Request) -> web.StreamResponse:
        pod = self.storage.get(PODS, request.namespace or "", request.name).obj
        logs.check_readable(pod)
        log = self.pod_logs.setdefault(pod["metadata"]["uid"], PodLog())
        response = await self._open_stream(web_request, request, "text/plain")
        try:
            await logs.stream(log, request, response, self.clock)
        except ConnectionError:
            request.outcome = "client disconnected"
        return response

    @contextmanager
    def _registered(self, watch: Watch, kind: Kind) -> Iterator[None]:
        """Delivers changes to a watch while it is open."""
        watches = self._watches.setdefault(kind, [])
        watches.append(watch)
        self.faults.on_stream(watch)
        try:
            yield
        finally:
            watches.remove(watch)
