"""Recordings with one mono track a channel, and files whose mono tracks are alternatives."""

from __future__ import annotations

import array
import json
import math
from pathlib import Path

import pytest

from media_converter.contract import ConversionType, OutputState
from tests.converter import several
from tests.converter.harness import AUDIO, INFO, SOUND, VIDEO, WAVEFORM, WEBM, Converter
from tests.converter.kitchen import Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.several import Wanted

TONES = (440, 1000, 300, 2000)
PCM = ("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "pcm_s16le")


def recording(kitchen: Kitchen, name: str, count: int = 2, *more: str, seconds: float = 3) -> str:
    """A film with a mono track for each tone."""
    inputs = [word for hertz in TONES[:count] for word in tone(hertz, seconds)]
    maps = [word for number in range(count + 1) for word in ("-map", str(number))]
    return kitchen.ffmpeg(name, *video("352x288", seconds=seconds), *inputs, *maps, *(more or PCM))


def sides(lab: Lab, path: Path | str, hertz: int, start: float = 0) -> tuple[float, float]:
    """How loud a tone is on the left and on the right, in dB."""
    left, right = (
        lab.loudness(
            path,
            f"atrim={start}:{start + 2},pan=mono|c0=c{side},bandpass=f={hertz}:width_type=h:w=40",
        )[0]
        for side in (0, 1)
    )
    return left, right


def assert_is_stereo(lab: Lab, path: Path | str) -> None:
    """440 Hz are on the left only, and 1000 Hz on the right only."""
    for hertz, expected in ((440, (True, False)), (1000, (False, True))):
        levels = sides(lab, path, hertz)
        assert tuple(level > -30 for level in levels) == expected, (hertz, levels)


@pytest.mark.parametrize(
    ("kind", "target", "options"),
    [
        (VIDEO, "o.mp4", {}),
        (VIDEO, "o.mp4", {"start": 0.5, "duration": 2.2}),
        (VIDEO, "o.mp4", {"duration": 2.2, "loudness": -20}),
        (WEBM, "o.webm", {}),
        (AUDIO, "o.mp3", {"start": 0.5}),
        (SOUND, "o.flac", {"loudness": -20}),
        (SOUND, "o.opus", {"duration": 2.2}),
    ],
)
def test_two_tracks_are_left_and_right(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    kind: ConversionType,
    target: str,
    options: dict[str, object],
) -> None:
    run = converter.convert(kind, recording(kitchen, "joined.mxf"), target, **options)
    assert_is_stereo(lab, run.path)
    start = float(str(options.get("start", 0)))
    wanted = float(str(options.get("duration", 3 - start)))
    assert lab.seconds(run.path) == pytest.approx(wanted, abs=0.1)
    if "loudness" in options:
        assert lab.ebur128(run.path)[0] == pytest.approx(-20, abs=1)


def test_samples_stay_as_they_are(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = recording(kitchen, "joined.mov")

    def samples(path: Path | str, *options: str) -> array.array[int]:
        inside = lab.inside(path)
        command = ("ffmpeg", "-nostdin", "-v", "error", "-i", inside, *options)
        return array.array("h", lab.agent.run((*command, "-f", "s16le", "pipe:1")))

    run = converter.convert(SOUND, source, "o.wav")
    made = samples(run.path)
    for number in range(2):
        assert made[number::2] == samples(source, "-map", f"0:a:{number}")


@pytest.mark.parametrize("count", [3, 4])
def test_more_tracks_are_mixed_to_stereo(
    kitchen: Kitchen, converter: Converter, lab: Lab, count: int
) -> None:
    source = recording(kitchen, f"joined-{count}.mxf", count)
    for run in (
        converter.convert(VIDEO, source, "o.mp4"),
        converter.convert(AUDIO, source, "o.mp3"),
        converter.convert(AUDIO, source, "o.mp3", channels="mono"),
    ):
        for hertz in TONES[:count]:
            heard = lab.loudness(run.path, f"bandpass=f={hertz}:width_type=h:w=40")[0]
            assert heard > -40, hertz


def test_several_outputs_of_one_recording(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("joined")
    wanted = [
        Wanted(VIDEO, f"{folder}/silent.mp4", {"audio": "none"}),
        Wanted(VIDEO, f"{folder}/one.mp4"),
        Wanted(VIDEO, f"{folder}/two.mp4", {"resolution": "240p"}),
        Wanted(AUDIO, f"{folder}/three.mp3"),
    ]
    done = several.run(converter, recording(kitchen, "joined.mxf"), wanted)
    assert done.states == [OutputState.SUCCEEDED] * 4, done.log
    assert "3 videos from one decoder" in done.log
    assert "cannot be made together" not in done.log
    assert not lab.media(wanted[0].target).streams("audio")
    for one in wanted[1:]:
        assert_is_stereo(lab, one.target)


def test_what_only_one_track_has_is_drawn_and_measured(
    kitchen: Kitchen, converter: Converter
) -> None:
    """The first track is silent: the microphone was on the second one."""
    source = kitchen.ffmpeg(
        "joined-second.mxf", *video("352x288"), "-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=3",
        *tone(), "-map", "0", "-map", "1", "-map", "2", *PCM,
    )  # fmt: skip
    drawn = converter.convert(WAVEFORM, source, "o.json")
    assert max(json.loads(drawn.path.read_text())["data"]) >= 12
    told = json.loads(
        converter.convert(INFO, source, "i.json", loudness="measure").path.read_text()
    )
    assert told["loudness"]["integratedLUFS"] > -40
    assert len(told["audio"]) == 2


def test_a_track_that_starts_later_stays_in_step(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The second track starts 40 ms later, and both have a click at the same time."""
    click = "aevalsrc='if(between(t,{},{}),0.9,0)':s=48000:d=2"
    source = kitchen.ffmpeg(
        "joined-later.mov", "-f", "lavfi", "-i", click.format(1, 1.001), "-itsoffset", "0.04", "-f",
        "lavfi", "-i", click.format(0.96, 0.961), "-map", "0", "-map", "1", "-c:a", "pcm_s16le",
    )  # fmt: skip
    run = converter.convert(SOUND, source, "o.wav")
    raw = lab.agent.run(
        ("ffmpeg", "-nostdin", "-v", "error", "-i", lab.inside(run.path), "-f", "s16le", "pipe:1")
    )
    made = array.array("h", raw)
    places = [next(i for i, v in enumerate(made[side::2]) if v > 10_000) for side in (0, 1)]
    assert math.isclose(places[0], 48000, abs_tol=50), places
    assert abs(places[0] - places[1]) <= 50, places


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("languages.mov", (*PCM, "-metadata:s:a:0", "language=eng", "-metadata:s:a:1",
                           "language=fra")),
        ("titles.mkv", ("-c:v", "mpeg4", "-c:a", "flac")),
        ("alternatives.mp4", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("alternatives.mov", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("alternatives.ts", ("-c:v", "mpeg2video", "-c:a", "mp2")),
        ("mixed.mov", (*PCM, "-ac:a:1", "2")),
        ("rates.mov", (*PCM, "-ar:a:1", "32000")),
    ],
)  # fmt: skip
def test_alternatives_are_not_mixed(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, more: tuple[str, ...]
) -> None:
    run = converter.convert(AUDIO, recording(kitchen, f"not-joined-{name}", 2, *more), "o.mp3")
    assert lab.loudness(run.path, "bandpass=f=440:width_type=h:w=40")[0] > -30
    assert lab.loudness(run.path, "bandpass=f=1000:width_type=h:w=40")[0] < -40
