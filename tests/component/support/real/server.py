"""Forwards requests to a real API server. Records them, and applies the faults of a test."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import aiohttp
import orjson
from aiohttp import web

from tests.component.support import rest
from tests.component.support.audit import AuditLog, Request
from tests.component.support.clock import ServerClock
from tests.component.support.errors import StatusError
from tests.component.support.handlers import Answer, stored
from tests.component.support.kinds import Kind
from tests.component.support.real.processes import AUTHORIZATION
from tests.component.support.real.storage import RealStorage
from tests.component.support.server import HttpServer

# Headers of one connection, which a proxy must not forward.
_HOP: Final = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}
)


class RealServer(HttpServer):
    """As the fake server, but the answers are those of the real one. Pod logs are the test's."""

    def __init__(self, storage: RealStorage, clock: ServerClock, audit: AuditLog) -> None:
        super().__init__(storage, clock, audit)
        self._real = storage

    async def _serve(self, web_request: web.Request) -> web.StreamResponse:
        request = self._record(web_request)
        request.body = await web_request.read()
        with contextlib.suppress(StatusError):
            self._identify(request)
        try:
            if request.kind is None:
                return await self._forward(web_request, request)
            return await self._serve_known(web_request, request, request.kind)
        except asyncio.CancelledError:
            request.outcome = request.outcome or "client disconnected"
            self.storage.changed.fire()
            raise

    async def _serve_known(
        self, web_request: web.Request, request: Request, kind: Kind
    ) -> web.StreamResponse:
        try:
            return await self._serve_target(web_request, request, kind)
        except StatusError as error:
            body = orjson.dumps(error.to_status())
            return self._respond(request, Answer(error.code, body, error.headers))

    async def _serve_target(
        self, web_request: web.Request, request: Request, kind: Kind
    ) -> web.StreamResponse:
        if request.verb == "create":
            request.name = rest.name_in_body(request.body)
        struck = self.faults.struck(request)

        async def carry_out() -> web.StreamResponse:
            for fault in struck:
                await fault.before(request)
            if request.subresource == "log":
                return await self._log(web_request, request)
            response = await self._forward(web_request, request)
            for fault in struck:
                await fault.after(request)
            return response

        response = await self._until_done(struck, carry_out())
        if request.outcome == "dropped" and web_request.transport is not None:
            web_request.transport.abort()
        return response

    async def _forward(self, web_request: web.Request, request: Request) -> web.StreamResponse:
        given = {k: v for k, v in web_request.headers.items() if k.lower() not in _HOP}
        headers = AUTHORIZATION | given
        before = self._version(request)
        async with self._real.session.request(
            request.method,
            self._real.url + web_request.raw_path,
            data=request.body or None,
            headers=headers,
            allow_redirects=False,
        ) as upstream:
            request.code = upstream.status
            request.warning = ", ".join(upstream.headers.getall("Warning", []))
            kept = [h for h in upstream.headers.items() if h[0].lower() not in _HOP]
            if request.verb == "watch" and upstream.status == 200:
                return await self._relay(web_request, request, upstream, kept)
            body = await upstream.read()
            self._note(request, body, before)
            self.storage.changed.fire()
            return web.Response(status=upstream.status, body=body, headers=kept)

    async def _relay(
        self,
        web_request: web.Request,
        request: Request,
        upstream: aiohttp.ClientResponse,
        headers: list[tuple[str, str]],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(web_request)
        request.outcome = "answered"
        self.storage.changed.fire()
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
        except ConnectionError:
            request.outcome = "client disconnected"
        finally:
            # Closing a TLS connection waits for the other side, longer than a test.
            if upstream.connection is not None and upstream.connection.transport is not None:
                upstream.connection.transport.abort()
        return response

    def _version(self, request: Request) -> str | None:
        """The version of the object of a request, as the mirror knows it."""
        if request.kind is None or not request.name:
            return None
        found = self._real.find(stored(request.kind), request.namespace or "", request.name)
        return None if found is None else str(found.rv)

    def _note(self, request: Request, body: bytes, before: str | None) -> None:
        """Complete the record of a request with what the answer says."""
        request.outcome = request.outcome or "answered"
        if request.method not in ("POST", "PUT", "PATCH") or (request.code or 500) >= 300:
            return
        meta = orjson.loads(body).get("metadata") or {}
        owners = meta.get("ownerReferences") or []
        request.changed, request.uid = meta.get("resourceVersion") != before, meta.get("uid", "")
        request.owner = next((o["uid"] for o in owners if o.get("controller")), "")
