"""The blocking client. :mod:`mynetwork_converter.async_client` has the same calls for asyncio."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack, cast

import httpx2
from tenacity import Retrying

from mynetwork_converter import protocol
from mynetwork_converter.listener import STREAM_TIMEOUT, Event, Listener
from mynetwork_converter.part import Part
from mynetwork_converter.protocol import Call, ConverterError, Filters
from mynetwork_converter.shapes import (
    ContentStatus,
    ConversionDetails,
    ConversionPage,
    ConversionSummary,
    FailedRetried,
    JobNotFound,
    JobStatus,
    Output,
    Phase,
    QueuedJob,
    QueueStatus,
    Retry,
    RetryStarted,
    Settings,
    Stats,
)

# The server may take MAX_WAIT_SECONDS to respond to a status call.
TIMEOUT: Final = httpx2.Timeout(10.0, read=protocol.MAX_WAIT_SECONDS + 15)
TRIES: Final = 5


class Client:
    """The blocking client. Every call raises ConverterError.

    ``token_file`` is the mounted service account token, for GATEWAY_AUTH=token. ``namespace`` is
    the namespace of the conversions, by default the caller's own. The client sends a call again
    after a response 429 or 503 or a lost connection, up to ``tries`` times in all.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token_file: Path | None = None,
        namespace: str | None = None,
        tries: int = TRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._token_file, self._namespace, self._tries = token_file, namespace, tries
        self._http = httpx2.Client(base_url=base_url, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def convert_file(
        self,
        input_file: str,
        output_file: str,
        conversion_type: str,
        options: Mapping[str, Any] | None = None,
        **settings: Unpack[Settings],
    ) -> str:
        """Start a conversion and return its job id. The same key returns the same job id.

        :class:`mynetwork_converter.Settings` explains the other arguments.
        """
        call = protocol.convert_file(input_file, output_file, conversion_type, options, settings)
        return str(self._send(call)["job_id"])

    def convert(
        self,
        input_file: str,
        *,
        outputs: Sequence[Output] | None = None,
        profile: str | None = None,
        **settings: Unpack[Settings],
    ) -> str:
        """Start a conversion with several outputs and return its job id.

        Give either ``outputs``, 1 to 8 of them, or ``profile``, the name of a ConversionProfile
        that lists them. :class:`mynetwork_converter.Settings` explains the other arguments.
        """
        call = protocol.convert(input_file, outputs, profile, settings)
        return str(self._send(call)["job_id"])

    def get_job_status(self, job_id: str, *, wait: float = 0) -> JobStatus | JobNotFound:
        """The status of a conversion. Waits for its end up to ``wait`` seconds, maximum 60."""
        return cast("JobStatus | JobNotFound", self._send(protocol.status(job_id, wait)))

    def cancel_job(self, job_id: str) -> bool:
        """Request the cancellation. Returns False if the conversion is unknown or has ended."""
        return "message" in self._send(protocol.cancel(job_id))

    def get_active_jobs(self) -> list[JobStatus]:
        """All conversions that have not ended, including waiting ones."""
        return cast("list[JobStatus]", self._send(protocol.ACTIVE)["active_jobs"])

    def get_queue(self) -> list[QueuedJob]:
        """All conversions that wait for an attempt, the next one first."""
        return cast("list[QueuedJob]", self._send(protocol.QUEUE)["queue"])

    def get_stats(self) -> Stats:
        """Settings of the operator, and counts of conversions."""
        return cast("Stats", self._send(protocol.STATS))

    def submit_content(
        self,
        content_id: str | int,
        content_type: str,
        file_path: str,
        retry_failed: bool = False,
        *,
        retry: Collection[Retry] = (),
    ) -> ContentStatus:
        """Start the conversions that an upload needs, such as a preview and a thumbnail.

        ``content_type`` is a MIME type, or video, audio or image. It is safe to repeat the call: it
        returns the same conversions and starts missing ones. It starts failed and cancelled
        conversions again only if ``retry`` names them; ``retry_failed=True`` is the same as
        ``retry=["failed"]``. The response contains the paths of the outputs.
        """
        phases: list[Retry] = [*retry, *(("failed",) if retry_failed else ())]
        call = protocol.submit_content(content_id, content_type, file_path, phases)
        return cast("ContentStatus", self._send(call))

    def get_content(self, content_id: str | int) -> ContentStatus:
        """The conversions of an upload. Includes only those whose ConversionJobs still exist."""
        return cast("ContentStatus", self._send(protocol.content(content_id)))

    def get_conversions(
        self,
        *,
        phases: Collection[Phase] = (),
        conversion_type: str | None = None,
        queue: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> ConversionPage:
        """One page of at most ``limit`` conversions, maximum 200. ``search`` is in a name or path.

        ``after`` is the ``continue`` of the page before. The newest come first. If all ``phases``
        are ends, the latest end comes first. If it is Queued alone, the next one comes first.
        """
        filters = Filters(phases, conversion_type, queue, search)
        call = protocol.conversions(filters, limit, after)
        return cast("ConversionPage", self._send(call))

    def all_conversions(
        self,
        *,
        phases: Collection[Phase] = (),
        conversion_type: str | None = None,
        queue: str | None = None,
        search: str | None = None,
    ) -> Generator[ConversionSummary]:
        """The conversions of all pages, as in get_conversions."""
        filters, after = Filters(phases, conversion_type, queue, search), None
        while True:
            call = protocol.conversions(filters, protocol.MAX_PAGE, after)
            page = cast("ConversionPage", self._send(call))
            yield from page["conversions"]
            if (after := page.get("continue")) is None:
                return

    def get_conversion(self, job_id: str) -> ConversionDetails:
        """Everything about a conversion, with its attempts and what its reason means."""
        return cast("ConversionDetails", self._send(protocol.conversion(job_id)))

    def retry_job(self, job_id: str) -> RetryStarted:
        """Run a conversion again that has ended. It is safe to repeat the call."""
        return cast("RetryStarted", self._send(protocol.retry(job_id)))

    def retry_failed(self, *, limit: int | None = None, after: str | None = None) -> FailedRetried:
        """Retry at most ``limit`` conversions that have failed, maximum 100.

        ``after`` is the ``continue`` of the response before.
        """
        return cast("FailedRetried", self._send(protocol.retry_failed(limit, after)))

    def get_queues(self) -> list[QueueStatus]:
        """The ConversionQueues of the installation."""
        return cast("list[QueueStatus]", self._send(protocol.QUEUES)["queues"])

    def hold_queue(self, queue: str, *, drain: bool = False) -> QueueStatus:
        """Let no conversion of the queue start. With ``drain``, also stop those that run."""
        return cast("QueueStatus", self._send(protocol.hold(queue, drain)))

    def resume_queue(self, queue: str) -> QueueStatus:
        """Let conversions of the queue start again."""
        return cast("QueueStatus", self._send(protocol.resume(queue)))

    def get_log(self, job_id: str, *, attempt: int | None = None) -> str:
        """The log of an attempt, by default of the last one."""
        call = protocol.log(job_id, attempt)
        return protocol.parse_text(call, self._respond(call))

    def download_output(self, job_id: str, target: Path, *, index: int = 0) -> None:
        """Download an output to a file. ``index`` is its place in ``outputs``.

        The file at ``target`` is replaced when the download is complete and has the SHA-256 that
        the conversion reports. Until then, the bytes are in a temporary file beside it. Raises
        OSError if this cannot be written.
        """
        call = protocol.output(job_id, index)
        response = self._respond(call, self._download, target)
        if not response.is_success:
            protocol.parse_response(call, response)

    def get_vtt(self, job_id: str, *, index: int = 0) -> str:
        """The WebVTT file of a storyboard. ``index`` is the place of the storyboard."""
        call = protocol.vtt(job_id, index)
        return protocol.parse_text(call, self._respond(call))

    def events(
        self, job_id: str | None = None, *, last_event_id: str | None = None
    ) -> Generator[Event]:
        """The events of one conversion, or of all conversions in the namespace.

        The first events are the current state of ``job_id``, or of all unfinished conversions. With
        ``last_event_id``, the first events are those after this id instead. After a lost
        connection, the client reconnects and resumes. With ``job_id``, the generator stops when the
        conversion ends. Otherwise it never stops. Raises ConverterError, with code 404 if
        ``job_id`` is unknown.
        """
        listener = Listener(job_id, last_event_id, self._tries)
        while True:
            response, failure = None, ""
            try:
                call = listener.next_call()
                request = protocol.request_arguments(call, self._token_file, self._namespace)
                with self._http.stream(**request, timeout=STREAM_TIMEOUT) as stream:
                    if stream.is_success:
                        for block in httpx2.EventSource(stream):
                            if event := listener.receive(block):
                                yield event
                            if listener.ended:
                                return
                    else:
                        stream.read()
                    response = stream
            except httpx2.TransportError as error:
                failure = f"the event stream broke: {error!r}"
            time.sleep(listener.reconnect_delay(response, failure))

    def _send(self, call: Call) -> dict[str, Any]:
        return protocol.parse_response(call, self._respond(call))

    def _respond(
        self, call: Call, send: Callable[..., httpx2.Response] | None = None, *more: Path
    ) -> httpx2.Response:
        try:
            return Retrying(**protocol.retry_options(self._tries))(
                send or self._request, call, *more
            )
        except httpx2.TransportError as error:
            raise ConverterError(f"{call.method} {call.path}: {error!r}") from error

    def _request(self, call: Call) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        return self._http.request(**arguments)

    def _download(self, call: Call, target: Path) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        digest = hashlib.sha256()
        with self._http.stream(**arguments) as response:
            if not response.is_success:
                response.read()
                return response
            with Part(target) as part:
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    part.write(chunk)
                protocol.check_digest(call, response, digest.hexdigest())
                part.publish()
        return response
