"""ConversionQueues on a cluster, as an administrator uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.commands import Kubectl, until
from tests.e2e.support.conversions import Conversions
from tests.e2e.support.operator import NAMESPACE as OPERATOR_NAMESPACE

QUEUE = "bulk"


def body(name: str = QUEUE, **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "converter.mynetwork.io/v1alpha1",
            "kind": "ConversionQueue",
            "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
            "spec": spec,
        }
    )


@pytest.fixture
def queue(kubectl: Kubectl) -> Iterator[str]:
    """A queue that is held."""
    kubectl("apply", "-f", "-", text=body(maxParallel=1, stopPolicy="Hold"))
    yield QUEUE
    kubectl("-n", OPERATOR_NAMESPACE, "delete", "convqueue", QUEUE, "--ignore-not-found")


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (QUEUE, {"maxParallel": 2, "light": {"reserved": 2}}, "must be lower than maxParallel"),
        (QUEUE, {"maxParallel": -1}, "should be greater than or equal to 0"),
        (QUEUE, {"namespaces": [{"name": "a", "weight": 0}]}, "should be greater than or equal"),
        (QUEUE, {"namespaces": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
        (QUEUE, {"stopPolicy": "Stop"}, "Unsupported value"),
        ("a.b", {}, "the name must have at most 63"),
    ],
)
def test_an_invalid_queue_is_rejected(
    kubectl: Kubectl, name: str, spec: dict[str, Any], message: str
) -> None:
    rejected = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=body(name, **spec))
    assert rejected.code
    assert message in rejected.err


def test_a_held_queue_is_resumed(conversions: Conversions, kubectl: Kubectl, queue: str) -> None:
    waiting = conversions.make("in-a-queue", "image_resize", queue=queue)
    waiting.until_reason("QueueHeld")
    printed = kubectl("-n", OPERATOR_NAMESPACE, "get", "convqueue", queue)
    assert "STOP POLICY" in printed
    assert "Hold" in printed
    until(lambda: _counted(kubectl) == [0, 0, 1, "False"], "the status of the queue")
    kubectl("apply", "-f", "-", text=body(maxParallel=1))
    waiting.succeeded()
    until(lambda: _counted(kubectl) == [0, 0, 0, "True"], "the status of the queue")
    text = kubectl(
        "-n", waiting.namespace, "get", "job", "-o", "json", f"--selector={_uid(waiting)}"
    )
    [job] = json.loads(text)["items"]
    assert job["metadata"]["annotations"]["converter.mynetwork.io/queue"] == queue


def test_the_queue_of_a_conversion_that_runs_cannot_change(
    conversions: Conversions, kubectl: Kubectl
) -> None:
    runs = conversions.long("stays-in-its-queue")
    runs.until_phase("Running")
    patch = '{"spec":{"queue":"other"}}'
    arguments = ("-n", runs.namespace, "patch", "convjob", runs.name, "--type=merge", "-p")
    rejected = kubectl.attempt(*arguments, patch)
    assert "suspend the conversion first" in rejected.err
    kubectl(*arguments, '{"spec":{"suspend":true}}')
    runs.until_reason("Suspended")
    until(lambda: not kubectl.attempt(*arguments, patch).code, "the change of the queue")
    kubectl(*arguments, '{"spec":{"suspend":false}}')
    runs.until_reason("QueueMissing")
    kubectl(*arguments, '{"spec":{"cancel":true}}')
    runs.until_phase("Cancelled")


def _counted(kubectl: Kubectl) -> list[Any]:
    status = kubectl.get("-n", OPERATOR_NAMESPACE, "convqueue", QUEUE).get("status") or {}
    active = [c["status"] for c in status.get("conditions") or () if c["type"] == "Active"]
    return [status.get(name) for name in ("queued", "running", "blocked")] + active


def _uid(conversion: Any) -> str:
    return f"converter.mynetwork.io/conversion-uid={conversion.uid}"
