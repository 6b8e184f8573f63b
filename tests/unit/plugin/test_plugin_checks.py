"""Checks of ``doctor`` on frozen facts: what a real API server cannot easily be brought to say."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kubectl_conversion import installation, source
from kubectl_conversion.diagnosis import checks, namespace_checks, operator_checks
from kubectl_conversion.diagnosis.facts import Answer, Facts, ask, look
from kubectl_conversion.diagnosis.findings import Level, quantity, selects
from kubectl_conversion.kubectl import Failure, Kubectl, KubectlError
from kubectl_conversion.source import Caller

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


def invalid(text: str, at: str = "2026-11-28T11:30:00Z", **more: str) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": "SettingInvalid",
        "message": text,
        "lastTimestamp": at,
    } | more


def test_only_the_operator_says_that_it_does_not_know_a_setting() -> None:
    def said(events: Answer[list[dict[str, Any]]]) -> list[tuple[str, bool]]:
        found = settings("2026-11-28T11:30:00Z", CONVERTER_NEW="1", CONVERTER_NEWER="2")
        known = facts(settings=found, events=events)
        return [(each.level, "remove" in each.cure) for each in operator_checks.settings(known)]

    assert said(Answer([])) == [("warning", False), ("warning", False)]
    unknown = invalid("CONVERTER_NEW is not a setting of this release. Remove it")
    assert said(Answer([unknown])) == [("FAULT", True), ("warning", False)]
    # An operator of a later release knows the setting, but not the text.
    wrong = invalid("CONVERTER_NEW is 'x'. At most 5")
    assert said(Answer([wrong])) == [("warning", False), ("FAULT", False)]
    assert {level for level, _ in said(FORBIDDEN)} == {"unknown"}


def test_a_deliberate_pause_is_no_invalid_setting() -> None:
    events = [invalid("paused", reason=reason) for reason in ("Paused", "ClusterRoleMissing")]
    known = facts(settings=settings(CONVERTER_ENABLED="false"), events=Answer(events))
    (found,) = operator_checks.settings(known)
    assert (found.level, found.text) == (
        Level.WARNING,
        "conversions are paused: CONVERTER_ENABLED is false",
    )


def test_no_cure_deletes_a_network_policy() -> None:
    policy = {
        "metadata": {"name": "all"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    (found,) = namespace_checks.network_policy(facts(policies=Answer([policy])))
    assert "delete" not in found.cure
    assert "does not select app.kubernetes.io/name=my-converter" in found.cure
    assert found.cure.endswith("kubectl -n media edit networkpolicy all")


def watching(*names: str) -> dict[str, Any]:
    return {"data": {"WATCH_NAMESPACES": ",".join(names)}}


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"net": {"data": {"WATCH_NAMESPACES": "*"}}}, "net"),
        ({"net": None}, "net"),
        ({"net": watching("media"), "other": watching("a")}, "net"),
        ({"net": watching("media"), "other": watching("media")}, ""),
        ({"net": watching("a"), "other": watching("b")}, ""),
        ({"net": watching("media"), "other": None}, ""),
        ({}, ""),
    ],
)
def test_the_installation_of_a_namespace_without_a_label(found: Any, chosen: str) -> None:
    assert installation.choose("media", found) == chosen


def cluster(answers: dict[str, Any]) -> Kubectl:
    """A kubectl that has these answers, by the path. Everything else is forbidden."""

    class Fake(Kubectl):
        def get(self, url: str) -> dict[str, Any]:
            found = answers.get(url.partition("?")[0])
            if found is None:
                raise KubectlError(Failure.FORBIDDEN, f"you may not get {url}")
            return dict(found)

        def create_all(self, objects: Any) -> list[dict[str, Any]]:
            return [{"status": {"allowed": True}} for _ in objects]

    return Fake()


CONFIG = "/api/v1/namespaces/net/configmaps/my-network-converter-operator"
WIDE = {
    "/api/v1/namespaces/media": {"metadata": {"name": "media"}},
    "/apis/apps/v1/deployments": {"items": [{"metadata": {"namespace": "net"}}]},
    CONFIG: watching("*"),
}


def test_doctor_looks_at_the_installation_that_serves_all_namespaces() -> None:
    known = look(cluster(WIDE), facts(), "")
    assert known.operator == "net"
    assert [each.level for each in operator_checks.installations(known)] == ["ok"]
    assert [each.level for each in namespace_checks.place(known)] == ["ok"]
    # Nobody could look: nothing is asked of a guessed namespace, nor of all namespaces.
    dark = look(cluster({}), facts(), "")
    assert dark.operator == ""
    assert {each.level for each in checks.all_checks(dark)} <= {Level.UNKNOWN, Level.OK}
    assert "--operator-namespace" in dark.settings.why
    assert "--operator-namespace" in dark.pods.why


def test_queues_are_those_of_the_installation_that_serves_the_namespace() -> None:
    assert source.operator_namespace(Caller(cluster(WIDE), "media")) == "net"
    for answers in ({}, {**WIDE, "/apis/apps/v1/deployments": {"items": []}}):
        with pytest.raises(KubectlError, match="--operator-namespace"):
            source.operator_namespace(Caller(cluster(answers), "media"))


def test_a_cure_never_empties_nor_forgets_the_served_namespaces() -> None:
    both = facts(
        deployments=deployed("my-network-converter", "second"),
        installations={
            "my-network-converter": Answer(watching("*")),
            "second": Answer(watching("media")),
        },
    )
    (found,) = operator_checks.installations(both)
    assert "WATCH_NAMESPACES" not in found.cure
    assert "scale deployment/my-network-converter-operator --replicas=0" in found.cure
    none = facts(
        deployments=deployed("my-network-converter"),
        installations={"my-network-converter": Answer({"data": {}})},
    )
    (found,) = operator_checks.installations(none)
    assert '"WATCH_NAMESPACES":"my-network,media"' in found.cure


@pytest.mark.parametrize(
    ("event_at", "levels"),
    [("2026-11-28T11:00:00Z", [Level.OK]), ("2026-11-28T11:30:00Z", [Level.FAULT])],
)
def test_an_event_about_a_text_that_is_gone_is_no_fault(event_at: str, levels: list[Level]) -> None:
    event = invalid("LOG_LEVEL is 'x'", event_at)
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


def quota(hard: str, used: str, **spec: Any) -> Answer[list[dict[str, Any]]]:
    resource = "requests.memory"
    item = {
        "metadata": {"name": "q"},
        "spec": {"hard": {resource: hard}, **spec},
        "status": {"used": {resource: used}},
    }
    return Answer([item])


@pytest.mark.parametrize(
    ("known", "level"),
    [
        # A key that is absent has the operator's default: 256Mi.
        ({"settings": Answer({"data": {}}), "quotas": quota("1Gi", "900Mi")}, "FAULT"),
        ({"settings": Answer({"data": {}}), "quotas": quota("1Gi", "100Mi")}, "ok"),
        ({"settings": FORBIDDEN, "quotas": quota("1Gi", "900Mi")}, "unknown"),
        ({"settings": FORBIDDEN, "quotas": quota("1Gi", "1Gi")}, "FAULT"),
        (
            {
                "settings": Answer({"data": {}}),
                "quotas": quota("1Gi", "1Gi", scopes=["BestEffort"]),
            },
            "unknown",
        ),
    ],
)
def test_a_quota_is_compared_with_what_a_conversion_needs(known: Any, level: str) -> None:
    assert [each.level for each in namespace_checks.quota(facts(**known))] == [level]


def claimed(phase: str, **more: Any) -> Answer[dict[str, Any]]:
    return Answer({"status": {"phase": phase, "accessModes": ["ReadWriteMany"]}, **more})


LATE = Answer({"volumeBindingMode": "WaitForFirstConsumer"})


@pytest.mark.parametrize(
    ("known", "level"),
    [
        ({"claim": Answer()}, "FAULT"),
        ({"claim": Answer(), "settings": FORBIDDEN}, "unknown"),
        ({"claim": claimed("Bound"), "settings": FORBIDDEN}, "ok"),
        ({"claim": claimed("Pending")}, "FAULT"),
        ({"claim": claimed("Pending"), "storage": LATE}, "warning"),
        ({"claim": claimed("Pending"), "storage": FORBIDDEN}, "unknown"),
        ({"claim": claimed("Lost"), "storage": LATE}, "FAULT"),
    ],
)
def test_a_claim_is_judged_by_what_is_known(known: Any, level: str) -> None:
    assert [each.level for each in namespace_checks.claim(facts(**known))] == [level]


def node(*names: str) -> dict[str, Any]:
    return {"status": {"images": [{"names": list(names)}, {"names": None}]}}


@pytest.mark.parametrize(
    ("name", "on_node", "level"),
    [
        ("my-converter", "docker.io/library/my-converter:latest", "ok"),
        ("my-converter:1", "docker.io/library/my-converter:latest", "FAULT"),
        ("docker.io/acme/x:1", "acme/x:1", "ok"),
        ("acme/x:1", "docker.io/acme/x:1", "ok"),
        ("acme/x:1", "other", "warning"),
        ("registry:5000/x", "other", "ok"),
        ("localhost/x:1", "other", "ok"),
        ("registry.example.com/x", "other", "ok"),
        ("x:1@sha256:ab", "docker.io/library/x@sha256:ab", "ok"),
    ],
)
def test_an_image_is_compared_by_its_full_name(name: str, on_node: str, level: str) -> None:
    known = facts(settings=settings(CONVERTER_IMAGE=name), nodes=Answer([node(on_node)]))
    (found,) = operator_checks.image(known)
    assert found.level == level
    assert "example.com" not in found.cure


def test_an_image_that_nobody_could_read_is_unknown() -> None:
    (found,) = operator_checks.image(facts(settings=FORBIDDEN, nodes=Answer([])))
    assert found.level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("ports", "level"),
    [
        ([], "ok"),
        ([{"port": 6443}], "ok"),
        ([{"port": 53}], "FAULT"),
        ([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}], "FAULT"),
        ([{"port": 443, "protocol": "UDP"}], "FAULT"),
        ([{"port": 53, "endPort": 65535}], "ok"),
    ],
)
def test_an_operator_that_reaches_only_dns_is_cut_off(ports: Any, level: str) -> None:
    rule = {"ports": ports} if ports else {}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}
    known = facts(operator_policies=Answer([{"metadata": {"name": "p"}, "spec": spec}]))
    assert [each.level for each in operator_checks.operator_policy(known)] == [level]


def test_pod_security_is_first_tried() -> None:
    (found,) = namespace_checks.pod_security(facts(place=Answer({"metadata": {}})))
    assert found.cure.index("--dry-run=server") < found.cure.index("kubectl label --overwrite")
