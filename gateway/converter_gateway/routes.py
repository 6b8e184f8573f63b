"""The routes of MY Network's converter. Other routers are given to create_app beside this one."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request

from converter_gateway.auth import Authenticator
from converter_gateway.closing import Closing
from converter_gateway.errors import ApiError
from converter_gateway.feed import Hub
from converter_gateway.openapi import EVENT, IDEMPOTENCY_KEY, LAST_EVENT_ID, convert_body
from converter_gateway.requests import parse_convert
from converter_gateway.responses import (
    EVENT_EXAMPLE,
    Active,
    Cancelled,
    Job,
    Started,
    Stats,
    Unknown,
    errors,
)
from converter_gateway.service import Service
from converter_gateway.settings import GatewaySettings
from converter_gateway.stream import EventStream, Limits, Wanted
from converter_gateway.translate import Answer

_KEY_LENGTH: Final = 255
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for the end of the conversion before answering.",
        examples=[0.5],
    ),
]
JobId = Annotated[str, Path(description="As convert answered it.", examples=["6f1c9a52"])]
OneJob = Annotated[str | None, Query(description="Only this conversion; 404 if it is unknown.")]


class Context:
    """What every route needs."""

    def __init__(
        self,
        service: Service,
        auth: Authenticator,
        settings: GatewaySettings,
        hub: Hub,
        closing: Closing,
    ) -> None:
        self.service = service
        self.settings = settings
        self.hub, self.closing = hub, closing
        self._auth = auth

    async def namespace(self, request: Request, verb: str) -> str:
        """Where the caller may do ``verb`` to ConversionJobs; ApiError if it may not."""
        headers = request.headers
        return await self._auth.namespace(
            headers.get("authorization", ""), headers.get("x-namespace", ""), verb
        )

    async def body(self, request: Request) -> bytes:
        """The body, read no further than its limit: ApiError 413 beyond."""
        limit, content = self.settings.gateway_max_body_bytes, bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise ApiError(413, f"the body is larger than {limit} bytes")
        return bytes(content)


def converter_router(context: Context) -> APIRouter:
    """The five calls MY Network makes, and the events."""
    router = APIRouter(prefix="/api/v1/converter", tags=["converter"])
    service = context.service
    extra = {"requestBody": convert_body(), "parameters": [IDEMPOTENCY_KEY]}

    @router.post(
        "/convert",
        summary="Start a conversion",
        openapi_extra=extra,
        responses={200: {"model": Started}, **errors(409, 413)},
    )
    async def convert(request: Request) -> Answer:
        """It is done once: with an Idempotency-Key the call may be repeated without harm."""
        namespace = await context.namespace(request, "create")
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= _KEY_LENGTH:
            raise ApiError(400, f"Idempotency-Key: must have 1 to {_KEY_LENGTH} characters")
        asked = parse_convert(await context.body(request), context.settings.mappings)
        return await service.convert(namespace, asked, key)

    @router.get(
        "/status/{job_id}", summary="Where it stands", responses={200: {"model": Job | Unknown}}
    )
    async def status(request: Request, job_id: JobId, wait: Wait = 0) -> Answer:
        """An unknown conversion is no error: it is answered ``not_found``."""
        return await service.status(await context.namespace(request, "get"), job_id, wait)

    @router.post(
        "/cancel/{job_id}",
        summary="Stop it",
        responses={200: {"model": Cancelled}, **errors(404, 409)},
    )
    async def cancel(request: Request, job_id: JobId) -> Answer:
        """404 if it is unknown or has ended."""
        return await service.cancel(await context.namespace(request, "patch"), job_id)

    @router.get("/active", summary="All that have not ended", responses={200: {"model": Active}})
    async def active(request: Request) -> Answer:
        """Those that wait for their turn included."""
        return await service.active(await context.namespace(request, "list"))

    @router.get("/stats", summary="Settings and counts", responses={200: {"model": Stats}})
    async def stats(request: Request) -> Answer:
        """Of the ConversionJobs of the namespace that still exist."""
        return await service.stats(await context.namespace(request, "list"))

    _add_events(router, context)
    return router


def _add_events(router: APIRouter, context: Context) -> None:
    settings = context.settings
    limits = Limits(
        settings.gateway_heartbeat_seconds,
        settings.gateway_stall_seconds,
        settings.gateway_stream_seconds,
    )
    content = {"text/event-stream": {"schema": EVENT, "example": EVENT_EXAMPLE}}

    @router.get(
        "/events",
        summary="Server-sent events",
        response_class=EventStream,
        status_code=200,
        openapi_extra={"parameters": [LAST_EVENT_ID]},
        responses={200: {"content": content}, **errors(404)},
    )
    async def events(request: Request, job_id: OneJob = None) -> EventStream:
        """started, progress, completed, failed and cancelled; the data is what status answers.

        A listener that comes back with Last-Event-ID is told what it missed, by any replica. If
        that is not known any more it gets the event ``reset``, and then the present state of all
        conversions that exist, ends included.
        """

        async def allowed() -> str:
            return await context.namespace(request, "watch")

        wanted = Wanted(await allowed(), job_id, request.headers.get("last-event-id", ""))
        return EventStream(context.hub, wanted, limits, context.closing, allowed)
