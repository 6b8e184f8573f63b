"""The routes of /api/v1/converter that the live page needs, for other programs, too."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from conversion_operator.api import names
from conversion_operator.api.queues import StopPolicy
from conversion_operator.api.status import Phase
from converter_gateway.audit import WriteRequest, address_of
from converter_gateway.browse import MAX_LIMIT, Browser
from converter_gateway.browse import Query as PageQuery
from converter_gateway.errors import ApiError
from converter_gateway.listing import Filter
from converter_gateway.page_models import (
    CallerRights,
    ConversionDetails,
    ConversionPage,
    FailedRetried,
    QueueList,
    QueueStatus,
    RetryStarted,
)
from converter_gateway.responses import STARTING_FORBIDDEN, one_error
from converter_gateway.retries import MOST_AT_ONCE, Retries
from converter_gateway.rights import Rights
from converter_gateway.routes import JobId, RouteContext
from converter_gateway.translate import ResponseBody
from media_converter.contract import ConversionType

_TOKEN_MAX_LENGTH: Final = 2048
_SEARCH_MAX_LENGTH: Final = 256
Phases = Annotated[
    list[Literal["Queued", "Starting", "Running", "Succeeded", "Failed", "Cancelled"]],
    Query(
        max_length=6,
        description="Only conversions in these phases. If it is Queued alone, they come in the "
        "order of their queues. If all phases are ends, the latest end comes first. Otherwise the "
        "newest comes first.",
    ),
]
Type = Annotated[
    ConversionType | None, Query(description="Only conversions with an output of this type.")
]
QueueName = Annotated[
    str, Query(max_length=63, description="Only conversions of this ConversionQueue.")
]
Search = Annotated[
    str,
    Query(
        max_length=_SEARCH_MAX_LENGTH,
        description="Only conversions with this text in their name or paths, in any case. A search "
        "does not look at paths behind the first 2048 characters.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most conversions on a page.")]
Continue = Annotated[
    str,
    Query(
        alias="continue",
        max_length=_TOKEN_MAX_LENGTH,
        description="The continue of the page before, from any replica. Conversions that were "
        "created or have changed their phase since are left out or come twice.",
    ),
]
RetryLimit = Annotated[
    int, Query(ge=1, le=MOST_AT_ONCE, description="Most conversions to retry with this request.")
]
RetryContinue = Annotated[
    str,
    Query(
        alias="continue",
        max_length=_TOKEN_MAX_LENGTH,
        description="The continue of the response before. What has failed since is left out.",
    ),
]
OneQueue = Annotated[
    str,
    Path(
        pattern=f"^{names.NAMESPACE_PATTERN}$",
        description="Name of the ConversionQueue.",
        examples=["uploads"],
    ),
]
Drain = Annotated[bool, Query(description="Also stop those that run. They go back into the queue.")]


def page_router(context: RouteContext) -> APIRouter:
    """The routes about conversions in lists, retries, queues and rights."""
    router = APIRouter(prefix="/api/v1/converter", tags=["converter"])
    browser, retries = Browser(context.service), Retries(context.service)
    _add_lists(router, context, browser)
    _add_retries(router, context, retries)
    _add_queues(router, context)
    return router


def _add_lists(router: APIRouter, context: RouteContext, browser: Browser) -> None:
    rights = Rights(context.auth, context.settings, context.stores)

    @router.get(
        "/conversions", summary="List conversions", responses={200: {"model": ConversionPage}}
    )
    async def conversions(  # noqa: PLR0913, PLR0917  each is a parameter of the request
        request: Request,
        phase: Phases = [],  # noqa: B006  never changed
        type: Type = None,  # noqa: A002  the name in the request
        queue: QueueName = "",
        search: Search = "",
        limit: Limit = 50,
        continue_: Continue = "",
    ) -> Response:
        """One page, with the number of conversions in each phase that match."""
        namespace = await context.check_access(request, "list")
        chosen = Filter(str(type or ""), queue, search.lower())
        query = PageQuery(frozenset(map(Phase, phase)), chosen, limit, continue_)
        return Response(await browser.page(namespace, query), media_type="application/json")

    @router.get(
        "/conversions/{job_id}",
        summary="Get everything about a conversion",
        responses={
            200: {"model": ConversionDetails},
            **one_error(404, "The conversion is unknown."),
        },
    )
    async def conversion(request: Request, job_id: JobId) -> ResponseBody:
        """Has the attempts, what the reason means, and what to do about it."""
        return await browser.detail(await context.check_access(request, "get"), job_id)

    @router.get(
        "/rights", summary="Get what the caller may do", responses={200: {"model": CallerRights}}
    )
    async def caller_rights(request: Request) -> ResponseBody:
        """Needs a valid token, and no permission."""
        caller = await context.identify(request)
        return await rights.of(caller, request.headers.get("x-namespace", ""))


def _add_retries(router: APIRouter, context: RouteContext, retries: Retries) -> None:
    @router.post(
        "/retry/{job_id}",
        summary="Run a conversion again that has ended",
        responses={
            200: {"model": RetryStarted},
            **one_error(403, STARTING_FORBIDDEN),
            **one_error(404, "The conversion is unknown."),
            **one_error(409, "It has not ended, or another conversion has the name of its retry."),
        },
    )
    async def retry(request: Request, job_id: JobId) -> ResponseBody:
        """Creates a new ConversionJob with the same spec. It is safe to repeat the call.

        The name of the new one follows from the uid of the old one. So a conversion has one retry,
        whoever asks for it. Of several outputs, it has those that do not exist.
        """
        with WriteRequest("retry", address_of(request)) as write:
            await context.check_write(request, write, "get", "create")
            return await retries.retry(write, job_id)

    @router.post(
        "/retry",
        summary="Retry the conversions that have failed",
        responses={200: {"model": FailedRetried}, **one_error(403, STARTING_FORBIDDEN)},
    )
    async def retry_failed(
        request: Request, limit: RetryLimit = MOST_AT_ONCE, continue_: RetryContinue = ""
    ) -> ResponseBody:
        """Retries those that have failed last and have no retry.

        Repeat it with `continue` until the response has none. Those that cannot be retried are in
        `refused`, and are not tried again with `continue`.
        """
        with WriteRequest("retry", address_of(request)) as write:
            await context.check_write(request, write, "list", "create")
            return await retries.retry_failed(write, limit, continue_)


def _add_queues(router: APIRouter, context: RouteContext) -> None:
    queues = context.queues
    unknown = one_error(404, "There is no such ConversionQueue.")

    @router.get("/queues", summary="List queues", responses={200: {"model": QueueList}})
    async def list_queues(request: Request) -> ResponseBody:
        """Needs the permission list on conversionqueues in the namespace of the operator.

        With GATEWAY_AUTH=network, leaves out the counts of other namespaces.
        """
        caller = await context.identify(request)
        await context.auth.check_access(caller, queues.namespace, "list", names.QUEUE_PLURAL)
        own = context.settings.gateway_namespace if caller is None else None
        return await queues.list(own)

    async def set_policy(request: Request, queue: str, policy: StopPolicy) -> ResponseBody:
        action = "resume" if policy is StopPolicy.NONE else "hold"
        with WriteRequest(action, address_of(request)) as write:
            write.caller = await context.identify(request)
            write.namespace = queues.namespace
            if write.caller is None:
                raise ApiError(
                    403, "with GATEWAY_AUTH=network, nobody may change a queue through this API"
                )
            await context.auth.check_access(
                write.caller, queues.namespace, "patch", names.QUEUE_PLURAL
            )
            return await queues.set_stop_policy(write, queue, policy)

    @router.post(
        "/queues/{queue}/hold",
        summary="Hold a queue",
        responses={200: {"model": QueueStatus}, **unknown},
    )
    async def hold_queue(request: Request, queue: OneQueue, drain: Drain = False) -> ResponseBody:
        """No conversion of the queue starts. Needs the permission patch on conversionqueues."""
        policy = StopPolicy.HOLD_AND_DRAIN if drain else StopPolicy.HOLD
        return await set_policy(request, queue, policy)

    @router.post(
        "/queues/{queue}/resume",
        summary="Resume a queue",
        responses={200: {"model": QueueStatus}, **unknown},
    )
    async def resume_queue(request: Request, queue: OneQueue) -> ResponseBody:
        """Conversions of the queue start again. Needs the permission patch on conversionqueues."""
        return await set_policy(request, queue, StopPolicy.NONE)
