"""The client for asyncio. It has the calls of :mod:`mynetwork_converter.client`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, cast

import httpx2
from tenacity import AsyncRetrying

from mynetwork_converter import protocol
from mynetwork_converter.client import TIMEOUT, TRIES
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


class AsyncClient:
    """Like Client, for asyncio."""

    def __init__(
        self,
        base_url: str,
        *,
        token_file: Path | None = None,
        namespace: str | None = None,
        tries: int = TRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._token_file, self._namespace, self._tries = token_file, namespace, tries
        self._http = httpx2.AsyncClient(base_url=base_url, timeout=TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def convert_file(
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
        return str((await self._send(call))["job_id"])

    async def convert(
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
        return str((await self._send(call))["job_id"])

    async def get_job_status(self, job_id: str, *, wait: float = 0) -> JobStatus | JobNotFound:
        """The status of a conversion. Waits for its end up to ``wait`` seconds, maximum 60."""
        return cast("JobStatus | JobNotFound", await self._send(protocol.status(job_id, wait)))

    async def cancel_job(self, job_id: str) -> bool:
        """Request the cancellation. Returns False if the conversion is unknown or has ended."""
        return "message" in await self._send(protocol.cancel(job_id))

    async def get_active_jobs(self) -> list[JobStatus]:
        """All conversions that have not ended, including waiting ones."""
        return cast("list[JobStatus]", (await self._send(protocol.ACTIVE))["active_jobs"])

    async def get_queue(self) -> list[QueuedJob]:
        """All conversions that wait for an attempt, the next one first."""
        return cast("list[QueuedJob]", (await self._send(protocol.QUEUE))["queue"])

    async def get_stats(self) -> Stats:
        """Settings of the operator, and counts of conversions."""
        return cast("Stats", await self._send(protocol.STATS))

    async def submit_content(
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
        return cast("ContentStatus", await self._send(call))

    async def get_content(self, content_id: str | int) -> ContentStatus:
        """The conversions of an upload. Includes only those whose ConversionJobs still exist."""
        return cast("ContentStatus", await self._send(protocol.content(content_id)))

    async def get_conversions(
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
        return cast("ConversionPage", await self._send(call))

    async def all_conversions(
        self,
        *,
        phases: Collection[Phase] = (),
        conversion_type: str | None = None,
        queue: str | None = None,
        search: str | None = None,
    ) -> AsyncGenerator[ConversionSummary]:
        """The conversions of all pages, as in get_conversions."""
        filters, after = Filters(phases, conversion_type, queue, search), None
        while True:
            call = protocol.conversions(filters, protocol.MAX_PAGE, after)
            page = cast("ConversionPage", await self._send(call))
            for conversion in page["conversions"]:
                yield conversion
            if (after := page.get("continue")) is None:
                return

    async def get_conversion(self, job_id: str) -> ConversionDetails:
        """Everything about a conversion, with its attempts and what its reason means."""
        return cast("ConversionDetails", await self._send(protocol.conversion(job_id)))

    async def retry_job(self, job_id: str) -> RetryStarted:
        """Run a conversion again that has ended. It is safe to repeat the call."""
        return cast("RetryStarted", await self._send(protocol.retry(job_id)))

    async def retry_failed(
        self, *, limit: int | None = None, after: str | None = None
    ) -> FailedRetried:
        """Retry at most ``limit`` conversions that have failed, maximum 100.

        ``after`` is the ``continue`` of the response before.
        """
        return cast("FailedRetried", await self._send(protocol.retry_failed(limit, after)))

    async def get_queues(self) -> list[QueueStatus]:
        """The ConversionQueues of the installation."""
        return cast("list[QueueStatus]", (await self._send(protocol.QUEUES))["queues"])

    async def hold_queue(self, queue: str, *, drain: bool = False) -> QueueStatus:
        """Let no conversion of the queue start. With ``drain``, also stop those that run."""
        return cast("QueueStatus", await self._send(protocol.hold(queue, drain)))

    async def resume_queue(self, queue: str) -> QueueStatus:
        """Let conversions of the queue start again."""
        return cast("QueueStatus", await self._send(protocol.resume(queue)))

    async def get_log(self, job_id: str, *, attempt: int | None = None) -> str:
        """The log of an attempt, by default of the last one."""
        call = protocol.log(job_id, attempt)
        return protocol.parse_text(call, await self._respond(call))

    async def download_output(self, job_id: str, target: Path, *, index: int = 0) -> None:
        """Download an output to a file. ``index`` is its place in ``outputs``.

        The file at ``target`` is replaced when the download is complete and has the SHA-256 that
        the conversion reports. Until then, the bytes are in a temporary file beside it. Raises
        OSError if this cannot be written.
        """
        call = protocol.output(job_id, index)
        response = await self._respond(call, self._download, target)
        if not response.is_success:
            protocol.parse_response(call, response)

    async def get_vtt(self, job_id: str, *, index: int = 0) -> str:
        """The WebVTT file of a storyboard. ``index`` is the place of the storyboard."""
        call = protocol.vtt(job_id, index)
        return protocol.parse_text(call, await self._respond(call))

    async def events(
        self, job_id: str | None = None, *, last_event_id: str | None = None
    ) -> AsyncGenerator[Event]:
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
                async with self._http.stream(**request, timeout=STREAM_TIMEOUT) as stream:
                    if stream.is_success:
                        async for block in httpx2.EventSource(stream):
                            if event := listener.receive(block):
                                yield event
                            if listener.ended:
                                return
                    else:
                        await stream.aread()
                    response = stream
            except httpx2.TransportError as error:
                failure = f"the event stream broke: {error!r}"
            await asyncio.sleep(listener.reconnect_delay(response, failure))

    async def _send(self, call: Call) -> dict[str, Any]:
        return protocol.parse_response(call, await self._respond(call))

    async def _respond(
        self,
        call: Call,
        send: Callable[..., Awaitable[httpx2.Response]] | None = None,
        *more: Path,
    ) -> httpx2.Response:
        retrying = AsyncRetrying(**protocol.retry_options(self._tries))
        try:
            response: httpx2.Response = await retrying(send or self._request, call, *more)
        except httpx2.TransportError as error:
            raise ConverterError(f"{call.method} {call.path}: {error!r}") from error
        return response

    async def _request(self, call: Call) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        return await self._http.request(**arguments)

    async def _download(self, call: Call, target: Path) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        digest = hashlib.sha256()
        async with self._http.stream(**arguments) as response:
            if not response.is_success:
                await response.aread()
                return response
            with await asyncio.to_thread(Part, target) as part:
                async for chunk in response.aiter_bytes():
                    digest.update(chunk)
                    await asyncio.to_thread(part.write, chunk)
                protocol.check_digest(call, response, digest.hexdigest())
                await asyncio.to_thread(part.publish)
        return response
