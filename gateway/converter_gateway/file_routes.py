"""The routes of logs and output files, which the file server of the namespace has."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.errors import NotFound
from converter_gateway import files
from converter_gateway.download import SAFE, Download
from converter_gateway.errors import ApiError
from converter_gateway.file_client import RemoteFile, Unreadable
from converter_gateway.file_server.ranges import is_range
from converter_gateway.files import OutputFile
from converter_gateway.responses import one_error
from converter_gateway.routes import JobId, RouteContext
from media_converter.contract import MAX_OUTPUTS

LOG_MISSING: Final = "log_missing"
OUTPUT_MISSING: Final = "output_missing"
OUTPUT_CHANGED: Final = "output_changed"
SOURCE: Final = "X-Log-Source"
_TEXT: Final = "text/plain; charset=utf-8"
_ONLY_END: Final = (
    "[The volume has no log of this attempt. This is what status.logs has: its first and last "
    "lines.]\n"
)
_NOT_THERE: Final = (
    "The conversion is unknown, or there is no {what}. `code` is file_server_missing if the "
    "namespace has no file server."
)

_CHANGED: Final = (
    "The file on the volume is not the one that the conversion made (`code`: output_changed), or "
    "the file server may not read it (file_not_readable)."
)

_FIRST_BYTE: Final = "bytes=0-0"
_PART: Final = "The part that the header Range names."

Attempt = Annotated[
    int | None,
    Query(ge=1, le=999_999, description="The number of the attempt. Default: the last one."),
]
Index = Annotated[
    int,
    Path(
        ge=0,
        lt=MAX_OUTPUTS,
        description="The place of the output in outputs. 0 for a single output.",
        examples=[0],
    ),
]
Range = Annotated[str, Header(alias="Range", description="One range of bytes. Others are ignored.")]


def file_router(context: RouteContext) -> APIRouter:
    """The routes of logs and output files below /api/v1/converter."""
    router = APIRouter(prefix="/api/v1/converter", tags=["files"])
    _add_logs(router, context)
    _add_outputs(router, context)
    _add_vtt(router, context)
    return router


def _part(wanted: str) -> str:
    """The header Range if it is one that the file server knows. Others are ignored."""
    return wanted if is_range(wanted) else ""


async def _read(context: RouteContext, request: Request, job_id: str) -> Conversion:
    """The ConversionJob, as the API server has it. Raises ApiError or a ClusterError."""
    namespace = await context.check_access(request, "get")
    context.service.check_served(namespace)
    try:
        return await context.service.read(namespace, job_id)
    except NotFound:
        raise ApiError(404, "Job not found") from None


def _add_logs(router: APIRouter, context: RouteContext) -> None:
    text: dict[str, Any] = {"schema": {"type": "string"}}
    source: dict[str, Any] = {
        SOURCE: {
            "description": "volume, or status: only what status.logs has.",
            "schema": {"type": "string", "enum": ["volume", "status"]},
        }
    }

    @router.get(
        "/logs/{job_id}",
        summary="Get the log of an attempt",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": text}, "headers": source},
            206: {"content": {"text/plain": text}, "description": _PART},
            **one_error(404, _NOT_THERE.format(what="log of the attempt")),
            416: {"description": "The log has no such part."},
        },
    )
    async def logs(
        request: Request, job_id: JobId, attempt: Attempt = None, byte_range: Range = ""
    ) -> Response:
        """Also while the conversion runs, and after its pod was deleted.

        A log grows at its end, so a reader can ask for what is new with `Range`. A log of more than
        1 MiB is replaced by a shorter one. So ask for some bytes that you have, too, and read the
        whole log again if they have changed.
        """
        conversion = await _read(context, request, job_id)
        last = files.last_attempt(conversion)
        number = attempt or last
        path = files.log_path(conversion, number) if number else None
        file = None
        # The converter may have had another user when it wrote the log.
        with suppress(Unreadable):
            if path:
                part = _part(byte_range)
                file = await context.files.open(conversion.key.namespace, path, part)
        headers = {**SAFE, "Content-Type": _TEXT}
        if file is not None:
            stall = context.settings.gateway_stall_seconds
            return Download(file, headers | {SOURCE: "volume"}, stall)
        kept = conversion.status.logs if conversion.status else None
        if not kept or number != last:
            raise ApiError(404, f"there is no log of attempt {number}", reason=LOG_MISSING)
        return Response(_ONLY_END + kept, headers=headers | {SOURCE: "status"})


async def _open_output(
    context: RouteContext, conversion: Conversion, index: int, output: OutputFile, wanted: str
) -> RemoteFile:
    """The file of an output, or the part ``wanted`` of it.

    Raises ApiError if it is not on the volume, or if its size is not that of the output.
    """
    file = await context.files.open(conversion.key.namespace, output.path, wanted)
    if file is None:
        message = f"the file of output {index} is no longer on the volume"
        raise ApiError(404, message, reason=OUTPUT_MISSING)
    if file.size != output.size:
        file.close()
        raise ApiError(
            409,
            f"the file of output {index} is not the one that the conversion made: its size is "
            "another one",
            reason=OUTPUT_CHANGED,
        )
    return file


def _add_outputs(router: APIRouter, context: RouteContext) -> None:
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    content = {"content": {"application/octet-stream": binary}}

    @router.get(
        "/outputs/{job_id}/{index}",
        summary="Get an output file",
        response_class=Response,
        responses={
            200: content,
            206: content | {"description": _PART},
            **one_error(404, _NOT_THERE.format(what="such output, or its file")),
            **one_error(409, _CHANGED),
            416: {"description": "The file has no such part."},
        },
    )
    async def outputs(
        request: Request, job_id: JobId, index: Index, byte_range: Range = ""
    ) -> Response:
        """Only what the status reports as made. The ETag is the SHA-256 of the output."""
        conversion = await _read(context, request, job_id)
        output = files.output_file(conversion, index)
        if output is None:
            raise ApiError(
                404, f"the conversion has not made an output {index}", reason=OUTPUT_MISSING
            )
        wanted = _part(byte_range)
        if request.headers.get("if-range", output.etag) != output.etag:
            wanted = ""
        file = await _open_output(context, conversion, index, output, wanted)
        headers = {
            **SAFE,
            "Content-Type": output.content_type,
            "Content-Disposition": output.disposition,
            "ETag": output.etag,
        }
        return Download(file, headers, context.settings.gateway_stall_seconds)


def _add_vtt(router: APIRouter, context: RouteContext) -> None:
    text: dict[str, Any] = {"schema": {"type": "string"}}

    @router.get(
        "/outputs/{job_id}/{index}/vtt",
        summary="Get the WebVTT file of a storyboard",
        response_class=Response,
        responses={
            200: {"content": {"text/vtt": text}},
            206: {"content": {"text/vtt": text}, "description": _PART},
            **one_error(404, _NOT_THERE.format(what="such storyboard, or its WebVTT file")),
            **one_error(409, _CHANGED),
            416: {"description": "The file has no such part."},
        },
    )
    async def vtt(
        request: Request, job_id: JobId, index: Index, byte_range: Range = ""
    ) -> Response:
        """The file beside the image. It has no ETag, because the status has no SHA-256 of it."""
        conversion = await _read(context, request, job_id)
        path, file = files.vtt_path(conversion, index), None
        output = files.output_file(conversion, index)
        if path and output:
            # The status says nothing about the WebVTT file. If the image was replaced, so was it.
            (await _open_output(context, conversion, index, output, _FIRST_BYTE)).close()
            # Without an ETag, nobody can say that a part belongs to what they have.
            wanted = "" if "if-range" in request.headers else _part(byte_range)
            file = await context.files.open(conversion.key.namespace, path, wanted)
        if path is None or file is None:
            raise ApiError(
                404, f"there is no WebVTT file of an output {index}", reason=OUTPUT_MISSING
            )
        name = files.disposition(path, files.VTT)
        headers = {**SAFE, "Content-Type": files.VTT, "Content-Disposition": name}
        return Download(file, headers, context.settings.gateway_stall_seconds)
