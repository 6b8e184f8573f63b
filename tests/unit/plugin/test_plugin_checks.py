"""Checks of ``doctor`` on frozen facts: what a real API server cannot easily be brought to say."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kubectl_conversion.diagnosis import checks, operator_checks
from kubectl_conversion.diagnosis.facts import Answer, Facts, ask
from kubectl_conversion.diagnosis.findings import Level, quantity, selects
from kubectl_conversion.kubectl import Failure, KubectlError

FORBIDDEN: Answer[Any] = Answer(problem=KubectlError(Failure.FORBIDDEN, "you may not"))


def facts(**known: Any) -> Facts:
    review = {"metadata": {"creationTimestamp": "2026-11-28T12:00:00Z"}}
    return Facts("media", "my-network-converter", **{"review": Answer(review), **known})


def blind() -> Facts:
    fields = ("schema", "place", "deployments", "deployment", "pods", "lease", "settings", "events")
    more = ("gateway", "claim", "nodes", "quotas", "policies", "operator_policies", "jobs")
    return facts(
        **dict.fromkeys((*fields, *more), FORBIDDEN),
        installations={"my-network-converter": FORBIDDEN},
        caller_rights={("", "pods", "list"): FORBIDDEN},
        operator_rights={("", "pods", "list"): FORBIDDEN},
    )


def test_what_nobody_could_look_at_is_never_called_missing() -> None:
    found = checks.all_checks(blind())
    assert {each.level for each in found} == {Level.UNKNOWN}
    assert len(found) >= 14


def failing(failure: Failure) -> Callable[[], object]:
    def look() -> object:
        raise KubectlError(failure, "no")

    return look


def test_only_the_api_server_says_that_something_is_not_there() -> None:
    assert ask(failing(Failure.NOT_FOUND)) == Answer()
    for failure in set(Failure) - {Failure.NOT_FOUND}:
        answer = ask(failing(failure))
        assert not answer.known
        assert answer.why == "no"


def deployed(*homes: str) -> Answer[list[dict[str, Any]]]:
    return Answer([{"metadata": {"namespace": home}} for home in homes])


@pytest.mark.parametrize(
    ("deployments", "found", "level"),
    [
        (deployed("my-network-converter"), Answer({"data": {"WATCH_NAMESPACES": "media"}}), "ok"),
        (deployed("my-network-converter"), Answer({"data": {"WATCH_NAMESPACES": "*"}}), "ok"),
        (deployed("my-network-converter"), Answer({"data": {"WATCH_NAMESPACES": "a"}}), "FAULT"),
        # Without a ConfigMap, the operator serves my-network only.
        (deployed("my-network-converter"), Answer(), "FAULT"),
        # A ConfigMap alone does not serve anybody.
        (deployed(), Answer({"data": {"WATCH_NAMESPACES": "media"}}), "FAULT"),
        (deployed("my-network-converter"), FORBIDDEN, "unknown"),
    ],
)
def test_an_installation_is_an_operator_that_serves_the_namespace(
    deployments: Answer[list[dict[str, Any]]], found: Answer[dict[str, Any]], level: str
) -> None:
    known = facts(deployments=deployments, installations={"my-network-converter": found})
    assert [each.level for each in operator_checks.installations(known)] == [level]


def settings(*times: str, **texts: str) -> Answer[dict[str, Any]]:
    fields = [{"time": time} for time in times]
    return Answer({"metadata": {"managedFields": fields}, "data": texts})


@pytest.mark.parametrize(
    ("event_at", "levels"),
    [("2026-11-28T11:00:00Z", [Level.OK]), ("2026-11-28T11:30:00Z", [Level.FAULT])],
)
def test_an_event_about_a_text_that_is_gone_is_no_fault(event_at: str, levels: list[Level]) -> None:
    event = {"type": "Warning", "message": "LOG_LEVEL must be", "lastTimestamp": event_at}
    known = facts(settings=settings("2026-11-28T11:30:00Z"), events=Answer([event]))
    assert [each.level for each in operator_checks.settings(known)] == levels


def lease(renewed: str, holder: str = "op") -> Answer[dict[str, Any]]:
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 30}
    return Answer({"spec": spec})


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (lease("2026-11-28T11:59:45.000000Z"), Level.OK),
        (lease("2026-11-28T11:59:20.000000Z"), Level.FAULT),
        (lease("2026-11-28T11:59:45.000000Z", holder=""), Level.FAULT),
        (Answer(), Level.FAULT),
        (FORBIDDEN, Level.UNKNOWN),
    ],
)
def test_a_lease_is_compared_with_the_time_of_the_api_server(
    answer: Answer[dict[str, Any]], level: Level
) -> None:
    assert [each.level for each in operator_checks.leader(facts(lease=answer))] == [level]
    if level is Level.OK:
        (found,) = operator_checks.leader(facts(lease=answer, review=FORBIDDEN))
        assert found.level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", "1"), ("500m", "0.5"), ("1Gi", "1073741824"), ("2k", "2000"), ("3M", "3000000")],
)
def test_quantities(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)
    assert quantity(f"{text}x") is None


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"a": "b"}}, True),
        ({"matchLabels": {"a": "c"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, False),
        ({"matchExpressions": [{"key": "z", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "z", "operator": "Exists"}]}, False),
    ],
)
def test_selectors(selector: dict[str, Any], selected: bool) -> None:
    assert selects(selector, {"a": "b"}) is selected
