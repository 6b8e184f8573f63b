"""Serves small pages over plain HTTP, such as the metrics, from threads of its own.

Everybody who reaches the port may connect, so the connections, the threads and the memory of the
requests are bounded. One address cannot keep the others out, such as the probes of a kubelet.
"""

from __future__ import annotations

import io
import logging
import socket as sockets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import LineTooLong
from socket import SHUT_RDWR, socket
from socketserver import ThreadingMixIn
from typing import Any, BinaryIO, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

MAX_CONNECTIONS: Final = 128
"""Above, a new connection ends the oldest one of the address that has most of them."""
HEADER_BYTES: Final = 16 * 1024
_BACKLOG: Final = 128
"""More connections than this do not wait for a thread: the kernel drops their first packet, and the
client repeats it. In a long queue, a probe would wait behind all requests of a crowd."""
_RENDER_SECONDS: Final = 0.2
"""The metrics are at most this old. Rendering takes some milliseconds, which a crowd multiplies."""

_log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MetricsPage:
    """The metrics as a WSGI application. Visits all of them at most five times a second."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        # By content type: when it was rendered, and the text. A scraper chooses among few types.
        self._pages: dict[str, tuple[float, bytes]] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, in the format that its header Accept chooses."""
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        with self._lock:
            page = self._pages.get(content_type)
            if page is None or time.monotonic() - page[0] > _RENDER_SECONDS:
                page = time.monotonic(), encode(self._registry)
                self._pages[content_type] = page
        start("200 OK", [("Content-Type", content_type)])
        return [page[1]]


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

    # A client that disconnects or does not read would fill the log with stack traces.
    def get_stderr(self) -> io.StringIO:
        return io.StringIO()

    # Probes come every few seconds and would fill the log.
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class PageServer(ThreadingMixIn, WSGIServer):
    """One thread per connection: a client that sends nothing must not block the others."""

    daemon_threads = True
    request_queue_size = _BACKLOG
    address_family = sockets.AF_INET6 if sockets.has_dualstack_ipv6() else sockets.AF_INET

    def __init__(self, *arguments: Any, **names: Any) -> None:
        self._lock = threading.Lock()
        # The address of each connection that has a thread, the oldest first.
        self._open: dict[socket, str] = {}
        # Those whose thread was told to end.
        self._ending: set[socket] = set()
        super().__init__(*arguments, **names)

    def server_bind(self) -> None:
        """Bind to all addresses, those of IPv4 too."""
        if self.address_family == sockets.AF_INET6:
            self.socket.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, 0)
        super().server_bind()

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

    ``name`` is that of the thread. ``application`` is a WSGI application. The log has its errors.
    """

    def logged(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return application(environ, start)
        except Exception:
            _log.exception("The page %s cannot be made", environ.get("PATH_INFO"))
            raise

    server = make_server("", port, logged, PageServer, _Handler)
    threading.Thread(target=server.serve_forever, name=name, daemon=True).start()
    return server
