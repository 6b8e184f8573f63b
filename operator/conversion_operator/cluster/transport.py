"""Sends requests to the API server, with plain JSON, through the official client.

We use the client's configuration, its authentication (it re-reads rotated tokens), TLS and URLs.
We do not use its typed models, because they refuse incomplete objects such as a new pod. Every
request has a timeout on this side: a server or network that goes silent without closing the
connection must not block the operator.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio import client, config

from conversion_operator.cluster.errors import (
    ClusterError,
    Conflict,
    Expired,
    NotFound,
    Refused,
    Unavailable,
)
from conversion_operator.cluster.objects import Body, WatchEvent

_READ_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)
# A write that was sent just before leadership was lost must not arrive after another operator
# became leader. See controller/leadership.py.
_WRITE_TIMEOUT: Final = aiohttp.ClientTimeout(total=8, connect=5)
# The server ends a watch after this time. A watch that is silent for longer is dead.
_WATCH_SECONDS: Final = 45
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=_WATCH_SECONDS + 15)


async def load_configuration() -> client.Configuration:
    """Load the pod's service account or, outside of a pod, the kubeconfig that kubectl uses."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration, persist_config=False)
    return configuration


class Transport:
    """Connections to one API server. Close it after use."""

    def __init__(self, configuration: client.Configuration, user_agent: str) -> None:
        configuration.retries = None  # callers decide whether and when to retry
        self._api = client.ApiClient(configuration)
        self._api.user_agent = user_agent
        # This machine's clock, until the first answer.
        self._server_time = datetime.now(UTC)
        self._server_time_at = time.monotonic()

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    def now(self) -> datetime:
        """The API server's time: the Date header of an answer, plus the time since then."""
        return self._server_time + timedelta(seconds=time.monotonic() - self._server_time_at)

    async def watch(
        self, path: str, query: list[tuple[str, str]]
    ) -> AsyncGenerator[WatchEvent[Body]]:
        """Watch what ``path`` lists. Bookmarks keep the version fresh while nothing changes."""
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(_WATCH_SECONDS)),
            *query,
        ]
        response = await self.send("GET", path, query, limits=_WATCH_TIMEOUT)
        try:
            async for line in response.content:
                if line.strip():
                    yield _parse_line(line)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"the watch of {path} broke: {error!r}") from error
        finally:
            response.close()

    async def request(
        self, verb: str, path: str, query: list[tuple[str, str]] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """Send a request and return the JSON of the answer. Raises a ClusterError."""
        response = await self.send(verb, path, query or [], body)
        try:
            answer: dict[str, Any] = orjson.loads(await response.read())
            return answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{verb} {path}: the answer is incomplete: {error!r}") from error

    async def send(
        self,
        verb: str,
        path: str,
        query: list[tuple[str, str]],
        body: Any = None,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request. The caller reads and closes the answer. Raises a ClusterError."""
        content_type = "application/json-patch+json" if verb == "PATCH" else "application/json"
        method, url, headers, data, _ = await self._api.param_serialize(
            verb,
            path,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(
                method,
                url,
                headers,
                data,
                _request_timeout=limits or (_READ_TIMEOUT if verb == "GET" else _WRITE_TIMEOUT),
            )
            response: aiohttp.ClientResponse = answer.response
            self._update_time(response)
            if response.status >= 400:
                text = await response.text(errors="replace")
                raise _error(verb, path, response, text)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{verb} {path}: {error!r}") from error
        return response

    def _update_time(self, response: aiohttp.ClientResponse) -> None:
        stamp = response.headers.get("Date")
        if not stamp:
            return
        # The header has whole seconds. Using every header would make the time jump back by up to
        # a second between two answers, so only larger differences are corrected.
        server_time = parsedate_to_datetime(stamp)
        if abs((server_time - self.now()).total_seconds()) > 1.5:
            self._server_time, self._server_time_at = server_time, time.monotonic()


class Client:
    """Base class of the API server's clients. Owns one Transport. Close it after use."""

    def __init__(self, configuration: client.Configuration, user_agent: str) -> None:
        self._transport = Transport(configuration, user_agent)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def now(self) -> datetime:
        """The API server's time, because this machine's clock may be wrong."""
        return self._transport.now()


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
        details = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        details = text[:200]
    message = f"{verb} {path}: {response.status} {details}"
    status = response.status
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(message)
    if status == 410:
        return Expired(message)
    if status == 429 or status >= 500 or status in (401, 408):
        # 401 too: the token was just rotated, and the client will soon re-read it.
        after = response.headers.get("Retry-After", "")
        return Unavailable(message, float(after) if after.isdigit() else None)
    return Refused(details, status)
