"""Writes docs/metrics.md: one row for each metric, and useful queries."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.queue_gauges import MOST_QUEUES, OTHERS
from conversion_operator.core.queue_status import MISSING
from converter_gateway import metrics as api

_TABLE: Final = "| Metric | Type | Meaning |\n|---|---|---|\n"
_INTRODUCTION: Final = f"""\
# Metrics

The operator serves its metrics for Prometheus at `/metrics` on port 8080, and so does each replica
of the HTTP API. Counters start at 0 when a program restarts. [monitoring.md](monitoring.md)
describes how to scrape them, the dashboard, and the alerts.

The NetworkPolicies allow metrics requests only from namespaces with the label `metrics: enabled`.
Set it on the namespace of Prometheus: `kubectl label namespace monitoring metrics=enabled`.

This page is generated from `operator/conversion_operator/controller/metrics.py` and
`gateway/converter_gateway/metrics.py` by `make crds`.

## Labels

The number of time series is bounded, and tenants cannot add any. No label has the name of a
ConversionJob, a file, a node or a caller.

- The label `queue` has the names of ConversionQueues, because a limit and a hold belong to a queue.
  Only those who may write in the namespace of the operator create ConversionQueues. The oldest
  {MOST_QUEUES} have labels of their own, and the others are added up as `{OTHERS}`. A
  ConversionJob may name a queue that does not exist: it is counted as `{MISSING}`.
- `conversion_type`, `phase`, `reason`, `result`, `cause`, `verb`, `code`, `route` and `kind` have
  words of the programs.
- `namespace` of the HTTP API has the namespaces in its settings.

The operator counts when something changes, and Prometheus reads the numbers. Neither visits all
ConversionJobs.

## The operator

"""
_QUERIES: Final = """
PromQL queries for the figures that MY Network shows:

| Figure | Query |
|---|---|
| total | `sum(converter_conversions_finished_total)` |
| successful | `sum(converter_conversions_finished_total{phase="Succeeded"})` |
| failed | `sum(converter_conversions_finished_total{phase="Failed"})` |
| success rate | `sum(converter_conversions_finished_total{phase="Succeeded"}) / \
sum(converter_conversions_finished_total)` |
| average processing time | `sum(converter_run_seconds_sum) / sum(converter_run_seconds_count)` |
| retries by cause, in an hour | `sum by (reason) (increase(converter_attempts_ended_total[1h]))` |

## The HTTP API

Each replica serves its own metrics, for the same namespaces. A Service would answer with those of
any replica, so no Service has this port: let Prometheus find the pods.

"""


def metrics_of_operator() -> CollectorRegistry:
    """The operator's metrics without values."""
    return Metrics(CollectorRegistry()).registry


def metrics_of_api() -> CollectorRegistry:
    """The metrics of the HTTP API without values."""
    return api.Metrics(CollectorRegistry(), {}, tuple).registry


def render_metrics() -> str:
    """The page."""
    operator, gateway = _rows(metrics_of_operator()), _rows(metrics_of_api())
    return f"{_INTRODUCTION}{_TABLE}{operator}{_QUERIES}{_TABLE}{gateway}"


def _rows(registry: CollectorRegistry) -> str:
    return "".join(
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | "
        f"{family.documentation} |\n"
        for family in registry.collect()
    )
