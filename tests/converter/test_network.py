"""A conversion sends no packet, whatever the file refers to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.converter.containers import RESTRICTED, Image
from tests.converter.harness import IMAGE, THUMB, VIDEO, Case, Converter
from tests.converter.kitchen import Kitchen
from tests.converter.rawfiles import svg
from tests.converter.recipes import PLAYLISTS


class Listener:
    """Counts TCP connections and UDP packets at a port of this machine."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.stream = socket.create_server(("127.0.0.1", 0))
        self.port = self.stream.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.threads = [
            threading.Thread(target=self._accept, daemon=True),
            threading.Thread(target=self._receive, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.stream.accept()
            except OSError:
                return
            connection.settimeout(2)
            with connection:
                self.heard.append(repr(connection.recv(200)))

    def _receive(self) -> None:
        while True:
            data = self.datagrams.recv(2000)
            if data == b"stop":
                return
            self.heard.append(repr(data))

    def close(self) -> None:
        self.stream.shutdown(socket.SHUT_RDWR)
        self.stream.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"stop", ("127.0.0.1", self.port))
        for thread in self.threads:
            thread.join(timeout=5)
        self.datagrams.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


@pytest.fixture(scope="module")
def connected(image: Image, kitchen: Kitchen) -> Iterator[Converter]:
    """The converter on the host's network, where connections would succeed."""
    flags = [flag for flag in RESTRICTED if not flag.startswith("--network")]
    volume = f"--volume={kitchen.workspace.root}:/workspace"
    with image.agent(*flags, "--network=host", volume) as agent:
        yield Converter(agent, kitchen.workspace, image.entrypoint)


def test_the_listener_receives_packets(listener: Listener, connected: Converter) -> None:
    # Proves that the container can reach the listener.
    script = "import socket; socket.create_connection(('127.0.0.1', %d)).sendall(b'hi')"
    connected.agent.python(script % listener.port)
    for _ in range(100):
        if listener.heard:
            break
        threading.Event().wait(0.05)
    assert listener.heard == ["b'hi'"]
    listener.heard.clear()


def test_no_connection_is_attempted(
    kitchen: Kitchen, connected: Converter, listener: Listener
) -> None:
    port = str(listener.port).encode()
    files = {
        name: re.sub(rb"127\.0\.0\.1:9999", b"127.0.0.1:" + port, content).replace(
            b"m=video 9998", b"m=video " + port
        )
        for name, content in PLAYLISTS.items()
    }
    files["a.svg"] = svg(f'<image xlink:href="http://127.0.0.1:{listener.port}/a.png"/>')
    files["b.svg"] = svg(
        f'<image xlink:href="//127.0.0.1:{listener.port}/a.png"/>'
        f'<style>@import url("http://127.0.0.1:{listener.port}/a.css");</style>'
    )
    files["rtsp.mp4"] = b"RTSPtextRTSP://127.0.0.1:" + port + b"/x\n"
    files["ref.mov"] = b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + reference_movie(
        b"http://127.0.0.1:" + port + b"/x.mov"
    )
    for name, content in files.items():
        source = kitchen.write(f"net-{name}", content)
        folder = connected.workspace.scratch("net")
        for kind, target in ((VIDEO, "out.mp4"), (THUMB, "out.jpg"), (IMAGE, "out.jpg")):
            assert not connected.run(Case(kind, source, f"{folder}/{target}")).output
    addresses = (f"http://127.0.0.1:{listener.port}/x.mp4", f"tcp://127.0.0.1:{listener.port}")
    for address in (*addresses, f"udp://127.0.0.1:{listener.port}", f"//127.0.0.1:{port.decode()}"):
        for kind, target in ((VIDEO, "out.mp4"), (IMAGE, "out.jpg")):
            folder = connected.workspace.scratch("net")
            assert not connected.run(Case(kind, address, f"{folder}/{target}")).output
    kitchen.base()
    assert connected.convert(VIDEO, kitchen.base(), "out.mp4").output
    assert listener.heard == []


def reference_movie(address: bytes) -> bytes:
    """A QuickTime reference movie, which only holds the address of another one."""
    text = b"\0\0\0\0url " + (len(address) + 1).to_bytes(4, "big") + address + b"\0"
    inner = (8 + len(text)).to_bytes(4, "big") + b"rdrf" + text
    for name in (b"rmda", b"rmra", b"moov"):
        inner = (8 + len(inner)).to_bytes(4, "big") + name + inner
    return inner


def test_no_packet_was_sent_by_any_conversion(kitchen: Kitchen, converter: Converter) -> None:
    # The only interface of the container for the other tests is its loopback.
    for name, content in PLAYLISTS.items():
        converter.convert(VIDEO, kitchen.write(name, content), "out.mp4")
    lines = converter.agent.read("/proc/net/dev").splitlines()[2:]
    counters = {line.split(":")[0].strip(): line.split(":")[1].split() for line in lines}
    assert set(counters) == {"lo"}
    assert counters["lo"][1] == counters["lo"][9] == "0", "packets on the loopback"
