"""Sound with one track a channel: which tracks are joined, how, and by which commands."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import pytest

from media_converter.planning.audio import AudioOutput, plan_audio
from media_converter.planning.audio_filters import choose_audio, output_channels
from media_converter.planning.joined_tracks import join, mix_filters
from media_converter.planning.plan import Evidence, MayCopy
from media_converter.planning.together import combine
from media_converter.planning.video import plan_video
from media_converter.planning.waveform import plan_waveform
from media_converter.probing.decoded import Decoded, StreamCounts
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.running import joining
from media_converter.running.joining import Joiner, Tracks, interleave, wav_header
from media_converter.step import JOINED_FD, LAST_FD, MAX_TRACKS, output_fd
from media_converter.typed_options import AudioOptions, VideoOptions, WaveformOptions
from tests.unit.converter.builders import INFO, LIMITS, VIDEO, WHITE

MONO = AudioStream(1, "pcm_s24le", 48000, 1, "mono", duration=10.0, sample_bits=24)
MOV = "mov,mp4,m4a,3gp,3g2,mj2"
QUICKTIME = (("major_brand", "qt  "),)
CAMERA = MediaInfo("mxf", 1000, duration=10.0, video=(VIDEO,))


def tracks(count: int, **changes: Any) -> tuple[AudioStream, ...]:
    """Mono tracks, of which the last one differs."""
    same = [MONO._replace(stream_index=1 + number) for number in range(count)]
    return (*same[:-1], same[-1]._replace(**changes))


def joined(info: MediaInfo) -> tuple[int, ...]:
    return join(info, info.audio[0]).joined


@pytest.mark.parametrize("count", [2, 3, 4, 8, MAX_TRACKS])
def test_mono_tracks_of_a_camera_are_channels(count: int) -> None:
    sound = join(CAMERA._replace(audio=tracks(count)), MONO)
    assert sound.joined == tuple(range(1, count + 1))
    assert sound.channels == count
    assert sound.layout == ("stereo" if count == 2 else "")
    assert output_channels(sound) == 2
    assert output_channels(sound, "mono") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 2, "layout": "stereo"},
        {"codec": "pcm_s16le"},
        {"sample_rate": 44100},
        {"language": "fra"},
        {"title": "Director"},
        {"secondary": True},
        {"start": 0.2},
        {"duration": 6.0},
        {"duration": None},
    ],
)
def test_tracks_that_differ_are_alternatives(change: dict[str, Any]) -> None:
    info = CAMERA._replace(audio=tracks(2, **change))
    assert joined(info) == ()
    assert choose_audio(info, VIDEO) == info.audio[0]


@pytest.mark.parametrize("change", [{"start": 0.02}, {"duration": 9.5}, {"default": True}])
def test_a_recorder_need_not_be_exact(change: dict[str, Any]) -> None:
    assert joined(CAMERA._replace(audio=tracks(2, **change))) == (1, 2)


def test_one_track_is_one_track() -> None:
    assert join(CAMERA._replace(audio=(MONO,)), MONO) == MONO


def test_more_tracks_than_can_be_joined_are_alternatives() -> None:
    assert joined(CAMERA._replace(audio=tracks(MAX_TRACKS + 1))) == ()


@pytest.mark.parametrize(
    ("container", "tags", "change", "wanted"),
    [
        ("mxf", (), {}, (1, 2)),
        ("mxf", (), {"codec": "aac"}, (1, 2)),
        (MOV, QUICKTIME, {}, (1, 2)),
        (MOV, (), {}, (1, 2)),
        # A QuickTime player plays all tracks that are enabled.
        (MOV, QUICKTIME, {"codec": "aac", "default": True}, (1, 2)),
        (MOV, QUICKTIME, {"codec": "aac"}, ()),
        (MOV, (("major_brand", "isom"),), {}, ()),
        ("matroska,webm", (), {}, ()),
        ("mpegts", (), {}, ()),
        ("avi", (), {}, ()),
    ],
)
def test_only_some_containers_have_a_track_a_channel(
    container: str, tags: tuple[tuple[str, str], ...], change: dict[str, Any], wanted: object
) -> None:
    audio = tuple(track._replace(**change) for track in tracks(2))
    assert joined(CAMERA._replace(container=container, tags=tags, audio=audio)) == wanted


def test_two_tracks_are_left_and_right() -> None:
    assert mix_filters(join(CAMERA._replace(audio=tracks(2)), MONO)) == []
    assert mix_filters(MONO) == []


def test_the_odd_track_is_on_both_sides() -> None:
    def mixed(count: int) -> list[str]:
        return mix_filters(join(CAMERA._replace(audio=tracks(count)), MONO))

    half = "0.707107"
    assert mixed(4) == [f"pan=stereo|c0={half}*c0+{half}*c2|c1={half}*c1+{half}*c3"]
    assert mixed(3) == [f"pan=stereo|c0={half}*c0+{half}*c2|c1={half}*c1+{half}*c2"]


# Commands


RECORDING = CAMERA._replace(audio=tracks(2))


def test_the_video_gets_the_joined_sound() -> None:
    plan = plan_video(RECORDING, VideoOptions(), LIMITS, WHITE)
    argv, feed = plan.step.argv, plan.step.feed
    assert feed is not None
    assert feed[1:] == (2, 48000)
    assert [w for w, before in zip(argv[1:], argv, strict=False) if before == "-map"] == [
        "0:0",
        "1:0",
    ]
    assert f"pipe:{JOINED_FD}" in argv
    maps = [w for w, before in zip(feed.argv[1:], feed.argv, strict=False) if before == "-map"]
    assert maps == ["0:1", "0:2"]
    assert [w for w in feed.argv if w.startswith("pipe:")] == [
        f"pipe:{output_fd(0)}",
        f"pipe:{output_fd(1)}",
    ]
    assert plan.audio_indexes == (1, 2)


def test_a_part_is_cut_from_each_track() -> None:
    plan = plan_audio(RECORDING, AudioOptions(start=2.0, duration=3.0), LIMITS, False)
    assert plan.step.feed is not None
    argv = plan.step.feed.argv
    assert argv[argv.index("-ss") + 1] == "2.000000"
    assert argv.count("-t") == 3, "of the input and of each track"


def test_one_of_several_tracks_is_never_copied() -> None:
    audio = tuple(
        track._replace(codec="aac", profile="LC", default=True, sample_bits=0)
        for track in tracks(2)
    )
    info = INFO._replace(container=MOV, tags=QUICKTIME, audio=audio)
    evidence = Evidence(MayCopy(video=False))
    assert not plan_video(info, VideoOptions(), LIMITS, WHITE, evidence).copies_audio
    m4a = AudioOutput("m4a")
    assert not plan_audio(info, AudioOptions(bitrate=None), LIMITS, False, output=m4a).copies_audio
    alone = info._replace(audio=audio[:1])
    assert plan_video(alone, VideoOptions(), LIMITS, WHITE, evidence).copies_audio
    assert plan_audio(alone, AudioOptions(bitrate=None), LIMITS, False, output=m4a).copies_audio


def test_several_outputs_share_the_joined_sound() -> None:
    silent = plan_video(RECORDING, VideoOptions(audio="none"), LIMITS, WHITE)
    heard = plan_video(RECORDING, VideoOptions(), LIMITS, WHITE)
    assert silent.step.feed is None
    together = combine([silent, heard])
    assert {plan.step.feed for plan in together} == {heard.step.feed}
    assert together[0].step.argv.count(f"pipe:{JOINED_FD}") == 1


def test_the_cover_comes_after_the_joined_sound() -> None:
    argv = plan_audio(RECORDING, AudioOptions(), LIMITS, True).step.argv
    assert "2:0" in argv
    assert argv.index(f"pipe:{JOINED_FD}") < argv.index("mjpeg")


def test_the_waveform_shows_all_tracks() -> None:
    sound = join(RECORDING, MONO)
    step = plan_waveform(RECORDING, sound, WaveformOptions(), "json", LIMITS).step
    assert step.feed is not None
    assert "pan=" not in " ".join(step.argv), "a mix could cancel tracks out"


def test_losses_of_all_tracks_count() -> None:
    streams = {1: StreamCounts(100, 100, 0, 1000), 2: StreamCounts(100, 90, 10, 900)}
    found = Decoded(streams)
    assert found.total((1, 2)) == StreamCounts(200, 190, 10, 1900)
    assert found.total((2,)) == streams[2]
    assert found.total((3,)) is None
    assert found.total(()) == StreamCounts(0, 0)


def test_descriptors_are_enough_for_all_tracks() -> None:
    numbers = {output_fd(number) for number in range(MAX_TRACKS)}
    assert len(numbers) == MAX_TRACKS
    assert max(*numbers, JOINED_FD) <= LAST_FD


# Joining


def test_one_sample_of_each_track_in_turn() -> None:
    assert interleave([b"abcdef", b"ABCDEF", b"123456"]) == b"abcABC123defDEF456"


def test_what_is_there_of_all_tracks_is_joined() -> None:
    found = Tracks(2)
    found.add(0, b"abcde")
    assert found.take() == b""
    found.add(1, b"ABCDEFGHI")
    assert found.take() == b"abcABC"
    found.add(0, b"f")
    assert found.take() == b"defDEF"
    assert found.wanted() == [0, 1]


def test_the_end_of_a_shorter_track_is_silent() -> None:
    found = Tracks(2)
    found.add(0, b"")
    found.add(1, b"ABCDEF")
    assert found.wanted() == [1]
    assert found.take() == b"\0\0\0ABC\0\0\0DEF"
    found.add(1, b"")
    assert found.have_ended
    assert found.take() == b""


def test_a_track_that_is_far_ahead_waits() -> None:
    found = Tracks(2)
    found.add(0, bytes(9 << 20))
    assert found.wanted() == [1]


def write_slowly(sink: int, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        os.write(sink, data[at : at + size])
    os.close(sink)


def test_a_thread_joins_pipes() -> None:
    """Pieces of any size, which need not be whole samples."""
    data = [bytes(range(256)) * 900, bytes(range(255, -1, -1)) * 900]
    pipes, (heard, target) = [os.pipe() for _ in data], os.pipe()
    joiner = Joiner([source for source, _ in pipes], target, 48000)
    writers = [
        threading.Thread(target=write_slowly, args=(sink, track, size), daemon=True)
        for (_, sink), track, size in zip(pipes, data, (1000, 777), strict=True)
    ]
    for writer in writers:
        writer.start()
    with os.fdopen(heard, "rb") as file:
        assert file.read() == wav_header(2, 48000) + interleave(data)
    assert not joiner.stopped


def test_a_reader_that_wants_no_more_stops_the_joining() -> None:
    (source, sink), (heard, target) = os.pipe(), os.pipe()
    os.close(heard)
    joiner = Joiner([source], target, 48000)
    with pytest.raises(BrokenPipeError):
        write_slowly(sink, bytes(1_000_000), 1000)
    os.close(sink)
    assert joiner.stopped


def what_is_heard(
    *tracks: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> tuple[bytes, Joiner]:
    """What is joined of tracks that one tool writes: first the first part of each, in turn.

    Like a tool, it does not write the next part before the one before it is taken.
    """
    monkeypatch.setattr(joining, "_MAX_WAITING", 3000 * len(tracks))
    monkeypatch.setattr(joining, "_FIRST_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(joining, "_NEXT_WAIT_SECONDS", 0.1)
    pipes, (heard, target) = [os.pipe() for _ in tracks], os.pipe()
    joiner = Joiner([source for source, _ in pipes], target, 48000)

    def write() -> None:
        with suppress(BrokenPipeError):
            for part in range(2):
                for (_, sink), track in zip(pipes, tracks, strict=True):
                    rest = track[part]
                    while rest:
                        rest = rest[os.write(sink, rest) :]
        for _, sink in pipes:
            os.close(sink)

    threading.Thread(target=write, daemon=True).start()
    with os.fdopen(heard, "rb") as file:
        return file.read(), joiner


LOUD = b"\1\2\3" * 100_000


def test_a_track_without_samples_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool could not go on before its samples of the other track are taken."""
    heard, joiner = what_is_heard((LOUD, LOUD), (b"", b""), monkeypatch=monkeypatch)
    assert heard == wav_header(2, 48000) + interleave([LOUD * 2, bytes(len(LOUD) * 2)])
    assert not joiner.apart


def test_silence_that_comes_late_keeps_the_tracks_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    late = bytes(len(LOUD)) + LOUD
    heard, joiner = what_is_heard((LOUD, b""), (b"", late), monkeypatch=monkeypatch)
    assert heard == wav_header(2, 48000) + interleave([LOUD + bytes(len(LOUD)), late])
    assert not joiner.apart


def test_sound_that_comes_too_late_is_not_lost_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """One track is stored behind the other one."""
    _, joiner = what_is_heard((LOUD, b""), (b"", LOUD), monkeypatch=monkeypatch)
    assert joiner.apart
