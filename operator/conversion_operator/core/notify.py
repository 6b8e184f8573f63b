"""Callbacks: when to send, to which addresses, and how a message is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

GIVE_UP_AFTER = timedelta(hours=1)
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=10)

# Metadata services that are not on a link-local address: AWS over IPv6, Alibaba, Azure.
METADATA = tuple(
    ip_network(text) for text in ("fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32")
)
THIS_NETWORK = ip_network("0.0.0.0/8")
NAT64 = ip_network("64:ff9b::/96")


def next_send_at(
    ended: datetime,
    attempts: int,
    last_attempt: datetime | None,
    asked: timedelta = timedelta(0),
) -> datetime | None:
    """When to send next; None to give up, an hour after the conversion ``ended``.

    ``asked`` is how long the receiver wants to be left alone; at most LONGEST_DELAY is granted.
    """
    if attempts <= 0 or last_attempt is None:
        return ended
    delay = min(max(FIRST_DELAY * 2 ** min(attempts - 1, 16), asked), LONGEST_DELAY)
    due = last_attempt + delay
    return due if due < ended + GIVE_UP_AFTER else None


def refusal(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """Why ``url`` is never called, without quoting it; None if its host is on the list.

    ``allowed_hosts`` are exact names in lower case; an empty list allows no host.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        _ = parts.port  # raises for a port that is not a number below 65536
    except ValueError:
        return "The URL cannot be read"
    if parts.scheme not in ("http", "https"):
        return "The URL is neither http nor https"
    if "@" in parts.netloc:
        return "The URL holds a user name or password"
    if not host or host not in allowed_hosts:
        return "The host of the URL is not on the list of allowed hosts"
    return None


def may_connect(address: str) -> bool:
    """Whether a callback may go to this resolved IP address; private ones may be used."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return may_connect(str(inner))
    refused = ip.is_link_local or ip.is_loopback or ip.is_unspecified or ip.is_multicast
    # Reserved are, among others, the IPv6 addresses that once stood for IPv4 ones.
    refused = refused or ip.is_reserved or ip in THIS_NETWORK
    return not refused and not any(ip in network for network in METADATA)


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks; ``timestamp`` in seconds since 1970, ``secret`` is raw."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
