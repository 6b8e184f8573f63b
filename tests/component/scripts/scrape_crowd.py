"""Sends about 300 complete requests for /metrics a second to a port, for 20 s at most.

Six threads, each with a new connection 50 times a second, from an address of their own.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def crowd(port: int, until: float) -> None:
    open_ones: list[socket.socket] = []
    while time.monotonic() < until:
        with suppress(OSError):
            one = socket.socket()
            one.bind(("127.0.0.2", 0))
            one.settimeout(0.01)
            open_ones.append(one)
            one.connect(("127.0.0.1", port))
            one.sendall(REQUEST)
        for old in open_ones[:-50]:
            old.close()
        del open_ones[:-50]
        time.sleep(0.02)  # the rate of the crowd: 50 connections a second for each thread


if __name__ == "__main__":
    end = time.monotonic() + 20
    threads = [threading.Thread(target=crowd, args=(int(sys.argv[1]), end)) for _ in range(6)]
    for thread in threads:
        thread.start()
