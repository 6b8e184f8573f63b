"""Objects of every phase, as each release stored them, are read by this release.

With invented fields, they stand for the objects of later releases.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import DeleteConversion, DeleteJob
from conversion_operator.core.reconcile import decide
from tests.golden.write import render
from tests.unit.operator.builders import children, job, running, snapshot

FOLDER = Path(__file__).parents[2] / "golden"
FILES = sorted(FOLDER.glob("*.json"))
OBJECTS = [
    pytest.param(obj, id=f"{file.stem}-{obj['metadata']['name']}")
    for file in FILES
    for obj in json.loads(file.read_text())
]
VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.from_regex(r"x[A-Z][a-z]{1,8}", fullmatch=True)


def test_the_file_of_this_release_is_up_to_date() -> None:
    assert (FOLDER / "unreleased.json").read_text() == render()


def read(obj: dict[str, Any]) -> Conversion:
    parsed = parse_conversion(obj)
    assert parsed.status
    assert (parsed.status_error, parsed.spec_error) == ("", "")
    assert parsed.status.phase == obj["status"]["phase"]
    assert parsed.status.to_json() == obj["status"]
    return parsed


@pytest.mark.parametrize("obj", OBJECTS)
def test_it_is_read_as_it_was_written(obj: dict[str, Any]) -> None:
    parsed = read(obj)
    assert parsed.unsupported == ""
    assert parsed.spec
    assert parsed.spec.to_json() == obj["spec"]


def places(value: Any) -> Iterator[dict[str, Any]]:
    """All objects within a value."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list):
            yield from places(child)


@pytest.mark.parametrize("obj", OBJECTS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_invented_fields_change_nothing(obj: dict[str, Any], data: st.DataObject) -> None:
    obj = copy.deepcopy(obj)
    invented = data.draw(st.lists(st.tuples(st.sampled_from(("spec", "status")), NAMES, VALUES)))
    for part, name, value in invented:
        data.draw(st.sampled_from(list(places(obj[part]))))[name] = value
    parsed = read(obj)
    if parsed.finished:
        plan = decide(snapshot(parsed, children(), 30))
        assert (plan.actions, plan.status) == ((), None)
    elif parsed.status and parsed.status.phase == "Running" and not parsed.cancel_requested:
        number = len(parsed.status.attempts or ())
        live = children(job(number), running(number))
        plan = decide(snapshot(parsed, live, 50))
        assert not [a for a in plan.actions if isinstance(a, DeleteJob | DeleteConversion)]
        assert plan.status is None or plan.status.phase == "Running"
    else:
        plan = decide(snapshot(parsed, children(), 50))
        assert plan.status is None or not plan.status.phase.terminal or parsed.cancel_requested
