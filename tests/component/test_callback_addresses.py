"""Callbacks go to addresses that may be called and nowhere else, whatever a receiver does."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conversion_operator.callbacks.sender import CallbackSender, create_tls_context
from tests.component.receiver import (
    LOOPBACK,
    SLOW_HOST,
    Receiver,
    loopback_allowed,
    on_loopback,
    receiving,
)

METADATA = "169.254.169.254"
REJECTED = "The host has an address that callbacks must not use"
# Everything here is this machine, in one notation or another.
SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0.0.0.0",  # noqa: S104 - rejected, not bound
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@asynccontextmanager
async def callbacks(**options: Any) -> AsyncIterator[CallbackSender]:
    made = CallbackSender(**options)
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_loopback_is_rejected_in_every_notation(receiver: Receiver, spelling: str) -> None:
    async with callbacks() as made:
        response = await made.post(receiver.url(spelling), {}, b"x")
    assert (response.code, bool(response.problem)) == (0, True)
    assert not receiver.received


@pytest.mark.parametrize("spelling", ["127.0.0.1", "localhost", "0x7f000001", "0.0.0.0"])  # noqa: S104
async def test_but_for_the_check_these_would_be_reached(receiver: Receiver, spelling: str) -> None:
    async with callbacks(check=lambda _: True) as made:
        assert (await made.post(receiver.url(spelling), {}, b"x")).code == 200


async def test_a_name_with_one_address_that_is_rejected_is_not_called(receiver: Receiver) -> None:
    async def lookup(_: str) -> list[str]:
        return [LOOPBACK, METADATA]

    async with callbacks(check=loopback_allowed, lookup=lookup) as made:
        response = await made.post(receiver.url(), {}, b"x")
    assert response.problem == REJECTED
    assert not receiver.received


async def test_a_name_that_stands_for_something_else_the_next_moment(receiver: Receiver) -> None:
    """One look-up a request, and what it said is what is connected to."""
    asked = []

    async def rebinding(host: str) -> list[str]:
        asked.append(host)
        return [LOOPBACK] if len(asked) % 2 else [METADATA]

    async with callbacks(check=loopback_allowed, lookup=rebinding) as made:
        for n in (1, 2, 3, 4):
            response = await made.post(receiver.url(), {}, b"x")
            assert len(asked) == n
            assert (response.code, response.problem) == ((200, "") if n % 2 else (0, REJECTED))
    assert len(receiver.received) == 2


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    elsewhere = receiver.url(path="/elsewhere")
    receiver.answers = [
        web.Response(status=code, headers={"Location": to})
        for code, to in ((302, elsewhere), (307, elsewhere), (308, f"http://{METADATA}/latest"))
    ]
    async with callbacks(check=loopback_allowed, lookup=on_loopback) as made:
        answers = [await made.post(receiver.url(), {}, b"x") for _ in range(3)]
    assert [answer.code for answer in answers] == [302, 307, 308]
    assert [delivery.path for delivery in receiver.received] == ["/hook"] * 3


async def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with callbacks(check=loopback_allowed, lookup=on_loopback) as made:
            assert (await made.post(receiver.url(), {}, b"x")).code == 200
        assert not proxy.received
    assert len(receiver.received) == 1


async def test_one_that_does_not_answer_is_left(receiver: Receiver) -> None:
    async with (
        asyncio.timeout(10),
        callbacks(check=loopback_allowed, lookup=on_loopback, seconds=0.3) as made,
    ):
        response = await made.post(receiver.url(SLOW_HOST), {}, b"x")
    assert "did not respond within" in response.problem


async def test_nor_is_a_name_waited_for_that_is_never_found(receiver: Receiver) -> None:
    async def never(_: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with (
        asyncio.timeout(10),
        callbacks(check=loopback_allowed, lookup=never, seconds=0.3) as made,
    ):
        response = await made.post(receiver.url(), {}, b"x")
    assert "did not respond within" in response.problem
    assert not receiver.received


async def test_an_endless_answer_is_not_read(receiver: Receiver) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    receiver.answers = [web.Response(body=endless())]
    async with callbacks(check=loopback_allowed, lookup=on_loopback, seconds=5) as made:
        assert (await made.post(receiver.url(), {}, b"x")).code == 200


async def test_the_certificate_is_to_be_that_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the name in the URL, although an address is connected to."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*make_certificate(tmp_path, "receiver.test"))
    async with receiving(tls=context) as receiver:
        url = receiver.url().replace("http:", "https:")
        async with callbacks(check=loopback_allowed, lookup=on_loopback) as made:
            response = await made.post(url, {}, b"x")
            assert response.problem == "The certificate of the host is not trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with callbacks(check=loopback_allowed, lookup=on_loopback) as made:
            assert (await made.post(url, {}, b"x")).code == 200
            other = url.replace("receiver.test", "other.test")
            assert (await made.post(other, {}, b"x")).code == 0
    assert len(receiver.received) == 1


def test_the_authorities_come_with_the_operator() -> None:
    assert create_tls_context().cert_store_stats()["x509_ca"] > 50


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    cert, key = folder / "cert.pem", folder / "key.pem"
    options = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name}".split()
    names = ["-addext", f"subjectAltName=DNS:{name}", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([openssl, *options, *names], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("addresses", [[], [LOOPBACK]])
async def test_hosts_that_are_not_there(addresses: list[str]) -> None:
    async def lookup(_: str) -> list[str]:
        return addresses

    async with callbacks(check=loopback_allowed, lookup=lookup) as made:
        response = await made.post("http://receiver.test:1/", {}, b"x")
    words = "does not accept connections" if addresses else "name cannot be resolved"
    assert response.problem == f"The host {words}"
    async with callbacks() as made:
        assert (await made.post("http://no-such-host.invalid/", {}, b"x")).code == 0


@pytest.mark.parametrize("url", ["http://[x/", "http://", "ftp://receiver.test/", "\n"])
async def test_what_is_no_url_is_an_answer_too(url: str) -> None:
    async with callbacks(check=loopback_allowed, lookup=on_loopback) as made:
        assert (await made.post(url, {}, b"x")).problem
