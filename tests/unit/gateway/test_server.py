"""The socket of the server."""

from __future__ import annotations

import socket
from typing import Any, cast

from converter_gateway.server import Acceptor, open_listener
from converter_gateway.settings import GatewaySettings


def test_the_body_of_a_response_does_not_wait_for_an_acknowledgement() -> None:
    with (
        open_listener("127.0.0.1", 0, 30) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


class Unread:
    """A connection of which nothing is read."""

    def __init__(self, size: int) -> None:
        self._size, self.looks, self.aborted = size, 0, False

    @property
    def unread_bytes(self) -> int:
        self.looks += 1
        return self._size

    def abort(self) -> None:
        self.aborted = True


async def test_unread_responses_are_looked_at_again_only_if_they_are_too_many() -> None:
    """256 streams that start together pause thousands of times."""
    settings = GatewaySettings(gateway_max_unread_bytes=65536)
    with open_listener("127.0.0.1", 0, 30) as listener:
        acceptor = Acceptor(listener, cast("Any", None), settings)
        connections: list[Any] = [Unread(1000) for _ in range(60)]
        for connection in connections:
            acceptor._add_unread(connection)
        assert {connection.looks for connection in connections} == {1}
        for connection in connections[:30]:
            acceptor._forget_unread(connection)
        for connection in connections[:30]:
            acceptor._add_unread(connection)
        assert [connection.looks for connection in connections] == [2] * 30 + [1] * 30
        assert not any(connection.aborted for connection in connections)
        large: Any = Unread(10_000)
        acceptor._add_unread(large)
        assert [c.aborted for c in (large, *connections)].count(True) == 1
        assert large.aborted
        acceptor._report_timer.cancel()
