"""Which sound and which picture: those that begin late, and those of the right programme."""

from __future__ import annotations

import pytest

from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, OUT, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.siblings.inputs import clock, colour_of

TONES = (300, 440, 1000)
RED = (254, 0, 0)


def level(lab: Lab, path: str, start: float, end: float) -> float:
    return lab.loudness(path, f"atrim={start}:{end}")[0]


# After the first look


def test_a_camera_stick_whose_sound_begins_after_15_seconds(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """M2TS (192 bytes a packet) with E-AC-3."""
    name = kitchen.ffmpeg(
        "sib-late.m2ts", *video(rate=5, seconds=18), "-itsoffset", "15", *tone(), "-map", "0:v",
        "-map", "1:a", *X264, "-c:a", "eac3", "-mpegts_m2ts_mode", "1", "-f", "mpegts",
    )  # fmt: skip
    run = converter.convert(VIDEO, name, "o.mp4")
    assert level(lab, str(run.path.relative_to(lab.workspace.root)), 15.5, 17.5) > -35
    alone = converter.convert(AUDIO, name, "o.mp3")
    assert lab.loudness(alone.path)[1] > -35
    assert lab.seconds(alone.path) >= 2.5


def test_a_sound_that_a_later_map_of_the_programme_adds(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    silent = kitchen.ffmpeg("sib-silent.ts", *video(seconds=4), *X264)
    spoken = kitchen.ffmpeg("sib-spoken.ts", *video(seconds=4), *tone(seconds=4), *X264, *AAC)
    name = kitchen.write("sib-map.ts", kitchen.read(silent) + kitchen.read(spoken))
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.frames(run.path) - 200) <= 3
    assert level(lab, str(run.path.relative_to(lab.workspace.root)), 4.6, 7.4) > -35
    alone = converter.convert(AUDIO, name, "o.mp3")
    assert lab.seconds(alone.path) >= 3.8
    assert lab.hertz(alone.path, TONES) == 440


def test_a_sound_that_begins_behind_many_bytes(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """An MPEG programme stream with a rich picture: the sound begins after 10 MB."""
    name = kitchen.ffmpeg(
        "sib-rich.mpg", "-f", "lavfi", "-i", "nullsrc=s=352x288:r=25:d=6,geq=random(1)*255:128:128",
        "-itsoffset", "4", *tone(seconds=2), "-map", "0:v", "-map", "1:a", "-c:v", "mpeg2video",
        "-qmin", "1", "-q:v", "1", "-c:a", "mp2", "-maxrate", "40M", "-bufsize", "4M", "-f", "vob",
    )  # fmt: skip
    assert len(kitchen.read(name)) > 9_000_000
    run = converter.convert(VIDEO, name, "o.mp4")
    assert level(lab, str(run.path.relative_to(lab.workspace.root)), 4.3, 5.7) > -35
    alone = converter.convert(AUDIO, name, "o.mp3")
    assert lab.seconds(alone.path) >= 1.8


def test_a_radio_programme_that_becomes_television(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    name = kitchen.ffmpeg(
        "sib-radio.ts", *tone(seconds=17), "-itsoffset", "14", *colour("red", seconds=3), "-map",
        "0:a", "-map", "1:v", "-c:a", "mp2", "-c:v", "mpeg2video", "-f", "mpegts",
    )  # fmt: skip
    still = converter.convert(THUMB, name, "o.png")
    assert near(lab.image(still.path).at(0.5, 0.5), RED)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert lab.media(run.path).size == (320, 180)
    assert near(lab.frame(run.path, lab.media(run.path).duration - 1.5).at(0.5, 0.5), RED)
    assert lab.hertz(run.path, TONES) == 440


# Programmes, tracks, covers


@pytest.mark.parametrize("kind", [VIDEO, THUMB])
def test_a_radio_programme_comes_first(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: object
) -> None:
    name = kitchen.ffmpeg(
        "sib-programmes.ts", *tone(300, 4), *clock(4), *tone(440, 4), "-map", "0", "-map", "1",
        "-map", "2", *X264, "-c:a", "mp2", "-program", "title=radio:program_num=1:st=0",
        "-program", "title=television:program_num=2:st=1:st=2",
    )  # fmt: skip
    if kind is VIDEO:
        run = converter.convert(VIDEO, name, "o.mp4")
        assert lab.hertz(run.path, TONES) == 440
    else:
        run = converter.convert(THUMB, name, "o.png", time="2.5")
        assert colour_of(lab.image(run.path)) == "blue"


@pytest.mark.xfail(strict=True, reason="only the first of several tracks is heard")
@pytest.mark.parametrize("container", ["mxf", "mov"])
def test_one_track_a_channel(
    kitchen: Kitchen, converter: Converter, lab: Lab, container: str
) -> None:
    """A camera that records left and right as two mono tracks."""
    name = kitchen.ffmpeg(
        f"sib-tracks.{container}", *video("352x288"), *tone(440), *tone(1000), "-map", "0", "-map",
        "1", "-map", "2", "-c:v", "mpeg2video", "-c:a", "pcm_s16le",
    )  # fmt: skip
    for run in (
        converter.convert(VIDEO, name, "o.mp4"),
        converter.convert(AUDIO, name, "o.mp3"),
    ):
        heard = [
            lab.loudness(run.path, f"bandpass=f={hertz}:width_type=h:w=40")[0]
            for hertz in (440, 1000)
        ]
        assert min(heard) > -40, heard


def test_the_comments_of_the_director_come_first(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    film = kitchen.ffmpeg("sib-film.mkv", *video(), *X264)
    comment = kitchen.ffmpeg("sib-comment.mka", *tone(300), "-c:a", "flac")
    sound = kitchen.ffmpeg("sib-sound.mka", *tone(440), "-c:a", "flac")
    name = kitchen.by(
        "sib-comments.mkv", "mkvmerge", "-q", "-o", OUT, film, "--commentary-flag", "0:1",
        "--track-name", "0:Comments", comment, "--original-flag", "0:1", sound,
    )  # fmt: skip
    for run in (
        converter.convert(VIDEO, name, "o.mp4"),
        converter.convert(AUDIO, name, "o.mp3"),
    ):
        assert lab.hertz(run.path, TONES) == 440


def test_sound_for_people_who_cannot_see_comes_first(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The flags of a DVB-like recording in Matroska: no track is the default one."""
    film = kitchen.ffmpeg("sib-film.mkv", *video(), *X264)
    described = kitchen.ffmpeg("sib-comment.mka", *tone(300), "-c:a", "flac")
    sound = kitchen.ffmpeg("sib-sound.mka", *tone(440), "-c:a", "flac")
    name = kitchen.by(
        "sib-described.mkv", "mkvmerge", "-q", "-o", OUT, film, "--visual-impaired-flag", "0:1",
        "--default-track-flag", "0:0", described, "--default-track-flag", "0:0", sound,
    )  # fmt: skip
    run = converter.convert(VIDEO, name, "o.mp4")
    assert lab.hertz(run.path, TONES) == 440


def test_a_cover_that_is_stored_as_the_first_film(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """A PNG as a plain video track of a Matroska file, larger than the film behind it."""
    name = kitchen.ffmpeg(
        "sib-cover.mkv", *colour("white", "600x600", 1, 1), *clock(4), *tone(seconds=4),
        "-map", "0", "-map", "1", "-map", "2", "-c:v:0", "png", "-c:v:1", "mpeg4", "-q:v", "3",
        "-c:a", "flac",
    )  # fmt: skip
    still = converter.convert(THUMB, name, "o.png", time="2.5")
    assert colour_of(lab.image(still.path)) == "blue"
    run = converter.convert(VIDEO, name, "o.mp4")
    assert lab.media(run.path).size == (320, 180)
    assert lab.frames(run.path) == 100
