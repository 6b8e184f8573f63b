"""Builds requests, parses responses, and decides when to retry. Does no I/O."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import httpx2
from tenacity import RetryCallState, retry_if_exception_type, retry_if_result, stop_after_attempt

from mynetwork_converter.shapes import Output, Phase, Retry, Settings

BASE: Final = "/api/v1/converter"
CONTENT: Final = "/api/v1/content"
MAX_WAIT_SECONDS: Final = 60.0
"""The longest wait that the API accepts in a status call."""

MAX_PAGE: Final = 200
"""The most conversions on a page."""

_RETRIED: Final = frozenset({429, 503})
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0


class ConverterError(Exception):
    """A call failed. ``code`` is the HTTP status, 0 if there was no response.

    ``reason`` is the API's word for programs, such as file_server_missing. Few errors have one.
    """

    def __init__(self, message: str, code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Filters:
    """Which conversions a list has. Without a value, a field does not filter."""

    phases: Collection[Phase] = ()
    conversion_type: str | None = None
    queue: str | None = None
    search: str | None = None


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


def conversions(filters: Filters, limit: int | None, after: str | None) -> Call:
    """Get one page of conversions."""
    given = {
        "phase": list(filters.phases),
        "type": filters.conversion_type,
        "queue": filters.queue,
        "search": filters.search,
        "limit": limit,
        "continue": after,
    }
    return Call("GET", f"{BASE}/conversions", params=_given(given))


def conversion(job_id: str) -> Call:
    """Get everything about one conversion."""
    return Call("GET", f"{BASE}/conversions/{quote(job_id, safe='')}")


def retry(job_id: str) -> Call:
    """Run a conversion again that has ended. The same conversion has one retry only."""
    return Call("POST", f"{BASE}/retry/{quote(job_id, safe='')}")


def retry_failed(limit: int | None, after: str | None) -> Call:
    """Retry those that have failed and have no retry."""
    return Call("POST", f"{BASE}/retry", params=_given({"limit": limit, "continue": after}))


QUEUES: Final = Call("GET", f"{BASE}/queues")


def hold(queue: str, drain: bool) -> Call:
    """Hold a queue."""
    params: dict[str, float | str | list[str]] = {"drain": "true"} if drain else {}
    return Call("POST", f"{BASE}/queues/{quote(queue, safe='')}/hold", params=params)


def resume(queue: str) -> Call:
    """Resume a queue."""
    return Call("POST", f"{BASE}/queues/{quote(queue, safe='')}/resume")


def log(job_id: str, attempt: int | None) -> Call:
    """Get the log of an attempt."""
    path = f"{BASE}/logs/{quote(job_id, safe='')}"
    return Call("GET", path, params=_given({"attempt": attempt}))


def output(job_id: str, index: int) -> Call:
    """Get an output file. Its bytes are counted, so they must arrive as they are."""
    path = f"{BASE}/outputs/{quote(job_id, safe='')}/{index}"
    return Call("GET", path, headers={"Accept-Encoding": "identity"})


def vtt(job_id: str, index: int) -> Call:
    """Get the WebVTT file of a storyboard."""
    return Call("GET", f"{BASE}/outputs/{quote(job_id, safe='')}/{index}/vtt")


def _given(values: Mapping[str, object]) -> dict[str, Any]:
    """Those that have a value."""
    return {name: value for name, value in values.items() if value not in (None, "", [])}


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
        message = str(fields.get("error", response.reason_phrase))
        raise ConverterError(message, response.status_code, str(fields.get("code", "")))
    return fields


def parse_text(call: Call, response: httpx2.Response) -> str:
    """The text of a response. Raises ConverterError."""
    if not response.is_success:
        parse_response(call, response)
    return response.text


def check_digest(call: Call, response: httpx2.Response, sha256: str) -> None:
    """Raise ConverterError if a file is not the one that the conversion has made."""
    if response.headers.get("ETag") != f'"{sha256}"':
        raise ConverterError(f"{call.method} {call.path}: the file has another SHA-256")
