"""The operator's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from conversion_operator.api.status import Phase
from conversion_operator.api.version import version
from conversion_operator.controller.queue_gauges import QueueGauges
from media_converter.contract import ConversionType, ExitReason

SEVERAL_OUTPUTS: Final = "outputs"
DRY_RUN: Final = "dry_run"
INVALID_SPEC: Final = "invalid"
"""What stands for the type of a conversion that has not exactly one."""

_START_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DELAY_BUCKETS: Final = (0.5, 1, 2, 5, 10, 30, 60, 300)
_RUN_BUCKETS: Final = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)


class CallbackResult(StrEnum):
    """How an attempt to send a callback ended."""

    DELIVERED = "delivered"
    FAILED = "failed"


class SpanResult(StrEnum):
    """What became of spans."""

    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class AdmissionCause(StrEnum):
    """What keeps the operator from starting anything, in any namespace."""

    QUEUES = "queues"
    SCHEMA = "schema"
    LISTS = "lists"


class Metrics:
    """One attribute for each metric. docs/metrics.md is generated from them.

    Labels have words of this code, codes of HTTP, and names that administrators choose: those of
    ConversionQueues, of which at most :data:`queue_gauges.MOST_QUEUES` get a label, and of the
    claim. They never have names that the users of a namespace choose.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        build_info = Gauge(
            "converter_build_info",
            "Always 1. The label is the version of the operator.",
            ("version",),
            registry=registry,
        )
        build_info.labels(version()).set(1)
        self.finished = Counter(
            "converter_conversions_finished_total",
            "Conversions that ended, by conversion type, phase and reason. The conversion type is "
            f"{SEVERAL_OUTPUTS} for several outputs, {DRY_RUN} for a dry run, and {INVALID_SPEC} "
            "for a spec that cannot be read.",
            ("conversion_type", "phase", "reason"),
            registry=registry,
        )
        # From the start: increase() does not see the first one if the series begins with it.
        kinds = (*ConversionType, SEVERAL_OUTPUTS, DRY_RUN)
        for kind in kinds:
            self.finished.labels(kind, Phase.SUCCEEDED, "Completed")
            self.finished.labels(kind, Phase.FAILED, ExitReason.DECODER_CRASHED)
        self.decoder_crashes = Counter(
            "converter_decoder_crashes_total",
            "Outputs and attempts of which a decoder crashed, by conversion type. An optional "
            "output counts, too, although its conversion succeeds.",
            ("conversion_type",),
            registry=registry,
        )
        for kind in kinds:
            self.decoder_crashes.labels(kind)
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
        self.start_seconds = Histogram(
            "converter_start_seconds",
            "Time until the Job of an attempt was created, in seconds. It begins when the operator "
            "sees the change that lets the attempt start: the ConversionJob was created, or "
            "another converter ended.",
            buckets=_START_BUCKETS,
            registry=registry,
        )
        self.end_to_status_seconds = Histogram(
            "converter_end_to_status_seconds",
            "Time from the end of a converter to the final status of its ConversionJob, in "
            "seconds. A node tells the end in whole seconds, so a value is up to 1 s too high.",
            buckets=_DELAY_BUCKETS,
            registry=registry,
        )
        self.output_bytes = Counter(
            "converter_output_bytes_total",
            "Size of the output files of conversions that succeeded, in bytes.",
            ("conversion_type",),
            registry=registry,
        )
        self.queues = QueueGauges(registry)
        self.queued = self._gauge("converter_queued", "Conversions that wait for a slot.")
        self.blocked = self._gauge(
            "converter_blocked", "Conversions that wait for something other than a slot."
        )
        self.running = self._gauge("converter_running", "Slots in use.")
        self.foreign_children = self._gauge(
            "converter_foreign_children",
            "Jobs and pods with the operator's labels that the operator did not create. It ignores "
            "them.",
        )
        self.limit = self._gauge("converter_parallel_limit", "Number of slots.")
        self.enabled = self._gauge("converter_enabled", "1 if conversions may start, otherwise 0.")
        self.leading = self._gauge(
            "converter_leading", "1 if this operator is the leader, otherwise 0."
        )
        self.admission_blocked = Gauge(
            "converter_admission_blocked",
            "1 if the leader starts no conversion in any namespace, by cause, otherwise 0. queues: "
            "no ConversionQueues were read yet. schema: the CRD is old, or was not read yet. "
            "lists: the slots in use are not known yet.",
            ("cause",),
            registry=registry,
        )
        self.tell_admission(())
        self.unlisted = self._gauge(
            "converter_namespaces_unlisted",
            "Watched namespaces with a list that the API server has not answered, or refuses.",
        )
        self.settings_invalid = self._gauge(
            "converter_settings_invalid",
            "Settings that are invalid or unknown. The value in force stays. The Events on the "
            "ConfigMap and the body of /readyz name them.",
        )
        self.settings_unread = self._gauge(
            "converter_settings_unread",
            "1 if the operator cannot read its ConfigMap or if there is none, otherwise 0.",
        )
        self.shared = self._gauge(
            "converter_namespaces_shared",
            "Watched namespaces that another installation serves, too.",
        )
        self.stuck = Gauge(
            "converter_stuck_conversions",
            "Conversions whose status the operator cannot read (StatusUnreadable), or whose status "
            "the API server rejects (StatusRejected). An Event on the ConversionJob says why.",
            ("cause",),
            registry=registry,
        )
        self.reconciles = Counter(
            "converter_reconciles_total",
            "Reconciliations, with those that failed. For one conversion, this number does not "
            "depend on how many others wait.",
            registry=registry,
        )
        self.errors = Counter(
            "converter_reconcile_errors_total",
            "Reconciliations that failed. They are repeated.",
            registry=registry,
        )
        self.kube_requests = Counter(
            "converter_kube_requests_total",
            "Requests to the API server, by verb and code. The code is `none` without an answer. "
            "The watch of ConversionJobs is not counted.",
            ("verb", "code"),
            registry=registry,
        )
        self.store_age = self._gauge(
            "converter_store_age_seconds",
            "Seconds since the request of the oldest list that the operator works with. It lists "
            "once a minute, so this is below 150 as long as the API server answers.",
        )
        self.claim = Gauge(
            "converter_volume_claim_info",
            "Always 1. The label is the name of the claim of the shared volumes, to find them in "
            "the metrics of the kubelet.",
            ("persistentvolumeclaim",),
            registry=registry,
        )
        self.loop_lag = self._gauge(
            "converter_event_loop_lag_seconds",
            "Longest time of the last one to two minutes that the operator did nothing but "
            "compute, so that watches, lists and the Lease waited.",
        )
        self.spans = Counter(
            "converter_trace_spans_total",
            "Spans of traces, by result: sent, failed, or dropped because too many waited or the "
            "operator ended.",
            ("result",),
            registry=registry,
        )
        for each in SpanResult:
            self.spans.labels(each)
        self.callbacks = Counter(
            "converter_callbacks_sent_total",
            "Attempts to send a callback, by result: delivered or failed.",
            ("result",),
            registry=registry,
        )
        for result in CallbackResult:
            self.callbacks.labels(result)
        self.callbacks_given_up = Counter(
            "converter_callbacks_given_up_total",
            "Callbacks that the operator gave up.",
            registry=registry,
        )

    def forget_term(self) -> None:
        """Set what only a leader knows to 0. Called when this operator no longer leads."""
        waiting, slots = (self.queued, self.blocked), (self.running, self.limit, self.enabled)
        for gauge in (*waiting, *slots, self.foreign_children):
            gauge.set(0)
        self.queues.numbers = {}
        self.tell_admission(())

    def count_spans(self, result: SpanResult, number: int) -> None:
        """Count spans that were sent, or were not."""
        self.spans.labels(result).inc(number)

    def count_request(self, verb: str, code: str) -> None:
        """Count a request to the API server, when it is answered or has failed."""
        self.kube_requests.labels(verb, code).inc()

    def tell_admission(self, causes: Collection[AdmissionCause]) -> None:
        """Tell what keeps everything from starting. Called once a second."""
        for cause in AdmissionCause:
            self.admission_blocked.labels(cause).set(cause in causes)

    def name_claim(self, name: str) -> None:
        """Tell the name of the claim. Called when the settings were taken."""
        self.claim.clear()
        self.claim.labels(name).set(1)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)
