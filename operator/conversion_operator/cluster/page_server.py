"""Serves small pages over plain HTTP, such as the metrics, from threads of its own.

Everybody who reaches the port may connect, so the connections, the threads and the memory of the
requests are bounded. One address cannot keep the others out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import LineTooLong
from socket import SHUT_RDWR, socket
from socketserver import ThreadingMixIn
from typing import Any, BinaryIO, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

MAX_CONNECTIONS: Final = 128
"""Above, a new connection ends the oldest one of the address that has most of them."""
HEADER_BYTES: Final = 16 * 1024
_BACKLOG: Final = 1024

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class _Header:
    """The bytes that a client sends. Raises LineTooLong, which means 431, after HEADER_BYTES.

    Without it, http.client reads 100 lines of 64 KiB.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, HEADER_BYTES
        self.close, self.read = stream.close, stream.read

    def readline(self, limit: int = -1) -> bytes:
        """One line, as of a file."""
        line = self._stream.readline(min(limit, self._left) if limit >= 0 else self._left)
        self._left -= len(line)
        if not self._left:
            raise LineTooLong("header")
        return line


class _Handler(WSGIRequestHandler):
    # For each read, and for the whole response.
    timeout = 5

    def setup(self) -> None:
        super().setup()
        self.rfile = cast("Any", _Header(cast("BinaryIO", self.rfile)))

    # Probes come every few seconds and would fill the log.
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class PageServer(ThreadingMixIn, WSGIServer):
    """One thread per connection: a client that sends nothing must not block the others."""

    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, *arguments: Any, **names: Any) -> None:
        self._lock = threading.Lock()
        # The address of each connection that has a thread, the oldest first.
        self._open: dict[socket, str] = {}
        # Those whose thread was told to end.
        self._ending: set[socket] = set()
        super().__init__(*arguments, **names)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a new connection, or close the connection."""
        with self._lock:
            full = len(self._open) >= 2 * MAX_CONNECTIONS
            if not full:
                self._open[request] = client_address[0]
                if len(self._open) - len(self._ending) > MAX_CONNECTIONS:
                    self._end_one()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
            self._ending.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that is silent, or that disconnects: anybody can do this often."""

    def _end_one(self) -> None:
        """Visits the connections. They are bounded."""
        staying = {one: address for one, address in self._open.items() if one not in self._ending}
        ((busiest, _),) = Counter(staying.values()).most_common(1)
        oldest = next(one for one, address in staying.items() if address == busiest)
        self._ending.add(oldest)
        with suppress(OSError):
            oldest.shutdown(SHUT_RDWR)  # so the thread reads the end


def serve(port: int, application: Application, name: str) -> WSGIServer:
    """Serve on all addresses until ``shutdown()`` of the returned server is called.

    ``name`` is that of the thread. ``application`` is a WSGI application.
    """
    server = make_server("", port, application, PageServer, _Handler)
    threading.Thread(target=server.serve_forever, name=name, daemon=True).start()
    return server
