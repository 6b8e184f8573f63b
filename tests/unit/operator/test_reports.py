"""Reports and progress lines with any values. Whoever may run commands in the pod can write them.

The status that the operator makes of it is always one that the CRD accepts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conversion_operator.api.crd import build_crd
from conversion_operator.api.names import VERSION
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.model import Conversion
from media_converter.report_json import PROGRESS_KEY, parse_progress
from tests.component.support.schema import CustomSchema
from tests.unit.operator.builders import (
    at,
    children,
    conversion,
    job,
    running,
    status,
    step,
    succeeded,
)


def is_running() -> Conversion:
    return step(conversion(), children(job(), running()))[1]


SCHEMA = CustomSchema(build_crd(), VERSION)
OUTPUT = {"sha256": "a" * 64, "container": "mp4"}
GOOD = {"final": True, "reason": "Completed", "outputSize": 9, "output": OUTPUT}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=40),
    st.just("\ud800"),
    st.lists(st.text(max_size=3), max_size=6),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
OUTPUT_FIELDS = (
    "sha256", "container", "videoCodec", "audioCodec", "width", "height", "durationSeconds",
)  # fmt: skip
ODD_OUTPUT = st.fixed_dictionaries({}, optional=dict.fromkeys(OUTPUT_FIELDS, ODD)).map(
    lambda values: OUTPUT | values
)
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        "message": ODD,
        "outputSize": ODD,
        "warnings": ODD,
        "logs": ODD,
        "landlockABI": ODD,
        "progress": ODD,
        "output": st.one_of(ODD, ODD_OUTPUT),
    },
)


def ends_with(report: dict[str, Any]) -> Phase:
    """The phase after a run that exited with code 0 and wrote this report."""
    pod = succeeded()
    assert pod.terminated
    pod = replace(pod, terminated=replace(pod.terminated, message=json.dumps(report)))
    _plan, subject = step(is_running(), children(job(), pod), 12)
    stored = json.loads(json.dumps(status(subject).to_json()).encode())
    body = {"apiVersion": "a", "kind": "b", "metadata": {}, "spec": {}, "status": stored}
    assert [c for c in SCHEMA.causes(body) if "status" in str(c[0])] == []
    return status(subject).phase


@given(REPORTS)
@example({"output": OUTPUT | {"durationSeconds": 10**400}})
@example({"output": OUTPUT | {"durationSeconds": float("nan")}})
@example({"warnings": ["\ud800"]})
@example({"outputSize": 10**30})
def test_any_report_makes_a_status_that_can_be_stored(values: dict[str, Any]) -> None:
    assert ends_with(GOOD | values) in (Phase.SUCCEEDED, Phase.QUEUED)


def test_a_report_as_the_converter_writes_it_is_accepted() -> None:
    assert ends_with(GOOD) is Phase.SUCCEEDED
    facts = OUTPUT | {"videoCodec": "h264", "width": 9, "height": 9, "durationSeconds": 9.5}
    assert ends_with(GOOD | {"output": facts, "warnings": ["w"]}) is Phase.SUCCEEDED


@pytest.mark.parametrize(
    "facts",
    [
        {"sha256": "x"},
        {"width": -1},
        {"durationSeconds": -1},
        {"durationSeconds": float("inf")},
        {"durationSeconds": 1e30},
    ],
)
def test_a_report_that_cannot_be_true_is_no_report(facts: dict[str, Any]) -> None:
    assert ends_with(GOOD | {"output": OUTPUT | facts}) is Phase.QUEUED


def test_a_long_name_is_cut() -> None:
    assert ends_with(GOOD | {"output": OUTPUT | {"videoCodec": "x" * 99}}) is Phase.SUCCEEDED


@given(st.fixed_dictionaries({}, optional={"percent": ODD, "speed": ODD, "etaSeconds": ODD}))
@example({"etaSeconds": -1})
@example({"speed": 10**400})
def test_any_progress_line_makes_a_status_that_can_be_stored(values: dict[str, Any]) -> None:
    found = parse_progress(json.dumps({PROGRESS_KEY: values}))
    parts = children(job(), running())
    plan, _ = step(is_running(), parts, 60, progress=found)
    if plan.status:
        assert plan.status.to_json()


def test_a_cancel_ends_a_conversion_whatever_its_report() -> None:
    pod = succeeded()
    assert pod.terminated
    odd = json.dumps(GOOD | {"output": OUTPUT | {"width": -1}})
    pod = replace(pod, terminated=replace(pod.terminated, message=odd))
    subject = replace(is_running(), spec=conversion(cancel=True).spec)
    finished = job(finished="Complete", finished_at=at(11))
    _plan, subject = step(subject, children(finished, pod), 12)
    assert (status(subject).phase, status(subject).reason) == (Phase.CANCELLED, Reason.CANCELLED)
