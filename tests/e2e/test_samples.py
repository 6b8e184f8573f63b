"""The samples convert, and other programs probe their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.core.display import size_text
from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import Conversion, Conversions
from tests.e2e.support.probing import probe_image, probe_media
from tests.e2e.support.watches import Watches

SAMPLES = ROOT / "deploy/samples"
SEVERAL = "several"


@pytest.fixture(scope="module")
def samples(kubectl: Kubectl, watches: Watches, volume: Path) -> Iterator[dict[str, Conversion]]:
    """The samples, applied as in the demo, by their conversionType. SEVERAL has several outputs."""
    conversions = Conversions(kubectl, watches, volume, "output")
    kubectl("apply", "-f", str(SAMPLES))
    made = {}
    for path in SAMPLES.glob("*.yaml"):
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
        meta = body["metadata"]
        stored = kubectl.get("-n", meta["namespace"], "convjob", meta["name"])
        made[body["spec"].get("conversionType", SEVERAL)] = conversions.adopt(stored)
    yield made
    conversions.remove()


def shared(status: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """The probed facts as the status has them."""
    return {name: status["output"].get(name) for name in facts}


def test_video_to_mp4(samples: dict[str, Conversion], volume: Path) -> None:
    sample = samples["video_to_mp4"]
    status = sample.succeeded()
    facts = probe_media(volume, sample.body["spec"]["outputFile"])
    assert facts.pop("container").split(",")[1] == status["output"]["container"] == "mp4"
    assert shared(status, facts) == facts
    assert (facts["videoCodec"], facts["audioCodec"]) == ("h264", "aac")
    assert (facts["width"], facts["height"]) == (854, 480)
    assert 4.9 < float(facts["durationSeconds"]) < 5.2


def test_audio_to_mp3(samples: dict[str, Conversion], volume: Path) -> None:
    sample = samples["audio_to_mp3"]
    status = sample.succeeded()
    facts = probe_media(volume, sample.body["spec"]["outputFile"])
    assert facts == shared(status, facts)
    assert (facts["container"], facts["audioCodec"]) == ("mp3", "mp3")
    assert 9.9 < float(facts["durationSeconds"]) < 10.1
    # 192 kbit/s for ten seconds.
    assert 220_000 < status["outputSize"] < 260_000


def test_image_resize(samples: dict[str, Conversion], volume: Path) -> None:
    sample = samples["image_resize"]
    status = sample.succeeded()
    facts = probe_image(volume, sample.body["spec"]["outputFile"])
    assert facts.pop("loader") == "webpload"
    assert status["output"]["container"] == "webp"
    assert facts == shared(status, facts)
    # 1000x872, fitted into 640x480.
    assert (facts["width"], facts["height"]) == (550, 480)


def test_extract_thumbnail(samples: dict[str, Conversion], volume: Path) -> None:
    sample = samples["extract_thumbnail"]
    status = sample.succeeded()
    facts = probe_image(volume, sample.body["spec"]["outputFile"])
    assert facts.pop("loader") == "jpegload"
    assert status["output"]["container"] == "jpeg"
    assert facts == shared(status, facts) == {"width": 320, "height": 180}


def test_several_outputs(samples: dict[str, Conversion], volume: Path) -> None:
    sample = samples[SEVERAL]
    status = sample.succeeded()
    paths = [volume / each["outputFile"] for each in sample.body["spec"]["outputs"]]
    sizes = [path.stat().st_size for path in paths]
    assert [(each["state"], each["size"]) for each in status["outputs"]] == [
        ("Succeeded", size) for size in sizes
    ]
    assert status["outputSize"] == sum(sizes)


def test_kubectl_get_shows_the_results(samples: dict[str, Conversion], kubectl: Kubectl) -> None:
    for sample in samples.values():
        sample.succeeded()
    table = kubectl("-n", "my-network", "get", "convjob", "-o", "wide").splitlines()
    assert table[0].split() == [
        *("NAME", "TYPE", "PHASE", "PROGRESS", "SIZE", "REASON", "AGE"),
        *("INPUT", "OUTPUT", "PROFILE", "DRY", "RUN", "QUEUE", "POSITION", "NODE", "DURATION"),
        "MESSAGE",
    ]
    rows = {row.split()[0]: row.split()[1:] for row in table[1:]}
    for kind, sample in samples.items():
        if kind == SEVERAL:
            continue
        row = rows[sample.name]
        size = size_text(sample.output.stat().st_size)
        assert row[:5] == [kind, "Succeeded", "100%", size, "Completed"]
        assert row[6:8] == [sample.body["spec"][key] for key in ("inputFile", "outputFile")]
