"""What the operator tells the world: log events, metrics, and Events on the resource.

All of it follows from a status that was stored, so that nothing is told twice or too early.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.core.model import Conversion
from media_converter.contract import ConversionType

_RUN_BUCKETS: Final = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)

logger = logging.getLogger("conversion_operator.conversions")


class Metrics:
    """The operator's metrics. docs/metrics.md describes each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.finished = Counter(
            "converter_conversions_finished_total",
            "Conversions that ended, by conversion type, phase and reason.",
            ("conversion_type", "phase", "reason"),
            registry=registry,
        )
        self.attempts = Counter(
            "converter_attempts_ended_total",
            "Attempts that ended without success and are retried, by conversion type and reason.",
            ("conversion_type", "reason"),
            registry=registry,
        )
        self.run_seconds = Histogram(
            "converter_run_seconds",
            "Running time of the last attempt of conversions that ended, in seconds.",
            ("conversion_type",),
            buckets=_RUN_BUCKETS,
            registry=registry,
        )
        self.wait_seconds = Histogram(
            "converter_wait_seconds",
            "Time from the creation of a ConversionJob to the start of each attempt, in seconds.",
            ("conversion_type",),
            buckets=_RUN_BUCKETS,
            registry=registry,
        )
        self.queued = self._gauge("converter_queued", "Conversions that wait for a slot.")
        self.blocked = self._gauge(
            "converter_blocked", "Conversions that wait for something other than a slot."
        )
        self.running = self._gauge("converter_running", "Slots in use.")
        self.limit = self._gauge("converter_parallel_limit", "Number of slots.")
        self.enabled = self._gauge("converter_enabled", "1 if conversions may start, otherwise 0.")
        self.leading = self._gauge(
            "converter_leading", "1 if this operator is the leader, otherwise 0."
        )
        self.errors = Counter(
            "converter_reconcile_errors_total",
            "Reconciliations that failed. They are repeated.",
            registry=registry,
        )
        self.callbacks = Counter(
            "converter_callbacks_sent_total",
            "Attempts to send a callback, by result: delivered or failed.",
            ("result",),
            registry=registry,
        )
        self.callbacks_given_up = Counter(
            "converter_callbacks_given_up_total",
            "Callbacks that the operator gave up.",
            registry=registry,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)


def render_metrics(metrics: Metrics) -> str:
    """docs/metrics.md: one row per metric, and queries for common figures."""
    rows = "\n".join(
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | "
        f"{family.documentation} |"
        for family in metrics.registry.collect()
    )
    return (
        "# Metrics\n\n"
        "The operator serves its metrics for Prometheus at `/metrics` on port 8080. Counters start "
        "at 0\nwhen the operator restarts.\n\n"
        "This page is generated from `operator/conversion_operator/controller/telemetry.py` by\n"
        "`make crds`.\n\n| Metric | Type | Meaning |\n|---|---|---|\n" + rows + "\n\n"
        "PromQL queries for the figures that MY Network shows:\n\n"
        "| Figure | Query |\n|---|---|\n"
        "| total | `sum(converter_conversions_finished_total)` |\n"
        '| successful | `sum(converter_conversions_finished_total{phase="Succeeded"})` |\n'
        '| failed | `sum(converter_conversions_finished_total{phase="Failed"})` |\n'
        '| success rate | `sum(converter_conversions_finished_total{phase="Succeeded"}) / '
        "sum(converter_conversions_finished_total)` |\n"
        "| average processing time | `sum(converter_run_seconds_sum) / "
        "sum(converter_run_seconds_count)` |\n"
    )


class Telemetry:
    """Tells of status changes."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def tell(self, conversion: Conversion, new: ConversionJobStatus) -> list[dict[str, Any]]:
        """Log and count the change from the conversion's status to ``new``.

        Returns the Events to post about it, without names.
        """
        old_phase = conversion.status.phase if conversion.status else None
        kind = conversion.spec.conversion_type if conversion.spec else "invalid"
        if new.phase.terminal:
            self._count_end(conversion, kind, new)
            return [_event(conversion, new, "Normal" if new.reason in _NORMAL else "Warning")]
        if new.phase is old_phase:
            return []
        if new.phase is Phase.RUNNING:
            self._count_start(conversion, kind, new)
            return [_event(conversion, new, "Normal", reason="Started")]
        if new.phase is Phase.QUEUED and old_phase is not None and new.attempts:
            ended = new.attempts[-1].reason or new.reason
            self.metrics.attempts.labels(kind, ended).inc()
            _log("job_retried", conversion, reason=ended, message=new.message)
            return [_event(conversion, new, "Warning", reason=ended)]
        return []

    def _count_start(self, conversion: Conversion, kind: str, new: ConversionJobStatus) -> None:
        if new.start_time:
            waited = (new.start_time - conversion.created).total_seconds()
            self.metrics.wait_seconds.labels(kind).observe(max(0.0, waited))
        _log("job_started", conversion)

    def _count_end(self, conversion: Conversion, kind: str, new: ConversionJobStatus) -> None:
        self.metrics.finished.labels(kind, new.phase, new.reason).inc()
        if new.duration_seconds is not None:
            self.metrics.run_seconds.labels(kind).observe(new.duration_seconds)
        facts: dict[str, object] = {"reason": new.reason, "duration_seconds": new.duration_seconds}
        if new.phase is Phase.SUCCEEDED:
            _log("job_completed", conversion, **facts, output_size_bytes=new.output_size)
        elif new.phase is Phase.CANCELLED:
            _log("job_cancelled", conversion, **facts)
        else:
            _log("job_failed", conversion, **facts, message=new.message)


_NORMAL: Final = frozenset({"Completed", Reason.CANCELLED})


def _log(event: str, conversion: Conversion, **facts: object) -> None:
    """One log event. Names and paths are data of a JSON string, never part of a format."""
    kind = conversion.spec.conversion_type if conversion.spec else None
    extra: dict[str, object] = {
        "event": event,
        "job_id": conversion.key.name,
        "namespace": conversion.key.namespace,
        "uid": conversion.key.uid,
        "conversion_type": str(kind) if isinstance(kind, ConversionType) else None,
        "input_file": posixpath.basename(conversion.input_path),
    }
    # "message" is the logging module's own.
    details = {("detail" if key == "message" else key): value for key, value in facts.items()}
    logger.info(event, extra=extra | details)


def _event(
    conversion: Conversion, status: ConversionJobStatus, kind: str, reason: str = ""
) -> dict[str, Any]:
    return {
        "type": kind,
        "reason": reason or status.reason,
        "message": status.message,
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": conversion.key.namespace,
            "name": conversion.key.name,
            "uid": conversion.key.uid,
        },
    }


def complete_event(event: Mapping[str, Any], now: datetime, reporter: str) -> dict[str, Any]:
    """A core/v1 Event, ready to be posted."""
    about = event["involvedObject"]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": about["namespace"], "generateName": "conversionjob-"},
        **event,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": names.MANAGED_BY},
        "reportingComponent": names.MANAGED_BY,
        "reportingInstance": reporter,
    }
