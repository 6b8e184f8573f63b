"""The samples cover every type, and are valid, small and credited."""

from __future__ import annotations

from conversion_operator.api.spec import ConversionJobSpec
from media_converter.contract import ConversionType
from tests.unit.deploy.rendering import SAMPLES, samples

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
