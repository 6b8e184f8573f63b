"""Who may call the API through a browser."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from converter_gateway.origin import is_known, problem_of
from converter_gateway.settings import GatewaySettings

SERVICE = "my-network-converter-gateway"


def problem(hosts: frozenset[str] | None = None, **headers: str) -> str:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return problem_of(named, hosts)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:8000"),
        ("http://127.0.0.1:9000", "127.0.0.1:8000"),
        ("http://converter.lan", "converter.lan:8000"),
        ("https://converter.lan", "converter.lan:80"),
        ("chrome-extension://abc", "abc"),
        ("null", "null"),
        ("", ""),
        ("http://a.lan/x", "a.lan"),
    ],
)
def test_a_page_of_another_origin_is_refused_without_sec_fetch_site(origin: str, host: str) -> None:
    assert "another site" in problem(origin=origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://converter.lan", "converter.lan"),
        ("https://converter.lan", "converter.lan:443"),
        ("http://converter.lan", "converter.lan:80"),
        ("http://converter.lan:8080", "Converter.LAN:8080"),
    ],
)
def test_the_own_page_is_accepted(origin: str, host: str) -> None:
    assert not problem(origin=origin, host=host)


@pytest.mark.parametrize(
    ("site", "refused"),
    [("cross-site", True), ("same-site", True), ("same-origin", False), ("none", False)],
)
def test_the_browser_knows_the_site_better_than_a_proxy(site: str, refused: bool) -> None:
    # A proxy may change Host.
    found = problem(sec_fetch_site=site, origin="https://converter.lan", host=SERVICE)
    assert bool(found) == refused
    assert bool(problem(sec_fetch_site=site, host=SERVICE)) == refused


HOSTS = GatewaySettings(
    gateway_auth="network", pod_namespace="ops", gateway_hosts="a.lan, b.lan"
).own_hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8000",
        "127.0.0.1:40123",
        "[::1]:80",
        "10.244.0.7",
        SERVICE,
        f"{SERVICE}.ops:80",
        f"{SERVICE}.ops.svc",
        f"{SERVICE}.ops.svc.cluster.local",
        f"{SERVICE}.ops.svc.cluster.local.",
        "a.lan",
        "B.LAN:8443",
    ],
)
def test_names_of_the_api(host: str) -> None:
    assert HOSTS is not None
    assert is_known(host, HOSTS)
    assert not problem(HOSTS, host=host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        f"{SERVICE}.evil",
        f"{SERVICE}.ops.svc.evil.example",
        "a.lan.evil.example",
        "evil.example:80:80",
        "[evil.example]",
        "user@a.lan",
        "c.lan",
    ],
)
def test_a_name_that_anybody_can_own_is_refused_in_a_network_without_tokens(host: str) -> None:
    origin = {"origin": f"http://{host}"}
    assert "GATEWAY_HOSTS" in problem(HOSTS, host=host)
    assert problem(HOSTS, host=host, **origin)
    assert not problem(GatewaySettings(gateway_auth="token").own_hosts, host=host)


def test_the_setting_has_names_of_hosts() -> None:
    for text in ("a.lan:80", "https://a.lan", "*.lan", "A.lan", "-a", "a" * 254):
        with pytest.raises(ValidationError):
            GatewaySettings(gateway_hosts=text)
