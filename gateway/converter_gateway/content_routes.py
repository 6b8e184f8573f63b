"""The routes of the content pipeline: what MY Network calls once for each upload."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from conversion_operator.api import spec
from conversion_operator.api.status import Phase
from conversion_operator.core.model import normal_path
from converter_gateway import paths
from converter_gateway.content import ContentService
from converter_gateway.errors import ApiError
from converter_gateway.pipeline import Content, Source
from converter_gateway.requests import read_object, read_path
from converter_gateway.routes import Context
from converter_gateway.rules import LiveRules
from converter_gateway.translate import Answer

_LONGEST_ID: Final = 256
_LONGEST_TYPE: Final = 255
_REQUIRED: Final = ("content_id", "content_type", "file_path")
_PATH: Final[TypeAdapter[str]] = TypeAdapter(spec.Path)
_PHASES: Final = {"failed": Phase.FAILED, "cancelled": Phase.CANCELLED}

Retry = Annotated[
    list[Literal["failed", "cancelled"]],
    Query(description="Start these again: failed, cancelled, or both by naming it twice."),
]
ContentId = Annotated[str, Path(description="As it was posted.", examples=["4711"])]

_FILE: Final = "/opt/my-network/storage/4711/my.holiday"
_PREVIEW: Final[dict[str, JsonValue]] = {
    "job_id": "content-27ba328c420cbf3ad1d9abe901abfdf56fad281e-1",
    "status": "completed",
    "conversion_type": "video_to_mp4",
    "start_time": "2026-01-02T03:04:05",
    "input_file": f"{_FILE}.mov",
    "output_file": f"{_FILE}_preview.mp4",
    "phase": "Succeeded",
    "progress": 100,
    "reason": "Completed",
    "end_time": "2026-01-02T03:05:07",
    "duration_seconds": 62.0,
    "output_size": 1843200,
}
_PICTURE: Final[dict[str, JsonValue]] = {
    "job_id": "content-4799c0da18e3c5aada42bd5cd9746bd6942524e0-1",
    "status": "running",
    "conversion_type": "extract_thumbnail",
    "start_time": "2026-01-02T03:04:05",
    "input_file": f"{_FILE}.mov",
    "output_file": f"{_FILE}_thumb.jpg",
    "phase": "Queued",
}


class ContentRequest(BaseModel):
    """The body of POST /api/v1/content."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "content_id": "4711",
                    "content_type": "video/quicktime",
                    "file_path": f"{_FILE}.mov",
                }
            ]
        }
    )

    content_id: str | int = Field(description="1 to 256 printable characters, or a number.")
    content_type: str = Field(description="A MIME type, or its first word: video, audio, image.")
    file_path: str = Field(description="The uploaded file, as the caller knows it.")


class ContentConversion(BaseModel):
    """One conversion, with the fields of GET /api/v1/converter/status."""

    model_config = ConfigDict(extra="allow")

    job_id: str = Field(description="For the calls of /api/v1/converter.")
    status: Literal["running", "completed", "failed", "cancelled"]
    conversion_type: str
    start_time: str = Field(description="UTC, in ISO format.")
    input_file: str = Field(description="As the caller knows it.")
    output_file: str = Field(description="Beside the input; the only place that tells its name.")
    phase: str = Field(description="Of the ConversionJob.")


class ContentAnswer(BaseModel):
    """All conversions of a content, of each output the latest."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "content_id": "4711",
                    "status": "running",
                    "message": "1 of 2 conversions have not ended",
                    "conversions": [_PREVIEW, _PICTURE],
                },
                {
                    "content_id": "4712",
                    "status": "nothing_to_do",
                    "message": "nothing to do for application/pdf",
                    "conversions": [],
                },
                {"content_id": "4713", "status": "not_found", "error": "Content not found"},
            ]
        }
    )

    content_id: str
    status: Literal[
        "running",
        "completed",
        "failed",
        "cancelled",
        "incomplete",
        "nothing_to_do",
        "not_found",
    ] = Field(
        description="running until all have ended; then failed if one failed; incomplete if fewer "
        "exist than the content needs: not started, or gone after their time to live."
    )
    message: str | None = Field(None, description="The status in words.")
    conversions: list[ContentConversion] | None = Field(None, description="None if not_found.")
    error: str | None = Field(None, description="If not_found.")


class ContentError(BaseModel):
    """Every error."""

    error: str = Field(description="In words that name the field.")


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ContentAnswer},
    400: {"model": ContentError, "description": "A field is missing or wrong."},
    401: {"model": ContentError, "description": "No token, or one that is not valid here."},
    403: {"model": ContentError, "description": "Not allowed in that namespace, or a quota."},
    "4XX": {"model": ContentError, "description": "413 too large, 429 too often (Retry-After)."},
    503: {"model": ContentError, "description": "Not now; Retry-After says when."},
}
_TAKEN: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": ContentError, "description": "All outputs are those of other content."}
}


def content_router(context: Context) -> APIRouter:
    """Raises RulesError if the rules are not understood."""
    router = APIRouter(prefix="/api/v1/content", tags=["content"], responses=_RESPONSES)
    rules = LiveRules(context.settings.gateway_content_rules)
    service = ContentService(context.service, rules.current)
    schema = ContentRequest.model_json_schema()
    body = {"required": True, "content": {"application/json": {"schema": schema}}}

    @router.post("", openapi_extra={"requestBody": body}, responses=_TAKEN, response_model=None)
    async def submit_content(request: Request, retry: Retry = []) -> Answer:  # noqa: B006  never changed
        """Start the conversions an upload needs; again and again without harm.

        A repeated call gives the same conversions and starts those that are missing. One that
        failed or was cancelled stays as it is, unless ``retry`` says otherwise. Content that needs
        nothing is answered ``nothing_to_do``.

        The caller needs the rights create and list on conversionjobs: it is told the state of
        those that exist already, which is what list shows. Get would add nothing to that.
        """
        namespace = await context.namespace(request, "create")
        await context.namespace(request, "list")
        content = parse_content(await context.body(request), context.settings.mappings)
        return await service.submit(namespace, content, [_PHASES[name] for name in retry])

    # A path, so that an id may contain a slash.
    @router.get("/{content_id:path}", response_model=None)
    async def get_content(request: Request, content_id: ContentId) -> Answer:
        """The conversions of a content, while their ConversionJobs exist: ``not_found`` after."""
        namespace = await context.namespace(request, "list")
        return await service.get(namespace, _content_id(content_id))

    return router


def parse_content(raw: bytes, mappings: tuple[paths.Mapping, ...]) -> Content:
    """Raises ApiError 400, naming the field."""
    data = read_object(raw, _REQUIRED, ())
    file_path, content_type = data["file_path"], data["content_type"]
    if not isinstance(content_type, str):
        raise ApiError(400, "content_type: must be a string")
    if len(content_type) > _LONGEST_TYPE or not content_type.isprintable():
        raise ApiError(400, f"content_type: must be up to {_LONGEST_TYPE} printable characters")
    path = read_path("file_path", file_path, mappings)
    try:
        # The leading slash it may get counts as well.
        path = _PATH.validate_python(normal_path(_PATH.validate_python(path)))
    except ValidationError as error:
        raise ApiError(400, f"file_path: {error.errors()[0]['msg']}") from None
    return Content(Source(_content_id(data["content_id"]), path), content_type, file_path)


def _content_id(value: object) -> str:
    # True is an int, too. A lone dot would be lost on the way in a URL.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ApiError(400, "content_id: must be a string or a whole number")
    text = str(value)
    if not 0 < len(text) <= _LONGEST_ID or not text.isprintable() or text in (".", ".."):
        raise ApiError(400, f"content_id: must be 1 to {_LONGEST_ID} printable characters")
    return text
