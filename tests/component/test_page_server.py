"""The server of metrics and probes: what everybody who reaches its port can take of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from conversion_operator.cluster import page_server
from conversion_operator.cluster.page_server import HEADER_BYTES, MAX_CONNECTIONS
from conversion_operator.controller import probes
from conversion_operator.controller.health import Health
from converter_gateway import metrics
from tests.component.test_http_limits import until
from tests.support.attacker import attacker

LINE = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(params=["operator", "HTTP API"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """The port of the metrics of a program."""
    registry = CollectorRegistry()
    pages = probes.create_application(page_server.MetricsPage(registry), Health())
    server = (
        page_server.serve(0, pages, "probes")
        if request.param == "operator"
        else metrics.serve(0, registry)
    )
    yield server.server_port
    server.shutdown()
    server.server_close()


async def scrape(port: int) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{port}/metrics", timeout=5)).status_code


@pytest.mark.parametrize("sent", [b"", LINE + b"X: "], ids=["silent", "header"])
async def test_one_address_cannot_keep_the_others_out(port: int, sent: bytes) -> None:
    before = threading.active_count()
    with attacker(port) as crowd:
        await crowd.open(5 * MAX_CONNECTIONS, sent)
        assert await scrape(port) == 200
        assert crowd.open_connections() <= 2 * MAX_CONNECTIONS
        assert threading.active_count() - before <= 2 * MAX_CONNECTIONS
        await until(lambda: crowd.open_connections() <= MAX_CONNECTIONS, "the oldest to end", 4)
    await until(lambda: threading.active_count() <= before, "the threads to end")


async def test_a_request_of_another_address_is_not_ended_for_the_crowd(port: int) -> None:
    """A probe of a kubelet, for example, which has only sent its first bytes."""
    with attacker(port) as crowd:
        await crowd.open(MAX_CONNECTIONS - 1)
        address, own = ("127.0.0.1", port), ("127.0.0.3", 0)
        with socket.create_connection(address, timeout=4, source_address=own) as slow:
            slow.sendall(LINE)
            await crowd.open(2 * MAX_CONNECTIONS)
            await until(lambda: crowd.open_connections() < MAX_CONNECTIONS, "the oldest to end", 4)
            slow.sendall(b"\r\n")
            assert b" 200 " in slow.recv(100)


async def test_a_silent_connection_ends(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with attacker(port) as silent:
        await silent.open(3)
        begun = time.monotonic()
        await until(lambda: silent.open_connections() == 0, "all to end")
        assert 3 < time.monotonic() - begun < 9
    assert capfd.readouterr().err == "", "no stack trace"


async def test_a_long_header_is_not_read(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=4) as long:
        # No byte more: the server would close without reading it, and the kernel reset this.
        long.sendall(LINE + b"X: " + b"x" * (HEADER_BYTES - len(LINE) - 3))
        assert b" 431 " in long.recv(100)
    assert await scrape(port) == 200


def large_registry() -> CollectorRegistry:
    """Metrics of about a thousand lines, as after a day of work."""
    registry = CollectorRegistry()
    for number in range(60):
        Histogram(f"seconds_{number}", "Seconds.", registry=registry).observe(1)
    return registry


def test_a_crowd_that_scrapes_does_not_keep_a_probe_waiting() -> None:
    pages = probes.create_application(page_server.MetricsPage(large_registry()), Health())
    server = page_server.serve(0, pages, "probes")
    script = Path(__file__).parent / "scripts" / "scrape_crowd.py"
    crowd = subprocess.Popen([sys.executable, str(script), str(server.server_port)])
    try:
        time.sleep(2)  # until the crowd has filled the queue of connections
        for _ in range(5):
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=4) as probe:
                probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert b" 200 " in probe.recv(100)
            assert time.monotonic() - begun < 4
        assert crowd.poll() is None
    finally:
        crowd.kill()
        crowd.wait()
        server.shutdown()
        server.server_close()


def test_metrics_are_rendered_at_most_five_times_a_second() -> None:
    rendered = 0

    class Counted(Collector):
        def collect(self) -> Iterator[Metric]:
            nonlocal rendered
            rendered += 1
            yield GaugeMetricFamily("a", "A.", value=rendered)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted())
    before, page = rendered, page_server.MetricsPage(registry)
    answers = {b"".join(page({}, lambda *_: None)) for _ in range(50)}
    assert len(answers) == rendered - before <= 2
    time.sleep(0.3)  # longer than a page is kept
    assert b"".join(page({}, lambda *_: None)) not in answers


def test_a_client_that_does_not_read_leaves_no_stack_trace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def large(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * (8 << 20)]

    server = page_server.serve(0, large, "probes")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=9) as silent:
        silent.sendall(LINE + b"\r\n")
        time.sleep(6)  # the server's time limit is 5 s
    server.shutdown()
    server.server_close()
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_addresses_of_both_families_are_served() -> None:
    server = metrics.serve(0, CollectorRegistry())
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, server.server_port), timeout=4) as one:
            one.sendall(LINE + b"\r\n")
            assert b" 200 " in one.recv(100)
    server.shutdown()
    server.server_close()
