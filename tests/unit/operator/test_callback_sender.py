"""Lookups of host names that get no response."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from conversion_operator.callbacks.sender import CallbackSender


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, the name servers of all hosts but "works" do not respond."""
    answered = threading.Event()

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host != "works" and not answered.wait(20):
            raise AssertionError("nobody has answered")
        if host == "gone":
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answered


async def test_a_host_without_name_servers_occupies_one_thread(answer: threading.Event) -> None:
    """Each request gives up after some seconds, but its lookup goes on."""
    sender = CallbackSender(seconds=0.01)
    try:
        for _ in range(100):
            response = await sender.post("http://dead/", {}, b"")
            assert "did not respond" in response.problem
        assert len(sender._lookups) == 1
        assert await asyncio.wait_for(sender._resolve("works"), 10) == ["192.0.2.1"]
    finally:
        answer.set()
        await sender.close()


async def test_the_next_request_looks_up_again(answer: threading.Event) -> None:
    """A name that did not exist may exist now."""
    sender = CallbackSender()
    answer.set()
    try:
        with pytest.raises(socket.gaierror):
            await sender._resolve("gone")
        assert await sender._resolve("exists") == ["192.0.2.1"]
        assert not sender._lookups
    finally:
        await sender.close()
