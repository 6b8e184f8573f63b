"""Files with a part that nothing can read, or without their end: told in figures or refused."""

from __future__ import annotations

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, VIDEO, Case, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab

FILMS = {
    "frag.mp4": (*X264, "-g", "25", *AAC, "-movflags", "+frag_keyframe+empty_moov"),
    "live.mkv": (*X264, "-g", "25", *AAC, "-live", "1"),
    "film.flv": (*X264, "-g", "25", *AAC),
    "film.ts": (*X264, "-g", "25", *AAC),
    "film.vob": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "film.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "film.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "film.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
}
SONGS = {
    "song.ogg": ("-c:a", "libvorbis"),
    "song.opus": ("-c:a", "libopus"),
    "song.mp3": ("-c:a", "libmp3lame", "-b:a", "128k"),
    "plain.mp3": ("-c:a", "libmp3lame", "-b:a", "128k", "-write_xing", "0"),
    "song.aac": (*AAC,),
    "song.ac3": ("-c:a", "ac3"),
    "song.flac": ("-c:a", "flac"),
}


def film(kitchen: Kitchen, name: str) -> str:
    return kitchen.ffmpeg(
        f"holes-{name}", *video("160x90", seconds=20), *tone(seconds=20), *FILMS[name]
    )


def song(kitchen: Kitchen, name: str) -> str:
    return kitchen.ffmpeg(f"holes-{name}", *tone(seconds=20), *SONGS[name])


def zeros(kitchen: Kitchen, source: str, start: float, end: float) -> str:
    def hole(data: bytes) -> bytes:
        a, b = int(len(data) * start), int(len(data) * end)
        return data[:a] + bytes(b - a) + data[b:]

    return kitchen.edit(f"zeros-{start}-{end}-{source.rpartition('/')[2]}", source, hole)


@pytest.mark.parametrize("name", FILMS)
def test_a_film_whose_middle_cannot_be_read_is_damaged(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    source = zeros(kitchen, film(kitchen, name), 0.4, 0.6)
    run = converter.refused(VIDEO, source, "out.mp4", ExitReason.INPUT_DAMAGED)
    assert "%" in run.report.message


@pytest.mark.parametrize("name", ["live.mkv", "film.flv", "film.vob", "film.avi", "film.wmv"])
def test_a_few_bytes_that_cannot_be_read_are_told(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    run = converter.convert(VIDEO, zeros(kitchen, film(kitchen, name), 0.5, 0.52), "out.mp4")
    assert run.reason is ExitReason.COMPLETED, run.report
    assert any("bytes" in text and "%" in text for text in run.report.warnings), run.report


@pytest.mark.parametrize("name", SONGS)
def test_a_song_whose_middle_cannot_be_read_is_damaged(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    source = zeros(kitchen, song(kitchen, name), 0.4, 0.6)
    converter.refused(AUDIO, source, "out.mp3", ExitReason.INPUT_DAMAGED)


@pytest.mark.parametrize("name", ["frag.mp4", "live.mkv"])
def test_a_recording_cut_inside_of_its_last_part_is_told(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    whole = film(kitchen, name)
    source = kitchen.edit(f"cut-{name}", whole, lambda data: data[: int(len(data) * 0.7)])
    run = converter.convert(VIDEO, source, "out.mp4")
    assert run.reason is ExitReason.COMPLETED, run.report
    assert any("truncated" in text for text in run.report.warnings), run.report


def test_a_recording_that_simply_ends_is_complete(kitchen: Kitchen, converter: Converter) -> None:
    whole = kitchen.read(film(kitchen, "live.mkv"))
    at = whole.rindex(b"\x1f\x43\xb6\x75", 0, int(len(whole) * 0.8))
    run = converter.convert(VIDEO, kitchen.write("ends.mkv", whole[:at]), "out.mp4")
    assert run.reason is ExitReason.COMPLETED, run.report
    assert not run.report.warnings
    data = kitchen.read(film(kitchen, "frag.mp4"))
    at = data.rindex(b"moof", 0, int(len(data) * 0.8)) - 4
    run = converter.convert(VIDEO, kitchen.write("ends.mp4", data[:at]), "out.mp4")
    assert not run.report.warnings


def test_a_long_last_fragment_that_is_cut_is_truncated(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    whole = kitchen.ffmpeg(
        "long-fragment.mp4", *video("160x90", seconds=20), *X264, "-g", "500", "-movflags",
        "+frag_keyframe+empty_moov",
    )  # fmt: skip
    source = kitchen.edit("cut-long.mp4", whole, lambda data: data[: int(len(data) * 0.6)])
    converter.refused(VIDEO, source, "out.mp4", ExitReason.INPUT_TRUNCATED)
    folder = converter.workspace.scratch("saved")
    run = converter.run(
        Case(VIDEO, f"/{source}", f"/{folder}/out.mp4"), env={"DAMAGED_INPUT": "Convert"}
    )
    assert lab.media(run.path).duration == pytest.approx(12, abs=1.5)
    assert run.report.warnings


@pytest.mark.parametrize("name", ["song.opus", "song.flac"])
def test_one_wrong_bit_is_told(kitchen: Kitchen, converter: Converter, name: str) -> None:
    def flip(data: bytes) -> bytes:
        at = len(data) // 2
        return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]

    source = kitchen.edit(f"flipped-{name}", song(kitchen, name), flip)
    run = converter.convert(AUDIO, source, "out.mp3")
    assert run.reason is ExitReason.COMPLETED, run.report
    assert any("damaged" in text for text in run.report.warnings), run.report


def without_packets(data: bytes, start: float, end: float) -> bytes:
    """Drop packets of a transport stream, as bad reception does."""
    a, b = (int(len(data) / 188 * place) * 188 for place in (start, end))
    return data[:a] + data[b:]


def test_packets_lost_by_a_receiver_are_told(kitchen: Kitchen, converter: Converter) -> None:
    whole = film(kitchen, "film.ts")
    source = kitchen.edit("lost.ts", whole, lambda data: without_packets(data, 0.5, 0.503))
    run = converter.convert(VIDEO, source, "out.mp4")
    assert any("bytes" in text for text in run.report.warnings), run.report
    gone = kitchen.edit("gone.ts", whole, lambda data: without_packets(data, 0.3, 0.66))
    converter.refused(VIDEO, gone, "out.mp4", ExitReason.INPUT_DAMAGED)


def test_a_part_is_checked_for_gaps(kitchen: Kitchen, converter: Converter) -> None:
    """The index of an MP4 has all pictures, but those of seven seconds do not decode."""
    whole = kitchen.ffmpeg(
        "part.mp4", *video("160x90", seconds=60), *X264, "-g", "10", "-movflags", "+faststart"
    )

    def hole(data: bytes) -> bytes:
        first = data.index(b"mdat") + 4
        a, b = (int(first + (len(data) - first) * place) for place in (0.3, 0.45))
        return data[:a] + bytes(b - a) + data[b:]

    source = kitchen.edit("part-hole.mp4", whole, hole)
    for options in ({"start": 10, "duration": 20}, {"start": 10, "duration": 45}):
        folder = converter.workspace.scratch("part")
        case = Case(VIDEO, f"/{source}", f"/{folder}/out.mp4", options)
        run = converter.run(case, env={"MAX_DAMAGED_PERCENT": "99"})
        assert run.reason is ExitReason.INPUT_DAMAGED, run.report
        assert "at a stretch" in run.report.message
    intact = converter.convert(VIDEO, source, "out.mp4", start=32, duration=20)
    assert intact.reason is ExitReason.COMPLETED, intact.report
    assert not intact.report.warnings


def test_flv_files_one_after_the_other_are_told(kitchen: Kitchen, converter: Converter) -> None:
    """ffmpeg does not read on behind the header of the second one."""
    whole = film(kitchen, "film.flv")
    source = kitchen.edit("two.flv", whole, lambda data: data + data)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert run.reason is ExitReason.INPUT_DAMAGED, run.report


def test_videos_one_after_the_other_in_an_ogg_file_are_refused(
    kitchen: Kitchen, converter: Converter
) -> None:
    codecs = ("-c:v", "libtheora", "-q:v", "9", "-c:a", "libvorbis")
    parts = [
        kitchen.ffmpeg(f"chained-{hertz}.ogv", *video(), *tone(hertz), *codecs)
        for hertz in (440, 880)
    ]
    source = kitchen.write("two.ogv", b"".join(kitchen.read(part) for part in parts))
    run = converter.refused(VIDEO, source, "out.mp4", ExitReason.UNSUPPORTED_FORMAT)
    assert "several videos" in run.report.message


@pytest.mark.parametrize(("kind", "target"), [(VIDEO, "out.mp4"), (AUDIO, "out.mp3")])
def test_a_recording_that_goes_on_with_another_program_is_told(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, target: str
) -> None:
    other = ("-mpegts_service_id", "7", "-mpegts_start_pid", "512", "-mpegts_pmt_start_pid", "4200")
    first, second = (
        kitchen.ffmpeg(f"program-{n}.ts", *video(seconds=8), *tone(seconds=8), *X264, *AAC, *more)
        for n, more in enumerate(((), other))
    )
    source = kitchen.write("programs.ts", kitchen.read(first) + kitchen.read(second))
    run = converter.convert(kind, source, target)
    assert any("begins later" in text for text in run.report.warnings), run.report
    both = kitchen.ffmpeg(
        "both-programs.ts", *video(seconds=3), *tone(), *tone(880), "-map", "0", "-map", "1",
        "-map", "2", *X264, *AAC, "-program", "st=0:st=1", "-program", "st=2",
    )  # fmt: skip
    assert not converter.convert(kind, both, target).report.warnings
