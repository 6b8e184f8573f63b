"""The routes of /api/v1/converter: the five that MY Network uses, and the event stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from conversion_operator.api.trace_context import parse_traceparent
from conversion_operator.cluster.conversions import Caller
from converter_gateway.audit import WriteRequest, address_of
from converter_gateway.auth import Authenticator
from converter_gateway.errors import ApiError
from converter_gateway.feed import FeedPool
from converter_gateway.file_client import FileClient
from converter_gateway.openapi import (
    EVENT_STREAM,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    TRACEPARENT,
    convert_body,
)
from converter_gateway.queues import Queues
from converter_gateway.requests import parse_convert
from converter_gateway.responses import (
    EVENT_EXAMPLE,
    STARTING_FORBIDDEN,
    ActiveJobs,
    JobCancelled,
    JobNotFound,
    JobStarted,
    JobStatus,
    Stats,
    WaitingJobs,
    errors,
    one_error,
)
from converter_gateway.service import Service
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown
from converter_gateway.stores import Stores
from converter_gateway.stream import EventStream, StreamTimeouts, Subscription
from converter_gateway.translate import ResponseBody

_KEY_MAX_LENGTH: Final = 255
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Maximum seconds to wait for the end of the conversion.",
        examples=[0.5],
    ),
]
JobId = Annotated[str, Path(description="The job_id from convert.", examples=["6f1c9a52"])]
OneJob = Annotated[
    str | None, Query(description="Send the events of this conversion only. 404 if unknown.")
]


@dataclass(frozen=True, slots=True)
class RouteContext:
    """The objects that all routes use."""

    service: Service
    auth: Authenticator
    settings: GatewaySettings
    feeds: FeedPool
    shutdown: Shutdown
    stores: Stores
    queues: Queues
    files: FileClient

    async def identify(self, request: Request) -> Caller | None:
        """The caller. Raises ApiError 401, 429 or 503, or Unavailable."""
        authorization = request.headers.get("authorization", "")
        return await self.auth.identify(authorization, address_of(request))

    async def check_access(self, request: Request, verb: str) -> str:
        """Check that the caller may do ``verb``, and return the namespace to do it in.

        Raises ApiError 400, 401, 403, 429 or 503, or Unavailable.
        """
        caller = await self.identify(request)
        namespace = self.auth.namespace(caller, request.headers.get("x-namespace", ""))
        await self.auth.check_access(caller, namespace, verb)
        return namespace

    async def check_write(self, request: Request, write: WriteRequest, *verbs: str) -> None:
        """Like check_access for several verbs. Fills in the caller and the namespace."""
        write.caller = await self.identify(request)
        requested = request.headers.get("x-namespace", "")
        write.namespace = self.auth.namespace(write.caller, requested)
        for verb in verbs:
            await self.auth.check_access(write.caller, write.namespace, verb)


def converter_router(context: RouteContext) -> APIRouter:
    """The routes of /api/v1/converter."""
    router = APIRouter(prefix="/api/v1/converter", tags=["converter"])
    service = context.service
    extra = {"requestBody": convert_body(), "parameters": [IDEMPOTENCY_KEY, TRACEPARENT]}

    @router.post(
        "/convert",
        summary="Start a conversion",
        openapi_extra=extra,
        responses={
            200: {"model": JobStarted},
            **errors(413),
            **one_error(403, STARTING_FORBIDDEN),
            **one_error(
                409,
                "The Idempotency-Key was used for another request.",
            ),
        },
    )
    async def convert(request: Request) -> ResponseBody:
        """It is safe to repeat the call with an Idempotency-Key: it starts only one conversion."""
        with WriteRequest("create", address_of(request)) as write:
            await context.check_write(request, write, "create")
            key = request.headers.get("idempotency-key")
            if key is not None and not 0 < len(key) <= _KEY_MAX_LENGTH:
                raise ApiError(400, f"Idempotency-Key: must have 1 to {_KEY_MAX_LENGTH} characters")
            submission = parse_convert(await request.body(), context.settings.mappings)
            write.trace = parse_traceparent(request.headers.get("traceparent", ""))
            return await service.convert(write, submission, key)

    @router.get(
        "/status/{job_id}",
        summary="Get the status of a conversion",
        responses={200: {"model": JobStatus | JobNotFound}},
    )
    async def status(request: Request, job_id: JobId, wait: Wait = 0) -> Response:
        """Responds 200 with the status ``not_found`` if the conversion is unknown."""
        namespace = await context.check_access(request, "get")
        return _json(await service.status(namespace, job_id, wait))

    @router.post(
        "/cancel/{job_id}",
        summary="Cancel a conversion",
        responses={
            200: {"model": JobCancelled},
            **one_error(404, "The conversion is unknown, or it has ended and cannot be cancelled."),
            **one_error(409, "The conversion changed at the same moment. Send the request again."),
        },
    )
    async def cancel(request: Request, job_id: JobId) -> ResponseBody:
        """Responds 404 if the conversion is unknown or has ended."""
        with WriteRequest("cancel", address_of(request)) as write:
            write.begin(job_id)
            await context.check_write(request, write, "patch")
            return await service.cancel(write, job_id)

    @router.get(
        "/active",
        summary="List unfinished conversions",
        responses={200: {"model": ActiveJobs}},
    )
    async def active(request: Request) -> Response:
        """Includes conversions that wait for a slot."""
        return _json(await service.active(await context.check_access(request, "list")))

    @router.get(
        "/queue",
        summary="List waiting conversions in their order",
        responses={200: {"model": WaitingJobs}},
    )
    async def queue(request: Request) -> Response:
        """Has the exact position of each conversion that waits, and why it waits."""
        return _json(await service.queue(await context.check_access(request, "list")))

    @router.get("/stats", summary="Get settings and counts", responses={200: {"model": Stats}})
    async def stats(request: Request) -> ResponseBody:
        """Counts the existing ConversionJobs of the namespace."""
        return await service.stats(await context.check_access(request, "list"))

    _add_events(router, context)
    return router


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _add_events(router: APIRouter, context: RouteContext) -> None:
    settings = context.settings
    timeouts = StreamTimeouts(
        settings.gateway_heartbeat_seconds,
        settings.gateway_stall_seconds,
        settings.gateway_stream_seconds,
    )
    content = {"text/event-stream": EVENT_STREAM | {"example": EVENT_EXAMPLE}}

    @router.get(
        "/events",
        summary="Stream server-sent events",
        response_class=EventStream,
        status_code=200,
        openapi_extra={"parameters": [LAST_EVENT_ID]},
        responses={
            200: {"content": content},
            **one_error(404, "The conversion of job_id is unknown."),
        },
    )
    async def events(request: Request, job_id: OneJob = None) -> EventStream:
        """Sends started, progress, completed, failed and cancelled. The data is as in status.

        A listener that reconnects with Last-Event-ID gets the events that it missed, from any
        replica. If the replica cannot find out the missed events, the listener gets ``reset`` and
        then the current state of all existing conversions, including ended ones.
        """

        async def allowed() -> str:
            return await context.check_access(request, "watch")

        last_event_id = request.headers.get("last-event-id", "")
        subscription = Subscription(await allowed(), job_id, last_event_id)
        return EventStream(context.feeds, subscription, timeouts, context.shutdown, allowed)
