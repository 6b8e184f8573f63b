"""Sends callbacks: to addresses that may be called, and to no other.

The name of the host is looked up once a request, every address it has is checked, and one of those
is connected to: there is no second look-up that could say something else. An address that is
written in the URL is not looked up, hence the check of the very address a socket is made for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult

from conversion_operator.callbacks.policy import Answer, may_connect

SECONDS: Final = 10.0
_LOOKUPS: Final = 8

Lookup = Callable[[str], Awaitable[list[str]]]
"""From the name of a host to its addresses; OSError if it has none."""

AddressInfo = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]
]


class AddressRefused(OSError):
    """A host has an address that is never called."""


class CallbackSender:
    """Callbacks over HTTP. Close it after use.

    ``check`` says of an address whether it may be called; a request takes at most so many
    ``seconds``, the look-up and the connecting included. Nothing is taken from the environment:
    a proxy there would connect to what it likes.
    """

    def __init__(
        self,
        check: Callable[[str], bool] = may_connect,
        lookup: Lookup | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._check, self._seconds = check, seconds
        # Names that take long to be found must not hold up those who look up the API server.
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="callback-lookup")
        self._lookup = lookup or self._ask_system
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once. The answer's body is not read, and redirects are not followed."""
        try:
            async with self._open().post(
                url, headers=headers, data=body, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers.get("Retry-After", ""))
        except TimeoutError:
            return Answer(problem=f"There was no answer within {self._seconds:.0f} s")
        except aiohttp.ClientConnectorCertificateError:
            return Answer(problem="The certificate of the host is not trusted")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                return Answer(problem="The host has an address that is never called")
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                return Answer(problem="The host is not found")
            return Answer(problem="The host cannot be connected to")
        except (aiohttp.ClientError, OSError, ValueError):
            # Their words may quote the URL.
            return Answer(problem="There was no answer that can be understood")

    async def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """The session, made within the loop. Each request has a connection of its own: one kept
        open would outlive a change of what its host's name stands for."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_CheckedResolver(self._lookup, self._check),
                use_dns_cache=False,
                force_close=True,
                limit=0,  # whoever calls bounds it, host by host
                socket_factory=self._make_socket,
                ssl=trusted(),
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=4096,
                headers={"User-Agent": "my-network-converter"},
            )
        return self._session

    def _make_socket(self, info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not self._check(str(address[0])):
            raise AddressRefused("refused")
        return socket.socket(family, kind, protocol)

    async def _ask_system(self, host: str) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def trusted() -> ssl.SSLContext:
    """TLS by the authorities in the file SSL_CERT_FILE names, else by those of Mozilla: the
    operator's image has none of a system."""
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())


class _CheckedResolver(AbstractResolver):
    """Refuses a name if any of its addresses is refused, rather than picking the others: such a
    name is somebody's attempt, or a mistake to be told of."""

    def __init__(self, lookup: Lookup, check: Callable[[str], bool]) -> None:
        self._lookup, self._check = lookup, check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host, for aiohttp."""
        addresses = await self._lookup(host)
        if not addresses:
            raise OSError("no address")
        if not all(self._check(address) for address in addresses):
            raise AddressRefused("refused")
        return [_resolved(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing to close."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=0, flags=flags
    )
