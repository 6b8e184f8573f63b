"""Several outputs, through the CRD and the model: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from conversion_operator.api.spec import ConversionJobSpec
from media_converter.contract import MAX_OUTPUTS
from tests.support.option_values import CASES, Case
from tests.unit.operator.crd_answers import job_schema, rejections
from tests.unit.operator.test_option_grammar import crd_says

VIDEO = {"conversionType": "video_to_mp4", "outputFile": "out/a.mp4"}
SOUND = {"conversionType": "audio_to_mp3", "outputFile": "out/a.mp3"}
ONE_FORM = "set exactly one of these: conversionType with outputFile, outputs, or profile"

DISTINCT = (
    "must not have the same outputFile as an earlier output, and neither may be a folder of the "
    "other"
)


def body(**spec: Any) -> dict[str, Any]:
    """A ConversionJob with this spec, and an input."""
    return {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionJob",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"inputFile": "in/a.mov"} | spec,
    }


def said(**spec: Any) -> list[str]:
    """What the API server has against this spec. It checks no rules after errors of the schema."""
    return rejections(job_schema(), body(**spec))


@pytest.mark.parametrize(
    "spec",
    [
        VIDEO,
        {"outputs": [VIDEO]},
        {"outputs": [VIDEO, SOUND | {"optional": True}]},
        {"outputs": [VIDEO | {"options": {"resolution": 720}}], "dryRun": True},
        {"outputs": [VIDEO | {"outputFile": f"out/{n}.mp4"} for n in range(MAX_OUTPUTS)]},
        {"profile": "web-video"},
    ],
)
def test_the_three_forms(spec: dict[str, Any]) -> None:
    assert said(**spec) == []
    ConversionJobSpec.model_validate(body(**spec)["spec"])


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        ({}, [ONE_FORM]),
        ({"dryRun": True}, [ONE_FORM]),
        (VIDEO | {"outputs": [SOUND]}, [ONE_FORM]),
        (VIDEO | {"profile": "web-video"}, [ONE_FORM]),
        ({"outputs": [VIDEO], "profile": "web-video"}, [ONE_FORM]),
        ({"outputs": [VIDEO], "outputFile": "out/b.mp4"}, [ONE_FORM]),
        ({"conversionType": "video_to_mp4"}, ["outputFile is required with conversionType"]),
        ({"outputFile": "out/a.mp4"}, ["conversionType is required with outputFile"]),
        (
            {"outputs": [VIDEO, SOUND, SOUND | {"outputFile": "/out/a.mp3"}]},
            [f"outputs[2] {DISTINCT}"],
        ),
        (
            {"outputs": [VIDEO, VIDEO | {"outputFile": "out/a.mp4/b.mp4"}]},
            [f"outputs[1] {DISTINCT}"],
        ),
        (
            {"outputs": [VIDEO | {"outputFile": "/out/a.mp4/b.mp4"}, VIDEO]},
            [f"outputs[1] {DISTINCT}"],
        ),
        (
            {"outputs": [VIDEO | {"optional": True}, SOUND | {"optional": True}]},
            ["at least one output must not be optional"],
        ),
    ],
)
def test_an_ambiguous_spec_is_refused(spec: dict[str, Any], messages: list[str]) -> None:
    assert said(**spec) == messages
    with pytest.raises(ValidationError):
        ConversionJobSpec.model_validate(body(**spec)["spec"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"outputs": [VIDEO], "options": {"resolution": "720p"}},
            "options belongs to conversionType and outputFile; each item of outputs has its own "
            "options",
        ),
        (
            {"outputs": [VIDEO | {"outputFile": "/in/a.mov.mp4"}], "inputFile": "in/a.mov.mp4"},
            "the outputFile of an output must not be the inputFile; the input is never changed: "
            "in/a.mov.mp4",
        ),
        (
            {"profile": "Web_Video"},
            "profile must be the name of a ConversionProfile: at most 63 lower case letters, "
            "digits and -",
        ),
        (
            {"outputs": [VIDEO, VIDEO | {"outputFile": "out/b.mov"}]},
            "outputs[1]: outputFile of video_to_mp4 must end in .mp4",
        ),
        (
            {"outputs": [VIDEO | {"outputFile": "out//b.mp4"}]},
            "outputs[0]: outputFile must be the path of a file, such as output/holiday.mp4, "
            "without // and without / at its end",
        ),
        (
            {"outputs": [VIDEO | {"outputFile": "../b.mp4"}]},
            "outputs[0]: outputFile must not contain . or .. as a folder; use the plain path from "
            "the root of the shared volume",
        ),
        (
            {"outputs": [VIDEO | {"outputFile": "out/\u202eb.mp4"}]},
            "outputs[0]: outputFile must not contain control characters, such as line breaks, or "
            "invisible characters that change how text is shown",
        ),
        (
            {"outputs": [SOUND | {"options": {"resolution": "720p"}}, VIDEO]},
            "outputs[0]: options.resolution belongs to video_to_mp4 and video_to_webm only",
        ),
    ],
)
def test_what_the_api_server_says(spec: dict[str, Any], message: str) -> None:
    assert said(**spec) == [message]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"outputs": []}, "spec.outputs: "),
        (
            {"outputs": [VIDEO | {"outputFile": f"{n}.mp4"} for n in range(MAX_OUTPUTS + 1)]},
            "spec.outputs: Too many",
        ),
        ({"outputs": [{"outputFile": "a.mp4"}]}, "spec.outputs[0].conversionType: Required value"),
        ({"outputs": [{"conversionType": "video_to_mp4"}]}, "spec.outputs[0].outputFile: Required"),
        ({"outputs": [VIDEO | {"conversionType": "x"}]}, "spec.outputs[0].conversionType: Unsuppo"),
    ],
)
def test_what_the_schema_says(spec: dict[str, Any], word: str) -> None:
    (problem,) = said(**spec)
    assert problem.startswith(word)
    with pytest.raises(ValidationError):
        ConversionJobSpec.model_validate(body(**spec)["spec"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_item_has_the_rules_of_the_form_with_one_output(case: Case) -> None:
    single = case.manifest("a", "default")["spec"]
    item = {name: single[name] for name in ("conversionType", "outputFile", "options")}
    where = "spec.outputs[0].options", "spec.options"
    found = [line.replace(*where).removeprefix("outputs[0]: ") for line in said(outputs=[item])]
    single_form = crd_says(case)
    of_schema = [line for line in single_form if line.startswith("spec.")]
    assert found == (of_schema or single_form)
