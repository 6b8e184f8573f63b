"""A film with a damaged middle: refused, told in figures, or saved on request."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, VIDEO, Case, Converter, Run
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab


def holed(kitchen: Kitchen, source: str, start: float, end: float) -> str:
    """A copy of which a part of the media, from ``start`` to ``end`` (0 to 1), has zeros."""

    def hole(data: bytes) -> bytes:
        first, last = data.index(b"mdat") + 4, len(data)
        a, b = (int(first + (last - first) * place) for place in (start, end))
        return data[:a] + bytes(b - a) + data[b:]

    return kitchen.edit(f"hole-{start}-{end}-{source.rpartition('/')[2]}", source, hole)


def film(kitchen: Kitchen, name: str = "film.mp4", seconds: float = 20, *extra: str) -> str:
    return kitchen.ffmpeg(
        name, *video("160x90", seconds=seconds), *tone(seconds=seconds), *X264, "-g", "10", *AAC,
        "-movflags", "+faststart", *extra,
    )  # fmt: skip


def convert(converter: Converter, source: str, **env: str) -> Run:
    folder = converter.workspace.scratch("damage")
    return converter.run(Case(VIDEO, f"/{source}", f"/{folder}/out.mp4"), env=env)


def test_a_film_without_its_middle_third_is_damaged(kitchen: Kitchen, converter: Converter) -> None:
    source = holed(kitchen, film(kitchen), 0.33, 0.67)
    run = converter.refused(VIDEO, source, "out.mp4", ExitReason.INPUT_DAMAGED)
    assert "frames" in run.report.message
    assert "%" in run.report.message
    assert "damagedInput" in run.report.message


def test_a_little_damage_is_told(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = holed(kitchen, film(kitchen), 0.5, 0.53)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert any("frames" in text and "%" in text for text in run.report.warnings)
    assert lab.media(run.path).duration == pytest.approx(20, abs=0.5)


def test_what_can_be_saved_is_saved_on_request(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = holed(kitchen, film(kitchen), 0.33, 0.67)
    run = convert(converter, source, DAMAGED_INPUT="Convert")
    assert run.report.warnings
    assert lab.media(run.path).duration == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("limit", "passes"), [("2", False), ("8", True)])
def test_the_share_that_may_be_lost_is_a_setting(
    kitchen: Kitchen, converter: Converter, limit: str, passes: bool
) -> None:
    source = holed(kitchen, film(kitchen), 0.5, 0.54)
    run = convert(converter, source, MAX_DAMAGED_PERCENT=limit)
    assert (run.reason is ExitReason.COMPLETED) == passes, run.report


@pytest.mark.parametrize(("limit", "passes"), [("3", False), ("8", True)])
def test_the_stretch_that_may_be_lost_is_a_setting(
    kitchen: Kitchen, converter: Converter, limit: str, passes: bool
) -> None:
    source = holed(kitchen, film(kitchen), 0.4, 0.65)
    run = convert(converter, source, MAX_MISSING_SECONDS=limit, MAX_DAMAGED_PERCENT="90")
    assert (run.reason is ExitReason.COMPLETED) == passes, run.report


def test_a_picture_that_stands_is_no_gap(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "stands.mp4", *video("160x90", seconds=20), "-vf",
        "select='eq(n,0)+eq(n,250)+eq(n,499)'", "-fps_mode", "vfr", "-c:v", "mpeg4",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert not run.report.warnings


def test_damaged_sound_is_not_copied(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    quiet = kitchen.ffmpeg(
        "sound-hole.mp4", *video("160x90", 5, seconds=20), *tone(seconds=20), *X264, *AAC,
        "-b:a", "256k", "-movflags", "+faststart",
    )  # fmt: skip
    run = converter.convert(VIDEO, holed(kitchen, quiet, 0.5, 0.52), "out.mp4")
    assert run.report.warnings
    assert lab.media(run.path).duration == pytest.approx(20, abs=0.5)


def test_half_a_song_of_zeros_is_damaged(kitchen: Kitchen, converter: Converter) -> None:
    song = kitchen.ffmpeg("song.m4a", *tone(seconds=20), *AAC, "-movflags", "+faststart")
    converter.refused(AUDIO, holed(kitchen, song, 0.3, 0.7), "out.mp3", ExitReason.INPUT_DAMAGED)
