"""Fetches files from the file servers, which run in the namespaces of conversions."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

import aiohttp

from converter_gateway.errors import ApiError
from converter_gateway.file_signature import (
    EXPIRES,
    FILE_PATH,
    FILE_SIZE,
    PROOF,
    SIGNATURE,
    VALID_SECONDS,
    FileRequest,
    folder_of,
    is_proof,
    read_secret,
    sign,
)

SECRET_FOLDER: Final = Path("/etc/my-network-converter-files")
"""The folder with the secrets that the API shares with file servers, from an optional Secret."""
MISSING: Final = "file_server_missing"
_CHUNK_BYTES: Final = 65_536
_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 20.0
# Who may create Services in a namespace decides what is at the address. So nothing there may hold
# the downloads of others: neither by bytes that arrive one by one, nor by many slow answers.
_HEADER_SECONDS: Final = 10.0
_MAX_WAITING: Final = 8
_NO_ADDRESS: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})

logger = logging.getLogger(__name__)


class RemoteFile:
    """A file, or a part of one, that a file server sends. Close it.

    ``status`` is 200, 206 or 416. ``size`` is that of the whole file in bytes, ``length`` that of
    the part. ``content_range`` is the header of this name, "" without one.
    """

    def __init__(self, response: aiohttp.ClientResponse, size: int) -> None:
        self._response = response
        self.status, self.size = response.status, size
        self.length = response.content_length or 0
        self.content_range = response.headers.get("content-range", "")

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The bytes. Raises OSError if the file server ends too early, or is too slow."""
        try:
            async for chunk in self._response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"the file server has not sent the whole file: {error!r}") from error

    def close(self) -> None:
        """Close the connection, unless all was read."""
        self._response.close()


class FileClient:
    """Knows where the file server of each namespace is, and signs requests to it.

    ``address`` is a URL with ``{namespace}`` in its host. "": there are no file servers.
    ``volume_folder`` returns the setting CONVERTER_VOLUME_FOLDER of now, None if it is unknown.
    """

    def __init__(
        self,
        address: str,
        volume_folder: Callable[[], str | None],
        secrets: Path | None = None,
    ) -> None:
        self._address, self._secrets = address, secrets or SECRET_FOLDER
        self._volume_folder = volume_folder
        self._session: aiohttp.ClientSession | None = None
        self._waiting: Counter[str] = Counter()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def open(self, namespace: str, path: str, byte_range: str = "") -> RemoteFile | None:
        """Open a file on the volume of a namespace. None if there is no such file.

        ``namespace`` must be a valid name. ``byte_range`` is a valid header Range, or "". Raises
        ApiError 404 with the reason MISSING if there is no file server, and 503 if it does not
        answer.
        """
        secret = self._secret(namespace)
        if not self._address or secret is None:
            raise _missing(namespace)
        setting = self._volume_folder()
        if setting is None:
            raise _unavailable(
                namespace, "is not asked: CONVERTER_VOLUME_FOLDER of the operator is not known"
            )
        folder = folder_of(setting, namespace)
        expires = int(time.time()) + VALID_SECONDS
        request = FileRequest(namespace, folder, path, byte_range, expires)
        signature = sign(secret, request)
        headers = {EXPIRES: str(request.expires), SIGNATURE: signature}
        if byte_range:
            headers["Range"] = byte_range
        response = await self._get(namespace, path, headers)
        size = response.headers.get(FILE_SIZE, "")
        proof = response.headers.get(PROOF, "")
        if not is_proof(secret, signature, size, proof):
            # Whoever may create Services in the namespace decides what is at the address.
            response.close()
            logger.warning("%s is not answered by a file server with our secret", namespace)
            raise _unavailable(
                namespace, "does not have the same secret and CONVERTER_VOLUME_FOLDER"
            )
        if response.status == 404:
            response.close()
            return None
        if response.status not in (200, 206, 416) or not size.isdigit():
            response.close()
            raise _unavailable(namespace, "cannot read the file")
        return RemoteFile(response, int(size))

    def _secret(self, namespace: str) -> bytes | None:
        try:
            return read_secret(self._secrets, namespace)
        except OSError as error:
            logger.error("Cannot read the secret of the file servers: %s", error)
            raise _unavailable(namespace, "cannot be asked without a secret") from None

    async def _get(
        self, namespace: str, path: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer, up to its headers. The look-up of the name counts to the time, too."""
        url = self._address.replace("{namespace}", namespace) + FILE_PATH
        if self._waiting[namespace] >= _MAX_WAITING:
            raise _unavailable(namespace, "has not answered other requests yet")
        self._waiting[namespace] += 1
        try:
            async with asyncio.timeout(_HEADER_SECONDS):
                return await self._opened().get(
                    url, params={"path": path}, headers=headers, allow_redirects=False
                )
        except aiohttp.ClientConnectorDNSError as error:
            if getattr(error.os_error, "errno", None) in _NO_ADDRESS:
                raise _missing(namespace) from None
            raise _unavailable(namespace, "has a name that cannot be looked up now") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("the file server of %s: %s", namespace, error)
            raise _unavailable(namespace, "does not respond") from None
        finally:
            self._waiting[namespace] -= 1
            if not self._waiting[namespace]:
                del self._waiting[namespace]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # The limits of downloads are those of ProgressLimit.
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=10, resolver=aiohttp.ThreadedResolver()
            )
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_CHUNK_BYTES,
            )
        return self._session


def _missing(namespace: str) -> ApiError:
    return ApiError(
        404,
        f"namespace {namespace} has no file server, so the API cannot read files there: apply the "
        "component deploy/namespace/files and create the secret, as docs/logs.md says",
        reason=MISSING,
    )


def _unavailable(namespace: str, why: str) -> ApiError:
    return ApiError(503, f"the file server of namespace {namespace} {why}, try again", 5)
