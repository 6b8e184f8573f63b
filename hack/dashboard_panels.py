"""The panels of the Grafana dashboard, and their queries. hack/monitoring.py lays them out."""

from __future__ import annotations

from typing import Final, NamedTuple

_NS: Final = 'namespace=~"$namespace"'


class Query(NamedTuple):
    """A query, and how Grafana names its series."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """A panel. ``width`` is in 24ths of the page. ``limit`` is the value that is alarming."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    limit: float | None = None


def _quantiles(metric: str) -> tuple[Query, ...]:
    rate = f"sum by (le, conversion_type) (rate({metric}_bucket{{{_NS}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({q}, {rate})", f"{{{{conversion_type}}}} p{round(q * 100)}")
        for q in (0.5, 0.95)
    )


def _sum(by: str, metric: str, legend: str = "", *, more: str = "") -> Query:
    rate = f"rate({metric}{{{_NS}{more}}}[$__rate_interval])"
    return Query(f"sum by ({by}) ({rate})", legend or f"{{{{{by}}}}}")


def _max(metric: str, legend: str, by: str = "namespace") -> Query:
    return Query(f"max by ({by}) ({metric}{{{_NS}}})", legend)


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Now",
        (
            Panel(
                "Operators that lead",
                "One for each installation. None: no conversion starts.",
                (Query(f"sum by (namespace) (converter_leading{{{_NS}}})", "{{namespace}}"),),
                width=4,
                kind="stat",
            ),
            Panel(
                "Slots in use",
                "CONVERTER_MAX_PARALLEL is the number of slots.",
                (
                    _max("converter_running", "{{namespace}} in use"),
                    _max("converter_parallel_limit", "{{namespace}} limit"),
                ),
                width=4,
                kind="stat",
            ),
            Panel(
                "Waiting",
                "For a slot, or blocked by something else. status.reason says by what.",
                (
                    _max("converter_queued", "{{namespace}} for a slot"),
                    _max("converter_blocked", "{{namespace}} blocked"),
                ),
                width=4,
                kind="stat",
            ),
            Panel(
                "Failed in 30 minutes",
                "The share of the conversions that ended.",
                (
                    Query(
                        f"namespace:converter_failures:ratio30m{{{_NS}}} or on() vector(0)",
                        "{{namespace}}",
                    ),
                ),
                unit="percentunit",
                width=4,
                kind="stat",
                limit=0.25,
            ),
            Panel(
                "Settings without effect",
                "Events on the ConfigMap name them.",
                (_max("converter_settings_invalid", "{{namespace}}"),),
                width=4,
                kind="stat",
                limit=1,
            ),
            Panel(
                "Versions",
                "Of the operator and the HTTP API.",
                (
                    Query(
                        f"count by (namespace, version) (converter_build_info{{{_NS}}})",
                        "{{namespace}} operator {{version}}",
                    ),
                    Query(
                        f"count by (namespace, version) (converter_api_build_info{{{_NS}}})",
                        "{{namespace}} HTTP API {{version}}",
                    ),
                ),
                width=4,
                kind="stat",
            ),
        ),
    ),
    (
        "Queues",
        (
            Panel(
                "Waiting for a slot, by queue",
                "(missing) are queues that do not exist.",
                (_max("converter_queue_queued", "{{namespace}}/{{queue}}", "namespace, queue"),),
            ),
            Panel(
                "Slots in use, by queue",
                "With the limit of each queue.",
                (
                    _max("converter_queue_running", "{{namespace}}/{{queue}}", "namespace, queue"),
                    _max(
                        "converter_queue_limit",
                        "limit of {{namespace}}/{{queue}}",
                        "namespace, queue",
                    ),
                ),
            ),
            Panel(
                "Blocked, by queue",
                "These wait for something other than a slot.",
                (_max("converter_queue_blocked", "{{namespace}}/{{queue}}", "namespace, queue"),),
            ),
        ),
    ),
    (
        "Conversions",
        (
            Panel(
                "Ended, by reason",
                "Conversions a second.",
                (
                    Query(
                        "sum by (phase, reason) (rate("
                        f"converter_conversions_finished_total{{{_NS}}}[$__rate_interval]))",
                        "{{phase}} {{reason}}",
                    ),
                ),
                unit="ops",
            ),
            Panel(
                "Retries, by cause",
                "Attempts that ended without success and are retried, a second.",
                (
                    _sum("reason", "converter_attempts_ended_total")._replace(
                        expr=_sum("reason", "converter_attempts_ended_total").expr
                        + " or on() vector(0)"
                    ),
                ),
                unit="ops",
            ),
            Panel(
                "Output",
                "Bytes a second, by conversion type.",
                (_sum("conversion_type", "converter_output_bytes_total"),),
                unit="Bps",
            ),
            Panel(
                "Wait, from the creation to the start",
                "Median and 95th percentile.",
                _quantiles("converter_wait_seconds"),
                unit="s",
                width=12,
            ),
            Panel(
                "Run time of the last attempt",
                "Median and 95th percentile.",
                _quantiles("converter_run_seconds"),
                unit="s",
                width=12,
            ),
        ),
    ),
    (
        "Operator",
        (
            Panel(
                "Delays of the operator, 95th percentile",
                "Until the Job is created after the change that lets a conversion start, and from "
                "the end of a converter to the final status.",
                tuple(
                    Query(
                        "histogram_quantile(0.95, sum by (le) (rate("
                        f"converter_{name}_seconds_bucket{{{_NS}}}[$__rate_interval])))",
                        legend,
                    )
                    for name, legend in (("start", "start"), ("end_to_status", "end"))
                ),
                unit="s",
            ),
            Panel(
                "Requests to the API server",
                "A second, by verb and code.",
                (
                    Query(
                        "sum by (verb, code) (rate("
                        f"converter_kube_requests_total{{{_NS}}}[$__rate_interval]))",
                        "{{verb}} {{code}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Age of what the operator knows",
                "The oldest list, and the longest time without anything but computing.",
                (
                    _max("converter_store_age_seconds", "{{namespace}} oldest list"),
                    _max("converter_event_loop_lag_seconds", "{{namespace}} event loop"),
                ),
                unit="s",
                limit=150,
            ),
            Panel(
                "Reconciliations",
                "A second, with those that failed.",
                (
                    _sum("namespace", "converter_reconciles_total", "{{namespace}} all"),
                    _sum("namespace", "converter_reconcile_errors_total", "{{namespace}} failed"),
                ),
                unit="ops",
            ),
            Panel(
                "Callbacks",
                "Attempts a second, by result, and callbacks that were given up.",
                (
                    _sum("result", "converter_callbacks_sent_total"),
                    _sum(
                        "namespace", "converter_callbacks_given_up_total", "{{namespace}} given up"
                    ),
                ),
                unit="ops",
            ),
            Panel(
                "What needs a person",
                "docs/alerts.md says what to do.",
                (
                    Query(
                        f"sum by (namespace, cause) (converter_stuck_conversions{{{_NS}}})",
                        "{{namespace}} stuck: {{cause}}",
                    ),
                    *(
                        _max(f"converter_{name}", f"{{{{namespace}}}} {legend}")
                        for name, legend in (
                            ("namespaces_unlisted", "namespaces that cannot be listed"),
                            ("namespaces_shared", "namespaces with two operators"),
                            ("foreign_children", "foreign Jobs and pods"),
                            ("settings_unread", "settings cannot be read"),
                        )
                    ),
                ),
            ),
        ),
    ),
    (
        "HTTP API",
        (
            Panel(
                "Requests, by code",
                "A second.",
                (_sum("code", "converter_api_requests_total"),),
                unit="reqps",
            ),
            Panel(
                "Time of requests, 95th percentile",
                "Without streams and long polls.",
                (
                    Query(
                        "histogram_quantile(0.95, sum by (le, route) (rate("
                        f"converter_api_request_seconds_bucket{{{_NS}}}[$__rate_interval])))",
                        "{{route}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "In progress",
                "Requests, long polls and streams of all replicas.",
                (Query(f"sum by (kind) (converter_api_in_progress{{{_NS}}})", "{{kind}}"),),
            ),
            Panel(
                "Age of the stores",
                "Seconds since a replica has heard something of a namespace.",
                (
                    _max(
                        "converter_api_store_age_seconds",
                        "{{pod}} {{exported_namespace}}",
                        "pod, exported_namespace",
                    ),
                ),
                unit="s",
                width=12,
                limit=150,
            ),
            Panel(
                "Current stores",
                "0: reads ask the API server, or get 503.",
                (
                    Query(
                        f"min by (pod, exported_namespace) (converter_api_store_current{{{_NS}}})",
                        "{{pod}} {{exported_namespace}}",
                    ),
                ),
                width=12,
            ),
        ),
    ),
)
