"""Builds the application: routes, limits, and errors as ``{"error": ...}``."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from conversion_operator.cluster.conversions import ConversionClient
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    NotFound,
    Rejected,
    Unavailable,
)
from converter_gateway.auth import Authenticator
from converter_gateway.content_routes import content_router
from converter_gateway.errors import ApiError, explain_forbidden
from converter_gateway.feed import FeedPool
from converter_gateway.file_client import FileClient
from converter_gateway.file_routes import file_router
from converter_gateway.limits import (
    KINDS,
    BodyLimit,
    Bound,
    ProgressLimit,
    RateLimit,
    Turns,
    address_of,
)
from converter_gateway.metrics import Measure, Metrics
from converter_gateway.openapi import describe
from converter_gateway.origin import SameOrigin
from converter_gateway.page_routes import page_router
from converter_gateway.queues import Queues
from converter_gateway.responses import COMMON_ERRORS, Error, HealthStatus, errors
from converter_gateway.routes import RouteContext, converter_router
from converter_gateway.service import Service
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import SendAway, Shutdown
from converter_gateway.stores import Stores
from converter_gateway.ui_routes import ui_router

logger = logging.getLogger(__name__)

RouterFactory = Callable[[RouteContext], APIRouter]


def create_app(
    cluster: ConversionClient,
    settings: GatewaySettings,
    routers: Sequence[RouterFactory] = (
        converter_router,
        page_router,
        file_router,
        content_router,
        ui_router,
    ),
    live: Callable[[], GatewaySettings] | None = None,
) -> FastAPI:
    """Create the application. The caller closes ``cluster`` and ``app.state.files`` afterwards.

    ``settings`` are the settings at the start. ``live`` returns the current ones, for stats. The
    caller can start the shutdown with ``app.state.shutdown``, open the stores of the settings with
    ``app.state.stores``, and serve ``app.state.metrics``.
    """
    # docs_url: FastAPI's documentation pages load scripts from the internet, which a service in a
    # cluster must not need. openapi_url: `describe` serves the document.
    app = FastAPI(
        title="MY Network converter",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}",
    )
    describe(app)
    shutdown = app.state.shutdown = Shutdown()
    current = live or (lambda: settings)
    stores = app.state.stores = Stores(cluster, lambda: current().served_namespaces)
    app.state.in_progress = {kind: Counter() for kind in KINDS}
    app.state.metrics = Metrics(CollectorRegistry(), app.state.in_progress, stores.of_settings)
    service = app.state.service = Service(cluster, stores, current, shutdown)
    auth = Authenticator(cluster, settings)
    feeds, queues = FeedPool(cluster, stores), Queues(cluster, settings.pod_namespace)
    files = app.state.files = FileClient(
        settings.gateway_file_server, lambda: current().converter_volume_folder
    )
    context = RouteContext(service, auth, settings, feeds, shutdown, stores, queues, files)
    for router in routers:
        app.include_router(router(context), responses=errors(*COMMON_ERRORS))
    _add_limits(app, settings, shutdown)
    for error in (ApiError, ClusterError, HTTPException, Exception):
        app.add_exception_handler(error, _handle_error)

    @app.exception_handler(RequestValidationError)
    async def handle_invalid(request: Request, error: Exception) -> JSONResponse:
        """FastAPI validates parameters before it calls a route, which checks the caller first."""
        try:
            await auth.identify(request.headers.get("authorization", ""), address_of(request.scope))
        except (ApiError, ClusterError) as refusal:
            error = refusal
        return await _handle_error(request, error)

    health: dict[int | str, dict[str, Any]] = {200: {"model": HealthStatus}}

    @app.get("/healthz", tags=["health"], summary="Is the process alive?", responses=health)
    async def healthy() -> dict[str, str]:
        """Does not check the API server: restarting the process would not make it available."""
        return {"status": "ok"}

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Error, "description": "The API starts or shuts down."}
    }

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Is the API ready?",
        responses=health | not_ready,
    )
    async def ready() -> dict[str, str]:
        """Responds 503 until the conversions have been listed once, and after SIGTERM."""
        if shutdown.draining:
            raise ApiError(503, "shutting down")
        if not stores.has_tried:
            raise ApiError(503, "starting: the conversions are not known yet")
        return {"status": "ok"}

    return app


def _add_limits(app: FastAPI, settings: GatewaySettings, shutdown: Shutdown) -> None:
    """The last one is the first to see a request."""
    bounds = (
        Bound(
            "requests", settings.gateway_max_concurrent, settings.gateway_max_concurrent_per_address
        ),
        Bound(
            "long polls",
            settings.gateway_max_long_polls,
            settings.gateway_max_long_polls_per_address,
        ),
        Bound(
            "streams",
            settings.gateway_max_streams,
            settings.gateway_max_streams_per_address,
            retry_seconds=10,
        ),
        Bound(
            "downloads",
            settings.gateway_max_downloads,
            settings.gateway_max_downloads_per_address,
            retry_seconds=5,
        ),
    )
    app.add_middleware(ProgressLimit, bounds=bounds, in_progress=app.state.in_progress)
    app.add_middleware(BodyLimit, limit=settings.gateway_max_body_bytes)
    app.add_middleware(
        RateLimit,
        per_second=settings.gateway_rate_per_second,
        burst=settings.gateway_rate_burst,
    )
    app.add_middleware(SameOrigin, hosts=settings.own_hosts)
    app.add_middleware(Turns)
    app.add_middleware(SendAway, shutdown=shutdown)
    app.add_middleware(Measure, metrics=app.state.metrics)


def render_openapi() -> str:
    """The text of docs/openapi.json."""
    # model_construct ignores the environment. Rendering sends no request to the cluster.
    app = create_app(cast("ConversionClient", None), GatewaySettings.model_construct())
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


async def _handle_error(_: Request, error: Exception) -> JSONResponse:
    match error:
        case ApiError():
            return _error_response(error.code, error.message, error.retry_after, error.reason)
        case Unavailable():
            logger.warning("the API server is not available: %s", error)
            after = max(1, math.ceil(error.retry_after or 5))
            return _error_response(503, "the Kubernetes API is not available, try again", after)
        case NotFound():
            return _error_response(404, "not found")
        case Conflict():
            return _error_response(409, "another request has changed it, try again")
        case Rejected(code=403):
            return _error_response(403, explain_forbidden(str(error)))
        case Rejected() if "strict decoding error" in str(error):
            logger.error("the CRD is older than the HTTP API: %s", error)
            return _error_response(503, "the CRD in the cluster is older than the HTTP API")
        case Rejected():
            return _error_response(400, str(error))
        case HTTPException():
            response = _error_response(error.status_code, str(error.detail))
            response.headers.update(error.headers or {})
            return response
        case RequestValidationError():
            first = error.errors()[0]
            # The last part of the location may be an index.
            name = [part for part in first["loc"] if isinstance(part, str)][-1]
            return _error_response(400, f"{name}: {first['msg']}")
    logger.error("a request failed", exc_info=error)
    return _error_response(500, "internal error")


def _error_response(
    code: int, message: str, retry_after: int | None = None, reason: str = ""
) -> JSONResponse:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": message} | ({"code": reason} if reason else {}), code, headers)
