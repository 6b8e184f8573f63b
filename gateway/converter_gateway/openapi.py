"""The OpenAPI document: what FastAPI finds out by itself, and what it cannot know."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from converter_gateway.events import Kind
from converter_gateway.limits import HEALTH
from converter_gateway.requests import ConvertRequest
from converter_gateway.responses import Stats

_REFS: Final = "#/components/schemas/{model}"
_DESCRIPTION: Final = """\
Conversions of media files, as ConversionJobs of Kubernetes. Every error is `{"error": "..."}`.

With `GATEWAY_AUTH=token` callers send the token of a service account that is meant for this API
(`GATEWAY_AUDIENCE`), and need the right to do the same with conversionjobs in the namespace. With
`GATEWAY_AUTH=network` no token is looked at.
"""
_NAMESPACE: Final = {
    "name": "X-Namespace",
    "in": "header",
    "required": False,
    "description": "Namespace of the conversions. Default: that of the calling service account.",
    "schema": {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key starts one conversion only, however often the call is repeated. "
    "Another request with the same key is answered 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was received, from whatever replica.",
    "schema": {"type": "string"},
}

EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "One block of the stream. One without data is no event: a heartbeat, or the id "
    "to go on from.",
    "properties": {
        "event": {"type": "string", "enum": [str(kind) for kind in Kind]},
        "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "retry": {"type": "integer", "description": "Milliseconds until the next connection."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": _REFS.format(model="Job")},
                    {
                        "type": "object",
                        "description": "Of reset.",
                        "properties": {"message": {"type": "string"}},
                        "required": ["message"],
                    },
                ]
            },
        },
    },
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
    "picture": {
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
}


def convert_body() -> dict[str, Any]:
    """The requestBody of POST convert: the route reads the body itself, to bound it."""
    examples = {name: {"value": value} for name, value in CONVERT_EXAMPLES.items()}
    content = {"schema": {"$ref": _REFS.format(model="ConvertRequest")}, "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def describe(app: FastAPI) -> None:
    """Have ``app`` serve the whole document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to do this


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schema = ConvertRequest.model_json_schema(ref_template=_REFS)
    schemas |= schema.pop("$defs", {}) | {"ConvertRequest": schema}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"bearer": []}]
    for path, operations in made["paths"].items():
        for operation in operations.values():
            # FastAPI's own answer to a bad parameter, which is 400 here.
            operation["responses"].pop("422", None)
            _errors_are_json(operation["responses"])
            if path in HEALTH:
                operation["security"] = []
            else:
                operation.setdefault("parameters", []).append(_NAMESPACE)
    # FastAPI leaves out what is null, which in an example says something.
    schemas["Stats"]["examples"] = Stats.model_json_schema()["examples"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made


def _errors_are_json(responses: dict[str, Any]) -> None:
    """FastAPI takes the media type of a good answer, events, for that of the errors."""
    for code, response in responses.items():
        if not code.startswith("2") and "content" in response:
            (content,) = response["content"].values()
            response["content"] = {"application/json": content}
