"""When another installation serves a namespace, too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from conversion_operator.cluster.objects import Event
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.controller.metrics import Metrics
from conversion_operator.controller.sharing import FORGET_SECONDS, SharedNamespaces
from conversion_operator.core.model import Key
from conversion_operator.core.sharing import other_installation
from tests.component.support.tools import conversion_job
from tests.unit.operator.builders import T0, conversion

OWN = "my-network-converter"
ABOUT = Key(OWN, "settings", "u")


@pytest.mark.parametrize(
    ("managers", "other"),
    [
        ([], ""),
        (["my-network-converter.my-network-converter"], ""),
        (["my-network-converter.converter-b"], "converter-b"),
        (["my-network-converter.my-network-converter", "my-network-converter.b"], "b"),
        # Anybody who may write a status can choose a name.
        (["kubectl", "my-network-converter", "my-network-converter."], ""),
        (["my-network-converter.a b", "my-network-converter.x\n"], ""),
    ],
)
def test_who_else_has_written_a_status(managers: list[str], other: str) -> None:
    subject = replace(conversion(), status_managers=frozenset(managers))
    assert other_installation(subject, OWN, T0 - timedelta(seconds=1)) == other
    # It may be of the time before the namespace came to us.
    assert other_installation(subject, OWN, T0) == ""


def test_the_managers_of_the_status_are_read_and_no_others() -> None:
    body = conversion_job("a")
    body["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    body["metadata"]["managedFields"] = [
        {"manager": "my-network-converter.b", "subresource": "status"},
        {"manager": "my-network-converter.c"},
        {"manager": "kubectl", "subresource": "status"},
        *({"manager": f"my-network-converter.{n}", "subresource": "status"} for n in range(99)),
    ]
    found = parse_conversion(body).status_managers
    assert "my-network-converter.b" in found
    assert not found & {"my-network-converter.c", "kubectl"}
    assert len(found) <= 4


def test_it_is_told_once_and_forgotten_after_a_while() -> None:
    posted: list[Event] = []
    now = 0.0
    metrics = Metrics(CollectorRegistry())
    shared = SharedNamespaces(OWN, metrics, posted.append, clock=lambda: now)
    subject = replace(conversion(), status_managers=frozenset({"my-network-converter.b"}))
    shared.observe(subject)  # the namespace is not watched
    assert shared.tell(ABOUT, leads=True) == ""
    shared.begin("my-network", T0 - timedelta(seconds=1))
    shared.observe(subject)
    assert "The operator in the namespace b serves" in shared.tell(ABOUT, leads=False)
    assert not posted
    for _ in range(3):
        shared.tell(ABOUT, leads=True)
    (event,) = posted
    assert (event.type, event.reason, event.kind, event.about) == (
        *("Warning", "NamespaceShared", "ConfigMap"),
        ABOUT,
    )
    assert metrics.shared._value.get() == 1
    now = FORGET_SECONDS + 1
    assert shared.tell(ABOUT, leads=True) == ""
    assert metrics.shared._value.get() == 0
