"""ConversionProfiles, through the CRD and the model: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from conversion_operator.api.profiles import ConversionProfileSpec
from media_converter.contract import MAX_OUTPUTS
from media_converter.forbidden_paths import NO_FORBIDDEN_CHARACTERS
from tests.support.option_values import CASES, Case
from tests.unit.operator.crd_answers import profile_schema, rejections
from tests.unit.operator.test_option_grammar import crd_says

PICTURE = {"conversionType": "image_resize", "outputFile": "{dir}/{name}_small.jpg"}
SOUND = {"conversionType": "audio_to_mp3", "outputFile": "{dir}/{name}.mp3"}


def said(name: str = "web", **spec: Any) -> list[str]:
    """What the API server has against this profile. After errors of the schema, it checks no rule.

    The rules with quantities are tested on a real API server.
    """
    body = {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionProfile",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"outputs": [PICTURE, SOUND]} | spec,
    }
    return rejections(profile_schema(), body)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"outputs": [PICTURE]},
        {"outputs": [PICTURE, SOUND | {"optional": True}], "priority": 100, "queue": "bulk"},
        {"outputs": [PICTURE | {"outputFile": "/a/{ext}/{dir}x{name}.{ext}"}]},
        {"outputs": [PICTURE | {"outputFile": f"{{name}}_{n}.jpg"} for n in range(MAX_OUTPUTS)]},
        {"timeoutSeconds": 1, "ttlSecondsAfterFinished": 0},
        {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}},
    ],
)
def test_what_is_accepted(spec: dict[str, Any]) -> None:
    assert said(**spec) == []
    ConversionProfileSpec.model_validate({"outputs": [PICTURE]} | spec)


BRACES = "outputs[0]: outputFile may contain braces only in {dir}, {name} and {ext}"


@pytest.mark.parametrize(
    "template", ["{folder}/a.jpg", "{name}}.jpg", "{{name}}.jpg", "{}.jpg", "{name.jpg", "a}.jpg"]
)
def test_other_braces_are_refused(template: str) -> None:
    outputs = [PICTURE | {"outputFile": template}]
    assert said(outputs=outputs) == [BRACES]
    with pytest.raises(ValidationError):
        ConversionProfileSpec.model_validate({"outputs": outputs})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"outputs": [PICTURE, PICTURE | {"outputFile": "/{dir}/{name}_small.jpg"}]},
            "outputs[1] must not have the same outputFile as an earlier output, and neither may be "
            "a folder of the other",
        ),
        (
            {"outputs": [PICTURE | {"outputFile": "{dir}/\u202e{name}.jpg"}]},
            f"outputs[0]: outputFile {NO_FORBIDDEN_CHARACTERS}",
        ),
        (
            {"outputs": [PICTURE | {"outputFile": "{dir}/a\n{name}.jpg"}]},
            f"outputs[0]: outputFile {NO_FORBIDDEN_CHARACTERS}",
        ),
        (
            {"outputs": [PICTURE | {"optional": True}]},
            "at least one output must not be optional",
        ),
        (
            {"outputs": [SOUND | {"outputFile": "{name}.jpg"}]},
            "outputs[0]: outputFile of audio_to_mp3 must end in .mp3",
        ),
        (
            {"outputs": [SOUND | {"outputFile": "{ext}"}, SOUND | {"outputFile": "{ext}.a"}]},
            "outputs[1]: outputFile of audio_to_mp3 must end in .mp3",
        ),
        (
            {"outputs": [PICTURE | {"outputFile": "../{name}.jpg"}]},
            "outputs[0]: outputFile must not contain . or .. as a folder; use the plain path from "
            "the root of the shared volume",
        ),
        (
            {"outputs": [PICTURE | {"outputFile": "{dir}//{name}.jpg"}]},
            "outputs[0]: outputFile must be the path of a file, such as output/holiday.mp4, "
            "without // and without / at its end",
        ),
        (
            {"outputs": [SOUND | {"options": {"resolution": "720p"}}]},
            "outputs[0]: options.resolution belongs to video_to_mp4 and video_to_webm only",
        ),
        (
            {"queue": "Bulk"},
            "queue must be the name of a ConversionQueue: at most 63 lower case letters, digits "
            "and -",
        ),
        ({"name": "a.b"}, "the name must have at most 63 lower case letters, digits and -"),
    ],
)
def test_what_the_api_server_says(spec: dict[str, Any], message: str) -> None:
    assert said(**spec) == [message]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"outputs": []}, "spec.outputs: "),
        (
            {"outputs": [SOUND | {"outputFile": f"{n}.mp3"} for n in range(MAX_OUTPUTS + 1)]},
            "spec.outputs: Too many",
        ),
        ({"outputs": [{"outputFile": "a.mp3"}]}, "spec.outputs[0].conversionType: Required value"),
        ({"outputs": [{"conversionType": "audio_to_mp3"}]}, "spec.outputs[0].outputFile: Required"),
        ({"outputs": [SOUND | {"conversionType": "x"}]}, "spec.outputs[0].conversionType: Unsuppo"),
        ({"priority": 101}, "spec.priority: "),
        ({"timeoutSeconds": 0}, "spec.timeoutSeconds: "),
    ],
)
def test_what_the_schema_says(spec: dict[str, Any], word: str) -> None:
    (problem,) = said(**spec)
    assert problem.startswith(word)
    with pytest.raises(ValidationError):
        ConversionProfileSpec.model_validate({"outputs": [PICTURE]} | spec)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_item_has_the_rules_of_the_form_with_one_output(case: Case) -> None:
    single = case.manifest("a", "default")["spec"]
    item = {name: single[name] for name in ("conversionType", "outputFile", "options")}
    where = "spec.outputs[0].options", "spec.options"
    found = [line.replace(*where).removeprefix("outputs[0]: ") for line in said(outputs=[item])]
    single_form = crd_says(case)
    of_schema = [line for line in single_form if line.startswith("spec.")]
    assert found == (of_schema or single_form)
