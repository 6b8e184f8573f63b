"""What goes over the wire, free of I/O: requests, answers, and when to ask again."""

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
LONGEST_WAIT: Final = 60.0
"""Seconds the API lets a status call wait at most."""

_ASK_AGAIN: Final = frozenset({429, 503})
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


class ConverterError(Exception):
    """The API refused, or gave no answer. ``code`` is the HTTP status, 0 if there was none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ActiveJob(TypedDict, total=False):
    """A conversion that has not ended. Times are naive UTC in ISO format."""

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
    """``status`` is running, completed, failed, cancelled or not_found. Sizes are bytes."""

    end_time: str
    output_size: int
    error: str
    logs: str


class ContentStatus(TypedDict, total=False):
    """``status`` is running, completed, failed, cancelled, incomplete, nothing_to_do or not_found.

    With not_found there is an ``error`` and no ``conversions``.
    """

    content_id: str
    status: str
    message: str
    conversions: list[JobStatus]
    error: str


class Stats(TypedDict, total=False):
    """Settings, and counts over the ConversionJobs that still exist. ``success_rate`` is 0 to 1."""

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
    """One request. Each may be repeated: what starts something is the same by key or by content."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, float | str] = field(default_factory=dict)
    accepts: frozenset[int] = frozenset()


def conversion(
    input_file: str,
    output_file: str,
    conversion_type: str,
    options: Mapping[str, Any] | None,
    callback_url: str | None,
) -> dict[str, Any]:
    """What a call of convert asks for."""
    body = {
        "input_file": input_file,
        "output_file": output_file,
        "conversion_type": conversion_type,
        "options": dict(options or {}),
    }
    return body | ({"callback_url": callback_url} if callback_url is not None else {})


def convert(body: Mapping[str, Any], idempotency_key: str | None) -> Call:
    """Start a conversion. Without a key of the caller's, one for this very call."""
    key = idempotency_key or str(uuid.uuid4())
    return Call("POST", f"{BASE}/convert", body, {"Idempotency-Key": key})


def status(job_id: str, wait: float) -> Call:
    """The status of a conversion, at the latest after ``wait`` seconds."""
    params = {"wait": min(wait, LONGEST_WAIT)} if wait else {}
    return Call("GET", f"{BASE}/status/{quote(job_id, safe='')}", params=params)


def cancel(job_id: str) -> Call:
    """Cancel a conversion; 404 says that there is nothing to cancel."""
    return Call("POST", f"{BASE}/cancel/{quote(job_id, safe='')}", accepts=frozenset({404}))


ACTIVE: Final = Call("GET", f"{BASE}/active")
STATS: Final = Call("GET", f"{BASE}/stats")


def submit_content(
    content_id: str | int, content_type: str, file_path: str, retry_failed: bool
) -> Call:
    """Start what an upload needs and has not got."""
    body = {"content_id": content_id, "content_type": content_type, "file_path": file_path}
    return Call("POST", CONTENT, body, params={"retry": "failed"} if retry_failed else {})


def content(content_id: str | int) -> Call:
    """The conversions of an upload."""
    return Call("GET", f"{CONTENT}/{quote(str(content_id), safe='')}")


def request_of(call: Call, token_file: Path | None, namespace: str | None) -> dict[str, Any]:
    """What httpx is to send. The token is read each time: the kubelet replaces it now and then."""
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


def pause_before(attempt: int, response: httpx.Response | None) -> float | None:
    """Seconds until the next try, the server's wish respected; None if this answer stands.

    ``attempt`` counts the tries made, from 1. Without a response the connection failed.
    """
    if response is not None and response.status_code not in _ASK_AGAIN:
        return None
    own = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
    wish = response.headers.get("Retry-After", "") if response is not None else ""
    return max(own, min(float(wish), _LONGEST_PAUSE)) if wish.isdecimal() else own


def answer_of(call: Call, response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. ConverterError with the API's own words if it is an error."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConverterError(
            f"{call.method} {call.path}: {response.status_code}, and no JSON object",
            response.status_code,
        )
    if response.is_error and response.status_code not in call.accepts:
        raise ConverterError(str(answer.get("error", response.reason_phrase)), response.status_code)
    return cast("dict[str, Any]", answer)
