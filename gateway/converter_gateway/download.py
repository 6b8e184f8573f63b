"""The ASGI response that passes a file on to a caller, without keeping it in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from converter_gateway.file_client import RemoteFile

# The content is of strangers: a browser must neither guess its type nor run anything in it.
SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}

logger = logging.getLogger(__name__)


class Download(Response):
    """Sends a file until its end, or until the caller disconnects.

    ``headers`` has all headers except those about the length. A caller that reads nothing for
    ``stall_seconds`` is disconnected. If the file server fails, the connection is closed before
    the promised length, so the caller sees that the file is not complete.
    """

    media_type = "application/octet-stream"

    def __init__(self, file: RemoteFile, headers: Mapping[str, str], stall_seconds: float) -> None:
        super().__init__(status_code=file.status)
        self._file, self._stall = file, stall_seconds
        lengths = {"Content-Length": str(file.length), "Accept-Ranges": "bytes"}
        if file.content_range:
            lengths["Content-Range"] = file.content_range
        self._sent_headers = {**headers, **lengths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        sending = asyncio.current_task()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if sending:
                sending.cancel()

        headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in self._sent_headers.items()]
        watching: asyncio.Task[None] | None = None
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": headers}
            )
            watching = asyncio.create_task(watch())
            async with aclosing(self._file.chunks()) as chunks:
                async for chunk in chunks:
                    async with asyncio.timeout(self._stall):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if watching is None or not watching.done():
                raise  # the server stops, not the caller
        except (OSError, TimeoutError) as error:
            logger.warning("a download ended too early: %s", error)
        finally:
            if watching:
                watching.cancel()
            self._file.close()
