"""Answers requests of the HTTP API for files. An ASGI application without a framework."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from converter_gateway.file_server.beneath import OpenFile, open_file
from converter_gateway.file_server.ranges import Part, is_range, part_of
from converter_gateway.file_signature import (
    EXPIRES,
    FILE_PATH,
    FILE_SIZE,
    PROOF,
    SIGNATURE,
    FileRequest,
    is_valid,
    prove,
)

HEALTH_PATH: Final = "/healthz"
_CHUNK_BYTES: Final = 262_144
# The HTTP API gives up earlier on a caller that does not read.
_STALL_SECONDS: Final = 120.0

Headers = list[tuple[bytes, bytes]]

logger = logging.getLogger(__name__)


class FileServer:
    """Serves the regular files beneath an open folder to who knows the secret.

    ``folder`` is the folder of the volume that is open, "" for the whole volume. The API must know
    the same one: a path from the root of another folder is that of another file.

    ``read_secret`` returns the secret of now, None if there is none. ``clock`` returns a Unix time.
    """

    def __init__(
        self,
        root: int,
        namespace: str,
        read_secret: Callable[[], bytes | None],
        folder: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root, self._namespace, self._folder = root, namespace, folder
        self._read_secret, self._clock = read_secret, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Never raises before it has sent an answer, and says nothing to a stranger."""
        if scope["type"] != "http":
            return
        if scope["path"] == HEALTH_PATH:
            await _answer(send, 200)
            return
        secret = self._read_secret()
        request, signature = self._parse(scope)
        if request and secret and is_valid(secret, request, signature, self._clock()):
            # The server drops what is sent after the API has disconnected, and says nothing.
            ended = asyncio.ensure_future(_disconnected(receive))
            try:
                await self._serve(secret, request, signature, _Sender(send, ended))
            finally:
                ended.cancel()
        else:
            await _answer(send, 403)

    def _parse(self, scope: Scope) -> tuple[FileRequest | None, str]:
        if scope["method"] != "GET" or scope["path"] != FILE_PATH:
            return None, ""
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        given = {name: headers.get(name, b"").decode("latin-1") for name in (EXPIRES, SIGNATURE)}
        byte_range = headers.get("range", b"").decode("latin-1")
        expires = given[EXPIRES]
        if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
            return None, ""
        try:
            query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=1)
        except ValueError:
            return None, ""
        path = query.get("path", [""])[0]
        request = FileRequest(self._namespace, self._folder, path, byte_range, int(expires))
        return request, given[SIGNATURE]

    async def _serve(
        self, secret: bytes, request: FileRequest, signature: str, sender: _Sender
    ) -> None:
        def proof(size: str = "") -> Headers:
            return [(PROOF.encode(), prove(secret, signature, size).encode())]

        try:
            file = await asyncio.to_thread(open_file, self._root, request.path)
        except FileNotFoundError:
            await _answer(sender.send, 404, proof())
            return
        except (OSError, ValueError) as error:
            logger.warning("cannot open a file: %s", error)
            await _answer(sender.send, 500, proof())
            return
        try:
            size = str(file.size)
            headers = [*proof(size), (FILE_SIZE.encode(), size.encode())]
            await _send_file(file, request.byte_range, headers, sender)
        finally:
            os.close(file.fd)


class _Sender(NamedTuple):
    """Sends to the API. ``ended`` is done when the API has disconnected."""

    send: Send
    ended: asyncio.Future[None]


async def _send_file(file: OpenFile, byte_range: str, headers: Headers, sender: _Sender) -> None:
    part = part_of(byte_range, file.size)
    if part is None:
        await _answer(sender.send, 416, [*headers, (b"content-range", b"bytes */%d" % file.size)])
        return
    status = 200
    if is_range(byte_range):
        status = 206
        whole = (part.start, part.end - 1, file.size)
        headers = [*headers, (b"content-range", b"bytes %d-%d/%d" % whole)]
    headers = [*headers, (b"content-length", b"%d" % (part.end - part.start))]
    await sender.send({"type": "http.response.start", "status": status, "headers": headers})
    await _send_part(file, part, sender)


async def _send_part(file: OpenFile, part: Part, sender: _Sender) -> None:
    """Send the bytes of a part. Raises OSError if the file has become shorter."""
    position, (send, ended) = part.start, sender
    while position < part.end:
        if ended.done():
            return
        wanted = min(_CHUNK_BYTES, part.end - position)
        data = await asyncio.to_thread(os.pread, file.fd, wanted, position)
        if not data:
            # The connection is closed, so the other side sees that the file is not complete.
            raise OSError("the file became shorter while it was sent")
        position += len(data)
        async with asyncio.timeout(_STALL_SECONDS):
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, headers: Headers | None = None) -> None:
    start = {"type": "http.response.start", "status": status}
    await send(start | {"headers": [*(headers or []), (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
