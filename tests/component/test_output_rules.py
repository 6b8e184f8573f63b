"""The rules of several outputs on the real API server: it accepts the largest, within its budget.

The API server estimates the cost of the rules of a CRD when it is applied, and stops a validation
that costs too much.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.component.support import FakeApi
from tests.component.support.errors import StatusError
from tests.component.support.real.api import RealApi
from tests.component.support.tools import conversion_job
from tests.component.test_outputs import several

pytestmark = pytest.mark.judged

LONGEST = 1024
FOLDERS = "f/" * 500


def longest(number: int, extension: str = "mp4") -> str:
    """A path with as many folders and characters as there can be."""
    end = f"{number}.{extension}"
    return FOLDERS + "x" * (LONGEST - len(FOLDERS) - len(end)) + end


def largest(name: str) -> dict[str, Any]:
    body = several(name, *map(longest, range(8)), inputFile=longest(9, "mov"))
    for output in body["spec"]["outputs"]:
        output["options"] = {
            "quality": "medium",
            "resolution": "1080p",
            "start": "100:00:00.500",
            "duration": "100:00:00.500",
        }
    return body


def test_the_largest_spec_is_created_and_updated(api: FakeApi) -> None:
    api.create(largest("largest"))
    api.patch("conversionjobs", "largest", {"spec": {"priority": 5}})
    changed = largest("largest")["spec"]["outputs"][:7]
    with pytest.raises(StatusError) as refused:
        api.patch("conversionjobs", "largest", {"spec": {"outputs": changed}})
    assert "immutable" in str(refused.value)


def boards(*paths: str, **spec: Any) -> dict[str, Any]:
    """A spec with a storyboard for each of these paths."""
    kind = {"conversionType": "video_storyboard"}
    return {"inputFile": "a.mov", "outputs": [kind | {"outputFile": path} for path in paths]} | spec


def test_the_largest_spec_of_outputs_with_two_files_is_created(api: FakeApi) -> None:
    body = conversion_job("boards")
    body["spec"] = boards(*(longest(n, "jpg") for n in range(8)), inputFile=longest(9, "mov"))
    api.create(body)
    api.patch("conversionjobs", "boards", {"spec": {"priority": 5}})


REFUSED: Final[list[Any]] = [
    (
        several("a", *(f"{n}.mp4" for n in range(9)))["spec"],
        "must have at most 8 items",
    ),
    (
        several("a", "a.mp4", "b.mp3", "/b.mp3")["spec"],
        "outputs[2] must not have the same outputFile as an earlier output",
    ),
    (
        several("a", "a.mp4", "/b.mp3", inputFile="b.mp3")["spec"],
        "must not be the inputFile; the input is never changed: b.mp3",
    ),
    (
        boards("b.jpg", "a.jpg", "/a.webp"),
        "outputs[2] must not have the same .vtt file as an earlier output",
    ),
    (
        boards("a.jpg", "a.vtt/b.jpg"),
        "the .vtt file of a video_storyboard must not be a folder of another output",
    ),
    (
        boards("/b/a.jpg", inputFile="b/a.vtt"),
        "the .vtt file of a video_storyboard must not be the inputFile",
    ),
    (
        {
            "inputFile": "b/a.vtt",
            "conversionType": "video_storyboard",
            "outputFile": "b/a.jpg",
        },
        "the .vtt file of a video_storyboard must not be the inputFile",
    ),
    (
        {
            "inputFile": "a.mov",
            "conversionType": "extract_thumbnail",
            "outputFile": "a.jpg",
            "options": {"time": "101%"},
        },
        'or a percentage from "0%" to "100%"',
    ),
    (
        several("a", "a.mp4", "b//c.mp4")["spec"],
        "spec.outputs[1].outputFile: Invalid value",
    ),
    (
        {"inputFile": "a.mov", "outputFile": "a.mp4"},
        "spec.conversionType: Required value: conversionType is required with outputFile",
    ),
    (
        several("a", "a.mp4")["spec"] | {"profile": "web-video"},
        "set exactly one of these: conversionType with outputFile, outputs, or profile",
    ),
    (
        several("a", "a.mp4", optional="a.mp4")["spec"],
        "at least one output must not be optional",
    ),
]


def test_the_message_names_the_output(api: FakeApi) -> None:
    if not isinstance(api, RealApi):
        pytest.skip("the fake API server has no CEL")
    for spec, said in REFUSED:
        body = conversion_job("refused") | {"spec": spec}
        with pytest.raises(StatusError) as refused:
            api.create(body)
        assert said in str(refused.value)
