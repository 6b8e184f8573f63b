"""Traces, as a collector receives them: OTLP over HTTP, decoded from protobuf."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conversion_operator import tracing
from conversion_operator.api import names
from tests.component.running import running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.scripts import fail, oom_killed, succeed
from tests.component.support.tools import conversion_job
from tests.unit.operator import test_trace

PARENT = "00-11111111111111111111111111111111-2222222222222222-01"


class Collector(ThreadingHTTPServer):
    """Keeps the spans. ``answer`` is its status code. While ``held`` is set, it does not answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        self.requests, self.answer = 0, 200
        self.held = threading.Event()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        if self.server.held.is_set():
            self.server.released.wait(30)
        if self.server.answer == 200:
            request = ExportTraceServiceRequest.FromString(body)
            for each in request.resource_spans:
                self.server.resources.append(each.resource)
                for scope in each.scope_spans:
                    self.server.spans += scope.spans
        self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(tracing, "SEND_SECONDS", 0.1)
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def facts(span: Any) -> dict[str, Any]:
    return {
        a.key: a.value.string_value if a.value.HasField("string_value") else a.value.int_value
        for a in span.attributes
    }


def uid_of(api: FakeApi, name: str) -> str:
    uid: str = api.get("conversionjobs", name)["metadata"]["uid"]
    return uid


async def test_one_trace_for_each_conversion_with_its_attempts(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, collector: Collector
) -> None:
    cluster.script("big", oom_killed(), succeed())
    async with running(api, tmp_path, converter_traces_url=collector.url):
        api.create(conversion_job("big"))
        await until_phase(api, "big", "Succeeded")
    # The end of the operator sends what waits.
    assert [span.name for span in collector.spans] == [
        *("conversion", "waiting", "attempt", "waiting", "attempt")
    ]
    whole, *parts = collector.spans
    uid = uid_of(api, "big")
    assert {span.trace_id for span in collector.spans} == {UUID(uid).bytes}
    assert whole.parent_span_id == b""
    assert {span.parent_span_id for span in parts} == {whole.span_id}
    assert facts(whole)["converter.conversion.uid"] == uid
    assert facts(whole)["converter.reason"] == "Completed"
    assert [facts(p)["converter.attempt"] for p in parts] == [1, 1, 2, 2]
    assert [p.status.message for p in parts] == ["", "OutOfMemory", "", ""]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in collector.spans)
    # Spans that end together may be sent in two requests.
    senders = {facts(resource)["service.name"] for resource in collector.resources}
    assert senders == {"my-network-converter-operator"}


async def test_the_trace_of_the_caller_is_carried_through_and_no_trace_is_sent_twice(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, collector: Collector
) -> None:
    cluster.script("asked", fail("InputEmpty"))
    annotations = {names.TRACEPARENT_ANNOTATION: PARENT}
    body = conversion_job("asked")
    body["metadata"]["annotations"] = annotations
    async with running(api, tmp_path, converter_traces_url=collector.url):
        api.create(body)
        await until_phase(api, "asked", "Failed")
    async with running(api, tmp_path, converter_traces_url=collector.url):
        cluster.default = succeed()
        api.create(conversion_job("later"))
        await until_phase(api, "later", "Succeeded")
    wholes = [span for span in collector.spans if span.name == "conversion"]
    assert [facts(span)["converter.conversion.name"] for span in wholes] == ["asked", "later"]
    assert wholes[0].trace_id.hex() == "1" * 32
    assert wholes[0].parent_span_id.hex() == "2" * 16
    assert wholes[0].status.message == "InputEmpty"


async def test_a_collector_that_does_not_answer_delays_no_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, collector: Collector
) -> None:
    collector.held.set()
    async with running(api, tmp_path, converter_traces_url=collector.url):
        for number in range(5):
            api.create(conversion_job(f"c{number}"))
        for number in range(5):
            await until_phase(api, f"c{number}", "Succeeded")
        await api.until(lambda: collector.requests, what="the collector is asked")
    assert not collector.spans


async def test_a_url_that_nobody_serves_fails_no_conversion_and_can_be_corrected(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, collector: Collector
) -> None:
    async with running(
        api, tmp_path, converter_traces_url="http://127.0.0.1:1/v1/traces"
    ) as operator:
        api.create(conversion_job("before"))
        await until_phase(api, "before", "Succeeded")
        ended = "converter_end_to_status_seconds_count"
        await api.until(lambda: operator.metric(ended) == 1, what="the end is recorded")
        operator.configure(converter_traces_url=collector.url)
        api.create(conversion_job("after"))
        await until_phase(api, "after", "Succeeded")
        await api.until(lambda: collector.spans, what="the trace arrives")
        operator.configure(converter_traces_url="")
        api.create(conversion_job("silent"))
        await until_phase(api, "silent", "Succeeded")
    told = {
        facts(s)["converter.conversion.name"] for s in collector.spans if s.name == "conversion"
    }
    assert told == {"after"}
    assert status_of(api, "before")["reason"] == "Completed"


def test_a_token_in_the_url_is_not_logged_and_a_failure_is_logged_once(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[tuple[str, int]] = []
    tracer = tracing.Tracer("my-network-converter", lambda *each: told.append(each))
    tracer.use(f"{collector.url}?token=secret-word")
    for number, answer in enumerate((401, 401, 200), 1):
        collector.answer = answer
        tracer.record(test_trace.subject(), test_trace.ended("Succeeded", "Completed"))
        wait_until(told, number)
    tracer.close()
    assert [result for result, _ in told] == ["failed", "failed", "sent"]
    assert "secret-word" not in caplog.text
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO] == [
        f"Cannot send traces to {collector.url}. They are lost",
        f"Traces are sent to {collector.url} again",
    ]


def wait_until(told: list[Any], number: int) -> None:
    wait_for(lambda: len(told) >= number)


def wait_for(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_number_of_spans_that_wait_is_bounded(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 20)
    monkeypatch.setattr(tracing, "MOST_IN_A_REQUEST", 10)
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.2)
    collector.held.set()
    told: list[tuple[str, int]] = []
    tracer = tracing.Tracer("my-network-converter", lambda *each: told.append(each))
    tracer.use(collector.url)
    traces, spans = 500, 2
    for _ in range(traces):
        tracer.record(test_trace.subject(), test_trace.ended("Succeeded", "Completed"))
    collector.held.clear()
    collector.released.set()
    tracer.use("")

    def counted(word: str) -> int:
        return sum(number for result, number in told if result == word)

    # Each one is counted, and a trace is dropped as a whole.
    wait_for(lambda: counted("sent") + counted("dropped") == traces * spans)
    assert len(collector.spans) == counted("sent") <= 40
    assert all(number == spans for result, number in told if result == "dropped")


def test_what_a_former_collector_did_not_take_is_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    tracer = tracing.Tracer("my-network-converter", lambda *each: told.append(each))
    tracer.use(collector.url)
    sending = tracer._sending
    assert sending is not None
    # As if its time were over before it was sent.
    monkeypatch.setattr(sending.processor, "shutdown", lambda: None)
    monkeypatch.setattr(sending.processor, "on_end", lambda _: None)
    tracer.record(test_trace.subject(), test_trace.ended("Succeeded", "Completed"))
    tracer.use("")
    wait_for(lambda: told == [("dropped", 2)])
