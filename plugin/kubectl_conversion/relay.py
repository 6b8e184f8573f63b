"""A port of this machine that stays, while the connection behind it is replaced."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Final, Self

_LOCAL: Final = "127.0.0.1"
_CHUNK: Final = 65536


class Relay:
    """Holds a port of 127.0.0.1 until it is closed, and passes connections on to another one.

    No other program can take the port meanwhile. Raises OSError if the port (0: any) is taken.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((_LOCAL, port))
        self._target = 0
        self.port: Final[int] = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or accept() would keep it open
        self._listener.close()

    def use(self, port: int) -> None:
        """Pass new connections on to this port. 0: close them at once."""
        self._target = port

    def _accept(self) -> None:
        """Runs in a thread until the relay is closed, once for each connection."""
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._connect, args=(caller, self._target), daemon=True).start()

    def _connect(self, caller: socket.socket, port: int) -> None:
        with caller:
            if not port:
                return
            try:
                target = socket.create_connection((_LOCAL, port), timeout=10)
            except OSError:
                return
            with target:
                target.settimeout(None)
                back = Thread(target=_pump, args=(target, caller), daemon=True)
                back.start()
                _pump(caller, target)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the source ends, and tell the sink."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
