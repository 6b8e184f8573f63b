"""Accepts connections within the limits, and serves the API on them until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections import Counter
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from converter_gateway.connections import ConnectionTable, Refusal, over_budget
from converter_gateway.protocol import BoundedProtocol, ConnectionEvents, Deadlines, Stage
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown

# How long requests in progress may take after the server has closed its listening socket. This time
# and GATEWAY_DRAIN_SECONDS together fit into a pod's default grace period of 30 s.
GRACEFUL_SECONDS: Final = 20
# The kernel keeps this many connections until the server accepts them, and drops more. It may have
# a lower limit itself.
_BACKLOG: Final = 4096
# Then it is the turn of the connections that are open.
_ACCEPTS_PER_TURN: Final = 100
_ACCEPT_RETRY_SECONDS: Final = 0.1
_REPORT_SECONDS: Final = 60.0
# The kernel's buffers of one connection. A pod's memory includes them. The kernel doubles the
# numbers. Inside a cluster, a round trip is short, so small buffers do not slow transfers down.
_RECEIVE_BUFFER: Final = 16 * 1024
_SEND_BUFFER: Final = 32 * 1024
# Files and connections other than those of callers: to the API server above all.
_OTHER_FILES: Final = 1024

logger = logging.getLogger(__name__)
# The server logs its start and its stop itself.
logging.getLogger("uvicorn").setLevel(logging.WARNING)


class Acceptor:
    """Accepts connections, and keeps their number and their memory within the limits."""

    def __init__(
        self, listener: socket.socket, server: GatewayServer, settings: GatewaySettings
    ) -> None:
        self._listener, self._server = listener, server
        self._loop = asyncio.get_running_loop()
        self._table: ConnectionTable[BoundedProtocol] = ConnectionTable(
            affordable_connections(settings.gateway_max_connections),
            settings.gateway_max_connections_per_address,
        )
        self._deadlines = Deadlines(
            settings.gateway_header_seconds,
            settings.gateway_body_seconds,
            settings.gateway_idle_seconds,
            settings.gateway_stall_seconds,
        )
        self._events = ConnectionEvents(
            self._enter_stage, self._add_unread, self._forget_unread, self._forget, self._count
        )
        self._budget = settings.gateway_max_unread_bytes
        # The unread bytes of each connection when they were last looked at, and their sum. There
        # may be fewer by now, but not more: nothing is written while a caller does not read.
        self._unread: dict[BoundedProtocol, int] = {}
        self._unread_bytes = 0
        self._opening: set[asyncio.Task[object]] = set()
        # What was closed or refused since the last report, and why.
        self._counts: Counter[str] = Counter()
        self._report_timer = self._loop.call_later(_REPORT_SECONDS, self._report)

    def start(self) -> None:
        """Accept connections from now on."""
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Accept no more connections. The open ones stay open."""
        self._report_timer.cancel()
        self._log_counts()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No file descriptors or memory. The listener stays readable, so pause.
                self._count(f"not accepted: {error.strerror}")
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_ACCEPT_RETRY_SECONDS, self._resume)
                return
            self._open(accepted, peer[0])

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _open(self, accepted: socket.socket, address: str) -> None:
        now = self._loop.time()
        room = self._table.make_room(address, now)
        if isinstance(room, Refusal):
            self._count(f"refused: {room.value}")
            accepted.close()
            return
        if room is not None:
            self._count("closed to make room")
            self._table.remove(room)
            room.abort()
        accepted.setblocking(False)
        connection = self._server.create_protocol(self._deadlines, self._events)
        self._table.add(connection, address, now)
        opening = self._loop.connect_accepted_socket(lambda: connection, accepted)
        task: asyncio.Task[object] = self._loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(lambda done: self._end_opening(done, connection))

    def _end_opening(self, task: asyncio.Task[object], connection: BoundedProtocol) -> None:
        self._opening.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._forget(connection)

    def _enter_stage(self, connection: BoundedProtocol, stage: Stage) -> None:
        if stage is Stage.SERVING:
            self._table.serve(connection)
        else:
            self._table.wait(connection, self._loop.time())

    def _add_unread(self, connection: BoundedProtocol) -> None:
        """Keep the memory of unread responses within the budget.

        Looks at all unread ones only if they may be over the budget.
        """
        self._forget_unread(connection)
        self._unread[connection] = connection.unread_bytes
        self._unread_bytes += self._unread[connection]
        if self._unread_bytes <= self._budget:
            return
        self._unread = {unread: unread.unread_bytes for unread in self._unread}
        self._unread_bytes = sum(self._unread.values())
        for excess in over_budget(self._unread, self._table.address, self._budget):
            self._count("too many unread bytes")
            excess.abort()

    def _forget_unread(self, connection: BoundedProtocol) -> None:
        self._unread_bytes -= self._unread.pop(connection, 0)

    def _forget(self, connection: BoundedProtocol) -> None:
        self._forget_unread(connection)
        self._table.remove(connection)

    def _count(self, what: str) -> None:
        self._counts[what] += 1

    def _report(self) -> None:
        self._log_counts()
        self._report_timer = self._loop.call_later(_REPORT_SECONDS, self._report)

    def _log_counts(self) -> None:
        """Log what was refused, once a minute: a line for each connection would be a flood."""
        if self._counts:
            logger.warning(
                "Connections were refused or closed",
                extra={"counts": dict(self._counts), "open": len(self._table)},
            )
            self._counts.clear()


class GatewayServer(uvicorn.Server):
    """Reports not ready first, then ends the streams, then stops."""

    def __init__(self, app: FastAPI, settings: GatewaySettings, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            # One parser, and only HTTP/1.1: the limits are written for it.
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            # Never believe X-Forwarded-For: anybody can send it.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            # The protocol has deadlines of its own.
            timeout_keep_alive=24 * 3600,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        super().__init__(config)
        self._settings, self._listener = settings, listener
        self._shutdown: Shutdown = app.state.shutdown
        self._loop = asyncio.get_running_loop()

    def create_protocol(self, deadlines: Deadlines, events: ConnectionEvents) -> BoundedProtocol:
        """The protocol of a new connection."""
        return BoundedProtocol(
            self.config, self.server_state, self.lifespan.state, deadlines, events
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections. uvicorn itself listens nowhere."""
        await super().startup(sockets=[])
        self._acceptor = Acceptor(self._listener, self, self._settings)
        self._acceptor.start()
        logger.info("The API serves", extra={"port": self._listener.getsockname()[1]})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and wait for the requests in progress."""
        self._acceptor.stop()
        await super().shutdown(sockets=[])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown at the first signal. A second signal skips the drain time."""
        if self._shutdown.draining:
            self._loop.call_soon_threadsafe(self._stop)
            return
        self._shutdown.drain()
        logger.info("The API stops", extra={"signal": signal.Signals(sig).name})
        drain = self._settings.gateway_drain_seconds
        self._loop.call_soon_threadsafe(self._loop.call_later, drain, self._stop)

    def _stop(self) -> None:
        self._shutdown.end()
        self.should_exit = True


def open_listener(host: str, port: int, stall_seconds: float) -> socket.socket:
    """A socket for the server. Accepted connections inherit its options."""
    listener = socket.create_server((host, port), backlog=_BACKLOG)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    # Send each write at once. Otherwise the body of a response waits until the caller has
    # acknowledged the headers, which takes 40 ms. asyncio does not see that these are TCP sockets.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return limit_stalls(listener, stall_seconds)


def limit_stalls(listener: socket.socket, stall_seconds: float) -> socket.socket:
    """Make the kernel close connections whose peer acknowledges nothing for 3 x ``stall_seconds``.

    Without this option, a stream to a vanished peer stays open for about 15 minutes: its heartbeats
    fit into the kernel's send buffer. Accepted connections inherit the option from the listener.

    The kernel does not tell the peer. A peer that reads late would wait for ever for the rest of
    the response. So the kernel must be later than the server, which resets the connection at most
    2 x ``stall_seconds`` after the peer has read something.
    """
    milliseconds = int(3 * stall_seconds * 1000)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listener


def affordable_connections(wanted: int) -> int:
    """The number of connections that the limit of open files allows, at most ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    affordable = max(needed - _OTHER_FILES, needed // 2)
    if affordable < wanted:
        logger.warning(
            "The limit of open files allows fewer connections than GATEWAY_MAX_CONNECTIONS",
            extra={"wanted": wanted, "allowed": affordable, "open_files": hard},
        )
    return min(affordable, wanted)
