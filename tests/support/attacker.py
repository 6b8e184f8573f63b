"""Connections that do not do what they should: silent, slow, never read, or too many.

``python -m tests.support.attacker PORT ADDRESS COUNT SECONDS`` sends its standard input on COUNT
connections, and keeps them open. It prints one line when it has opened all.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_ESTABLISHED = 1  # TCP_ESTABLISHED of the kernel


class Attacker:
    """Opens connections from one address and keeps them open."""

    def __init__(self, port: int, address: str = "127.0.0.2") -> None:
        self._port, self._address = port, address
        self._connections: list[socket.socket] = []

    async def open(self, count: int, payload: bytes = b"", receive_buffer: int = 0) -> None:
        """Open connections one after the other, and send ``payload`` on each."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.bind((self._address, 0))
            self._connections.append(connection)
            try:
                await loop.sock_connect(connection, ("127.0.0.1", self._port))
                connection.send(payload)
            except (ConnectionError, BlockingIOError):
                pass  # refused: the server has a limit

    def send(self, payload: bytes) -> None:
        """Send more on each connection that is open."""
        for connection in self._connections:
            try:
                connection.send(payload)
            except (ConnectionError, BlockingIOError):
                continue

    def open_connections(self) -> int:
        """How many connections the server has not closed. Reads nothing from them."""
        return sum(_is_open(connection) for connection in self._connections)

    def all_answered(self) -> bool:
        """Whether the server has sent something on each connection, or closed it."""
        return all(_has_data(connection) for connection in self._connections)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()


def _is_open(connection: socket.socket) -> bool:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return info[0] == _ESTABLISHED


def _has_data(connection: socket.socket) -> bool:
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


@contextmanager
def attacker(port: int, address: str = "127.0.0.2") -> Iterator[Attacker]:
    """An attacker whose connections end with the block."""
    attacking = Attacker(port, address)
    try:
        yield attacking
    finally:
        attacking.close()


async def _main(port: str, address: str, count: str, seconds: str) -> None:
    ends, payload = time.monotonic() + float(seconds), sys.stdin.buffer.read()
    with attacker(int(port), address) as attacking:
        await attacking.open(int(count), payload, receive_buffer=4096)
        print(attacking.open_connections(), flush=True)
        while time.monotonic() < ends:
            await asyncio.sleep(0.5)
            attacking.send(b"x")


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
