"""When each recording rule and each alert of deploy/monitoring/rules.yaml must fire, and when not.

``promtool_tests`` writes them in the format of ``promtool test rules``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OPERATOR: Final = 'job="my-network-converter-operator"'
NS: Final = 'namespace="converter"'
_HOUR: Final = "+0x90"
"""The same number each minute, for 90 minutes."""

Series = dict[str, str]
"""Time series by name: numbers, one a minute, as promtool writes them."""


def still(**numbers: float) -> Series:
    """One series for each metric of the operator: the same number all the time."""
    return {f"converter_{name}{{{NS}}}": f"{number}{_HOUR}" for name, number in numbers.items()}


@dataclass(frozen=True)
class AlertCase:
    """One alert. ``quiet`` has series with which it does not fire, by what they stand for.

    ``early`` is a time at which it does not fire yet, "" if it fires at once.
    """

    fires: Series
    quiet: Mapping[str, Series]
    description: str
    labels: Mapping[str, str] = field(default_factory=lambda: {"namespace": "converter"})
    at: str = "20m"
    early: str = ""
    also: Mapping[str, tuple[Series, Mapping[str, str], str]] = field(default_factory=dict)
    """More series with which it fires, each with the labels and the description of the alert."""


@dataclass(frozen=True)
class RecordCase:
    """One recording rule: the result by series. No result where there is no value to divide by."""

    series: Series
    result: Mapping[str, float]
    nothing: Series
    at: str = "40m"


def ended(phase: str, reason: str, values: str) -> Series:
    """The ends for one reason. An operator that shows them has run all the time."""
    labels = f'{NS},conversion_type="image_resize",phase="{phase}",reason="{reason}"'
    return {
        f"converter_conversions_finished_total{{{labels}}}": values,
        f'converter_build_info{{{NS},version="1"}}': "1+0x200",
    }


def crashed(values: str, pod: str = "old") -> Series:
    labels = f'{NS},conversion_type="image_resize",pod="{pod}"'
    return {f"converter_decoder_crashes_total{{{labels}}}": values}


def queue(name: str, *, queued: int, running: int, may_start: int = 1, has_room: int = 1) -> Series:
    labels = f'{{{NS},queue="{name}"}}'
    numbers = {"queued": queued, "running": running, "may_start": may_start, "has_room": has_room}
    return {f"converter_queue_{key}{labels}": f"{n}{_HOUR}" for key, n in numbers.items()}


def sent(delivered: str, failed: str) -> Series:
    name = "converter_callbacks_sent_total"
    return {
        f'{name}{{{NS},result="delivered"}}': delivered,
        f'{name}{{{NS},result="failed"}}': failed,
    }


def volume(left: float, claim: str = "my-network-shared") -> Series:
    labels = f'{{namespace="team-a",persistentvolumeclaim="{claim}"}}'
    return {
        f"kubelet_volume_stats_available_bytes{labels}": f"{left}{_HOUR}",
        f"kubelet_volume_stats_capacity_bytes{labels}": f"1000{_HOUR}",
        f'converter_volume_claim_info{{{NS},persistentvolumeclaim="my-network-shared"}}': "1+0x90",
    }


def store(name: str, number: float) -> Series:
    labels = f'{{{NS},exported_namespace="team-a",pod="api-1"}}'
    return {f"converter_api_store_{name}{labels}": f"{number}{_HOUR}"}


def answered(good: str, refused: str) -> Series:
    name = "converter_api_requests_total"
    return {
        f'{name}{{{NS},route="/a",code="200"}}': good,
        f'{name}{{{NS},route="/a",code="503"}}': refused,
    }


UP: Final = {f"up{{{NS},{OPERATOR}}}": f"1{_HOUR}"}
STORE_LABELS: Final = {
    "namespace": "converter",
    "exported_namespace": "team-a",
    "pod": "api-1",
}

_REASONS: Final = ("DiskFull", "Stalled", "InputNotFound", "OutOfMemory", "InputEmpty")
_EACH_ONCE: Final[Series] = {
    name: values
    for reason in _REASONS
    for name, values in ended("Failed", reason, "_x20 1+0x70").items()
}

ALERTS: Final[Mapping[str, AlertCase]] = {
    "ConverterNoLeader": AlertCase(
        fires=UP | still(leading=0),
        quiet={
            "one of two leads": UP
            | {
                f'converter_leading{{{NS},pod="a"}}': "1+0x90",
                f'converter_leading{{{NS},pod="b"}}': "0+0x90",
            }
        },
        description="No operator of the installation in converter has led for 2 minutes. "
        "Conversions that run continue.",
        early="1m",
        also={
            "its pods do not answer": (
                {f"up{{{NS},{OPERATOR}}}": f"0{_HOUR}"},
                {"namespace": "converter"},
                "No operator of the installation in converter has led for 2 minutes. "
                "Conversions that run continue.",
            ),
            "its pods are lost, and another installation works": (
                {f"up{{{NS},{OPERATOR}}}": "1+0x5"}
                | {f'up{{namespace="other",{OPERATOR}}}': f"1{_HOUR}"}
                | {'converter_leading{namespace="other"}': f"1{_HOUR}"},
                {"namespace": "converter"},
                "No operator of the installation in converter has led for 2 minutes. "
                "Conversions that run continue.",
            ),
            "there is no pod": (
                {},
                {},
                "No operator of the installation in any\nnamespace has led for 2 minutes. "
                "Conversions that run continue.",
            ),
        },
    ),
    "ConverterAdmissionBlocked": AlertCase(
        fires={f'converter_admission_blocked{{{NS},cause="queues"}}': "1+0x90"},
        quiet={"nothing blocks": {f'converter_admission_blocked{{{NS},cause="queues"}}': "0+0x90"}},
        labels={"namespace": "converter", "cause": "queues"},
        description="The operator in converter has started nothing for 5 minutes. The cause is\n"
        "queues.",
        early="4m",
    ),
    "ConverterQueueStuck": AlertCase(
        fires=queue("bulk", queued=4, running=0),
        quiet={
            "no free slot is for them": queue("bulk", queued=4, running=0, has_room=0),
            "it runs some": queue("bulk", queued=4, running=1),
            "it is held": queue("bulk", queued=4, running=0, may_start=0),
            "nothing waits": queue("bulk", queued=0, running=0),
        },
        labels={"namespace": "converter", "queue": "bulk"},
        description="4 conversions of the queue bulk wait for a slot. For 10\nminutes none of them "
        "has run, although a slot is free that they may take.",
        early="9m",
    ),
    "ConverterQueueMissing": AlertCase(
        fires={f'converter_queue_blocked{{{NS},queue="(missing)"}}': "2+0x90"},
        quiet={"others are blocked": {f'converter_queue_blocked{{{NS},queue="a"}}': "2+0x90"}},
        description="2 conversions wait, because spec.queue names a ConversionQueue that does not\n"
        "exist in converter.",
        early="14m",
    ),
    "ConverterFailureRateHigh": AlertCase(
        fires={
            **ended("Failed", "DiskFull", "0+1x90"),
            **ended("Succeeded", "Completed", "0+1x90"),
        },
        quiet={
            "few fail": {
                **ended("Failed", "DiskFull", "0+1x90"),
                **ended("Succeeded", "Completed", "0+9x90"),
            },
            "only three ended": ended("Failed", "DiskFull", "0+0x20 1+1x2 3+0x70"),
            "they failed before the first scrape": ended("Failed", "DiskFull", "_x20 9+0x70")
            | {f'converter_build_info{{{NS},version="1"}}': "_x20 1+0x70"},
            "they failed before a time without scrapes": ended(
                "Failed", "DiskFull", "9+0x5 _x20 9+0x70"
            )
            | {f'converter_build_info{{{NS},version="1"}}': "1+0x5 _x20 1+0x70"},
            "a restart makes the series begin again": ended(
                "Failed", "DiskFull", "9+0x20 _x5 4+0x70"
            ),
        },
        also={
            "each for a reason of its own, which did not exist before": (
                _EACH_ONCE,
                {"namespace": "converter"},
                "100% of the conversions that ended in the last 30 minutes\nhave failed.",
            ),
        },
        at="40m",
        description="50% of the conversions that ended in the last 30 minutes\nhave failed.",
        early="8m",
    ),
    "ConverterDecoderCrashed": AlertCase(
        fires=crashed("0+0x15 1+0x40"),
        quiet={
            "it was long ago": crashed("0+0x5 1+0x90"),
            "it was long ago, and before the first scrape": crashed("1+0x90"),
            "it failed otherwise": ended("Failed", "DiskFull", "0+1x90"),
            "it was before a short time without scrapes": crashed("1+0x5 _x6 1+0x90"),
        },
        also={
            "a new operator has it at its first scrape": (
                crashed("_x15 1+0x40", "new") | crashed("0+0x15"),
                {"namespace": "converter", "conversion_type": "image_resize"},
                "A decoder has crashed in a conversion of the type image_resize in the\n"
                "last 10 minutes.",
            ),
        },
        labels={"namespace": "converter", "conversion_type": "image_resize"},
        description="A decoder has crashed in a conversion of the type image_resize in the\n"
        "last 10 minutes.",
    ),
    "ConverterStatusStuck": AlertCase(
        fires={f'converter_stuck_conversions{{{NS},cause="StatusRejected"}}': "1+0x90"},
        quiet={"none": {f'converter_stuck_conversions{{{NS},cause="StatusRejected"}}': "0+0x90"}},
        labels={"namespace": "converter", "cause": "StatusRejected"},
        description="1 conversions are stuck with StatusRejected. The operator does not\n"
        "continue them.",
        early="4m",
    ),
    "ConverterStoreOld": AlertCase(
        fires=still(store_age_seconds=180),
        quiet={"the last list is late": still(store_age_seconds=149)},
        description="The API server has answered no list of one of the operator's resources for\n"
        "3m 0s. Watches may be dead, too.",
        early="1m",
    ),
    "ConverterNamespacesUnlisted": AlertCase(
        fires=still(namespaces_unlisted=1),
        quiet={"all are listed": still(namespaces_unlisted=0)},
        description="The API server refuses, or does not answer, lists of 1 watched namespaces.",
        early="4m",
    ),
    "ConverterSettingsInvalid": AlertCase(
        fires=still(settings_invalid=1),
        quiet={"all are valid": still(settings_invalid=0)},
        description="1 settings in the ConfigMap my-network-converter-operator have no effect.",
        early="0m",
    ),
    "ConverterSettingsUnread": AlertCase(
        fires=still(settings_unread=1),
        quiet={"they are read": still(settings_unread=0)},
        description="The ConfigMap my-network-converter-operator in converter is missing, or\n"
        "the operator may not read it.",
        early="4m",
    ),
    "ConverterNamespacesShared": AlertCase(
        fires=still(namespaces_shared=2),
        quiet={"no other installation": still(namespaces_shared=0)},
        description="The operator in converter shares 2 namespaces with another\ninstallation.",
        early="0m",
    ),
    "ConverterForeignChildren": AlertCase(
        fires=still(foreign_children=3),
        quiet={"all are its own": still(foreign_children=0)},
        description="3 Jobs and pods have the labels of the operator, but it did not create them.",
        early="0m",
    ),
    "ConverterCallbacksFailing": AlertCase(
        fires=sent("0+1x90", "0+3x90"),
        quiet={
            "some fail": sent("0+3x90", "0+1x90"),
            "two failed": sent("0+0x90", "0+0x15 2+0x40"),
        },
        description="About 45 attempts to send a callback have failed in 15 minutes.\n"
        "The operator tries again.",
        at="40m",
        early="10m",
    ),
    "ConverterCallbacksLost": AlertCase(
        fires={f"converter_callbacks_given_up_total{{{NS}}}": "0+0x110 1+0x60"},
        quiet={
            "none was given up": {f"converter_callbacks_given_up_total{{{NS}}}": "0+0x200"},
            "it was long ago": {f"converter_callbacks_given_up_total{{{NS}}}": "4+0x200"},
        },
        also={
            "a new operator has it at its first scrape": (
                {f"converter_callbacks_given_up_total{{{NS}}}": "_x110 2+0x90"},
                {"namespace": "converter"},
                "About 2 callbacks were given up in the last hour.",
            ),
        },
        description="About 1 callbacks were given up in the last hour.",
        at="2h",
    ),
    "ConverterOperatorSlow": AlertCase(
        fires=still(event_loop_lag_seconds=7),
        quiet={"it is busy": still(event_loop_lag_seconds=2)},
        description="The operator did nothing but compute for 7s at a time.",
        early="9m",
    ),
    "ConverterVolumeNearlyFull": AlertCase(
        fires=volume(50),
        quiet={"there is space": volume(200), "another volume": volume(50, "database")},
        also={
            "pods are short, so that most scrapes of the kubelet miss the volume": (
                {
                    name: values if "claim_info" in name else f"_x3 {values.split('+')[0]} _x30"
                    for name, values in volume(50).items()
                },
                {"namespace": "team-a", "persistentvolumeclaim": "my-network-shared"},
                "5% of the volume my-network-shared in\nteam-a are left. Without space, "
                "conversions fail as DiskFull.",
            ),
        },
        labels={"namespace": "team-a", "persistentvolumeclaim": "my-network-shared"},
        description="5% of the volume my-network-shared in\nteam-a are left. Without space, "
        "conversions fail as DiskFull.",
        early="4m",
    ),
    "ConverterApiNotCurrent": AlertCase(
        fires=store("current", 0),
        quiet={"it is current": store("current", 1)},
        labels=STORE_LABELS,
        description="The store of api-1 for the namespace team-a is not\ncurrent. Its answers are "
        "slow, or have the code 503.",
        early="4m",
    ),
    "ConverterApiStoreOld": AlertCase(
        fires=store("age_seconds", 200),
        quiet={"bookmarks arrive": store("age_seconds", 60)},
        labels=STORE_LABELS,
        description="api-1 has heard nothing of the namespace team-a\nfor 3m 20s.",
        early="0m",
    ),
    "ConverterApiRefuses": AlertCase(
        fires=answered("0+540x90", "0+60x90"),
        quiet={
            "few are refused": answered("0+600x90", "0+6x90"),
            "there are few requests": answered("0+1x90", "0+1x90"),
        },
        description="The HTTP API in converter refuses 1 requests a\nsecond.",
        early="4m",
    ),
}

_RUNS: Final = {
    f'converter_NAME_seconds_bucket{{{NS},conversion_type="t",le="{le}"}}': values
    for le, values in (("10", "0+0x90"), ("30", "0+60x90"), ("+Inf", "0+60x90"))
}
_NO_RUNS: Final = dict.fromkeys(_RUNS, "0+0x90")


def _named(series: Series, name: str) -> Series:
    return {each.replace("NAME", name): values for each, values in series.items()}


_HALF: Final = {
    **ended("Failed", "DiskFull", "0+1x90"),
    **ended("Succeeded", "Completed", "0+1x90"),
}

RECORDS: Final[Mapping[str, RecordCase]] = {
    "namespace_phase:converter_conversions_ended:increase30m": RecordCase(
        # The first of them are not an increase of a series that exists.
        {**ended("Failed", "DiskFull", "_x20 3+0x70"), **ended("Succeeded", "C", "0+1x90")},
        {f'{{{NS},phase="Failed"}}': 3.0, f'{{{NS},phase="Succeeded"}}': 30.0},
        still(queued=1),
    ),
    "namespace:converter_conversions_ended:increase30m": RecordCase(
        _HALF, {f"{{{NS}}}": 60}, still(queued=1)
    ),
    "namespace:converter_conversions_failed:increase30m": RecordCase(
        _HALF, {f"{{{NS}}}": 30}, ended("Succeeded", "Completed", "0+1x90")
    ),
    "namespace:converter_failures:ratio30m": RecordCase(
        _HALF, {f"{{{NS}}}": 0.5}, ended("Failed", "DiskFull", "7+0x90")
    ),
    "namespace_type:converter_run_seconds:p95_1h": RecordCase(
        _named(_RUNS, "run"), {f'{{{NS},conversion_type="t"}}': 29}, still(queued=1)
    ),
    "namespace_type:converter_wait_seconds:p95_1h": RecordCase(
        _named(_RUNS, "wait"), {f'{{{NS},conversion_type="t"}}': 29}, still(queued=1)
    ),
    "namespace:converter_slots:used_ratio": RecordCase(
        still(running=1, parallel_limit=4), {f"{{{NS}}}": 0.25}, still(running=0, parallel_limit=0)
    ),
}


OF_THE_KUBELET: Final = frozenset(
    {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
)
"""The time series in the rules that the operator and the HTTP API do not have."""


def named(expression: str) -> set[str]:
    """The time series in a PromQL expression, with those of recording rules."""
    return set(re.findall(r"\b(?:[a-z_]+:)?(?:converter|kubelet)_\w+(?::\w+)?", expression))


def promtool_tests(groups: list[dict[str, Any]], rule_file: str) -> dict[str, Any]:
    """The document for promtool. ``groups`` are the groups of the rules."""
    rules = [rule for group in groups for rule in group["rules"]]
    tests: list[dict[str, Any]] = []
    for rule in rules:
        if "alert" in rule:
            tests += _alert_tests(rule, ALERTS[rule["alert"]])
        else:
            tests += _record_tests(rule["record"], RECORDS[rule["record"]])
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": tests}


def _alert_tests(rule: Mapping[str, Any], case: AlertCase) -> list[dict[str, Any]]:

    def fired(labels: Mapping[str, str], description: str) -> dict[str, Any]:
        return {
            "exp_labels": {**labels, **rule["labels"]},
            "exp_annotations": {**rule["annotations"], "description": description},
        }

    def at(time: str, *expected: Any) -> dict[str, Any]:
        return {"eval_time": time, "alertname": rule["alert"], "exp_alerts": list(expected)}

    early = [at(case.early)] if case.early else []
    name = rule["alert"]
    first = at(case.at, fired(case.labels, case.description))
    return [
        _test(f"{name} fires", case.fires, alert_rule_test=[*early, first]),
        *(
            _test(
                f"{name} fires: {what}",
                series,
                alert_rule_test=[at(case.at, fired(labels, description))],
            )
            for what, (series, labels, description) in case.also.items()
        ),
        *(
            _test(f"{name}: {what}", series, alert_rule_test=[at(case.at)])
            for what, series in case.quiet.items()
        ),
    ]


def _record_tests(name: str, case: RecordCase) -> list[dict[str, Any]]:
    samples = [{"labels": f"{name}{key}", "value": value} for key, value in case.result.items()]
    ask = {"expr": name, "eval_time": case.at}
    return [
        _test(name, case.series, promql_expr_test=[{**ask, "exp_samples": samples}]),
        _test(f"{name}: none", case.nothing, promql_expr_test=[{**ask, "exp_samples": []}]),
    ]


def _test(name: str, series: Series, **tests: Any) -> dict[str, Any]:
    inputs = [{"series": each, "values": values} for each, values in series.items()]
    return {"name": name, "interval": "1m", "input_series": inputs, **tests}
