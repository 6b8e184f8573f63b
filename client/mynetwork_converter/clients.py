"""The two clients. Both have the same calls: one blocks, the other is for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack, cast

import httpx2
from tenacity import AsyncRetrying, Retrying

from mynetwork_converter import protocol
from mynetwork_converter.listener import STREAM_TIMEOUT, Event, Listener
from mynetwork_converter.protocol import (
    Call,
    ContentStatus,
    ConverterError,
    JobNotFound,
    JobStatus,
    Output,
    QueuedJob,
    Retry,
    Settings,
    Stats,
)

# The server may take MAX_WAIT_SECONDS to respond to a status call.
_TIMEOUT: Final = httpx2.Timeout(10.0, read=protocol.MAX_WAIT_SECONDS + 15)
_TRIES: Final = 5


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
        tries: int = _TRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._token_file, self._namespace, self._tries = token_file, namespace, tries
        self._http = httpx2.Client(base_url=base_url, timeout=_TIMEOUT, transport=transport)

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
        try:
            response = Retrying(**protocol.retry_options(self._tries))(self._request, call)
        except httpx2.TransportError as error:
            raise ConverterError(f"{call.method} {call.path}: {error!r}") from error
        return protocol.parse_response(call, response)

    def _request(self, call: Call) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        return self._http.request(**arguments)


class AsyncClient:
    """Like Client, for asyncio."""

    def __init__(
        self,
        base_url: str,
        *,
        token_file: Path | None = None,
        namespace: str | None = None,
        tries: int = _TRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._token_file, self._namespace, self._tries = token_file, namespace, tries
        self._http = httpx2.AsyncClient(base_url=base_url, timeout=_TIMEOUT, transport=transport)

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
        retrying = AsyncRetrying(**protocol.retry_options(self._tries))
        try:
            response: httpx2.Response = await retrying(self._request, call)
        except httpx2.TransportError as error:
            raise ConverterError(f"{call.method} {call.path}: {error!r}") from error
        return protocol.parse_response(call, response)

    async def _request(self, call: Call) -> httpx2.Response:
        arguments = protocol.request_arguments(call, self._token_file, self._namespace)
        return await self._http.request(**arguments)
