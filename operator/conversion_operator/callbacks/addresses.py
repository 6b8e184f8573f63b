"""Decides which IP addresses a callback may go to.

Public and private addresses are allowed, because receivers have these. All other addresses in
IANA's registries of special-purpose addresses are rejected, and so are metadata services of clouds.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_IPV4_REJECTED: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata services of most clouds
        "192.0.0.0/24",  # protocol assignments; the metadata service of Oracle Cloud Classic
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
        # Metadata services with addresses that look public or private.
        "100.96.0.96/32",  # Volcengine
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
    )
)

_IPV6_ALLOWED: Final = (
    IPv6Network("2000::/3"),  # global unicast
    IPv6Network("fc00::/7"),  # private (unique local)
)
"""Everything outside these two blocks is rejected: loopback, link-local, site-local, multicast,
discard-only, segment routing and unallocated addresses, and the forms that contain an IPv4 address.
"""

_IPV6_REJECTED: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, AMT, AS112, ORCHID, drone ids
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: a tunnel to any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        # Metadata services with private addresses.
        "fd00:42::42/128",  # Scaleway
        "fd00:100::100:200/128",  # Alibaba
        "fd00:a9fe:a9fe::1/128",  # Linode
        "fd00:c1::a9fe:a9fe/128",  # Oracle
        "fd00:ec2::/32",  # AWS: instance metadata, credentials of pods, DNS, time
        "fd20:ce::254/128",  # Google
    )
)

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""Addresses that stand for an IPv4 address, in clusters without IPv4."""


def may_connect(address: str) -> bool:
    """Whether a callback may go to this IP address. It may go to private addresses."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _may_connect_v4(ip)
    if ip.ipv4_mapped is not None:
        return _may_connect_v4(ip.ipv4_mapped)
    if ip in _NAT64:
        return _may_connect_v4(IPv4Address(int(ip) & 0xFFFFFFFF))
    return _may_connect_v6(ip)


def _may_connect_v4(ip: IPv4Address) -> bool:
    return not any(ip in block for block in _IPV4_REJECTED)


def _may_connect_v6(ip: IPv6Address) -> bool:
    # Only link-local addresses need a zone.
    if ip.scope_id is not None or not any(ip in block for block in _IPV6_ALLOWED):
        return False
    return not any(ip in block for block in _IPV6_REJECTED)
