"""The live page: static files under /ui, without any right. docs/page.md describes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from conversion_operator.api.reasons import REASONS
from conversion_operator.api.version import version
from converter_gateway.routes import RouteContext
from media_converter.contract import ConversionType
from media_converter.options import FORMATS

_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "list.js": "text/javascript; charset=utf-8",
    "lists.js": "text/javascript; charset=utf-8",
    "log.js": "text/javascript; charset=utf-8",
    "views.js": "text/javascript; charset=utf-8",
    "forms.js": "text/javascript; charset=utf-8",
    "state.js": "text/javascript; charset=utf-8",
    "text.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The browser keeps the files, and asks whether they have changed.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page. ``etag`` follows from its content."""

    body: bytes
    media_type: str
    etag: str


def page_data() -> dict[str, Any]:
    """What the page knows before it asks for anything: types with extensions, and reasons."""
    return {
        "version": version(),
        "types": {str(kind): list(FORMATS[kind]) for kind in ConversionType},
        "reasons": {
            str(name): {"meaning": reason.meaning, "cure": reason.cure}
            for name, reason in REASONS.items()
        },
    }


@cache
def _files() -> dict[str, StaticFile]:
    """All files, read once. They are a part of the image and never change."""
    folder = resources.files("converter_gateway") / "ui"
    bodies = {name: (folder / name).read_bytes() for name in _TYPES}
    data = json.dumps(page_data(), separators=(",", ":")).encode()
    found = {**{name: (body, _TYPES[name]) for name, body in bodies.items()}}
    found["data.json"] = (data, "application/json")
    return {
        name: StaticFile(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        for name, (body, media_type) in found.items()
    }


def ui_router(_: RouteContext) -> APIRouter:
    """The routes of the page. They need no token: they say nothing about conversions."""
    router = APIRouter(tags=["page"])

    @router.get("/ui", include_in_schema=False)
    async def redirect() -> Response:
        # Relative, so that it also works behind a path of a proxy.
        return RedirectResponse("ui/", 307, HEADERS)

    @router.get("/ui/", include_in_schema=False)
    async def shell(request: Request) -> Response:
        return _answer(request, _files()["index.html"])

    @router.get("/ui/{name}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        found = _files().get(name)
        if found is None or name == "index.html":
            return Response(b"not found\n", 404, HEADERS, "text/plain; charset=utf-8")
        return _answer(request, found)

    return router


def _answer(request: Request, file: StaticFile) -> Response:
    headers = HEADERS | {"ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
