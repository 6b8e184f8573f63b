"""Sends the traces of conversions that have ended to an OpenTelemetry collector.

A trace is sent at most once: after the final status was stored, by the operator that stored it. It
is lost if the operator ends before it is sent, if the collector does not answer, or if too many
wait. Nothing waits for it, and no conversion fails because of it.

OpenTelemetry takes memory, so it is imported when a URL is set. Its loggers are silent, because
they write the URL, which may have a token, and they write again for each request. One line of our
own tells when sending begins to fail, and when it works again.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import urlsplit, urlunsplit

from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.api.version import version
from conversion_operator.controller.metrics import SpanResult
from conversion_operator.core.model import Conversion
from conversion_operator.core.trace import Span, Trace, find_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

MOST_WAITING: Final = 2048
"""How many spans may wait. Then whole traces are dropped, and their spans are counted."""
MOST_IN_A_REQUEST: Final = 512
SEND_SECONDS: Final = 2.0
"""How long spans are collected for one request."""
TIMEOUT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 3.0
_SERVICE: Final = "my-network-converter-operator"
_NANOSECONDS: Final = 1_000_000_000

_LOGGERS_WITH_URLS: Final = ("opentelemetry", "urllib3")

logger = logging.getLogger(__name__)


def without_secrets(url: str) -> str:
    """The scheme, host, port and path of a URL. A query or a user name may have a token."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Exporter:
    """Sends spans with the exporter of OpenTelemetry, and tells when that begins to fail or work.

    A thread of the BatchSpanProcessor exports. ``count`` takes a result and a number of spans. The
    BatchSpanProcessor drops the oldest spans when its queue is full, and tells nobody. So this
    counts the spans that wait, and admits no more than there is room for.
    """

    def __init__(
        self, inner: OTLPSpanExporter, url: str, count: Callable[[SpanResult, int], None]
    ) -> None:
        self._inner, self._place, self._count = inner, without_secrets(url), count
        self._failing = False
        self._lock, self._waiting = threading.Lock(), 0

    def admit(self, spans: int) -> bool:
        """Whether there is room for the spans of a trace. If not, they are counted as dropped."""
        with self._lock:
            fits = self._waiting + spans <= MOST_WAITING
            self._waiting += spans if fits else 0
        if not fits:
            self._count(SpanResult.DROPPED, spans)
        return fits

    def drop_rest(self) -> None:
        """Count what still waits as dropped. Called when nothing more is sent."""
        with self._lock:
            rest, self._waiting = self._waiting, 0
        if rest:
            self._count(SpanResult.DROPPED, rest)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        with self._lock:
            self._waiting -= len(spans)
        try:
            result, why = self._inner.export(spans), ""
        except Exception as error:
            # Its text may have the URL.
            result, why = SpanExportResult.FAILURE, f": {type(error).__name__}"
        failed = result is not SpanExportResult.SUCCESS
        self._count(SpanResult.FAILED if failed else SpanResult.SENT, len(spans))
        if failed and not self._failing:
            logger.warning("Cannot send traces to %s%s. They are lost", self._place, why)
        elif self._failing and not failed:
            logger.info("Traces are sent to %s again", self._place)
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Sending(NamedTuple):
    """What sends spans to one URL."""

    processor: BatchSpanProcessor
    exporter: _Exporter


class Tracer:
    """Sends traces to a URL that may change. ``namespace`` is that of the operator.

    ``count`` takes how many spans were sent, or were not. A thread calls it.
    """

    def __init__(
        self, namespace: str, count: Callable[[SpanResult, int], None] = lambda *_: None
    ) -> None:
        self._namespace, self._url, self._count = namespace, "", count
        self._sending: _Sending | None = None
        self._resource: Resource | None = None

    def use(self, url: str) -> None:
        """Send to this URL from now on, such as http://collector:4318/v1/traces. "": send nothing.

        What waits is still sent to the former URL. The first URL blocks for about half a second,
        in which OpenTelemetry is imported.
        """
        if url == self._url:
            return
        self._url, former = url, self._sending
        self._sending = self._open(url) if url else None
        if former is not None:
            _shut_down(former)

    def record(self, conversion: Conversion, status: ConversionJobStatus) -> None:
        """Send the trace of a conversion whose final status was stored. Does not wait, or raise."""
        if self._sending is None:
            return
        try:
            trace = find_trace(conversion, status)
            if trace is not None and self._sending.exporter.admit(len(trace.spans)):
                for span in trace.spans:
                    self._sending.processor.on_end(self._readable(trace, span))
        except Exception:
            # A conversion must not fail because of its trace.
            logger.exception("Cannot send the trace of %s", conversion.key.uid)

    def close(self) -> None:
        """Send what waits. Blocks for up to CLOSE_SECONDS. The rest is lost then."""
        if self._sending is not None:
            _shut_down(self._sending).join(CLOSE_SECONDS)
            self._sending = None

    def _open(self, url: str) -> _Sending:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._resource = Resource(
            {
                "service.name": _SERVICE,
                "service.version": version(),
                "service.namespace": self._namespace,
            }
        )
        for name in _LOGGERS_WITH_URLS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        inner = OTLPSpanExporter(endpoint=url, timeout=TIMEOUT_SECONDS)
        exporter = _Exporter(inner, url, self._count)
        processor = BatchSpanProcessor(
            cast("SpanExporter", exporter),
            max_queue_size=MOST_WAITING,
            max_export_batch_size=MOST_IN_A_REQUEST,
            schedule_delay_millis=SEND_SECONDS * 1000,
        )
        return _Sending(processor, exporter)

    def _readable(self, trace: Trace, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

        def context(span_id: int, *, remote: bool = False) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(trace.trace_id, span_id, is_remote=remote, trace_flags=flags)

        of_caller = trace.caller is not None and span.parent == trace.caller.span_id
        parent = None if span.parent is None else context(span.parent, remote=of_caller)
        status = Status(StatusCode.ERROR, span.failure) if span.failure else Status(StatusCode.OK)
        return ReadableSpan(
            span.name,
            context=context(span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.facts),
            status=status,
            start_time=int(span.start.timestamp()) * _NANOSECONDS,
            end_time=int(span.end.timestamp()) * _NANOSECONDS,
            instrumentation_scope=InstrumentationScope("conversion_operator", version()),
        )


def _shut_down(sending: _Sending) -> threading.Thread:
    """Let it send what waits. A thread does it, because this waits for the collector."""

    def end() -> None:
        sending.processor.shutdown()  # type: ignore[no-untyped-call]
        sending.exporter.drop_rest()

    thread = threading.Thread(target=end, name="end of traces", daemon=True)
    thread.start()
    return thread
