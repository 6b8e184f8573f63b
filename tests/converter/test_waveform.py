"""Waveforms: drawings, and peaks in the format of audiowaveform, version 2."""

from __future__ import annotations

import array
import json
from typing import Any

import jsonschema
import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import WAVEFORM, Case, Converter
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab

# From the documentation of audiowaveform's data format.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        *("version", "channels", "sample_rate", "samples_per_pixel", "bits", "length", "data"),
    ],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 2},
        "channels": {"const": 1},
        "sample_rate": {"type": "integer", "minimum": 1},
        "samples_per_pixel": {"type": "integer", "minimum": 2},
        "bits": {"const": 8},
        "length": {"type": "integer", "minimum": 1},
        "data": {"type": "array", "items": {"type": "integer", "minimum": -128, "maximum": 127}},
    },
}


def rising(kitchen: Kitchen, name: str = "rising.wav", *encoder: str) -> str:
    """A second of silence, and then a tone of -18, -12 and -6 dB for a second each."""
    steps = "".join(f"[{i}]volume={gain}dB[s{i}];" for i, gain in enumerate((-200, 0, 6, 12)))
    return kitchen.ffmpeg(
        name, *(word for _ in range(4) for word in tone(440, 1, 44100)), "-filter_complex",
        f"{steps}[s0][s1][s2][s3]concat=n=4:v=0:a=1", *encoder,
    )  # fmt: skip


def samples(lab: Lab, source: str) -> array.array[int]:
    """All samples of a mono file, as numbers of 16 bits."""
    raw = lab.agent.run(
        ("ffmpeg", "-nostdin", "-v", "error", "-i", lab.inside(source), "-f", "s16le", "pipe:1")
    )
    return array.array("h", raw)


def peaks(converter: Converter, source: str, **options: object) -> dict[str, Any]:
    run = converter.convert(WAVEFORM, source, "out.json", **options)
    body = json.loads(run.path.read_text())
    jsonschema.validate(body, SCHEMA)
    assert len(body["data"]) == 2 * body["length"]
    return dict(body)


@pytest.mark.parametrize("zoom", [None, 64, "512", 4096])
def test_the_peaks_are_those_of_the_samples(
    kitchen: Kitchen, converter: Converter, lab: Lab, zoom: int | str | None
) -> None:
    source = rising(kitchen)
    body = peaks(converter, source, samplesPerPixel=zoom)
    each = int(zoom or 256)
    assert (body["sample_rate"], body["samples_per_pixel"]) == (44100, each)
    wanted = samples(lab, source)
    assert body["length"] == -(-len(wanted) // each)
    for number in range(body["length"]):
        part = wanted[number * each : (number + 1) * each]
        low, high = body["data"][2 * number : 2 * number + 2]
        assert abs(low - min(part) / 256) <= 1
        assert abs(high - max(part) / 256) <= 1


def test_a_drawing_is_as_high_as_the_sound_is_loud(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    run = converter.convert(
        WAVEFORM, rising(kitchen), "out.png", size="400x200", colour="ff0000", background="00FF00"
    )
    assert run.report.output
    assert (run.report.output.width, run.report.output.height) == (400, 200)
    drawing = lab.image(run.path)
    assert drawing.size == (400, 200)

    def height(x: float) -> int:
        column = [drawing.at(x, (y + 0.5) / 200) for y in range(200)]
        assert set(column) <= {(255, 0, 0), (0, 255, 0)}
        return column.count((255, 0, 0))

    assert height(0.1) <= 2
    levels = [height(x) for x in (0.375, 0.625, 0.875)]
    # A tone of ffmpeg's sine has a peak of 1/8 of full scale.
    assert levels == pytest.approx([25, 50, 100], abs=4)


def test_a_drawing_is_transparent_by_default(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    run = converter.convert(WAVEFORM, rising(kitchen), "out.png")
    fields = lab.header(run.path)
    assert (fields["width"], fields["height"], fields["bands"]) == ("800", "250", "4")
    shown = lab.image(run.path)
    assert shown.at(0.9, 0.02) == (0, 255, 0), "the background shows"
    assert shown.at(0.9, 0.5) == (0x1E, 0x90, 0xFF)


@pytest.mark.parametrize("name", ["rising.mp3", "rising.opus", "rising.m4a", "rising.mkv"])
def test_every_format(kitchen: Kitchen, converter: Converter, name: str) -> None:
    if name.endswith("mkv"):
        source = kitchen.ffmpeg(
            name, *video(seconds=4), "-i", rising(kitchen), "-map", "0", "-map", "1", *X264,
        )  # fmt: skip
    else:
        source = rising(kitchen, name)
    body = peaks(converter, source)
    seconds = body["length"] * body["samples_per_pixel"] / body["sample_rate"]
    assert seconds == pytest.approx(4, abs=0.1)
    quarter = len(body["data"]) // 4
    assert max(body["data"][: quarter - 20]) <= 2
    assert max(body["data"][3 * quarter :]) == pytest.approx(64, abs=8)


def test_channels_in_opposite_phase_are_not_silent(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg("phase.wav", *tone(), "-af", "pan=stereo|c0=c0|c1=-1*c0")
    assert max(peaks(converter, source)["data"]) == pytest.approx(16, abs=1)


def test_silence_is_a_line(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("silence-3s.wav", "-f", "lavfi", "-i", "anullsrc=d=3")
    assert set(peaks(converter, source)["data"]) == {0}
    run = converter.convert(WAVEFORM, source, "out.png", size="100x51", background="FFFFFF")
    assert lab.image(run.path).share((0x1E, 0x90, 0xFF), 0) == pytest.approx(1 / 51, abs=0.001)


@pytest.mark.parametrize("size", ["1x1", "3x2000", "16384x2"])
def test_odd_sizes(kitchen: Kitchen, converter: Converter, lab: Lab, size: str) -> None:
    run = converter.convert(WAVEFORM, rising(kitchen), "out.png", size=size)
    fields = lab.header(run.path)
    assert f"{fields['width']}x{fields['height']}" == size


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("out.png", {"samplesPerPixel": 256}, "applies to .json only"),
        ("out.json", {"size": "10x10"}, "applies to .png only"),
        ("out.json", {"colour": "FFFFFF"}, "applies to .png only"),
        ("out.png", {"colour": "#FFFFFF"}, "RRGGBB"),
    ],
)
def test_options_that_do_not_apply(
    kitchen: Kitchen,
    converter: Converter,
    target: str,
    options: dict[str, object],
    words: str,
) -> None:
    run = converter.refused(
        WAVEFORM, rising(kitchen), target, ExitReason.INVALID_OPTIONS, **options
    )
    assert words in run.report.message


def test_what_has_no_sound(kitchen: Kitchen, converter: Converter) -> None:
    silent = kitchen.ffmpeg("pictures-only.mp4", *video(), *X264)
    converter.refused(WAVEFORM, silent, "out.png", ExitReason.NO_AUDIO_STREAM)


@pytest.mark.parametrize("target", ["out.png", "out.json"])
def test_a_truncated_song_has_no_short_waveform(
    kitchen: Kitchen, converter: Converter, target: str
) -> None:
    whole = rising(kitchen, "whole.flac")
    cut = kitchen.edit("cut-half.flac", whole, lambda data: data[: len(data) // 2])
    run = converter.convert(WAVEFORM, cut, target)
    assert run.reason in {ExitReason.INPUT_TRUNCATED, ExitReason.INPUT_DAMAGED}


def test_half_an_hour_takes_little_time_and_memory(kitchen: Kitchen, converter: Converter) -> None:
    minute = kitchen.ffmpeg("minute-16k.mp3", *tone(440, 60, 16000), "-b:a", "64k")
    long = kitchen.ffmpeg("long-16k.mp3", "-stream_loop", "29", "-i", minute, "-c", "copy")
    folder = converter.workspace.scratch("waveform")
    run = converter.run(Case(WAVEFORM, long, f"{folder}/out.json"), sample=True)
    assert run.output
    assert run.ended.cpu < 16
    assert run.ended.peak_kib is not None
    assert run.ended.peak_kib < 150 * 1024
    assert any(0 < (p.percent or 0) < 100 for p in run.progress)
