"""The types of the client are the schemas of the OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints

import pytest

from mynetwork_converter import (
    AttemptStatus,
    ContentOutput,
    ContentStatus,
    ConversionDetails,
    ConversionPage,
    ConversionSummary,
    FailedRetried,
    JobNotFound,
    JobStatus,
    NamespaceShare,
    NotRetried,
    OutputFacts,
    OutputStatus,
    PlannedOutput,
    QueueStatus,
    Retried,
    RetryStarted,
    Stats,
)

SCHEMAS: Any = json.loads(
    (Path(__file__).parents[3] / "docs/openapi.json").read_text(encoding="utf-8")
)["components"]["schemas"]
TYPES = {
    "JobStatus": JobStatus,
    "JobNotFound": JobNotFound,
    "ContentStatus": ContentStatus,
    "Stats": Stats,
    "OutputFacts": OutputFacts,
    "OutputStatus": OutputStatus,
    "PlannedOutput": PlannedOutput,
    "ContentOutput": ContentOutput,
    "AttemptStatus": AttemptStatus,
    "ConversionSummary": ConversionSummary,
    "ConversionPage": ConversionPage,
    "ConversionDetails": ConversionDetails,
    "RetryStarted": RetryStarted,
    "Retried": Retried,
    "NotRetried": NotRetried,
    "FailedRetried": FailedRetried,
    "NamespaceShare": NamespaceShare,
    "QueueStatus": QueueStatus,
}


@pytest.mark.parametrize("name", TYPES)
def test_a_type_has_the_fields_and_the_required_ones_of_its_schema(name: str) -> None:
    hints = get_type_hints(TYPES[name], include_extras=True)
    required = {field for field, hint in hints.items() if get_origin(hint) is not NotRequired}
    assert required == set(SCHEMAS[name]["required"])
    assert hints.keys() == SCHEMAS[name]["properties"].keys()


@pytest.mark.parametrize("name", TYPES)
def test_the_values_of_an_enumeration_are_those_of_its_schema(name: str) -> None:
    for field, hint in get_type_hints(TYPES[name]).items():
        schema = SCHEMAS[name]["properties"][field]
        allowed = set(schema.get("enum", [schema["const"]] if "const" in schema else []))
        values = set(get_args(hint)) if get_origin(hint) is Literal else set()
        assert values == allowed, field
