"""The HTTP side: sockets, the order of things in a request, watches and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import orjson
from aiohttp import web

from tests.component.support import discovery, errors, logs, rest
from tests.component.support.access import Access
from tests.component.support.audit import AuditLog, Request
from tests.component.support.clock import ServerClock
from tests.component.support.errors import ApiError
from tests.component.support.faults import Faults
from tests.component.support.faulttypes import Hold
from tests.component.support.handlers import Answer, Handlers, selection, stored
from tests.component.support.kinds import PODS, Kind
from tests.component.support.logs import PodLog
from tests.component.support.store import Change, Store
from tests.component.support.watch import Watch

_HOST: Final = "127.0.0.1"
_HEALTH: Final = ("/healthz", "/livez", "/readyz")


class HttpServer:
    """Serves a store on any number of fronts: ports of their own, told apart by name.

    Two operators are given two fronts, so that faults can hit one and the audit log tells whose
    request it was.
    """

    def __init__(self, store: Store, clock: ServerClock, audit: AuditLog) -> None:
        self.store = store
        self.clock = clock
        self.audit = audit
        self.access = Access()
        self.faults = Faults(self.open_watches)
        self.handlers = Handlers(store)
        self.pod_logs: dict[str, PodLog] = {}
        self.gone_as_status = False
        self.bookmark_seconds = 60.0
        self._watches: dict[Kind, list[Watch]] = {}
        self._fronts: dict[str, tuple[int, web.TCPSite]] = {}
        self._names: dict[int, str] = {}
        self._late: set[asyncio.Task[Answer]] = set()
        app = web.Application(client_max_size=2 * rest.MAX_BODY)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        store.listeners.append(self._on_change)

    # Fronts

    async def start(self) -> None:
        await self._runner.setup()
        await self.add_front("default")

    async def stop(self) -> None:
        for watch in self.open_watches():
            watch.abort()
        for task in self._late:
            task.cancel()
        await self._runner.cleanup()

    async def add_front(self, name: str, port: int = 0) -> str:
        """Opens a further door; returns its URL."""
        site = web.TCPSite(self._runner, _HOST, port, reuse_address=True)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._fronts[name] = (port, site)
        self._names[port] = name
        return self.url(name)

    def url(self, front: str = "default") -> str:
        return f"http://{_HOST}:{self._fronts[front][0]}"

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """The server is gone: connections break, new ones are refused. Objects stay."""
        for _, site in self._fronts.values():
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
            for name, (port, _) in list(self._fronts.items()):
                await self.add_front(name, port)

    # Watches

    def open_watches(self) -> list[Watch]:
        return [watch for watches in self._watches.values() for watch in watches]

    def _on_change(self, change: Change) -> None:
        for watch in self._watches.get(change.kind, ()):
            watch.deliver(change)

    # Requests

    async def _serve(self, web_request: web.Request) -> web.StreamResponse:
        request = self._record(web_request)
        try:
            request.body = await web_request.read()
            target = rest.parse_path(request.path)
            if target is None:
                return await self._serve_other(request)
            request.kind, request.namespace = target.kind, target.namespace
            request.name, request.subresource = target.name, target.subresource
            request.verb = rest.verb_of(request.method, target, request.query)
            self.access.check(request)
            if request.verb == "create":
                request.name = rest.name_in_body(request.body)
            return await self._serve_target(web_request, request, target.kind)
        except ApiError as error:
            body = orjson.dumps(error.to_status())
            return self._respond(request, Answer(error.code, body, error.headers))
        except asyncio.CancelledError:
            request.outcome = request.outcome or "client gone"
            self.store.changed.fire()
            raise

    def _record(self, web_request: web.Request) -> Request:
        socket_name = (
            web_request.transport.get_extra_info("sockname") if web_request.transport else None
        )
        authorization = web_request.headers.get("Authorization", "")
        request = Request(
            number=len(self.audit),
            at=self.clock.now(),
            front=self._names.get(socket_name[1] if socket_name else 0, ""),
            user_agent=web_request.headers.get("User-Agent", ""),
            method=web_request.method,
            path=web_request.path,
            query=dict(web_request.query),
            content_type=web_request.headers.get("Content-Type", ""),
            token=authorization.removeprefix("Bearer ") or None,
        )
        self.audit.requests.append(request)
        return request

    async def _serve_other(self, request: Request) -> web.StreamResponse:
        """Health, discovery and reviews: what is not about stored objects."""
        request.verb = "create" if request.method == "POST" else "get"
        for fault in self.faults.struck(request):
            await fault.before(request)
        if request.path in _HEALTH:
            request.code, request.outcome = 200, "answered"
            return web.Response(text="ok", headers={"Date": self.clock.http_date()})
        self.access.check(request)
        code, document = 200, discovery.answer(request.path)
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
            except ApiError as error:
                answer = Answer(error.code, orjson.dumps(error.to_status()), error.headers)
            for fault in struck:
                request.code = answer.code
                await fault.after(request)
            return answer

        if any(isinstance(fault, Hold) for fault in struck):
            # Its client may give up meanwhile; a request on its way arrives nevertheless.
            task = asyncio.create_task(carry_out())
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            answer = await asyncio.shield(task)
        else:
            answer = await carry_out()
        if request.outcome == "dropped" and web_request.transport is not None:
            web_request.transport.abort()
        return self._respond(request, answer)

    def _respond(self, request: Request, answer: Answer) -> web.Response:
        request.code = answer.code
        request.outcome = request.outcome or "answered"
        # Tests also wait for requests and watches, which are no writes.
        self.store.changed.fire()
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
        self.store.changed.fire()
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
        if self.gone_as_status and asked not in ("", "0"):
            self.store.since(stored(kind), int(asked))
        with self._registered(watch, stored(kind)):
            self._begin(watch, stored(kind), int(asked or 0))
            response = await self._open_stream(web_request, request, "application/json")
            try:
                await watch.serve(
                    response,
                    web_request.transport,
                    limit,
                    self.bookmark_seconds,
                    lambda: self.store.rv,
                )
            except ConnectionError:
                request.outcome = "client gone"
        return response

    def _begin(self, watch: Watch, kind: Kind, since: int) -> None:
        if since == 0:
            for version in self.store.objects(kind):
                watch.add(version)
            return
        if since > self.store.rv:
            watch.error(errors.version_too_large(since, self.store.rv))
            return
        try:
            for change in self.store.since(kind, since):
                watch.deliver(change)
        except ApiError as error:
            watch.error(error)

    async def _log(self, web_request: web.Request, request: Request) -> web.StreamResponse:
        pod = self.store.get(PODS, request.namespace or "", request.name).obj
        logs.check_readable(pod)
        log = self.pod_logs.setdefault(pod["metadata"]["uid"], PodLog())
        response = await self._open_stream(web_request, request, "text/plain")
        try:
            await logs.stream(log, request, response, self.clock)
        except ConnectionError:
            request.outcome = "client gone"
        return response

    @contextmanager
    def _registered(self, watch: Watch, kind: Kind) -> Iterator[None]:
        """Keeps a watch among those that changes are delivered to, while it is open."""
        watches = self._watches.setdefault(kind, [])
        watches.append(watch)
        self.faults.on_stream(watch)
        try:
            yield
        finally:
            watches.remove(watch)
