"""The routes of MY Network's converter. Other routers are given to create_app beside this one."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request

from conversion_operator.gateway.auth import Authenticator
from conversion_operator.gateway.closing import Closing
from conversion_operator.gateway.errors import ApiError
from conversion_operator.gateway.feed import Hub
from conversion_operator.gateway.requests import ConvertRequest, parse_convert
from conversion_operator.gateway.service import Service
from conversion_operator.gateway.settings import GatewaySettings
from conversion_operator.gateway.stream import EventStream, Limits, Wanted
from conversion_operator.gateway.translate import Answer

_KEY_LENGTH: Final = 255
Wait = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False)]


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
    schema = ConvertRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"]["conversion_type"] = {"type": "string"}
    schema["properties"]["options"] = {"type": ["object", "null"]}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}

    @router.post("/convert", openapi_extra={"requestBody": body})
    async def convert(request: Request) -> Answer:
        namespace = await context.namespace(request, "create")
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= _KEY_LENGTH:
            raise ApiError(400, f"Idempotency-Key: must have 1 to {_KEY_LENGTH} characters")
        asked = parse_convert(await context.body(request), context.settings.mappings)
        return await service.convert(namespace, asked, key)

    @router.get("/status/{job_id}")
    async def status(request: Request, job_id: str, wait: Wait = 0) -> Answer:
        """``wait`` seconds at most, until the conversion has ended."""
        return await service.status(await context.namespace(request, "get"), job_id, wait)

    @router.post("/cancel/{job_id}")
    async def cancel(request: Request, job_id: str) -> Answer:
        return await service.cancel(await context.namespace(request, "patch"), job_id)

    @router.get("/active")
    async def active(request: Request) -> Answer:
        return await service.active(await context.namespace(request, "list"))

    @router.get("/stats")
    async def stats(request: Request) -> Answer:
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

    @router.get("/events", response_class=EventStream)
    async def events(request: Request, job_id: str | None = None) -> EventStream:
        """Server-sent events: started, progress, completed, failed, cancelled, and reset."""

        async def allowed() -> str:
            return await context.namespace(request, "watch")

        wanted = Wanted(await allowed(), job_id, request.headers.get("last-event-id", ""))
        return EventStream(context.hub, wanted, limits, context.closing, allowed)
