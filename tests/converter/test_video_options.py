"""Options of videos: the frame rate, and the sound with its loudness."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType
from tests.converter.harness import VIDEO, WEBM, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab


def test_the_frame_rate_is_lowered_and_never_raised(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.base()
    made = converter.convert(VIDEO, source, "a.mp4", maxFrameRate=10)
    found = lab.media(made.path, count=True)
    assert int(found.video["nb_read_frames"]) == pytest.approx(30, abs=1)
    assert found.duration == pytest.approx(3, abs=0.15)
    same = converter.convert(VIDEO, source, "b.mp4", maxFrameRate=30)
    assert lab.pixels(same.path) == lab.pixels(source)


def test_a_variable_frame_rate_stays_variable(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """One second with 50 pictures, then two seconds with 5 each."""
    chain = "select=lt(t\\,1)+not(mod(n\\,10))"
    shape = ("-vf", chain, "-fps_mode", "passthrough", *X264)
    source = kitchen.ffmpeg("burst.mkv", *video(rate=50), *shape)
    made = converter.convert(VIDEO, source, "a.mp4", maxFrameRate=20)
    times = sorted(time for time, _ in lab.packets(made.path))
    first = min(times)
    assert sum(time - first < 1 for time in times) == pytest.approx(20, abs=1)
    assert sum(time - first >= 1 for time in times) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("resolution", [{}, {"resolution": "240p"}])
def test_a_film_that_becomes_faster_is_slowed_down(
    kitchen: Kitchen, converter: Converter, lab: Lab, resolution: dict[str, object]
) -> None:
    """20 seconds with 10 pictures each, then two with 50. The header states 10 per second."""
    shape = ("-vf", "select=gte(t\\,20)+not(mod(n\\,5))", "-fps_mode", "passthrough", *X264)
    source = kitchen.ffmpeg("faster.mp4", *video("480x270", rate=50, seconds=22), *shape)
    made = converter.convert(VIDEO, source, "a.mp4", maxFrameRate=24, **resolution)
    times = sorted(time for time, _ in lab.packets(made.path))
    assert len(times) == pytest.approx(248, abs=2)
    assert sum(time < 20 for time in times) == pytest.approx(200, abs=3)
    if resolution:
        whole = converter.convert(VIDEO, source, "b.mp4", **resolution)
        assert len(lab.packets(whole.path)) == pytest.approx(300, abs=2), "nothing is dropped"


@pytest.mark.parametrize(("kind", "name"), [(VIDEO, "a.mp4"), (WEBM, "a.webm")])
def test_a_video_without_its_sound(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType, name: str
) -> None:
    made = converter.convert(kind, kitchen.base(), name, audio="none")
    assert not lab.media(made.path).streams("audio")
    assert made.report.output
    assert made.report.output.audio_codec is None
    assert not made.report.warnings


@pytest.mark.parametrize(("kind", "name"), [(VIDEO, "a.mp4"), (WEBM, "a.webm")])
@pytest.mark.parametrize("target", [-16, -30])
def test_the_sound_of_a_video_has_the_wanted_loudness(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType, name: str, target: int
) -> None:
    beats = ("-af", "volume='0.3+0.25*sin(5*t)':eval=frame")
    source = kitchen.ffmpeg("beats.mp4", *video(), *tone(), *beats, *X264, *AAC)
    made = converter.convert(kind, source, name, loudness=target)
    loudness, peak = lab.ebur128(made.path)
    assert loudness == pytest.approx(target, abs=1)
    assert peak <= -1, made.report.logs
    assert int(lab.media(made.path).streams("audio")[0]["sample_rate"]) == 48000
    if kind is VIDEO:
        assert lab.pixels(made.path) == lab.pixels(source), "the video is copied"


def test_a_part_has_its_own_loudness(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    louder = ("-af", "volume='if(lt(t,2),0.02,0.8)':eval=frame")
    source = kitchen.ffmpeg("louder.mp4", *video(seconds=4), *tone(seconds=4), *louder, *X264, *AAC)
    made = converter.convert(VIDEO, source, "a.mp4", loudness="-23", duration=2)
    assert lab.ebur128(made.path)[0] == pytest.approx(-23, abs=1)
    assert lab.media(made.path).duration == pytest.approx(2, abs=0.1)


def test_only_the_part_is_measured(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """The film is quiet up to 30 s, and the part ends before. So the first gain is right."""
    louder = ("-af", "volume='if(lt(t,30),0.02,0.8)':eval=frame")
    shape = (*video("160x90", rate=5, seconds=40), *tone(seconds=40), *louder, "-g", "5")
    source = kitchen.ffmpeg("quiet-first.mp4", *shape, *X264, *AAC)
    made = converter.convert(VIDEO, source, "a.mp4", loudness="-23", start=5, duration=10)
    assert lab.ebur128(made.path)[0] == pytest.approx(-23, abs=1)
    logs = made.report.logs
    assert logs.count("the loudness is ") == 1
    assert logs.count("the loudness of the output is ") == 1, "one try"


def test_silence_has_no_loudness(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg("silent-sound.mp4", *video(), *tone(), "-af", "volume=0", *X264, *AAC)
    made = converter.convert(VIDEO, source, "a.mp4", loudness=-16)
    assert any("silent" in warning for warning in made.report.warnings)


def test_sound_that_nobody_wants_needs_no_decoder(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.edit(
        "sound-apac.mp4",
        kitchen.base(),
        lambda data: data.replace(b"mp4a", b"apac").replace(b"esds", b"xsds"),
    )
    made = converter.convert(VIDEO, source, "a.mp4")
    assert any("has no audio" in warning for warning in made.report.warnings)
    made = converter.convert(VIDEO, source, "b.mp4", audio="none")
    assert not made.report.warnings
