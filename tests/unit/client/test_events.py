"""Listening to events: what is read, and how it goes on when a connection ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from mynetwork_converter import AsyncClient, Client, ConverterError, Event
from mynetwork_converter.listener import Listener

STATE = b'retry: 1\n\nevent: progress\ndata: {"job_id":"j"}\n\n: state\nid: 5\n\n'
STARTED = b'event: started\nid: 7\ndata: {"job_id":"j"}\n\n'
ENDED = b'event: completed\nid: 9\ndata: {"job_id":"j","status":"completed"}\n\n'
LATER = b"event: later\nid: 8\ndata: {}\n\n: heartbeat\nid: 10\n\n"
RESET = b'event: reset\ndata: {"message":"m"}\n\n'
KINDS = [("progress", ""), ("started", "7"), ("completed", "9")]


HEADERS = {"content-type": "text/event-stream; charset=utf-8"}


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.id) for event in events]


class Chunks(httpx2.SyncByteStream):
    """A stream that arrives in chunks of one size."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = content, size

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), self._size):
            yield self._content[start : start + self._size]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_are_read_whatever_the_chunks(size: int, end: bytes) -> None:
    stream = (STATE + STARTED + LATER + RESET + ENDED).replace(b"\n", end)

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HEADERS, stream=Chunks(stream, size))

    with Client("http://converter", transport=httpx2.MockTransport(answer)) as converter:
        all_events = converter.events()
        events = [next(all_events) for _ in range(4)]
        all_events.close()
    assert told(events) == [
        ("progress", ""),
        ("started", "7"),
        ("reset", "10"),
        ("completed", "9"),
    ]
    assert events[-1].job["status"] == "completed"
    assert not events[2].job


def test_a_line_ends_where_the_server_ends_it() -> None:
    text = "a\u2028b\x85c\x0bd"
    data = f'event: failed\ndata: {{"error":"{text}"}}\n\n'.replace("\x0b", "\\u000b").encode()

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HEADERS, content=data)

    with Client("http://converter", transport=httpx2.MockTransport(answer)) as converter:
        (event,) = converter.events("j")
    assert event.job.get("error") == text


def test_a_response_that_is_no_event_stream_is_an_error() -> None:
    """Such as the page of a proxy, with the code 200."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, html="<p>Log in</p>")

    with (
        Client("http://converter", tries=1, transport=httpx2.MockTransport(answer)) as converter,
        pytest.raises(ConverterError, match="text/event-stream"),
    ):
        next(converter.events())


class Broken(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A stream that breaks off after its content."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx2.ReadError("broken")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise httpx2.ReadError("broken")


class Server:
    """Four connections: one breaks, one is refused for a while, one ends, one has the end."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/converter/events"
        last, job = request.headers.get("last-event-id"), request.url.params.get("job_id", "")
        self.seen.append((request.method, last, job))
        return [
            httpx2.Response(200, headers=HEADERS, stream=Broken(STATE + STARTED[:-1])),
            httpx2.Response(503, json={"error": "busy"}, headers={"Retry-After": "0"}),
            httpx2.Response(200, headers=HEADERS, content=b"retry: 1\n\n" + STARTED),
            httpx2.Response(200, headers=HEADERS, content=ENDED + STARTED),
        ][len(self.seen) - 1]


CONNECTIONS = [("GET", None, "j"), ("GET", "5", "j"), ("GET", "5", "j"), ("GET", "7", "j")]


def test_a_listener_goes_on_where_it_broke_off_until_its_job_ends() -> None:
    server = Server()
    with Client("http://converter", transport=httpx2.MockTransport(server)) as converter:
        events = list(converter.events("j"))
    assert told(events) == KINDS
    assert server.seen == CONNECTIONS


async def test_the_asynchronous_one_does_the_same() -> None:
    server = Server()
    transport = httpx2.MockTransport(server)
    async with AsyncClient("http://converter", transport=transport) as converter:
        events = [event async for event in converter.events("j")]
    assert told(events) == KINDS
    assert server.seen == CONNECTIONS


def test_an_answer_that_stands_is_an_error() -> None:
    def unknown(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error": "Job not found"})

    with Client("http://converter", transport=httpx2.MockTransport(unknown)) as converter:
        with pytest.raises(ConverterError, match="Job not found") as caught:
            next(converter.events("x"))
        assert caught.value.code == 404


def test_tries_are_bounded_and_begin_anew_with_every_success() -> None:
    asked = 0

    def answer(_: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        if asked in (1, 3):
            raise httpx2.ConnectError("nobody there")
        return (
            httpx2.Response(200, headers=HEADERS, stream=Broken(b"retry: 1\n\n"))
            if asked == 2
            else refused
        )

    refused = httpx2.Response(503, json={"error": "busy"})
    with (
        Client("http://converter", tries=3, transport=httpx2.MockTransport(answer)) as converter,
        pytest.raises(ConverterError, match="busy"),
    ):
        next(converter.events())
    assert asked == 4


def test_a_last_event_id_of_the_callers_is_sent() -> None:
    assert Listener(None, "12", 1).next_call().headers["Last-Event-ID"] == "12"
    assert "Last-Event-ID" not in Listener(None, None, 1).next_call().headers
