"""What a ConversionProfile says for one input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api.profiles import ConversionProfileSpec, split_extension
from conversion_operator.api.spec import OutputSpec, normal_path
from conversion_operator.api.status import ResolvedProfile
from conversion_operator.core.profiles import ProfileInvalid, resolve

THUMBNAIL = "{dir}/{name}_thumb.jpg"


def profile(*templates: str, **fields: Any) -> ConversionProfileSpec:
    """A profile with these templates, by default of pictures."""
    kind = fields.pop("conversionType", "image_resize")
    outputs = [{"conversionType": kind, "outputFile": template} for template in templates]
    return ConversionProfileSpec.model_validate({"outputs": outputs} | fields)


def paths(template: str, input_file: str) -> str:
    return resolve("p", profile(template), input_file).outputs[0].output_file


@pytest.mark.parametrize(
    ("template", "input_file", "path"),
    [
        (THUMBNAIL, "videos/holiday.mov", "videos/holiday_thumb.jpg"),
        (THUMBNAIL, "/videos/2026/holiday.mov", "videos/2026/holiday_thumb.jpg"),
        # In the root of the volume, {dir} is empty, and so is its folder.
        (THUMBNAIL, "holiday.mov", "holiday_thumb.jpg"),
        (THUMBNAIL, "/holiday.mov", "holiday_thumb.jpg"),
        ("/{dir}/{name}.jpg", "holiday.mov", "holiday.jpg"),
        ("thumbs/{dir}/{name}.jpg", "holiday.mov", "thumbs/holiday.jpg"),
        ("thumbs/{dir}/{name}.jpg", "videos/holiday.mov", "thumbs/videos/holiday.jpg"),
        ("{dir}_thumbs/{name}.jpg", "a/b/holiday.mov", "a/b_thumbs/holiday.jpg"),
        ("{dir}_thumbs/{name}.jpg", "holiday.mov", "_thumbs/holiday.jpg"),
        ("{name}/{ext}.jpg", "a/holiday.mov", "holiday/mov.jpg"),
        ("{dir}/{name}_small.{ext}", "a/photo.PNG", "a/photo_small.PNG"),
        # Dots in names.
        (THUMBNAIL, "a/my.holiday.mov", "a/my.holiday_thumb.jpg"),
        (THUMBNAIL, "a.b/holiday", "a.b/holiday_thumb.jpg"),
        (THUMBNAIL, "a/.hidden", "a/.hidden_thumb.jpg"),
        (THUMBNAIL, "a/.hidden.mov", "a/.hidden_thumb.jpg"),
        (THUMBNAIL, "a/...", "a/..._thumb.jpg"),
        (THUMBNAIL, "a/./b.mov", "a/b_thumb.jpg"),
        (THUMBNAIL, "a/trailing.", "a/trailing._thumb.jpg"),
        # What is filled in is not a template.
        (THUMBNAIL, "a/{dir}.mov", "a/{dir}_thumb.jpg"),
        (THUMBNAIL, "{name}/{ext}.{dir}", "{name}/{ext}_thumb.jpg"),
        (THUMBNAIL, "a/{x}{.mov", "a/{x}{_thumb.jpg"),
        ("{ext}/{name}.jpg", "a/{ext}.{name}", "{name}/{ext}.jpg"),
    ],
)
def test_templates_become_paths(template: str, input_file: str, path: str) -> None:
    assert paths(template, input_file) == path


@pytest.mark.parametrize(
    ("templates", "input_file", "words"),
    [
        (["{name}.{ext}"], "a/clip", ("outputs[0]", "{ext}", "no extension", "a/clip")),
        (["{name}{ext}.jpg"], "a/.clip", ("outputs[0]", "no extension")),
        (["{name}.{ext}"], "a/clip.", ("outputs[0]", "no extension")),
        (["{name}.{ext}"], "a/clip.mov", ("image_resize must end in", "clip.mov")),
        (["{dir}/{name}.{ext}"], "a/photo.jpg", ("path of the input", "{name}_new")),
        (["/{dir}/{name}.{ext}"], "a/photo.jpg", ("path of the input",)),
        (["{name}.jpg"], "/photo.jpg", ("path of the input",)),
        (["{dir}/{name}.jpg", "{dir}/{name}.{ext}_"], "a/b.mov", ("outputs[1]", "must end in")),
        (["a/{name}.jpg", "{dir}/{name}.jpg"], "a/b.mov", ("outputs[0] and outputs[1]", "a/b.jpg")),
        (["x.jpg", "/{dir}/x.jpg"], "b.mov", ("outputs[0] and outputs[1]",)),
        (["x.jpg/{name}.jpg", "{ext}.jpg"], "b.x", ("outputs[0] and outputs[1]", "a folder")),
        (["{dir}/{name}.jpg/x.jpg"], "a/b.jpg", ("path of the input", "inside the other")),
        (["{dir}/{name}.jpg"], "../b.mov", ("leaves the volume",)),
        (["{dir}/{name}.jpg"], "a/" + "x" * 1022, ("1028 characters", "1024")),
    ],
)
def test_an_invalid_output_is_named_with_a_cure(
    templates: list[str], input_file: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ProfileInvalid) as refused:
        resolve("web", profile(*templates), input_file)
    for word in ("ConversionProfile web", ": ", *words):
        assert word in str(refused.value)


def test_a_profile_of_optional_outputs_only_is_invalid() -> None:
    only = {"conversionType": "image_resize", "outputFile": "{name}.jpg", "optional": True}
    with pytest.raises(ProfileInvalid, match="all outputs of ConversionProfile p are optional"):
        resolve("p", ConversionProfileSpec.model_validate({"outputs": [only]}), "a.png")


def test_options_and_defaults_are_kept() -> None:
    found = ConversionProfileSpec.model_validate(
        {
            "outputs": [
                {
                    "conversionType": "image_resize",
                    "outputFile": "{name}.jpg",
                    "options": {"size": "10x10"},
                },
                {"conversionType": "image_resize", "outputFile": "{name}.png", "optional": True},
            ],
            "priority": 3,
            "queue": "bulk",
            "timeoutSeconds": 60,
            "ttlSecondsAfterFinished": 0,
            "resources": {"limits": {"memory": "1Gi"}},
        }
    )
    resolved = resolve("p", found, "a.gif").to_json()
    assert resolved == found.to_json() | {
        "outputs": [
            {
                "conversionType": "image_resize",
                "outputFile": "a.jpg",
                "options": {"size": "10x10"},
            },
            {"conversionType": "image_resize", "outputFile": "a.png", "optional": True},
        ]
    }
    assert ResolvedProfile.model_validate(resolved).to_json() == resolved


_PARTS = st.text("ab.{}dirnameext/ ", min_size=1, max_size=12)
_TEMPLATES = st.lists(
    st.sampled_from(["{dir}", "{name}", "{ext}", "/", "x", ".", ".jpg", ".."]), max_size=6
).map(lambda parts: "".join(parts) + ".jpg")


@given(template=_TEMPLATES, input_file=_PARTS)
def test_what_is_resolved_is_a_valid_output_in_the_volume(template: str, input_file: str) -> None:
    """Also if the CRD has checked neither the template nor the input."""
    try:
        found, source = (
            profile(template),
            OutputSpec.model_validate({"conversionType": "image_resize", "outputFile": input_file}),
        )
    except ValueError:
        return
    try:
        made = resolve("p", found, source.output_file).outputs
    except ProfileInvalid:
        return
    path = made[0].output_file
    assert OutputSpec.model_validate(made[0].to_json()) == made[0]
    assert not {"", ".", ".."} & set(path.split("/"))
    assert normal_path(path) != normal_path(input_file)
    assert path.endswith(".jpg")
    if "{dir}" in template and normal_path(input_file).count("/") > 1:
        folder = normal_path(input_file).lstrip("/").rpartition("/")[0]
        assert folder in path


@given(st.text("ab.", min_size=1, max_size=8))
def test_a_name_is_its_parts(name: str) -> None:
    stem, extension = split_extension(name)
    assert (f"{stem}.{extension}" if extension else stem) == name
    assert stem.strip(".") or not extension
