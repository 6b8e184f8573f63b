"""What is asked of the content pipeline, and the examples of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from converter_gateway import naming
from converter_gateway.content_routes import (
    ContentStatus,
    parse_content,
)
from converter_gateway.entries import overall_status
from converter_gateway.errors import ApiError
from converter_gateway.openapi import CONTENT_EXAMPLE
from converter_gateway.output_names import Source
from converter_gateway.paths import parse_mappings
from converter_gateway.pipeline import plan
from converter_gateway.rules import BUILT_IN_FILE, parse_rules

RULES = parse_rules(BUILT_IN_FILE.read_text(encoding="utf-8"))
MAPPINGS = parse_mappings("/opt/my-network/shared=/,/opt/my-network/storage=/storage")
GOOD = {
    "content_id": "7",
    "content_type": "video/mp4",
    "file_path": "/opt/my-network/storage/a.mov",
}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({}, "/storage/a.mov"),
        ({"file_path": "/opt/my-network/shared/storage/a.mov"}, "/storage/a.mov"),
        ({"file_path": "storage/a.mov"}, "/storage/a.mov"),
    ],
)
def test_one_file_is_one_source_whatever_it_is_called(change: dict[str, Any], path: str) -> None:
    asked = parse_content(orjson.dumps(GOOD | change), MAPPINGS)
    assert asked.source == Source("7", path)
    assert asked.file_path == (GOOD | change)["file_path"]


@pytest.mark.parametrize("number", [7, 0, -1])
def test_a_number_is_an_id(number: int) -> None:
    asked = parse_content(orjson.dumps(GOOD | {"content_id": number}), MAPPINGS)
    assert asked.source.content_id == str(number)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_id": None}, "Missing required field: content_id"),
        ({"content_id": ""}, "Missing required field: content_id"),
        ({"content_id": True}, "content_id: "),
        ({"content_id": 1.5}, "content_id: "),
        ({"content_id": ["7"]}, "content_id: "),
        ({"content_id": "x" * 257}, "content_id: "),
        ({"content_id": "a\nb"}, "content_id: "),
        ({"content_id": ".."}, "content_id: "),
        ({"content_id": 1.5}, "content_id: must be a whole number"),
        ({"content_type": 3}, "content_type: "),
        ({"content_type": "video/" + "x" * 250}, "content_type: "),
        ({"content_type": "video\0"}, "content_type: "),
        ({"file_path": 3}, "file_path: "),
        ({"file_path": "/etc/passwd"}, "file_path: must be relative or below"),
        ({"file_path": "../a"}, "file_path: must not contain"),
        ({"file_path": "a//b"}, "file_path: must be the path of a file, up to 1024 characters"),
        ({"file_path": "a/"}, "file_path: must be the path of a file, up to 1024 characters"),
        ({"file_path": "a\0"}, "file_path: "),
        ({"file_path": "a" * 1025}, "file_path: "),
        ({"file_path": "a" * 1024}, "file_path: "),
        ({"options": {}}, "unknown field: options"),
    ],
)
def test_bad_bodies_name_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_content(orjson.dumps(GOOD | change), MAPPINGS)
    assert caught.value.code == 400
    assert caught.value.message.startswith(message)


def test_a_number_beyond_64_bits_is_refused_in_words() -> None:
    raw = orjson.dumps(GOOD).replace(b'"7"', b"%d" % 2**64)
    with pytest.raises(ApiError, match=r"whole number of 64 bits\. Send a larger one as a string"):
        parse_content(raw, MAPPINGS)


@pytest.mark.parametrize("number", [b"%d" % (2**64 - 1), b"%d" % -(2**63), b"4711.0", b"4.711e3"])
def test_every_number_of_64_bits_is_an_id(number: bytes) -> None:
    content = parse_content(orjson.dumps(GOOD).replace(b'"7"', number), MAPPINGS)
    assert content.source.content_id == (number.decode() if b"." not in number else "4711")


def test_the_examples_are_right() -> None:
    request = CONTENT_EXAMPLE
    asked = parse_content(orjson.dumps(request), MAPPINGS)
    first, *others = ContentStatus.model_json_schema()["examples"]
    for example in (first, *others):
        ContentStatus.model_validate(example)
    conversions = first["conversions"]
    (planned,) = plan(asked, RULES)
    candidate = planned.candidates[0]
    for output, told in zip(candidate.outputs, conversions, strict=True):
        assert told["job_id"] == naming.content_name(candidate.claim, 1)
        assert told["output_file"] == "/opt/my-network" + output
        assert told["input_file"] == request["file_path"]
    assert overall_status(conversions, 2) == (first["status"], first["message"])
