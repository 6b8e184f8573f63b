"""Builds requests, parses responses, and decides when to retry. Does no I/O."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict, cast
from urllib.parse import quote

import httpx

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


class ActiveJob(TypedDict, total=False):
    """An unfinished conversion. Times are naive UTC in ISO format."""

    job_id: str
    status: str
    conversion_type: str
    start_time: str
    duration_seconds: float
    input_file: str
    output_file: str
    phase: str
    progress: int
    queue_position: int
    eta_seconds: int
    reason: str


class JobStatus(ActiveJob, total=False):
    """``status`` is running, completed, failed, cancelled or not_found. Sizes are in bytes."""

    end_time: str
    output_size: int
    error: str
    logs: str


class ContentStatus(TypedDict, total=False):
    """``status`` is running, completed, failed, cancelled, incomplete, nothing_to_do or not_found.

    With not_found, ``error`` is present and ``conversions`` is absent.
    """

    content_id: str
    status: str
    message: str
    conversions: list[JobStatus]
    error: str


class Stats(TypedDict, total=False):
    """Settings, and counts over the existing ConversionJobs. ``success_rate`` is 0 to 1."""

    max_parallel_jobs: int
    active_jobs_count: int
    docker_sock_path: None
    converter_image: str
    supported_conversions: list[str]
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
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, float | str] = field(default_factory=dict)
    accepts: frozenset[int] = frozenset()


def convert(
    input_file: str,
    output_file: str,
    conversion_type: str,
    options: Mapping[str, Any] | None,
    callback_url: str | None,
    idempotency_key: str | None,
) -> Call:
    """Start a conversion. None as key: use a random key, so that the call can be retried."""
    body: dict[str, Any] = {
        "input_file": input_file,
        "output_file": output_file,
        "conversion_type": conversion_type,
        "options": dict(options or {}),
    }
    if callback_url is not None:
        body["callback_url"] = callback_url
    key = idempotency_key or str(uuid.uuid4())
    return Call("POST", f"{BASE}/convert", body, {"Idempotency-Key": key})


def status(job_id: str, wait: float) -> Call:
    """Get the status of a conversion. The server waits up to ``wait`` seconds for its end."""
    params = {"wait": min(wait, MAX_WAIT_SECONDS)} if wait else {}
    return Call("GET", f"{BASE}/status/{quote(job_id, safe='')}", params=params)


def cancel(job_id: str) -> Call:
    """Request the cancellation. A 404 counts as success: there is nothing to cancel."""
    return Call("POST", f"{BASE}/cancel/{quote(job_id, safe='')}", accepts=frozenset({404}))


ACTIVE: Final = Call("GET", f"{BASE}/active")
STATS: Final = Call("GET", f"{BASE}/stats")


def submit_content(
    content_id: str | int, content_type: str, file_path: str, retry_failed: bool
) -> Call:
    """Start the missing conversions of an upload."""
    body = {"content_id": content_id, "content_type": content_type, "file_path": file_path}
    return Call("POST", CONTENT, body, params={"retry": "failed"} if retry_failed else {})


def content(content_id: str | int) -> Call:
    """Get the conversions of an upload."""
    return Call("GET", f"{CONTENT}/{quote(str(content_id), safe='')}")


def httpx_arguments(call: Call, token_file: Path | None, namespace: str | None) -> dict[str, Any]:
    """The arguments for httpx. Reads the token each time, because the kubelet rotates it."""
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


def retry_delay(attempt: int, response: httpx.Response | None) -> float | None:
    """Seconds to wait before the next try, at least Retry-After. None: do not retry.

    ``attempt`` is the number of tries so far. ``response`` is None if the connection failed.
    """
    if response is not None and response.status_code not in _RETRIED:
        return None
    delay = min(_FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1), _LONGEST_DELAY_SECONDS)
    requested = response.headers.get("Retry-After", "") if response is not None else ""
    return (
        max(delay, min(float(requested), _LONGEST_DELAY_SECONDS))
        if requested.isdecimal()
        else delay
    )


def parse_response(call: Call, response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a response. Raises ConverterError, with the API's message if any."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ConverterError(
            f"{call.method} {call.path}: {response.status_code}, no JSON object",
            response.status_code,
        )
    if response.is_error and response.status_code not in call.accepts:
        raise ConverterError(str(body.get("error", response.reason_phrase)), response.status_code)
    return cast("dict[str, Any]", body)
