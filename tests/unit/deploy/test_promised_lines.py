"""Lines of documents that users were promised, where no other test reads them.

Each line answers a question of somebody who tried the product for the first time.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from conversion_operator.api.crd import build_crd
from media_converter.errors import ConversionError
from media_converter.planning.audio import _no_audio
from media_converter.running.image_input import refuse_without_loader
from tests.unit.converter.builders import INFO
from tests.unit.deploy.rendering import ROOT

LINES = {
    "nobody serves the namespace": (
        "README.md",
        "with the reason `Pending` for more than a few seconds, no operator serves its",
    ),
    "a try of a setting": ("README.md", "The next `kubectl apply -k` undoes this"),
    "settings in Git": (
        "README.md",
        "Keep your settings in Git: enter those of the operator in `settings.yaml` of your overlay",
    ),
    "the offline path": ("README.md", "`hack/offline` builds them from Debian packages"),
    "an input that will be made": (
        "README.md",
        "If another conversion in the same namespace is going to write the input of a conversion, "
        "the conversion waits for it",
    ),
    "your own files on kind": ("docs/install.md", "cp deploy/samples/media/guitar.flac shared/"),
    "the owner of your own files": ("docs/install.md", "mode 2775 and group 65532"),
    "an autoscaled cluster": (
        "docs/install.md",
        "Set `CONVERTER_UNSCHEDULABLE_SECONDS` to more than a new node needs",
    ),
    "a host that comes later": ("docs/callbacks.md", "ten minutes after the end of the conversion"),
    "an unmaintained package": (
        "CONTRIBUTING.md",
        "**pytest-kind** is a requirement of this project, and has had no release since 2022",
    ),
    "our own watches": ("docs/design.md", "https://github.com/nolar/kopf/issues/1276"),
    "the format of times": (
        "docs/api.md",
        "| `created_at` | when the conversion was created | RFC",
    ),
    "changes of a queue": ("docs/queues.md", "A change takes effect within two seconds"),
}


@pytest.mark.parametrize("question", LINES)
def test_the_page_has_the_line(question: str) -> None:
    page, line = LINES[question]
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert line in text


@pytest.mark.parametrize("file", ["SECURITY.md", "CHANGELOG.md", "CODEOWNERS", "LICENSE"])
def test_files_that_people_look_for_have_content(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").split()) > 10


def test_make_images_refreshes_the_base_image() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^images:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    steps = [line.strip().removeprefix("@") for line in recipe.splitlines()]
    refresh = steps.index("hack/base-image --refresh")
    assert any(step.startswith("hack/images") for step in steps[refresh:])


def test_each_conflict_has_a_reason_of_its_own() -> None:
    """A caller that gets 409 learns from the page of the API which of them it is."""
    document: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    told = {
        path.removeprefix("/api/v1/").replace("converter/", "").partition("/")[0]: answer
        for path, methods in document["paths"].items()
        for method in methods.values()
        if (answer := method["responses"].get("409", {}).get("description"))
    }
    assert told.keys() == {"convert", "cancel", "content", "retry", "outputs"}
    assert len(set(told.values())) == len(told)
    assert [call for call, text in told.items() if "Idempotency-Key" in text] == ["convert"]
    (row,) = re.findall(r"^\| 409 \|.*", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bon (\w+): ", row)) == told.keys()


def test_the_phase_the_reason_and_the_type_can_be_selected() -> None:
    (version,) = build_crd()["spec"]["versions"]
    selectable = {field["jsonPath"] for field in version["selectableFields"]}
    assert selectable == {".status.phase", ".status.reason", ".spec.conversionType"}
    shown = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}
    assert shown["Position"] == ".status.queuePosition"
    assert shown["Message"] == ".status.message"
    # With units, for people. The exact numbers are in other fields.
    for name in ("Progress", "Size", "Duration"):
        assert shown[name] == f".status.display.{name.lower()}"


def test_the_conversion_types_point_at_each_other() -> None:
    wave = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
    with pytest.raises(ConversionError, match="use video_to_mp4, extract_thumbnail or audio_to_"):
        refuse_without_loader(lambda position, size: wave[position : position + size])
    assert "use video_to_mp4 or extract_thumbnail" in _no_audio(INFO).message
