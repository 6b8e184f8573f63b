"""Callbacks: back-off and giving up, addresses rejected, signatures."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

import pytest

from conversion_operator.api.callback_hosts import AllowedHosts, HostLists, parse_hosts, url_problem
from conversion_operator.callbacks import addresses, policy
from conversion_operator.callbacks import message as signing

END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "last", "expected"),
    [(0, None, 0), (1, 0, 5), (2, 5, 15), (9, 1000, 1600), (9, 2999, 3599), (9, 3000, None)],
)
def test_next_send(attempts: int, last: int | None, expected: int | None) -> None:
    tried = None if last is None else END + timedelta(seconds=last)
    due = None if expected is None else END + timedelta(seconds=expected)
    assert policy.next_send_time(END, attempts, tried) == due


# IANA's registries of special-purpose addresses, except the blocks that are private.
IPV4_BLOCKS = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
IPV6_BLOCKS = [
    "::1/128",
    "::/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "4000::/3",
    "5f00::/16",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
METADATA_SERVICES = [
    "100.96.0.96",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "192.0.0.192",
    "fd00:42::42",
    "fd00:100::100:200",
    "fd00:a9fe:a9fe::1",
    "fd00:c1::a9fe:a9fe",
    "fd00:ec2::23",
    "fd00:ec2::254",
    "fd20:ce::254",
]


@pytest.mark.parametrize("block", IPV4_BLOCKS + IPV6_BLOCKS)
def test_no_address_of_a_special_block_is_allowed(block: str) -> None:
    network = ip_network(block)
    assert not addresses.may_connect(str(network[0]))
    assert not addresses.may_connect(str(network[-1]))


@pytest.mark.parametrize(
    "address", [str(ip_network(block)[at]) for block in IPV4_BLOCKS for at in (0, -1)]
)
def test_an_ipv6_form_does_not_hide_an_ipv4_address(address: str) -> None:
    number = int(ip_address(address))
    for prefix in ("::ffff:0:0", "64:ff9b::", "::", "::ffff:0:0:0"):
        assert not addresses.may_connect(str(IPv6Address(int(IPv6Address(prefix)) | number)))
    assert not addresses.may_connect(str(IPv6Address(0x2002 << 112 | number << 80)))


@pytest.mark.parametrize("address", METADATA_SERVICES)
def test_no_metadata_service_is_allowed(address: str) -> None:
    assert not addresses.may_connect(address)


@pytest.mark.parametrize(
    "address",
    [
        # Private addresses, and the first and last addresses beside the blocks.
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "100.127.255.255"),
        *("fc00::1", "fd12::1", "fdff:ffff::1", "fd00:ec1::1", "fd00:ec3::1"),
        *("1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0"),
        *("192.0.1.0", "192.0.3.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("2001:200::", "2001:db7::1", "2001:db9::1", "2003::1", "3fff:1000::", "2606:4700::1"),
        *("64:ff9b::808:808", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
    ],
)
def test_public_and_private_addresses_are_allowed(address: str) -> None:
    assert addresses.may_connect(address)


@pytest.mark.parametrize(
    "address", ["fe80::1%eth0", "fd12::1%eth0", "example.com", "127.1", "2130706433", "0x7f000001"]
)
def test_other_notations_and_zones_are_rejected(address: str) -> None:
    assert not addresses.may_connect(address)


@pytest.mark.parametrize(
    ("url", "rejected"),
    [
        ("https://hooks.example/a?b=c", None),
        ("http://HOOKS.example.:8080/", None),
        ("https://hooks.example.evil.test/", "hooks.example.evil.test is not in"),
        ("https://evil.test/hooks.example", "evil.test is not in"),
        ("https://hooks.example@evil.test/", "user name"),
        ("https://user:word@hooks.example/", "user name"),
        ("ftp://hooks.example/", "does not begin with http"),
        ("https://hooks.example:99999/", "is invalid"),
        ("https://[hooks.example/", "is invalid"),
        ("https:///path", "has no host"),
    ],
)
def test_targets(url: str, rejected: str | None) -> None:
    allowed = AllowedHosts(frozenset({"hooks.example"}))
    message = url_problem(url) or allowed.problem(url)
    assert message is None if rejected is None else rejected in (message or "")


@pytest.mark.parametrize(
    "host", ["2001:db8::1", "2001:DB8:0::1", "2001:0db8:0000:0000:0000:0000:0000:0001"]
)
@pytest.mark.parametrize("allowed", ["2001:db8::1", "2001:db8:0::0.0.0.1"])
def test_one_ipv6_address_has_many_notations(host: str, allowed: str) -> None:
    hosts = AllowedHosts(parse_hosts(allowed))
    assert hosts.problem(f"https://[{host}]:8443/hook") is None
    assert hosts.problem("https://[2001:db8::2]/hook") is not None


def test_an_empty_list_allows_no_host() -> None:
    assert AllowedHosts(frozenset()).problem("https://hooks.example/") is not None


def test_a_problem_names_the_host_and_nothing_else_of_the_url() -> None:
    lists = HostLists(frozenset({"a"}), {"team": frozenset({"b"}), "none": frozenset()})
    url = "https://b:8080/secret?token=abc"
    assert lists.of("other").problem(url) == "The host b is not in CONVERTER_CALLBACK_HOSTS"
    assert lists.of("team").problem(url) is None
    # A list of a namespace replaces the common list, even if it is empty.
    for namespace in ("team", "none"):
        problem = lists.of(namespace).problem("https://a/")
        assert problem is not None
        assert f"list of namespace {namespace} (CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE)" in problem
    long = AllowedHosts(frozenset()).problem(f"https://{'h' * 1000}/")
    assert long is not None
    assert len(long) < 200


def test_signature_is_that_of_the_standards_example() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signing.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
