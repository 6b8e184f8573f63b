"""The application: routes, limits, and errors as ``{"error": ...}``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from conversion_operator.cluster.conversions import Conversions
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    NotFound,
    Rejected,
    Unavailable,
)
from converter_gateway.auth import Authenticator
from converter_gateway.content_routes import content_router
from converter_gateway.errors import ApiError
from converter_gateway.feed import FeedPool
from converter_gateway.limits import Concurrency, RateLimit, Streams
from converter_gateway.openapi import describe
from converter_gateway.responses import COMMON, Error, HealthStatus, errors
from converter_gateway.routes import RouteContext, converter_router
from converter_gateway.service import Service
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown

logger = logging.getLogger(__name__)

RouterFactory = Callable[[RouteContext], APIRouter]


def create_app(
    cluster: Conversions,
    settings: GatewaySettings,
    routers: Sequence[RouterFactory] = (converter_router, content_router),
    live: Callable[[], GatewaySettings] | None = None,
) -> FastAPI:
    """Create the API. The caller closes ``cluster``.

    ``live`` returns the current settings: stats reports some of the operator's. The caller starts
    the shutdown through ``state.shutdown`` of the app.
    """
    # FastAPI's documentation pages load scripts from the internet. A service in a cluster must not
    # need that.
    app = FastAPI(
        title="MY Network converter",
        version="1",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}",
    )
    describe(app)
    shutdown = app.state.shutdown = Shutdown()
    service = Service(cluster, live or (lambda: settings), shutdown)
    auth = Authenticator(cluster, settings)
    context = RouteContext(service, auth, settings, FeedPool(cluster), shutdown)
    for router in routers:
        app.include_router(router(context), responses=errors(*COMMON))
    app.add_middleware(
        Streams,
        limit=settings.gateway_max_streams,
        per_address=settings.gateway_max_streams_per_address,
    )
    app.add_middleware(Concurrency, limit=settings.gateway_max_concurrent)
    app.add_middleware(
        RateLimit,
        per_second=settings.gateway_rate_per_second,
        burst=settings.gateway_rate_burst,
    )
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(ClusterError, _cluster_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(Exception, _unexpected)

    health: dict[int | str, dict[str, Any]] = {200: {"model": HealthStatus}}

    @app.get("/healthz", tags=["health"], summary="Is the process alive?", responses=health)
    async def healthy() -> dict[str, str]:
        """Sends no request: an unavailable API server is no reason to restart."""
        return {"status": "ok"}

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Error, "description": "The API is shutting down."}
    }

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Is the API ready?",
        responses=health | not_ready,
    )
    async def ready() -> dict[str, str]:
        """Fails after SIGTERM."""
        if shutdown.draining:
            raise ApiError(503, "shutting down")
        return {"status": "ok"}

    return app


def render_openapi() -> str:
    """docs/openapi.json."""
    # With default settings, whatever the environment says. Nothing uses the cluster.
    app = create_app(cast("Conversions", None), GatewaySettings.model_construct())
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def _answer(code: int, message: str, retry_after: int | None = None) -> JSONResponse:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": message}, code, headers)


async def _api_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ApiError):
        return await _unexpected(_, error)
    return _answer(error.code, error.message, error.retry_after)


async def _cluster_error(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Unavailable):
        logger.warning("the API server is not available: %s", error)
        after = max(1, math.ceil(error.retry_after or 5))
        return _answer(503, "the Kubernetes API is not available, try again", after)
    if isinstance(error, NotFound):
        return _answer(404, "not found")
    if isinstance(error, Conflict):
        return _answer(409, "another request has changed it, try again")
    if isinstance(error, Rejected):
        # 403: a missing permission, a quota or a terminating namespace. Not a bad request.
        return _answer(403 if error.code == 403 else 400, str(error))
    return await _unexpected(_, error)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return await _unexpected(_, error)
    answer = _answer(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _bad_parameter(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return await _unexpected(_, error)
    first = error.errors()[0]
    # The last part of the location may be an index.
    name = [part for part in first["loc"] if isinstance(part, str)][-1]
    return _answer(400, f"{name}: {first['msg']}")


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    logger.error("a request failed", exc_info=error)
    return _answer(500, "internal error")
