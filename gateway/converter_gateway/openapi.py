"""Builds the OpenAPI document: FastAPI's document, and what FastAPI cannot derive."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from converter_gateway.events import EventType
from converter_gateway.limits import HEALTH_PATHS
from converter_gateway.request_schemas import content_schema, convert_schemas
from converter_gateway.responses import Stats

_REFS: Final = "#/components/schemas/{model}"
_DESCRIPTION: Final = """\
Converts media files on Kubernetes. Each conversion is a ConversionJob. Every error is
`{"error": "..."}`.

With `GATEWAY_AUTH=token`, callers send a service account token with the audience
`GATEWAY_AUDIENCE`. The account needs the same permission on conversionjobs in the namespace. With
`GATEWAY_AUTH=network`, the API ignores tokens.
"""
_NAMESPACE: Final = {
    "name": "X-Namespace",
    "in": "header",
    "required": False,
    "description": "Namespace of the conversions. Default: the caller's own namespace.",
    "schema": {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes it safe to repeat the call: one key starts at most one conversion. "
    "A different request with the same key gets 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
TRACEPARENT: Final = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "The trace of the caller, as in W3C Trace Context. The conversion belongs to "
    "it. An invalid one is ignored.",
    "schema": {"type": "string"},
}
LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that the listener received, from any replica.",
    "schema": {"type": "string"},
}

EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One block of the stream. A block without data is no event, but its id counts: "
    "listeners can resume from it.",
    "properties": {
        "event": {"type": "string", "enum": [str(event_type) for event_type in EventType]},
        "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "retry": {"type": "integer", "description": "Milliseconds to wait before reconnecting."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": _REFS.format(model="JobStatus")},
                    {
                        "type": "object",
                        "description": "The data of reset.",
                        "properties": {"message": {"type": "string"}},
                        "required": ["message"],
                    },
                ]
            },
        },
    },
}
EVENT_STREAM: Final[dict[str, Any]] = {
    # Generators of clients take this for the type of the whole body.
    "schema": {"type": "string", "description": "Server-sent events; see x-item-schema."},
    # OpenAPI 3.2 has itemSchema for it. Before, there is no keyword for the items of a stream.
    "x-item-schema": EVENT,
}

_IN: Final = "/opt/my-network/storage"
_OUT: Final = "/opt/my-network/shared/output"
CONVERT_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "video": {
        "input_file": f"{_IN}/videos/holiday.mov",
        "output_file": f"{_OUT}/holiday.mp4",
        "conversion_type": "video_to_mp4",
        "options": {"quality": "medium", "resolution": "720p"},
    },
    "audio preview": {
        "input_file": f"{_IN}/audio/song.flac",
        "output_file": f"{_OUT}/song_preview.mp3",
        "conversion_type": "audio_to_mp3",
        "options": {"bitrate": "128k", "duration": 30},
    },
    "image": {
        "input_file": f"{_IN}/pictures/cat.png",
        "output_file": f"{_OUT}/cat_thumb.jpg",
        "conversion_type": "image_resize",
        "options": {"size": "300x300", "quality": 80},
    },
    "thumbnail of a video": {
        "input_file": f"{_IN}/videos/holiday.mov",
        "output_file": f"{_OUT}/holiday.jpg",
        "conversion_type": "extract_thumbnail",
        "options": {"time": "00:00:05"},
    },
    "several outputs": {
        "input_file": f"{_IN}/videos/holiday.mov",
        "outputs": [
            {
                "conversion_type": "extract_thumbnail",
                "output_file": f"{_OUT}/holiday.jpg",
                "options": {"size": "640x360"},
            },
            {
                "conversion_type": "audio_to_mp3",
                "output_file": f"{_OUT}/holiday.mp3",
                "optional": True,
            },
        ],
        "queue": "uploads",
    },
    "profile": {"input_file": f"{_IN}/videos/holiday.mov", "profile": "web-video"},
    "dry run": {
        "input_file": f"{_IN}/videos/holiday.mov",
        "output_file": f"{_OUT}/holiday.mp4",
        "conversion_type": "video_to_mp4",
        "dry_run": True,
    },
}


CONTENT_EXAMPLE: Final = {
    "content_id": "4711",
    "content_type": "video/quicktime",
    "file_path": f"{_IN}/4711/my.holiday.mov",
}


def convert_body() -> dict[str, Any]:
    """The requestBody of POST convert. FastAPI has none: the route itself reads the body."""
    examples = {name: {"value": value} for name, value in CONVERT_EXAMPLES.items()}
    content = {"schema": {"$ref": _REFS.format(model="ConvertRequest")}, "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def content_body() -> dict[str, Any]:
    """The requestBody of POST content."""
    content = {"schema": {"$ref": _REFS.format(model="ContentRequest")}}
    return {"required": True, "content": {"application/json": content}}


def describe(app: FastAPI) -> None:
    """Make ``app`` serve our document instead of FastAPI's."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it

    @cache
    def body() -> bytes:
        return json.dumps(openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    # FastAPI's own route encodes the document for each request. That takes milliseconds, and
    # callers without a token could keep the replica busy with it.
    @app.get("/openapi.json", tags=["documentation"], include_in_schema=False)
    async def document() -> Response:
        return Response(body(), media_type="application/json")


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= convert_schemas(_REFS) | {"ContentRequest": content_schema(CONTENT_EXAMPLE)}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"bearer": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # FastAPI documents 422 for an invalid parameter. This API responds 400.
            operation["responses"].pop("422", None)
            _errors_are_json(operation["responses"])
            if path in HEALTH_PATHS:
                operation["security"] = []
            else:
                operation.setdefault("parameters", []).append(_NAMESPACE)
    # FastAPI removes null values from examples. docker_sock_path is null.
    schemas["Stats"]["examples"] = Stats.model_json_schema()["examples"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _errors_are_json(responses: dict[str, Any]) -> None:
    """Correct the media type of errors. FastAPI uses the route's type, text/event-stream."""
    for code, response in responses.items():
        if not code.startswith("2") and "content" in response:
            (content,) = response["content"].values()
            response["content"] = {"application/json": content}
