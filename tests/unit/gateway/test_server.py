"""The socket of the server."""

from __future__ import annotations

import socket

from converter_gateway.server import open_listener


def test_the_body_of_a_response_does_not_wait_for_an_acknowledgement() -> None:
    with (
        open_listener("127.0.0.1", 0, 30) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
