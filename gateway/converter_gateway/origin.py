"""Refuses what a page of another site makes a browser send. No I/O but ASGI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OTHER_SITE: Final = "a page of another site may not call this API"
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]/@]+)(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?)://([^/]+)")
_PORTS: Final = {"http": "80", "https": "443"}


class SameOrigin:
    """Responds 403 to calls of the API that a page of another site makes a browser send.

    With GATEWAY_AUTH=network, nothing else keeps such a page from cancelling conversions while
    somebody forwards a port to the API. ``hosts`` are the names that callers may use for the API.
    None: any name.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            if problem := problem_of(headers, self._hosts):
                await JSONResponse({"error": problem}, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def problem_of(headers: Mapping[bytes, str], hosts: frozenset[str] | None) -> str:
    """Why a request may come from a page of another site. "" if it does not.

    ``headers`` have names in lower case. No page may change the ones that count here:

    - Sec-Fetch-Site says whose page it is. Browsers send it over HTTPS and to loopback only.
    - Otherwise, Origin says it. Browsers send it with all but GET and HEAD, and with each GET whose
      response the page of another site wants to read.
    - An owner of a name can let it point to the address of the API (DNS rebinding). Then the page
      and the API have the same origin for the browser, and the name in Host is that of the page. A
      page without a token can do nothing where tokens are required. So ``hosts`` is None there.
    """
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    site = headers.get(b"sec-fetch-site")
    if site in ("cross-site", "same-site"):
        return _OTHER_SITE
    # With a proxy that changes Host, both differ. Then the browser knows it better.
    if site not in ("same-origin", "none") and origin is not None and not _equal(origin, host):
        return _OTHER_SITE
    if hosts is not None and host and not is_known(host, hosts):
        return (
            "with GATEWAY_AUTH=network, the name of the API in the header Host must be that of its "
            "Service, localhost, an IP address, or one in GATEWAY_HOSTS"
        )
    return ""


def is_known(host: str, hosts: frozenset[str]) -> bool:
    """True if the header Host has a name in ``hosts``, or one that nobody else can own."""
    found = _AUTHORITY.fullmatch(host.lower())
    if found is None:
        return False
    name = found[1].removesuffix(".")
    if name == "localhost" or name in hosts:
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _equal(origin: str, host: str) -> bool:
    """True if the header Origin has the host and the port of the header Host.

    A proxy may end TLS. So the scheme of the API is unknown, and that of the page counts.
    """
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        return False  # such as null, of a sandboxed frame
    default = ":" + _PORTS[found[1]]
    return found[2].removesuffix(default) == host.lower().removesuffix(default)
