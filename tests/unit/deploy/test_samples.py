"""The samples cover every type, and are valid, small and credited."""

from __future__ import annotations

import pytest
import yaml

from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.core.profiles import resolve
from media_converter.contract import ConversionType
from tests.unit.deploy.rendering import DEPLOY, SAMPLES, samples

PROFILES = DEPLOY / "profiles"
MEDIA = SAMPLES / "media"
CREDITS = MEDIA / "CREDITS.md"
KIB = 1024


def test_there_is_a_sample_of_each_type() -> None:
    specs = [ConversionJobSpec.model_validate(sample["spec"]) for sample in samples()]
    kinds = {output.conversion_type for spec in specs for output in spec.all_outputs()}
    assert kinds == {*ConversionType}
    assert any(spec.outputs for spec in specs)
    for sample in samples():
        assert sample["kind"] == "ConversionJob"
        assert sample["metadata"]["namespace"] == "my-network"


def test_each_sample_is_valid_and_has_its_input() -> None:
    outputs = list[str]()
    for sample in samples():
        spec = ConversionJobSpec.model_validate(sample["spec"])
        folder, _, name = spec.input_file.partition("/")
        assert folder == "input"
        assert (MEDIA / name).is_file(), name
        outputs += [output.output_file for output in spec.all_outputs()]
    assert len(set(outputs)) == len(outputs) > len(samples())


def test_the_media_are_few_small_and_credited() -> None:
    files = [path for path in MEDIA.iterdir() if path != CREDITS]
    credited = CREDITS.read_text(encoding="utf-8")
    assert {path.name for path in files} == {
        sample["spec"]["inputFile"].removeprefix("input/") for sample in samples()
    }
    assert max(path.stat().st_size for path in files) <= 1024 * KIB
    assert sum(path.stat().st_size for path in files) <= 2048 * KIB
    for path in files:
        assert f"`{path.name}`" in credited


@pytest.mark.parametrize(
    ("name", "input_file", "outputs"),
    [
        ("web-video", "a/b.mov", ["a/b_thumb.jpg", "a/b_720p.mp4", "a/b_360p.mp4"]),
        ("podcast", "a/b.mp3", ["a/b_podcast.mp3", "a/b_preview.mp3"]),
        ("picture-set", "b.jpg", ["b_large.jpg", "b_medium.webp", "b_small.webp"]),
    ],
)
def test_each_profile_makes_what_its_comment_says(
    name: str, input_file: str, outputs: list[str]
) -> None:
    text = (PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
    profile = yaml.safe_load(text)
    assert (profile["kind"], profile["metadata"]) == ("ConversionProfile", {"name": name})
    spec = ConversionProfileSpec.model_validate(profile["spec"])
    made = [output.output_file for output in resolve(name, spec, input_file).outputs]
    assert made == outputs
    words = {2: "two files", 3: "three files"}[len(made)]
    assert text.startswith(f"# Makes {words} from ")


def test_the_profiles_are_applied_together_and_the_sample_uses_one() -> None:
    listed = yaml.safe_load((PROFILES / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {path.name for path in PROFILES.glob("*.yaml")}
    assert files == {*listed["resources"], "kustomization.yaml", "sample.yaml"}
    sample = yaml.safe_load((PROFILES / "sample.yaml").read_text(encoding="utf-8"))
    spec = ConversionJobSpec.model_validate(sample["spec"])
    assert f"{spec.profile}.yaml" in listed["resources"]
    assert (MEDIA / spec.input_file.removeprefix("input/")).is_file()
