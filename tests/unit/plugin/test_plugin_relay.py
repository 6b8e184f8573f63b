"""The port that `kubectl conversion ui` holds."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from kubectl_conversion.relay import Relay


def _answer_once(listener: socket.socket) -> None:
    caller, _ = listener.accept()
    with caller:
        asked = b""
        while chunk := caller.recv(100):
            asked += chunk
        caller.sendall(b"got " + asked)


def ask(port: int) -> bytes:
    """What comes back for a question. Empty if the connection is closed at once."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as made:
        try:
            made.sendall(b"x" * 200_000)
            made.shutdown(socket.SHUT_WR)
            while chunk := made.recv(65536):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError, OSError):
            return answer
    return answer


def test_it_passes_connections_on_and_keeps_its_port() -> None:
    with Relay(0) as relay, socket.create_server(("127.0.0.1", 0)) as target:
        Thread(target=_answer_once, args=(target,), daemon=True).start()
        assert ask(relay.port) == b"", "nothing is behind it yet"
        relay.use(target.getsockname()[1])
        assert ask(relay.port) == b"got " + b"x" * 200_000
        relay.use(0)
        assert ask(relay.port) == b""
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", relay.port))
    with socket.create_server(("127.0.0.1", relay.port)):
        pass  # free again
