"""Sends requests with plain JSON to the API server, through the official client.

We use the client's configuration, authentication (it reads rotated tokens again), TLS and URLs. We
do not use its typed models, because they reject incomplete objects such as a new pod. Every request
has a timeout here. Otherwise a server or network that fails without closing the connection would
stop the operator.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.request import getproxies_environment

import aiohttp
import orjson
from aiohttp.http import HttpProcessingError
from kubernetes.aio import client, config

from conversion_operator.cluster import pages
from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    Expired,
    NotFound,
    Rejected,
    TooLarge,
    Unavailable,
)
from conversion_operator.cluster.objects import Body, WatchEvent

_READ_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)
# Shorter than the time between losing the Lease and the start of the next leader, so that no write
# of the former leader arrives after that. See controller/leadership.py.
_WRITE_TIMEOUT: Final = aiohttp.ClientTimeout(total=8, connect=5)
# The server ends a watch after this time, or after the time that the caller gives. If it is so much
# later, the connection is broken.
_WATCH_SECONDS: Final = 45
_LATE_SECONDS: Final = 15
# How many pages of lists are in memory at the same time. Others wait until one has been parsed.
_PAGES_AT_ONCE: Final = 4
# How many objects are parsed before other tasks may run. New ones take about 5 ms.
_SLICE: Final = 50
# How often a list is started again because its next page has expired.
_LIST_RESTARTS: Final = 3
# The longest pause that a response may ask for. The API server asks for some seconds. A proxy must
# not stop the operator for longer.
_LONGEST_PAUSE: Final = 60.0
_VERSION: Final = "resourceVersion"
NO_ANSWER: Final = "none"
"""What stands for the code of a request without an answer."""
_VERBS: Final = {"POST": "create", "PUT": "update"}

Page = TypeVar("Page")


async def load_configuration() -> client.Configuration:
    """Load the service account in a pod, or the kubeconfig of kubectl outside a pod."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration, persist_config=False)
    return configuration


class Transport:
    """Connections to one API server. Close it after use.

    ``on_answer`` gets the verb and the code of each request when it is answered, or "none" as the
    code if there is no answer. The verbs are those of Kubernetes, such as "list" and "watch".
    """

    def __init__(self, configuration: client.Configuration, user_agent: str) -> None:
        configuration.retries = None  # the callers decide whether and when to retry
        # aiohttp looks for a proxy, and for a .netrc file, in a thread for each request. This took
        # a tenth of the operator's CPU time.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        self._api = client.ApiClient(configuration)
        # Watches last long and have connections of their own, as many as they need. Otherwise a
        # request would wait for a connection until a watch ends.
        pool_size, configuration.connection_pool_maxsize = configuration.connection_pool_maxsize, 0
        self._watches = client.ApiClient(configuration)
        configuration.connection_pool_maxsize = pool_size
        self._api.user_agent = self._watches.user_agent = user_agent
        # The clock of this machine, until the first response.
        self._server_time = datetime.now(UTC)
        self._server_time_at = time.monotonic()
        self._pages = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._large_object = asyncio.Lock()
        self._closed = False
        self.on_answer: Callable[[str, str], None] = lambda *_: None

    async def close(self) -> None:
        """Close all connections. Later requests raise Unavailable."""
        self._closed = True
        await self._watches.close()
        await self._api.close()

    def now(self) -> datetime:
        """The time of the API server: the Date header of a response, plus the time since then."""
        return self._server_time + timedelta(seconds=time.monotonic() - self._server_time_at)

    async def watch(
        self,
        path: str,
        query: list[tuple[str, str]],
        opened: Callable[[], None] = lambda: None,
        seconds: float = _WATCH_SECONDS,
    ) -> AsyncGenerator[WatchEvent[Body]]:
        """Watch the objects that ``path`` lists. Calls ``opened`` when the server has accepted it.

        The server ends the watch after ``seconds``. Bookmarks keep the version recent while no
        object changes.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(max(1, round(seconds)))),
            *query,
        ]
        limits = aiohttp.ClientTimeout(total=None, connect=5, sock_read=seconds + _LATE_SECONDS)
        response = await self.send("GET", path, query, limits=limits, api=self._watches)
        opened()
        try:
            async for line in response.content:
                if line.strip():
                    yield _parse_line(line)
        except (
            *(aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError),
            HttpProcessingError,  # a line is too long
        ) as error:
            raise Unavailable(f"the watch of {path} broke: {error!r}") from error
        finally:
            response.close()

    async def list_pages(
        self, path: str, query: list[tuple[str, str]], parse: Callable[[Body], Page]
    ) -> list[Page]:
        """LIST in pages. Returns what ``parse`` returns for each slice. Raises a ClusterError.

        A slice is a page with a part of its objects: other tasks run between the slices. All pages
        show the same state of the server. If the server no longer has this state, the list starts
        again, so the result is never a part of a list.
        """

        async def parse_slices(page: Body) -> list[Page]:
            return await _parse_slices(page, parse)

        parsed: list[Page] = []
        limit, token, restarts = pages.FIRST_LIMIT, "", 0
        while True:
            try:
                page, token, limit = await self._fitting_page(
                    path, query, limit, token, parse_slices
                )
            except Expired:
                if not token or restarts == _LIST_RESTARTS:
                    raise
                parsed, token, restarts = [], "", restarts + 1
                continue
            parsed += page
            if not token:
                return parsed

    async def first_page(
        self, path: str, query: list[tuple[str, str]], limit: int, parse: Callable[[Body], Page]
    ) -> Page:
        """LIST ``limit`` objects, or fewer if they are large. Raises a ClusterError."""

        async def parse_whole(page: Body) -> Page:
            return parse(page)

        page, _, _ = await self._fitting_page(path, query, limit, "", parse_whole)
        return page

    async def _fitting_page(
        self,
        path: str,
        query: list[tuple[str, str]],
        limit: int,
        token: str,
        parse: Callable[[Body], Awaitable[Page]],
    ) -> tuple[Page, str, int]:
        """One page, with fewer objects if it is too large; the next token; the next limit."""
        while True:
            try:
                page, next_token, size = await self._list_page(path, query, limit, token, parse)
            except pages.TooLarge:
                if limit == 1:
                    raise TooLarge(f"GET {path}: an object is too large to read") from None
                limit = pages.smaller_limit(limit)
            else:
                return page, next_token, pages.larger_limit(limit, size)

    async def _list_page(
        self,
        path: str,
        query: list[tuple[str, str]],
        limit: int,
        token: str,
        parse: Callable[[Body], Awaitable[Page]],
    ) -> tuple[Page, str, int]:
        """One page, the token of the next page, "" if there is none, and the size in bytes."""
        query = [*query, ("limit", str(limit))]
        if token:
            # The token names the version. The server rejects a request that has both.
            query = [(name, value) for name, value in query if not name.startswith(_VERSION)]
            query.append(("continue", token))
        response = await self.send("GET", path, query)
        try:
            async with self._pages:
                body, size = await self._read(f"GET {path}", response, one_object=limit == 1)
                return await parse(body), body["metadata"].get("continue") or "", size
        finally:
            response.close()

    async def request(
        self,
        verb: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Any = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON of the response. Raises a ClusterError."""
        response = await self.send(verb, path, query or [], body, limits)
        try:
            content, _ = await self._read(f"{verb} {path}", response, one_object=True)
            return content
        except pages.TooLarge:
            raise TooLarge(f"{verb} {path}: the object is too large to read") from None
        finally:
            response.close()

    async def _read(
        self, request: str, response: aiohttp.ClientResponse, *, one_object: bool
    ) -> tuple[dict[str, Any], int]:
        """The JSON of a response, and its size in bytes. Raises Unavailable or pages.TooLarge."""
        try:
            raw = (
                await pages.read_object(response.content, self._large_object)
                if one_object
                else await pages.read_page(response.content)
            )
            body: dict[str, Any] = orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{request}: the response is incomplete: {error!r}") from error
        return body, len(raw)

    async def send(
        self,
        verb: str,
        path: str,
        query: list[tuple[str, str]],
        body: Any = None,
        limits: aiohttp.ClientTimeout | None = None,
        api: client.ApiClient | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request. The caller reads and closes the response. Raises a ClusterError.

        ``limits`` are the timeouts. None: those for reads or writes, by ``verb``. ``api`` has the
        connections to use. None: those of requests.
        """
        content_type = "application/json-patch+json" if verb == "PATCH" else "application/json"
        # The body is plain JSON already. The client would walk through it to make it so.
        method, url, headers, _, _ = await self._api.param_serialize(
            verb,
            path,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        response: aiohttp.ClientResponse | None = None
        try:
            if self._closed:
                # The client would open a session that nobody closes.
                raise Unavailable(f"{method} {path}: the connections are closed")
            rest_response = await (api or self._api).call_api(
                method,
                url,
                headers,
                body,
                _request_timeout=limits or (_READ_TIMEOUT if verb == "GET" else _WRITE_TIMEOUT),
            )
            response = rest_response.response
            self._update_time(response)
            self.on_answer(_verb(verb, query), str(response.status))
            if response.status >= 400:
                text = await response.text(errors="replace")
                raise _error(verb, path, response, text)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            if response is None:
                self.on_answer(_verb(verb, query), NO_ANSWER)
            raise Unavailable(f"{verb} {path}: {error!r}") from error
        return response

    def _update_time(self, response: aiohttp.ClientResponse) -> None:
        stamp = response.headers.get("Date")
        if not stamp:
            return
        # The header has whole seconds. If we used every header, the time could go back by up to a
        # second between two responses. So we only correct larger differences.
        server_time = _parse_date(stamp)
        if abs((server_time - self.now()).total_seconds()) > 1.5:
            self._server_time, self._server_time_at = server_time, time.monotonic()


class Client:
    """Base class of the two clients of the API server. Close it after use."""

    def __init__(self, configuration: client.Configuration, user_agent: str) -> None:
        self._transport = Transport(configuration, user_agent)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def count_requests(self, on_answer: Callable[[str, str], None]) -> None:
        """Call this with the verb and the code of each request from now on."""
        self._transport.on_answer = on_answer

    def now(self) -> datetime:
        """The time of the API server. The clock of this machine may be wrong."""
        return self._transport.now()


@lru_cache(maxsize=8)
def _parse_date(stamp: str) -> datetime:
    """The time of a Date header. All responses of a second have the same one."""
    return parsedate_to_datetime(stamp)


def _verb(method: str, query: list[tuple[str, str]]) -> str:
    """What Kubernetes calls a request, for metrics."""
    parameters = dict(query)
    if method == "GET":
        return "watch" if "watch" in parameters else "list" if "limit" in parameters else "get"
    return _VERBS.get(method, method.lower())


async def _parse_slices(page: Body, parse: Callable[[Body], Page]) -> list[Page]:
    """Parse a page in slices. A page without objects is one slice."""
    items, parsed = page["items"], []
    for start in range(0, max(1, len(items)), _SLICE):
        parsed.append(parse({**page, "items": items[start : start + _SLICE]}))
        await asyncio.sleep(0)
    return parsed


def _parse_line(line: bytes) -> WatchEvent[Body]:
    event = orjson.loads(line)
    kind, body = event["type"], event["object"]
    if kind == "ERROR":
        message = body.get("message", "")
        if body.get("code") == 410:
            raise Expired(message)
        raise Unavailable(f"the watch ended with an error: {message}")
    version = body["metadata"]["resourceVersion"]
    return WatchEvent(kind, version, None if kind == "BOOKMARK" else body)


def _error(verb: str, path: str, response: aiohttp.ClientResponse, text: str) -> ClusterError:
    try:
        body = json.loads(text)
        details, named = str(body["message"]), bool((body.get("details") or {}).get("name"))
    except (ValueError, KeyError, TypeError, AttributeError):
        details, named = text[:200], False
    message = f"{verb} {path}: {response.status} {details}"
    status = response.status
    if status == 404:
        # Without the name of an object, it is the path that is not served: the CRD is missing, or
        # the API server has just started. This says nothing about the object.
        return NotFound(message) if named else Unavailable(message)
    if status == 409:
        return Conflict(message)
    if status == 410:
        return Expired(message)
    if status == 429 or status >= 500 or status in (401, 408):
        # 401 too: the kubelet has rotated the token, and the client will soon read the new one.
        after = response.headers.get("Retry-After", "")
        # Digits of other scripts satisfy isdigit(), too.
        seconds = float(after) if after.isascii() and after.isdigit() else None
        return Unavailable(message, None if seconds is None else min(seconds, _LONGEST_PAUSE))
    return Rejected(details, status)
