"""The routes of the content pipeline. MY Network calls them once for each upload."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError, WithJsonSchema
from starlette.convertors import Convertor, register_url_convertor

from conversion_operator.api import spec
from conversion_operator.api.status import Phase
from conversion_operator.api.trace_context import parse_traceparent
from converter_gateway import caller_paths
from converter_gateway.audit import WriteRequest, address_of
from converter_gateway.content import ContentService
from converter_gateway.errors import ApiError
from converter_gateway.openapi import content_body
from converter_gateway.output_models import OutputFacts
from converter_gateway.output_names import Source
from converter_gateway.paths import PathMapping
from converter_gateway.pipeline import Content
from converter_gateway.request_schemas import ID_MAX_LENGTH, TYPE_MAX_LENGTH
from converter_gateway.requests import PATH_MUST_BE, read_object, read_path
from converter_gateway.responses import (
    STARTING_FORBIDDEN,
    Job,
    errors,
    examples,
    one_error,
)
from converter_gateway.routes import RouteContext
from converter_gateway.rules import LiveRules
from converter_gateway.translate import ResponseBody


class _TextConvertor(Convertor[str]):
    """Any text in a URL. An id may contain a slash. Starlette's `path` matches no line break."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _TextConvertor())

_EXACT: Final = 2**53
"""A larger float may not be the number that the caller has sent."""
_REQUIRED: Final = ("content_id", "content_type", "file_path")
_PATH: Final[TypeAdapter[str]] = TypeAdapter(spec.Path)
_PHASES: Final = {"failed": Phase.FAILED, "cancelled": Phase.CANCELLED}

# The route validates the values itself, so that a refusal is in the audit log.
_RetryPhase = Annotated[str, WithJsonSchema({"type": "string", "enum": [*_PHASES]})]
Retry = Annotated[
    list[_RetryPhase],
    Query(description="Start these conversions again. Repeat the parameter to name both."),
]
ContentId = Annotated[str, Path(description="The content_id that was posted.", examples=["4711"])]

_FILE: Final = "/opt/my-network/storage/4711/my.holiday"
_PREVIEW: Final[dict[str, JsonValue]] = {
    "job_id": "content-5dc0dbd05f12bee570570c6d4a1ed9e4bd342b05-1",
    "status": "running",
    "conversion_type": "video_to_mp4",
    "start_time": "2026-01-02T03:04:05",
    "created_at": "2026-01-02T03:04:01Z",
    "input_file": f"{_FILE}.mov",
    "output_file": f"{_FILE}_preview.mp4",
    "phase": "Queued",
    "reason": "Retrying",
    "output": {"state": "Pending"},
}
_THUMBNAIL: Final[dict[str, JsonValue]] = {
    "job_id": "content-5dc0dbd05f12bee570570c6d4a1ed9e4bd342b05-1",
    "status": "completed",
    "conversion_type": "extract_thumbnail",
    "start_time": "2026-01-02T03:04:05",
    "created_at": "2026-01-02T03:04:01Z",
    "input_file": f"{_FILE}.mov",
    "output_file": f"{_FILE}_thumb.jpg",
    "phase": "Succeeded",
    "progress": 100,
    "output_size": 18432,
    "output": {
        "state": "Succeeded",
        "size": 18432,
        "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "container": "jpeg",
        "width": 1280,
        "height": 720,
    },
}


class ContentOutput(Job):
    """One output of a content: the conversion that makes it, as far as it is about this output.

    Fields without a value are left out.
    """

    status: Literal["running", "completed", "failed", "cancelled", "skipped"] = Field(
        description="The status of this output. Other outputs of the same conversion may have "
        "another one. skipped: the output is optional, and does not apply to the file."
    )
    optional: bool | None = Field(
        None, description="True: the conversion can succeed without this output."
    )
    output: OutputFacts | None = Field(
        None,
        description="What has become of the file. Absent if the conversion has one output, or if "
        "the operator has not read its profile yet. Then output_file may be absent, too.",
    )


class ContentStatus(BaseModel):
    """All outputs of a content, each with its latest conversion."""

    model_config = examples(
        {
            "content_id": "4711",
            "status": "running",
            "message": "1 of 2 conversions have not ended",
            "conversions": [_PREVIEW, _THUMBNAIL],
        },
        {
            "content_id": "4712",
            "status": "nothing_to_do",
            "message": "nothing to do for application/pdf",
            "conversions": [],
        },
        {"content_id": "4713", "status": "not_found", "error": "Content not found"},
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
        description="running until all conversions have ended. Then failed if any output that is "
        "not optional failed. incomplete if needed conversions do not exist: they were not "
        "started, or were deleted after their time to live."
    )
    message: str | None = Field(None, description="Explains the status.")
    conversions: list[ContentOutput] | None = Field(
        None,
        description="One entry for each output. Several can have one job_id. Absent if not_found. "
        "Take the names of the outputs from here: if two files would have the same output, one of "
        "them gets a different name.",
    )
    error: str | None = Field(None, description="Present if not_found.")


_SUBMIT_ERRORS: Final = (
    errors(413)
    | one_error(
        409,
        "All possible outputs belong to other content, or somebody else has created a "
        "ConversionJob with the name that the API needs. The message contains the name.",
    )
    | one_error(403, STARTING_FORBIDDEN)
)


def content_router(context: RouteContext) -> APIRouter:
    """The routes of /api/v1/content. Raises RulesError if the rules are not valid."""
    success: dict[int | str, dict[str, Any]] = {200: {"model": ContentStatus}}
    router = APIRouter(prefix="/api/v1/content", tags=["content"], responses=success)
    rules = LiveRules(context.settings.gateway_content_rules)
    service = ContentService(context.service, rules.current)

    @router.post(
        "",
        openapi_extra={"requestBody": content_body()},
        responses=_SUBMIT_ERRORS,
        response_model=None,
    )
    async def submit_content(request: Request, retry: Retry = []) -> ResponseBody:  # noqa: B006  never changed
        """Start the conversions that an upload needs. It is safe to repeat the call.

        A repeated call returns the same conversions and starts missing ones. It starts failed and
        cancelled outputs again only with ``retry``. The status is ``nothing_to_do`` if the
        content needs no conversion.

        The caller needs the permissions create and list on conversionjobs. It needs list because
        the response contains the state of existing conversions.
        """
        with WriteRequest("retry" if retry else "content", address_of(request)) as write:
            write.trace = parse_traceparent(request.headers.get("traceparent", ""))
            await context.check_write(request, write, "create", "list")
            phases = _retry_phases(retry)
            content = parse_content(await request.body(), context.settings.mappings)
            return await service.submit(write, content, phases)

    @router.get("/{content_id:text}", response_model=None)
    async def get_content(request: Request, content_id: ContentId) -> ResponseBody:
        """The conversions of a content. ``not_found`` if no ConversionJob of it exists."""
        namespace = await context.check_access(request, "list")
        return await service.get(namespace, _content_id(content_id))

    return router


def parse_content(raw: bytes, mappings: tuple[PathMapping, ...]) -> Content:
    """Parse a request. Raises ApiError 400, which names the field."""
    data = read_object(raw, _REQUIRED, ())
    file_path, content_type = data["file_path"], data["content_type"]
    if not isinstance(content_type, str):
        raise ApiError(400, "content_type: must be a string")
    if len(content_type) > TYPE_MAX_LENGTH or not content_type.isprintable():
        raise ApiError(400, f"content_type: must be up to {TYPE_MAX_LENGTH} printable characters")
    path = read_path("file_path", file_path, mappings)
    try:
        # normal_path may add a leading slash, so check the length again.
        path = _PATH.validate_python(spec.normal_path(_PATH.validate_python(path)))
    except ValidationError as error:
        first = error.errors()[0]
        why = first["ctx"]["error"] if first["type"] == "value_error" else PATH_MUST_BE
        raise ApiError(400, f"file_path: {why}") from None
    source = Source(_content_id(data["content_id"]), path)
    return Content(source, content_type, file_path, caller_paths.beside(file_path, mappings))


def _retry_phases(retry: list[str]) -> list[Phase]:
    if not _PHASES.keys() >= set(retry):
        raise ApiError(400, "retry: Input should be 'failed' or 'cancelled'")
    return [_PHASES[name] for name in retry]


def _content_id(value: object) -> str:
    # JSON has one kind of numbers. The parser reads one that is larger than 64 bits as a float.
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if isinstance(value, float):
        raise ApiError(
            400, "content_id: must be a whole number of 64 bits. Send a larger one as a string"
        )
    # True is an int in Python. Clients remove . and .. from URLs.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ApiError(400, "content_id: must be a string or a whole number")
    text = str(value)
    if not 0 < len(text) <= ID_MAX_LENGTH or not text.isprintable() or text in (".", ".."):
        raise ApiError(400, f"content_id: must be 1 to {ID_MAX_LENGTH} printable characters")
    return text
