"""The OpenAPI document refuses what the API refuses, and accepts what it accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from converter_gateway.content_routes import parse_content
from converter_gateway.errors import ApiError
from converter_gateway.request_schemas import _from_1_to, _time
from converter_gateway.requests import parse_convert
from tests.support.option_values import CASES, DECIMALS, Case

DOCUMENT: Any = json.loads(
    (Path(__file__).parents[3] / "docs/openapi.json").read_text(encoding="utf-8")
)
CONVERT = {"input_file": "in/a.mov", "output_file": "out/a.mp4", "conversion_type": "video_to_mp4"}
CONTENT = {"content_id": "7", "content_type": "video", "file_path": "in/a.mov"}


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def convert_accepts(body: Any) -> tuple[bool, bool]:
    """What the document says about a body of convert, and what the API says."""
    try:
        parse_convert(orjson.dumps(body), ())
    except ApiError:
        return validator("ConvertRequest").is_valid(body), False
    return validator("ConvertRequest").is_valid(body), True


def ends_in_a_line_break(case: Case) -> bool:
    """Python's `$` matches before a last line break; that of JSON Schema does not."""
    return isinstance(case.value, str) and case.value.endswith("\n")


@pytest.mark.parametrize(
    "case", [case for case in (*CASES, *DECIMALS) if not ends_in_a_line_break(case)], ids=str
)
def test_options(case: Case) -> None:
    body = {
        "input_file": "input/a",
        "output_file": case.output_file,
        "conversion_type": case.kind,
        "options": case.options,
    }
    document, api = convert_accepts(body)
    assert document == api


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"options": None, "overwrite": None, "callback_url": None}, True),
        ({"options": []}, True),
        ({"options": {"quality": None}}, True),
        ({"options": {"qualty": 1}}, False),
        ({"options": [1]}, False),
        ({"extra": 1}, False),
        ({"overwrite": False}, True),
        ({"overwrite": "no"}, False),
        ({"output_file": "a.MP4"}, True),
        ({"output_file": ".mp4"}, True),
        ({"output_file": "a.mp3"}, False),
        ({"output_file": "mp4"}, False),
        ({"input_file": ""}, False),
        ({"input_file": "a//b"}, False),
        ({"input_file": "/"}, False),
        ({"input_file": "a\u202eb"}, False),
        ({"input_file": "a\0b"}, False),
        ({"input_file": "\u00fc 😀.mov"}, True),
        ({"input_file": "a" * 1025}, False),
        ({"conversion_type": "video_to_gif"}, False),
        ({"callback_url": "https://a"}, True),
        ({"callback_url": "http://[::1]:8080/a?b#c"}, True),
        ({"callback_url": "https://a?@"}, True),
        ({"callback_url": ""}, False),
        ({"callback_url": "https://"}, False),
        ({"callback_url": "https:///a"}, False),
        ({"callback_url": "ftp://a"}, False),
        ({"callback_url": "https://u:p@a/"}, False),
        ({"callback_url": "https://a/ b"}, False),
        ({"callback_url": "https://a\\b"}, False),
        ({"callback_url": "https://a/" + "x" * 1024}, False),
    ],
)
def test_fields_of_convert(change: dict[str, Any], accepted: bool) -> None:
    assert convert_accepts(CONVERT | change) == (accepted, accepted)


OUTPUT = {"output_file": "out/a.mp4", "conversion_type": "video_to_mp4"}
SOUND = {"output_file": "out/a.mp3", "conversion_type": "audio_to_mp3", "optional": True}
OUTPUTS = {"input_file": "in/a.mov", "outputs": [OUTPUT, SOUND]}
PROFILE = {"input_file": "in/a.mov", "profile": "web-video"}


@pytest.mark.parametrize("body", [CONVERT, OUTPUTS, PROFILE])
@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"queue": "uploads", "dry_run": True, "overwrite": False}, True),
        ({"queue": None, "dry_run": None, "overwrite": None, "callback_url": None}, True),
        ({"queue": ""}, False),
        ({"queue": "Uploads"}, False),
        ({"queue": "-a"}, False),
        ({"queue": "a" * 63}, True),
        ({"queue": "a" * 64}, False),
        ({"queue": 3}, False),
        ({"dry_run": "true"}, False),
        ({"dry_run": 1}, False),
        ({"input_file": ""}, False),
        ({"extra": 1}, False),
    ],
)
def test_fields_of_all_forms(body: Any, change: dict[str, Any], accepted: bool) -> None:
    assert convert_accepts(body | change) == (accepted, accepted)


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (OUTPUTS | {"outputs": [OUTPUT]}, True),
        (OUTPUTS | {"outputs": [OUTPUT | {"optional": None, "options": None}]}, True),
        (OUTPUTS | {"outputs": [OUTPUT | {"optional": False, "options": []}]}, True),
        (OUTPUTS | {"outputs": [OUTPUT | {"options": {"resolution": 720, "start": 1.5}}]}, True),
        (OUTPUTS | {"outputs": [OUTPUT | {"options": {"columns": 2}}]}, False),
        (OUTPUTS | {"outputs": [OUTPUT | {"optional": "no"}]}, False),
        (OUTPUTS | {"outputs": [OUTPUT | {"extra": 1}]}, False),
        (OUTPUTS | {"outputs": [OUTPUT | {"output_file": "a.avi"}]}, False),
        (OUTPUTS | {"outputs": [OUTPUT | {"conversion_type": "x"}]}, False),
        (OUTPUTS | {"outputs": [{"output_file": "a.mp4"}]}, False),
        (OUTPUTS | {"outputs": [{"conversion_type": "video_to_mp4"}]}, False),
        (OUTPUTS | {"outputs": [SOUND]}, False),
        (OUTPUTS | {"outputs": ["a.mp4"]}, False),
        (OUTPUTS | {"outputs": []}, False),
        (OUTPUTS | {"outputs": {}}, False),
        (OUTPUTS | {"outputs": None}, False),
        (OUTPUTS | {"outputs": [OUTPUT | {"output_file": f"{n}.mp4"} for n in range(8)]}, True),
        (OUTPUTS | {"outputs": [OUTPUT | {"output_file": f"{n}.mp4"} for n in range(9)]}, False),
        (OUTPUTS | {"output_file": "a.mp4"}, False),
        (OUTPUTS | {"profile": "web"}, False),
        (OUTPUTS | CONVERT, False),
        (CONVERT | {"profile": "web"}, False),
        (CONVERT | {"profile": None}, False),
        (PROFILE | {"options": {}}, False),
        (PROFILE | {"profile": "Web"}, False),
        (PROFILE | {"profile": "a" * 64}, False),
        (PROFILE | {"profile": ""}, False),
        ({"outputs": [OUTPUT]}, False),
        ({"profile": "web"}, False),
    ],
)
def test_forms_of_convert(body: Any, accepted: bool) -> None:
    assert convert_accepts(body) == (accepted, accepted)


@pytest.mark.parametrize("missing", CONVERT)
def test_required_fields_of_convert(missing: str) -> None:
    body = {name: value for name, value in CONVERT.items() if name != missing}
    with pytest.raises(ApiError):
        parse_convert(orjson.dumps(body), ())
    assert not validator("ConvertRequest").is_valid(body)


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"content_id": 7}, True),
        ({"content_id": 7.0}, True),
        ({"content_id": 2**64 - 1}, True),
        ({"content_id": 7.5}, False),
        ({"content_id": True}, False),
        ({"content_id": ""}, False),
        ({"content_id": "x" * 257}, False),
        ({"content_id": "a\nb"}, False),
        ({"content_type": ""}, False),
        ({"content_type": "x" * 256}, False),
        ({"file_path": "a/"}, False),
        ({"extra": 1}, False),
    ],
)
def test_fields_of_content(change: dict[str, Any], accepted: bool) -> None:
    body = CONTENT | change
    assert validator("ContentRequest").is_valid(body) == accepted
    if accepted:
        parse_content(orjson.dumps(body), ())
    else:
        with pytest.raises(ApiError):
            parse_content(orjson.dumps(body), ())


@pytest.mark.parametrize("most", [255, 300, 999, 1000, 16384, 20000])
def test_the_pattern_of_a_bounded_number(most: int) -> None:
    pattern = re.compile(_from_1_to(most))
    matched = [number for number in range(3 * most) if pattern.fullmatch(str(number))]
    assert matched == list(range(1, most + 1))
    assert not pattern.fullmatch("01")


def test_the_pattern_of_a_time() -> None:
    pattern = re.compile(_time(604800))
    for number in range(0, 1_000_000, 7):
        assert bool(pattern.fullmatch(f"{number}.5")) == (number < 604800)
        assert bool(pattern.fullmatch(f"{number:06}")) == (number <= 604800)
    for hour in range(1000):
        for text in (f"{hour}:59:59.9", f"{hour:03}:00:00.1"):
            assert bool(pattern.fullmatch(text)) == (hour < 168), text
        assert bool(pattern.fullmatch(f"{hour}:0:00.0")) == (hour <= 168)
