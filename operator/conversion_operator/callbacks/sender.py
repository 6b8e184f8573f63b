"""Sends callbacks over HTTP, only to allowed addresses.

Each request resolves the host name once, checks all addresses, and connects to one of them. Because
there is no second lookup, the name cannot resolve to another address after the check. aiohttp does
not resolve an IP address in a URL, so we check the address again when a socket is created.
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

from conversion_operator.callbacks.addresses import may_connect
from conversion_operator.callbacks.lanes import MOST_OPEN
from conversion_operator.callbacks.policy import Response

TIMEOUT_SECONDS: Final = 10.0
_LOOKUP_THREADS: Final = MOST_OPEN
"""One for each callback that is being sent: a lookup that gets no response lasts for seconds. Each
host has one lookup at a time."""

Lookup = Callable[[str], Awaitable[list[str]]]
"""Resolves a host name to its addresses. Raises OSError if it has none."""

AddressInfo = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]
]


class AddressRejected(OSError):
    """The host has an address that callbacks must not go to."""


class CallbackSender:
    """Sends callbacks over HTTP. Close it after use.

    ``check`` returns True for an allowed address. ``seconds`` limits a whole request, including
    the lookup and connecting. The sender ignores proxy variables of the environment, because a
    proxy could connect to any address.
    """

    def __init__(
        self,
        check: Callable[[str], bool] = may_connect,
        lookup: Lookup | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._check, self._seconds = check, seconds
        # Slow lookups must not use up the threads that resolve the API server's name.
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="callback-lookup")
        self._lookup = lookup or self._resolve
        # By host, the lookups in progress.
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """POST once. Does not read the response's body and does not follow redirects."""
        try:
            async with self._open_session().post(
                url, headers=headers, data=body, allow_redirects=False
            ) as response:
                return Response(response.status, response.headers.get("Retry-After", ""))
        except TimeoutError:
            return Response(problem=f"The receiver did not respond within {self._seconds:.0f} s")
        except aiohttp.ClientConnectorCertificateError:
            return Response(problem="The certificate of the host is not trusted")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRejected):
                return Response(problem="The host has an address that callbacks must not use")
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                return Response(problem="The host name cannot be resolved")
            return Response(problem="The host does not accept connections")
        except (aiohttp.ClientError, OSError, ValueError):
            # These messages may quote the URL.
            return Response(problem="The receiver did not send a valid response")

    async def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        """The session, created inside the event loop.

        Each request opens its own connection. A reused connection would keep an address that the
        host no longer has.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_CheckedResolver(self._lookup, self._check),
                use_dns_cache=False,
                force_close=True,
                limit=0,  # the callback loop limits the requests per host
                socket_factory=self._make_socket,
                ssl=create_tls_context(),
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
            raise AddressRejected("rejected")
        return socket.socket(family, kind, protocol)

    async def _resolve(self, host: str) -> list[str]:
        """The addresses of a host, from the lookup in progress if there is one.

        A lookup cannot be cancelled, and may last much longer than a request. So a host whose name
        servers do not respond occupies one thread, however often it is tried.
        """
        lookup = self._lookups.get(host)
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = loop.run_in_executor(self._threads, _look_up, host)
            self._lookups[host] = lookup
            lookup.add_done_callback(lambda done: self._end_lookup(host, done))
        return await asyncio.shield(lookup)

    def _end_lookup(self, host: str, lookup: asyncio.Future[list[str]]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # otherwise asyncio logs it if all requests were over before


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def create_tls_context() -> ssl.SSLContext:
    """Trust the certificate authorities in the file SSL_CERT_FILE, by default Mozilla's.

    The operator's image contains no authorities except those of certifi.
    """
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())


class _CheckedResolver(AbstractResolver):
    """Rejects a host if one of its addresses is not allowed.

    Using the other addresses of the host would hide an attack or a mistake.
    """

    def __init__(self, lookup: Lookup, check: Callable[[str], bool]) -> None:
        self._lookup, self._check = lookup, check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a host for aiohttp. Raises AddressRejected, or OSError if it has no address."""
        addresses = await self._lookup(host)
        if not addresses:
            raise OSError("no address")
        if not all(self._check(address) for address in addresses):
            raise AddressRejected("rejected")
        return [_resolved(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing to close."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=0, flags=flags
    )
