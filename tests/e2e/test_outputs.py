"""One pod makes several files, as a user of a cluster sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webvtt

from tests.e2e.support.commands import ROOT, Kubectl, until
from tests.e2e.support.conversions import LONG_INPUT, NAMESPACE, Conversion, Conversions
from tests.e2e.support.probing import probe_image, probe_media

VIDEO = "input/big-buck-bunny.mov"
SONG = "input/guitar.flac"


def several(conversions: Conversions, name: str, source: str, *items: Any, **spec: Any) -> Any:
    """Create a conversion of several outputs. Each item has its file's extension as ``file``."""
    body = conversions.manifest(name, inputFile=source, **spec)
    folder = body["spec"].pop("outputFile").rpartition("/")[0]
    del body["spec"]["conversionType"]
    body["spec"]["outputs"] = [
        {"outputFile": f"{folder}/{name}_{item.pop('file')}", **item} for item in items
    ]
    return conversions.create(body)


def thumbnail(file: str = "thumb.jpg", **more: Any) -> dict[str, Any]:
    options = {"size": "320x180"}
    return {"conversionType": "extract_thumbnail", "file": file, "options": options, **more}


def film(height: int, **more: Any) -> dict[str, Any]:
    options = {"resolution": height, **more}
    return {"conversionType": "video_to_mp4", "file": f"{height}p.mp4", "options": options}


def sound(**more: Any) -> dict[str, Any]:
    return {"conversionType": "audio_to_mp3", "file": "sound.mp3", **more}


def paths(conversion: Conversion) -> list[str]:
    return [output["outputFile"] for output in conversion.body["spec"]["outputs"]]


def states(status: Any) -> list[str]:
    return [output["state"] for output in status.get("outputs") or ()]


def test_one_pod_makes_several_files(conversions: Conversions, volume: Path) -> None:
    upload = several(conversions, "upload", VIDEO, film(480), thumbnail(), sound(), film(240))
    status = upload.succeeded()
    assert states(status) == ["Succeeded"] * 4
    assert len(upload.jobs_made()) == 1
    tall, picture, song, small = paths(upload)
    assert [each["size"] for each in status["outputs"]] == [
        (volume / path).stat().st_size for path in paths(upload)
    ]
    assert (probe_media(volume, tall)["height"], probe_media(volume, small)["height"]) == (480, 240)
    assert probe_image(volume, picture)["width"] == status["outputs"][1]["width"] == 320
    assert probe_media(volume, song)["audioCodec"] == status["outputs"][2]["audioCodec"] == "mp3"


def test_a_video_gets_what_a_page_needs_from_one_pod(
    conversions: Conversions, volume: Path
) -> None:
    """A thumbnail, a preview, a storyboard with its WebVTT file, and a description."""
    upload = several(
        conversions,
        "page",
        VIDEO,
        thumbnail(),
        {"conversionType": "video_to_preview", "file": "preview.mp4", "options": {"duration": 3}},
        {"conversionType": "video_storyboard", "file": "board.jpg", "options": {"count": 4}},
        {"conversionType": "media_info", "file": "info.json"},
    )
    status = upload.succeeded()
    assert states(status) == ["Succeeded"] * 4
    assert len(upload.jobs_made()) == 1
    picture, preview, board, info = paths(upload)
    assert probe_image(volume, picture)["width"] == 320
    film = probe_media(volume, preview)
    assert (film["videoCodec"], film.get("audioCodec")) == ("h264", None)
    document = json.loads((volume / info).read_text(encoding="utf-8"))
    assert (document["kind"], document["width"]) == ("video", 1280)
    sprite = probe_image(volume, board)
    assert (sprite["width"], sprite["height"]) == (4 * 160, 90)
    vtt = (volume / board).with_suffix(".vtt")
    cues = webvtt.read(str(vtt)).captions
    assert [cue.text for cue in cues] == [
        f"{Path(board).name}#xywh={160 * number},0,160,90" for number in range(4)
    ]
    assert cues[-1].end_in_seconds == pytest.approx(document["durationSeconds"], abs=1)
    assert status["outputs"][2]["size"] == (volume / board).stat().st_size
    vtt.unlink()


def test_a_thumbnail_has_its_name_while_the_film_is_encoded(
    conversions: Conversions, volume: Path
) -> None:
    upload = several(conversions, "early", LONG_INPUT, film(480, quality="high"), thumbnail())
    long, picture = paths(upload)
    until((volume / picture).exists, "the thumbnail")
    assert not (volume / long).exists()
    upload.cancel()
    status = upload.until_phase("Cancelled")
    assert states(status) == ["Pending", "Succeeded"]
    assert probe_image(volume, picture)["width"] == 320
    assert not (volume / long).exists()


def test_an_evicted_conversion_keeps_what_is_complete(
    conversions: Conversions, kubectl: Kubectl, volume: Path
) -> None:
    upload = several(conversions, "moved", LONG_INPUT, thumbnail(), film(360, duration=20))
    picture, _ = paths(upload)
    until((volume / picture).exists, "the thumbnail")
    before = (volume / picture).stat()
    (pod,) = upload.pods()
    kubectl("-n", NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--wait=false")
    status = upload.succeeded()
    assert states(status) == ["Succeeded", "Succeeded"]
    assert len(status["attempts"]) == 2
    after = (volume / picture).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_optional_output_that_does_not_apply(conversions: Conversions, volume: Path) -> None:
    song = several(conversions, "song", SONG, thumbnail(optional=True), sound())
    status = song.succeeded()
    assert states(status) == ["Skipped", "Succeeded"]
    assert status["outputs"][0]["reason"] == "NoVideoStream"
    picture, mp3 = paths(song)
    assert not (volume / picture).exists()
    assert (volume / mp3).stat().st_size == status["outputSize"]


def test_a_required_output_that_does_not_apply(conversions: Conversions, volume: Path) -> None:
    song = several(conversions, "no-picture", SONG, sound(), thumbnail())
    status = song.until_phase("Failed")
    assert status["reason"] == "NoVideoStream"
    assert paths(song)[1] in status["message"]
    assert not (volume / paths(song)[1]).exists()


def test_a_dry_run_writes_no_file(conversions: Conversions, volume: Path) -> None:
    dry = several(conversions, "dry", VIDEO, film(240), thumbnail(), dryRun=True)
    status = dry.succeeded()
    assert status["reason"] == "Planned"
    made, picture = status["plan"]
    assert (made["action"], made["videoCodec"], made["height"]) == ("Encode", "h264", 240)
    assert picture["width"] == 320
    assert not [path for path in paths(dry) if (volume / path).exists()]


@pytest.fixture
def profiles(kubectl: Kubectl) -> Iterator[None]:
    """The profiles that the project ships."""
    folder = str(ROOT / "deploy/profiles")
    kubectl("-n", NAMESPACE, "apply", "-k", folder)
    yield
    kubectl("-n", NAMESPACE, "delete", "-k", folder, "--ignore-not-found")


@pytest.mark.usefixtures("profiles")
def test_a_profile_names_the_files(conversions: Conversions, volume: Path) -> None:
    body = conversions.manifest("by-profile", inputFile=VIDEO, profile="web-video")
    for field in ("conversionType", "outputFile"):
        del body["spec"][field]
    by_profile = conversions.create(body)
    status = by_profile.succeeded()
    assert set(states(status)) == {"Succeeded"}
    for output, told in zip(status["resolved"]["outputs"], status["outputs"], strict=True):
        file = volume / output["outputFile"]
        assert file.stat().st_size == told["size"]
        file.unlink()
