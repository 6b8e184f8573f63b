"""Builds requests, parses responses, and decides when to retry. Does no I/O."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

import httpx2
from tenacity import RetryCallState, retry_if_exception_type, retry_if_result, stop_after_attempt

BASE: Final = "/api/v1/converter"
CONTENT: Final = "/api/v1/content"
MAX_WAIT_SECONDS: Final = 60.0
"""The longest wait that the API accepts in a status call."""

_RETRIED: Final = frozenset({429, 503})
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0


class ConverterError(Exception):
    """A call failed. ``code`` is the HTTP status, 0 if there was no response."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


Status = Literal["running", "completed", "failed", "cancelled"]
Phase = Literal["Queued", "Starting", "Running", "Succeeded", "Failed", "Cancelled"]
Retry = Literal["failed", "cancelled"]
OutputState = Literal["Pending", "Succeeded", "Failed", "Skipped"]
Action = Literal["Encode", "Copy", "Convert", "Skip"]


class Output(TypedDict):
    """One output to make."""

    conversion_type: str
    output_file: str
    options: NotRequired[Mapping[str, Any]]
    optional: NotRequired[bool]


class OutputFacts(TypedDict):
    """What has become of an output. Sizes are in bytes, ``width`` and ``height`` in pixels."""

    state: OutputState
    size: NotRequired[int]
    sha256: NotRequired[str]
    container: NotRequired[str]
    video_codec: NotRequired[str]
    audio_codec: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]
    duration_seconds: NotRequired[float]
    warnings: NotRequired[list[str]]
    reason: NotRequired[str]
    message: NotRequired[str]


class OutputStatus(OutputFacts):
    """One of several outputs of a conversion."""

    conversion_type: str
    output_file: str
    optional: NotRequired[bool]


class PlannedOutput(TypedDict):
    """What a dry run says about one output. Sizes are in bytes, times in seconds."""

    conversion_type: str
    output_file: str
    optional: NotRequired[bool]
    action: Action
    video_codec: NotRequired[str]
    audio_codec: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]
    duration_seconds: NotRequired[float]
    memory: NotRequired[int]
    estimated_seconds: NotRequired[float]
    estimated_size: NotRequired[int]
    reason: NotRequired[str]
    message: NotRequired[str]


class _Job(TypedDict):
    """What JobStatus and ContentOutput have in common."""

    job_id: str
    conversion_type: NotRequired[str]
    start_time: str
    created_at: str
    started_at: NotRequired[str]
    ended_at: NotRequired[str]
    input_file: str
    output_file: NotRequired[str]
    profile: NotRequired[str]
    phase: Phase
    progress: NotRequired[int]
    eta_seconds: NotRequired[int]
    estimated_start_at: NotRequired[str | None]
    estimated_end_at: NotRequired[str | None]
    queue_position: NotRequired[int]
    duration_seconds: NotRequired[float]
    reason: NotRequired[str]
    end_time: NotRequired[str]
    output_size: NotRequired[int]
    warnings: NotRequired[list[str]]
    error: NotRequired[str]
    logs: NotRequired[str]


class JobStatus(_Job):
    """A conversion. Sizes are in bytes.

    The times whose names end in ``_at`` are in the format of RFC 3339. ``start_time`` and
    ``end_time`` are naive UTC in ISO format, and ``start_time`` is the creation until the start.

    The API leaves out a field that has no value, such as ``output_size`` before the end. A
    conversion with several outputs has ``outputs`` instead of ``conversion_type`` and
    ``output_file``.
    """

    status: Status
    outputs: NotRequired[list[OutputStatus]]
    dry_run: NotRequired[bool]
    plan: NotRequired[list[PlannedOutput]]


class ContentOutput(_Job):
    """One output of an upload, with the conversion that makes it.

    ``output`` is what has become of the file. Several outputs can have one ``job_id``.
    """

    status: Literal["running", "completed", "failed", "cancelled", "skipped"]
    optional: NotRequired[bool]
    output: NotRequired[OutputFacts]


class JobNotFound(TypedDict):
    """No ConversionJob has this job id."""

    status: Literal["not_found"]
    error: str


class ContentStatus(TypedDict):
    """The outputs of an upload. With the status not_found, only ``error`` is present."""

    content_id: str
    status: Literal[
        "running", "completed", "failed", "cancelled", "incomplete", "nothing_to_do", "not_found"
    ]
    message: NotRequired[str]
    conversions: NotRequired[list[ContentOutput]]
    error: NotRequired[str]


class QueuedJob(TypedDict):
    """A conversion that waits. ``not_before`` is when its back-off ends, in ISO 8601."""

    job_id: str
    queue: str
    position: int
    reason: NotRequired[str]
    not_before: NotRequired[str]


class Stats(TypedDict):
    """Settings, and counts over the existing ConversionJobs. ``success_rate`` is 0 to 1."""

    max_parallel_jobs: int
    docker_sock_path: None
    converter_image: str
    supported_conversions: list[str]
    active_jobs_count: int
    queued_jobs_count: int
    total_jobs: int
    successful_jobs: int
    failed_jobs: int
    success_rate: float
    average_processing_time: float


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``accepts`` are the error codes that count as success.

    It is safe to send a request again. A key or a content id prevents a second conversion.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, float | str | list[str]] = field(
        default_factory=dict[str, float | str | list[str]]
    )
    accepts: frozenset[int] = frozenset()


class Settings(TypedDict, total=False):
    """The arguments that all conversions can have, whatever their outputs.

    - ``idempotency_key``: the same key returns the same job id. Default: a random key.
    - ``callback_url``: the operator calls it when the conversion ends. Verify the call with
      :mod:`mynetwork_converter.callbacks`.
    - ``overwrite``: if False, the conversion fails if an output exists. Default: True.
    - ``queue``: the name of a ConversionQueue.
    - ``dry_run``: if True, the conversion writes nothing, and its status has a ``plan``.
    """

    idempotency_key: str | None
    callback_url: str | None
    overwrite: bool | None
    queue: str | None
    dry_run: bool | None


def convert_file(
    input_file: str,
    output_file: str,
    conversion_type: str,
    options: Mapping[str, Any] | None,
    settings: Settings,
) -> Call:
    """Start a conversion with one output."""
    body: dict[str, Any] = {
        "input_file": input_file,
        "output_file": output_file,
        "conversion_type": conversion_type,
        "options": dict(options or {}),
    }
    return _convert(body, settings)


def convert(
    input_file: str, outputs: Sequence[Output] | None, profile: str | None, settings: Settings
) -> Call:
    """Start a conversion with several outputs. Raises ValueError unless exactly one is given."""
    if (outputs is None) == (profile is None):
        raise ValueError("give either outputs or profile")
    body: dict[str, Any] = {"input_file": input_file}
    if outputs is not None:
        body["outputs"] = [dict(output) for output in outputs]
    if profile is not None:
        body["profile"] = profile
    return _convert(body, settings)


def _convert(body: dict[str, Any], settings: Settings) -> Call:
    """The call always has a key, so that it can be sent again."""
    body |= {
        name: value
        for name, value in settings.items()
        if value is not None and name != "idempotency_key"
    }
    key = settings.get("idempotency_key") or str(uuid.uuid4())
    return Call("POST", f"{BASE}/convert", body, {"Idempotency-Key": key})


def status(job_id: str, wait: float) -> Call:
    """Get the status of a conversion. The server waits up to ``wait`` seconds for its end."""
    params = {"wait": min(wait, MAX_WAIT_SECONDS)} if wait else {}
    return Call("GET", f"{BASE}/status/{quote(job_id, safe='')}", params=params)


def cancel(job_id: str) -> Call:
    """Request the cancellation. A 404 counts as success: there is nothing to cancel."""
    return Call("POST", f"{BASE}/cancel/{quote(job_id, safe='')}", accepts=frozenset({404}))


ACTIVE: Final = Call("GET", f"{BASE}/active")
QUEUE: Final = Call("GET", f"{BASE}/queue")
STATS: Final = Call("GET", f"{BASE}/stats")


def submit_content(
    content_id: str | int, content_type: str, file_path: str, retry: Collection[Retry]
) -> Call:
    """Start the missing conversions of an upload, and those that ended in a status of ``retry``."""
    body = {"content_id": content_id, "content_type": content_type, "file_path": file_path}
    return Call("POST", CONTENT, body, params={"retry": sorted(set(retry))} if retry else {})


def content(content_id: str | int) -> Call:
    """Get the conversions of an upload."""
    return Call("GET", f"{CONTENT}/{quote(str(content_id), safe='')}")


def request_arguments(call: Call, token_file: Path | None, namespace: str | None) -> dict[str, Any]:
    """The arguments for httpx2. Reads the token each time, because the kubelet rotates it."""
    headers = dict(call.headers)
    if token_file is not None:
        headers["Authorization"] = f"Bearer {token_file.read_text().strip()}"
    if namespace is not None:
        headers["X-Namespace"] = namespace
    return {
        "method": call.method,
        "url": call.path,
        "json": call.body,
        "params": dict(call.params),
        "headers": headers,
    }


def retry_options(tries: int) -> dict[str, Any]:
    """How tenacity repeats a request: up to ``tries`` times in all.

    The last response or error is the result.
    """
    return {
        "retry": retry_if_exception_type(httpx2.TransportError) | retry_if_result(_is_busy),
        "stop": stop_after_attempt(tries),
        "wait": _delay,
        "retry_error_callback": _last_result,
    }


def retry_delay(attempt: int, response: httpx2.Response | None) -> float | None:
    """Seconds to wait before the next try, at least Retry-After. None: do not retry.

    ``attempt`` is the number of tries so far. ``response`` is None if the connection failed.
    """
    if response is not None and not _is_busy(response):
        return None
    delay = min(_FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1), _LONGEST_DELAY_SECONDS)
    requested = response.headers.get("Retry-After", "") if response is not None else ""
    return (
        max(delay, min(float(requested), _LONGEST_DELAY_SECONDS))
        if requested.isdecimal()
        else delay
    )


def _is_busy(response: httpx2.Response) -> bool:
    return response.status_code in _RETRIED


def _delay(state: RetryCallState) -> float:
    outcome = state.outcome
    response = None if outcome is None or outcome.failed else outcome.result()
    return retry_delay(state.attempt_number, response) or 0.0


def _last_result(state: RetryCallState) -> httpx2.Response:
    assert state.outcome is not None  # noqa: S101  it is called after an attempt
    response: httpx2.Response = state.outcome.result()
    return response


def parse_response(call: Call, response: httpx2.Response) -> dict[str, Any]:
    """The JSON object of a response. Raises ConverterError, with the API's message if any."""
    try:
        body = cast("object", response.json())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ConverterError(
            f"{call.method} {call.path}: {response.status_code}, no JSON object",
            response.status_code,
        )
    fields = cast("dict[str, Any]", body)
    if response.is_error and response.status_code not in call.accepts:
        raise ConverterError(str(fields.get("error", response.reason_phrase)), response.status_code)
    return fields
