"""The operator's Prometheus metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from conversion_operator.api.status import Phase
from conversion_operator.api.version import version
from media_converter.contract import ConversionType, ExitReason

SEVERAL_OUTPUTS: Final = "outputs"
DRY_RUN: Final = "dry_run"
INVALID_SPEC: Final = "invalid"
"""What stands for the type of a conversion that has not exactly one."""

_RUN_BUCKETS: Final = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)


class Metrics:
    """One attribute for each metric. docs/metrics.md is generated from them."""

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
        # From the start: increase() does not see the first crash if the series begins with it.
        for conversion_type in ConversionType:
            self.finished.labels(conversion_type, Phase.FAILED, ExitReason.DECODER_CRASHED)
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
        self.loop_lag = self._gauge(
            "converter_event_loop_lag_seconds",
            "Longest time of the last one to two minutes that the operator did nothing but "
            "compute, so that watches, lists and the Lease waited.",
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
    """The page docs/metrics.md: one row for each metric, and useful queries."""
    rows = "\n".join(
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | "
        f"{family.documentation} |"
        for family in metrics.registry.collect()
    )
    return (
        "# Metrics\n\n"
        "The operator serves its metrics for Prometheus at `/metrics` on port 8080. Counters start "
        "at 0\nwhen the operator restarts.\n\n"
        "The operator's NetworkPolicy allows metrics requests only from namespaces with the label\n"
        "`metrics: enabled`. Set it on the namespace of Prometheus:\n"
        "`kubectl label namespace monitoring metrics=enabled`.\n\n"
        "This page is generated from `operator/conversion_operator/controller/metrics.py` by\n"
        "`make crds`.\n\n| Metric | Type | Meaning |\n|---|---|---|\n" + rows + "\n\n"
        "PromQL queries for the figures that MY Network shows:\n\n"
        "| Figure | Query |\n|---|---|\n"
        "| total | `sum(converter_conversions_finished_total)` |\n"
        '| successful | `sum(converter_conversions_finished_total{phase="Succeeded"})` |\n'
        '| failed | `sum(converter_conversions_finished_total{phase="Failed"})` |\n'
        '| success rate | `sum(converter_conversions_finished_total{phase="Succeeded"}) / '
        "sum(converter_conversions_finished_total)` |\n"
        "| average processing time | `sum(converter_run_seconds_sum) / "
        "sum(converter_run_seconds_count)` |\n\n"
        "Expressions for alerts:\n\n"
        "| Alert | Expression | What to do |\n|---|---|---|\n"
        "| a file has crashed a decoder | `sum by (conversion_type) (increase("
        'converter_conversions_finished_total{reason="DecoderCrashed"}[10m])) > 0` | see '
        "DecoderCrashed in [reasons.md](reasons.md); the log of the conversion has the sha256 of "
        "the file |\n"
        "| somebody else creates Jobs or pods with our labels | `max(converter_foreign_children) > "
        "0` | read the Events ForeignJob and ForeignPod |\n"
        "| no operator leads, for 2 minutes | `(sum(converter_leading) or vector(0)) < 1` | read "
        "the operator's log |\n"
        "| a namespace cannot be listed, for 5 minutes | `max(converter_namespaces_unlisted) > 0` "
        "| apply `deploy/namespace` there |\n"
        "| a setting is invalid or unknown | `max(converter_settings_invalid) > 0` | read the "
        "Events on the ConfigMap `my-network-converter-operator` |\n"
        "| the settings cannot be read, for 5 minutes | `max(converter_settings_unread) > 0` | "
        "read the body of /readyz |\n"
        "| two installations serve a namespace | `max(converter_namespaces_shared) > 0` | remove "
        "the namespace from `WATCH_NAMESPACES` of one |\n"
        "| a status cannot be read or written | `sum(converter_stuck_conversions) > 0` | read the "
        "Event on the ConversionJob |\n"
        "| callbacks are lost | `increase(converter_callbacks_given_up_total[1h]) > 0` | read the "
        "Events CallbackGaveUp |\n"
    )
