"""The hosts that callbacks may go to. The operator and the HTTP API decide with the same code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urlsplit

from conversion_operator.api.names import NAMESPACE_PATTERN

HOSTS_SETTING: Final = "CONVERTER_CALLBACK_HOSTS"
NAMESPACE_HOSTS_SETTING: Final = "CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE"

_HOST: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}")
_SHOWN_MAX_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts that callbacks of one namespace may go to, in their normal form.

    ``setting`` says where the list is.
    """

    hosts: frozenset[str]
    setting: str = HOSTS_SETTING

    def problem(self, url: str) -> str | None:
        """Why callbacks may not go to the host of a valid URL. None: they may.

        The text contains the host, but nothing else of the URL, which may contain a token.
        """
        host = host_of(url)
        if host in self.hosts:
            return None
        shown = host if len(host) <= _SHOWN_MAX_LENGTH else f"{host[: _SHOWN_MAX_LENGTH - 1]}…"
        return f"The host {shown} is not in {self.setting}"


@dataclass(frozen=True, slots=True)
class HostLists:
    """The allowed hosts of all namespaces. ``common`` is for those without a list of their own."""

    common: frozenset[str] = frozenset()
    by_namespace: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, namespace: str) -> AllowedHosts:
        """The allowed hosts of one namespace."""
        own = self.by_namespace.get(namespace)
        if own is None:
            return AllowedHosts(self.common)
        return AllowedHosts(own, f"the list of namespace {namespace} ({NAMESPACE_HOSTS_SETTING})")


def url_problem(url: str) -> str | None:
    """Why no callback can ever go to ``url``. None: the URL is valid. Never contains the URL."""
    try:
        parts = urlsplit(url)
        host = host_of(url)
        _ = parts.port  # raises for a port that is not a number below 65536
    except ValueError:
        return "The URL is invalid"
    if parts.scheme not in ("http", "https"):
        return "The URL does not begin with http:// or https://"
    if "@" in parts.netloc:
        return "The URL contains a user name or password"
    return None if host else "The URL has no host"


def host_of(url: str) -> str:
    """The host of a URL in its normal form, "" if it has none. Raises ValueError."""
    return _normal(urlsplit(url).hostname or "")


def parse_hosts(text: str) -> frozenset[str]:
    """Parse hosts separated by commas. Raises ValueError."""
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if not _HOST.fullmatch(name) and not _is_ipv6(name):
            raise ValueError(f"{name!r} is not a host name: no scheme, port or wildcard is allowed")
    return frozenset(map(_normal, names))


def parse_namespace_hosts(text: str) -> dict[str, frozenset[str]]:
    """Parse ``NAMESPACE=HOST,HOST``, separated by white space. Raises ValueError."""
    lists: dict[str, frozenset[str]] = {}
    for entry in text.split():
        namespace, equals, hosts = entry.partition("=")
        if not equals or not re.fullmatch(NAMESPACE_PATTERN, namespace):
            raise ValueError(f"{entry!r} must be NAMESPACE=HOST,HOST without spaces")
        if namespace in lists:
            raise ValueError(f"the namespace {namespace} has two lists")
        lists[namespace] = parse_hosts(hosts)
    return lists


def _normal(host: str) -> str:
    """Names in lower case, without the dot at the end. IPv6 addresses in their shortest form."""
    return str(IPv6Address(host)) if _is_ipv6(host) else host.lower().rstrip(".")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
