"""The loudness of an output by EBU R128: linear, limited only where it would clip."""

from __future__ import annotations

import pytest

from tests.converter.harness import AUDIO, SOUND, Converter, Run
from tests.converter.kitchen import Kitchen, tone
from tests.converter.lab import Lab
from tests.converter.recipes import covered

FORMATS = ("mp3", "m4a", "opus", "ogg", "flac", "wav")


def speech(kitchen: Kitchen, name: str = "speech.wav", seconds: int = 12) -> str:
    """Noise in bursts, like words, at about -28 LUFS with peaks of about -13 dB."""
    return kitchen.ffmpeg(
        name, "-f", "lavfi", "-i", f"anoisesrc=d={seconds}:a=0.25:c=pink:seed=5:r=44100", "-af",
        "volume='0.3+0.7*gt(sin(2*PI*t*1.5),0)':eval=frame,aformat=channel_layouts=stereo",
    )  # fmt: skip


def clicks(kitchen: Kitchen) -> str:
    """Quiet noise with a loud click in each second: a linear gain to -16 LUFS would clip."""
    return kitchen.ffmpeg(
        "clicks.wav", "-f", "lavfi", "-i", "anoisesrc=d=12:a=0.06:c=pink:seed=9:r=48000", "-f",
        "lavfi", "-i", "aevalsrc='0.7*lt(mod(t,1),0.002)*sin(2*PI*1000*t)':d=12:s=48000",
        "-filter_complex", "[0][1]amix=inputs=2:normalize=0,aformat=channel_layouts=stereo",
    )  # fmt: skip


def level(converter: Converter, source: str, target: object, name: str = "out.mp3") -> Run:
    kind = AUDIO if name.endswith("mp3") else SOUND
    run = converter.convert(kind, source, name, loudness=target)
    assert not run.report.warnings, run.report.warnings
    return run


@pytest.mark.parametrize("target", [-23, -16, "-14.5"])
@pytest.mark.parametrize("extension", FORMATS)
def test_the_wanted_loudness(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str, target: object
) -> None:
    run = level(converter, speech(kitchen), target, f"out.{extension}")
    loudness, peak = lab.ebur128(run.path)
    assert loudness == pytest.approx(float(str(target)), abs=1)
    assert peak <= -1
    found = lab.media(run.path).audio
    assert int(found["sample_rate"]) == (48000 if extension == "opus" else 44100)
    assert lab.media(run.path).duration == pytest.approx(12, abs=0.06)


@pytest.mark.parametrize("extension", ["mp3", "opus", "flac"])
def test_peaks_that_would_clip_are_limited_and_the_log_says_so(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    source = clicks(kitchen)
    before, peak_before = lab.ebur128(source)
    assert peak_before + (-16 - before) > 0, "the recipe clips"
    run = level(converter, source, -16, f"out.{extension}")
    loudness, peak = lab.ebur128(run.path)
    assert loudness == pytest.approx(-16, abs=1)
    assert peak <= -1
    assert "it would clip, so peaks are limited" in run.report.logs
    plain = level(converter, speech(kitchen), -23, f"out.{extension}")
    assert "limited" not in plain.report.logs


def test_the_dynamics_stay(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """The dynamic mode of ffmpeg's loudnorm would make the quiet half louder."""
    source = kitchen.ffmpeg(
        "halves.wav", *tone(440, 10, 48000), *tone(440, 10, 48000), "-filter_complex",
        "[0]volume=-20dB[q];[1]volume=-2dB[l];[q][l]concat=n=2:v=0:a=1,"
        "aformat=channel_layouts=stereo",
    )  # fmt: skip
    run = level(converter, source, -16, "out.flac")

    def half(begin: int) -> float:
        return lab.loudness(run.path, f"atrim={begin}:{begin + 6}")[0]

    assert half(12) - half(2) == pytest.approx(18, abs=0.3)
    assert lab.ebur128(run.path)[0] == pytest.approx(-16, abs=1)


def test_a_loud_song_becomes_quieter(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    loud = kitchen.ffmpeg("loud-speech.wav", "-i", speech(kitchen), "-af", "volume=12dB")
    run = level(converter, loud, -23)
    assert lab.ebur128(run.path)[0] == pytest.approx(-23, abs=1)
    assert "limited" not in run.report.logs


def test_only_the_part_counts(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "two-parts.wav", *tone(440, 6, 48000), *tone(440, 6, 48000), "-filter_complex",
        "[0]volume=-20dB[q];[q][1]concat=n=2:v=0:a=1",
    )  # fmt: skip
    run = converter.convert(AUDIO, source, "out.mp3", loudness=-20, duration=5)
    assert lab.ebur128(run.path)[0] == pytest.approx(-20, abs=1)


def test_silence_stays_silent_and_is_told(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("silence-3s.wav", "-f", "lavfi", "-i", "anullsrc=d=3")
    run = converter.convert(AUDIO, source, "out.mp3", loudness=-16)
    assert lab.loudness(run.path)[1] < -80
    assert run.report.warnings == (
        "The loudness is unchanged: the audio is silent or too short to measure.",
    )


def test_a_loudness_that_cannot_be_reached_is_told(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """A click every ten seconds has no loudness without its peak."""
    source = kitchen.ffmpeg(
        "rare.wav", "-f", "lavfi", "-i",
        "aevalsrc='0.5*lt(mod(t,1),0.0005)*sin(2*PI*1000*t)':d=12:s=48000", "-ac", "2",
    )  # fmt: skip
    run = converter.convert(AUDIO, source, "out.mp3", loudness=-9)
    (warning,) = run.report.warnings
    assert "cannot be reached" in warning
    assert lab.ebur128(run.path)[1] <= 0


def test_a_song_keeps_its_cover(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = level(converter, covered(kitchen, "covered.m4a"), -16, "out.m4a")
    assert len(lab.media(run.path).attached_pics) == 1
    assert lab.ebur128(run.path)[0] == pytest.approx(-16, abs=1)


def test_mono_is_the_mean_of_both_sides(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "full.wav", *tone(440, 3, 44100), "-af", "volume=17dB,pan=stereo|c0=c0|c1=c0"
    )
    for kind, name in ((AUDIO, "out.mp3"), (SOUND, "out.wav")):
        run = converter.convert(kind, source, name, channels="mono")
        assert lab.media(run.path).audio["channels"] == 1
        assert lab.loudness(run.path)[0] == pytest.approx(lab.loudness(source)[0], abs=0.5)
        third = lab.loudness(run.path, "bandpass=f=1320:width_type=h:w=40")[0]
        assert third < lab.loudness(run.path)[0] - 30, "clipped"


def test_a_sound_whose_channels_change_gets_its_loudness(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The meter of the input starts again at each change, so the output is measured."""
    loud = kitchen.ffmpeg("loud-part.mp3", *tone(440, 12), "-ac", "2", "-b:a", "128k")
    quiet = kitchen.ffmpeg(
        "quiet-part.mp3", "-f", "lavfi", "-i", "anullsrc=d=3:cl=mono", "-b:a", "64k"
    )
    both = kitchen.write("loud-then-quiet.mp3", kitchen.read(loud) + kitchen.read(quiet))
    run = converter.convert(SOUND, both, "out.flac", loudness=-20)
    assert lab.ebur128(run.path)[0] == pytest.approx(-20, abs=1)
