"""Characters in paths, and the folder of logs: one answer of CRD, HTTP API and converter."""

from __future__ import annotations

import re
import unicodedata

import orjson
import pytest

from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway.content_routes import parse_content
from converter_gateway.errors import ApiError
from converter_gateway.requests import parse_convert
from media_converter.errors import ConversionError
from media_converter.files import paths
from media_converter.forbidden_paths import (
    FORBIDDEN_CHARACTERS,
    NO_FORBIDDEN_CHARACTERS,
    NOT_IN_LOG_FOLDER,
)
from tests.component.support.tools import conversion_job
from tests.unit.operator.crd_answers import job_schema, rejections

# Code points, because an editor shows the characters as nothing or in another order.
REFUSED = sorted(
    {code for bounds in FORBIDDEN_CHARACTERS for code in bounds} - {0} | {0x0A, 0x202E}
)
ALLOWED = [
    "caf\u00e9 \u4e2d\u6587 \U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family: three emoji and two joiners
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with a zero-width non-joiner
    "\u0634\u0631\u062d",  # letters that are written from right to left
    "Auto\u00adbahn",
    "$(id) 'a' \"b\" \\ * [c]",
]


def crd_says(field: str, path: str) -> list[str]:
    return rejections(job_schema(), conversion_job("a", **{field: path}))


def gateway_says(field: str, path: str) -> str:
    body = {"input_file": "a", "output_file": "b.mp4", "conversion_type": "video_to_mp4"}
    name = re.sub("F", "_f", field)
    try:
        parse_convert(orjson.dumps(body | {name: path}), ())
    except ApiError as error:
        return error.message.removeprefix(f"{name}: ")
    return ""


def content_says(path: str) -> str:
    body = {"content_id": "1", "content_type": "video/mp4", "file_path": path}
    try:
        parse_content(orjson.dumps(body), ())
    except ApiError as error:
        return error.message.removeprefix("file_path: ")
    return ""


def converter_says(path: str) -> str:
    try:
        paths.split(path, "INPUT_FILE")
    except ConversionError as error:
        return f"{error.reason}: {error.message}"
    return ""


@pytest.mark.parametrize("code", REFUSED, ids=lambda code: f"U+{code:04X}")
@pytest.mark.parametrize("field", ["inputFile", "outputFile"])
def test_what_breaks_lines_or_changes_how_text_is_shown_is_refused(field: str, code: int) -> None:
    path = f"in/a{chr(code)}b.mp4"
    assert crd_says(field, path) == [f"{field} {NO_FORBIDDEN_CHARACTERS}"]
    assert gateway_says(field, path) == NO_FORBIDDEN_CHARACTERS
    assert content_says(path) == NO_FORBIDDEN_CHARACTERS
    assert converter_says(path) == f"PathNotAllowed: INPUT_FILE {NO_FORBIDDEN_CHARACTERS}"
    stored = conversion_job("a", metadata={"name": "a", "namespace": "n"}, **{field: path})
    stored["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    parsed = parse_conversion(stored)
    assert parsed.spec is None
    assert NO_FORBIDDEN_CHARACTERS in parsed.spec_error
    assert chr(code) not in parsed.spec_error


@pytest.mark.parametrize("name", ALLOWED)
def test_what_real_names_contain_is_allowed(name: str) -> None:
    path = f"in/{name}.mp4"
    assert crd_says("inputFile", path) == []
    assert (gateway_says("inputFile", path), content_says(path), converter_says(path)) == ("",) * 3


@pytest.mark.parametrize(
    "path", [".conversion-logs/a.mp4", "/.conversion-logs/u/1.mp4", ".Conversion-LOGS/a.mp4"]
)
@pytest.mark.parametrize("field", ["inputFile", "outputFile"])
def test_the_folder_of_logs_is_refused(field: str, path: str) -> None:
    assert crd_says(field, path) == [f"{field} {NOT_IN_LOG_FOLDER}"]
    assert gateway_says(field, path) == NOT_IN_LOG_FOLDER
    assert content_says(path) == NOT_IN_LOG_FOLDER
    assert converter_says(path) == f"PathNotAllowed: INPUT_FILE {NOT_IN_LOG_FOLDER}"


@pytest.mark.parametrize("path", ["in/.conversion-logs/a.mp4", ".conversion-logs2/a.mp4"])
def test_folders_with_similar_names_are_allowed(path: str) -> None:
    assert crd_says("inputFile", path) == []
    assert (gateway_says("inputFile", path), content_says(path), converter_says(path)) == ("",) * 3


def test_every_control_separator_and_bidirectional_character_is_refused() -> None:
    refused = {code for first, last in FORBIDDEN_CHARACTERS for code in range(first, last + 1)}
    moving = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = {
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(chr(code)) in moving
    }
    assert found <= refused
