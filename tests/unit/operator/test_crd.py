"""The CRD: what is committed is what the models say, and it is structural."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from conversion_operator.api.conversion_options import ConversionOptions
from conversion_operator.api.crd import build_crd, build_profile_crd
from conversion_operator.api.reasons import REASONS, Reason
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus
from hack.generate import generated_files
from media_converter.contract import ConversionType, ExitReason
from media_converter.options import FORMATS, GRAMMAR
from tests.unit.operator.builders import children, conversion, job, status, step, succeeded

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", generated_files())
def test_committed_files_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == generated_files()[name], "run `make crds`"


def schema() -> Any:
    return build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(node: Any, path: str = "") -> Any:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def test_the_schema_is_structural() -> None:
    for path, node in nodes(schema()):
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        for word in ("$ref", "anyOf", "additionalProperties", "default", "const", "title"):
            assert word not in node or (path, word) == (".status", "default"), (path, word)


def test_no_floats_and_everything_bounded_and_described() -> None:
    for path, node in nodes(schema()):
        assert node.get("type") != "number", path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        text = node.get("type") == "string" or node.get("x-kubernetes-int-or-string")
        fixed = "enum" in node or node.get("format") == "date-time"
        if text and not fixed and path not in (".apiVersion", ".kind"):
            assert "maxLength" in node or "{" in node["pattern"], path
        if path.startswith((".spec.", ".status.")) and "[]" not in path[-2:]:
            assert node.get("description"), path
        if "pattern" in node:
            assert node["pattern"].startswith("^"), path
            assert node["pattern"].endswith("$"), path


def test_no_field_of_the_spec_is_refused_with_a_regular_expression() -> None:
    """Rules say in words what to write. The API server checks none after an error about a type."""
    spec = schema()["properties"]["spec"]
    covered = set[str]()
    for path, node in (("", spec), *nodes(spec)):
        assert "pattern" not in node, path
        for rule in node.get("x-kubernetes-validations", ()):
            message = rule["message"].replace("outputs[", "")
            assert not any(mark in message for mark in ("^", "[", "\\", "$")), message
            covered.add(path + rule.get("fieldPath", ""))
    for path, node in nodes(spec):
        if node.get("x-kubernetes-int-or-string"):
            assert path in covered, path
    output = spec["properties"]["outputs"]["items"]
    for options in (spec["properties"]["options"], output["properties"]["options"]):
        for option in options["properties"].values():
            assert option["x-kubernetes-int-or-string"]


def test_rules_cover_every_type_and_option() -> None:
    kinds = set(ConversionType)
    assert set(FORMATS) == kinds
    assert {kind for option in GRAMMAR for kind in option.types} == kinds
    aliases = {field.alias for field in ConversionOptions.model_fields.values()}
    assert {option.name for option in GRAMMAR} == aliases


def rules_of(node: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in node.get("x-kubernetes-validations", ())]


def test_every_spec_field_is_immutable_or_known_to_change() -> None:
    spec = schema()["properties"]["spec"]
    # A rule on the whole object says when the queue may change.
    mutable = {"cancel", "priority", "queue", "suspend", "ttlSecondsAfterFinished"}
    for name in (field.alias for field in ConversionJobSpec.model_fields.values()):
        fixed = name not in mutable
        assert ("self == oldSelf" in rules_of(spec["properties"][name])) is fixed, name
        # The API server skips that rule when the field is added or removed.
        added = f"has(self.{name}) == has(oldSelf.{name})"
        assert (added in rules_of(spec)) is (fixed and name not in spec["required"]), name


@pytest.mark.parametrize("crd", [build_crd(), build_profile_crd()], ids=["job", "profile"])
def test_rules_read_few_fields(crd: dict[str, Any]) -> None:
    """A rule about one field is on this field, and one about an option first asks for it.

    For each field that a rule reads, the API server makes a map of all fields around it. It runs
    the rules at each write of the status. A quarter of the time of the API server was spent on
    this: 130 rules read three fields each, most of them to learn that there are no options.
    """
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for node in (spec, spec["properties"]["outputs"]["items"]):
        for rule in rules_of(node):
            if "options." in rule:
                assert re.match(r"!has\(self.options\) \|\| !has\(self.options.\w+\) ", rule), rule
            elif "oldSelf" not in rule:
                assert len(set(re.findall(r"self\.(\w+)", rule))) > 1, rule


def test_every_reason_is_explained() -> None:
    assert set(REASONS) == {*Reason, *ExitReason}
    for explanation in REASONS.values():
        assert explanation.meaning.endswith(".")
        assert explanation.cure.endswith(".")


def test_a_status_validates_against_the_schema() -> None:
    stored = status(step(conversion(), children(job(), succeeded()), 12)[1])
    jsonschema.validate(stored.to_json(), schema()["properties"]["status"])
    assert ConversionJobStatus.model_validate(stored.to_json()) == stored


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 0},
        {"quality": 101},
        {"quality": "best"},
        {"resolution": "721p"},
        {"bitrate": "33k"},
        {"size": "0x0"},
        {"size": "800"},
        {"size": "800x600 "},
        {"start": -1},
        {"start": 1.5},
        {"start": "1:2"},
        {"duration": "half"},
        {"time": "00:99:00"},
        {"Quality": 80},
    ],
)
def test_options_out_of_range(options: Any) -> None:
    with pytest.raises(ValidationError):
        ConversionOptions.model_validate(options)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 80},
        {"quality": "80"},
        {"quality": "high"},
        {"resolution": "720p"},
        {"bitrate": "128k"},
        {"size": "300x300"},
        {"start": 90},
        {"start": "1.5"},
        {"duration": "30"},
        {"time": "00:01:02.500"},
    ],
)
def test_options_in_either_spelling(options: Any) -> None:
    parsed = ConversionOptions.model_validate(options)
    assert parsed.model_dump(exclude_none=True) == options


def test_the_committed_crd_is_yaml_of_the_built_one() -> None:
    committed = yaml.safe_load((ROOT / next(iter(generated_files()))).read_text())
    assert committed["spec"]["names"]["shortNames"] == ["convjob"]
