"""What an older CRD would drop of a status."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from conversion_operator.api.crd import build_crd
from conversion_operator.api.served import dropped_fields


def served() -> dict[str, Any]:
    schema = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = copy.deepcopy(schema)
    return found


def test_the_own_crd_drops_nothing() -> None:
    assert dropped_fields(served()) == ()


def test_a_later_crd_drops_nothing() -> None:
    schema = served()
    status = schema["properties"]["status"]["properties"]
    status["cost"] = {"type": "string"}
    status["phase"]["enum"].append("Verifying")
    assert dropped_fields(schema) == ()


@pytest.mark.parametrize("value", ["Pending", "Starting"])
def test_values_count_if_the_operator_writes_them(value: str) -> None:
    schema = served()
    schema["properties"]["status"]["properties"]["phase"]["enum"].remove(value)
    assert dropped_fields(schema) == (f"status.phase: {value}",)


def test_fields_are_named_with_their_path() -> None:
    schema = served()
    status = schema["properties"]["status"]["properties"]
    del status["attempts"]["items"]["properties"]["podUID"]
    del status["output"]["properties"]["warnings"]
    assert set(dropped_fields(schema)) == {"status.attempts[].podUID", "status.output.warnings"}
    del schema["properties"]["status"]
    assert dropped_fields(schema) == ("status",)


def test_a_schema_that_keeps_unknown_fields_drops_nothing() -> None:
    keeps = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert dropped_fields({"properties": {"status": keeps}}) == ()
