"""Videos of the same part of an input, which one run of ffmpeg makes."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from media_converter.contract import ConversionType, ExitReason, OutputState
from tests.converter import several
from tests.converter.harness import AUDIO, THUMB, VIDEO, WEBM, Converter, listing, until
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.recipes import long_video, looped_video
from tests.converter.several import ManyRun, Wanted

S, F, P = OutputState.SUCCEEDED, OutputState.FAILED, OutputState.PENDING
LADDER = ("720p", "480p", "360p")


def ladder(folder: str, *sizes: str, **options: object) -> list[Wanted]:
    return [
        Wanted(VIDEO, f"{folder}/{size}.mp4", {"resolution": size, **options}) for size in sizes
    ]


def decoded_together(done: ManyRun, *, separated: bool = False) -> list[int]:
    """How many videos each shared run of ffmpeg had. ``separated`` says that one of them failed."""
    assert ("cannot be made together" in done.log) == separated, done.log
    return [int(n) for n in re.findall(r"(\d+) videos from one decoder", done.log)]


def encoding_command(kitchen: Kitchen, converter: Converter, folder: str) -> str:
    """The command line that encodes a ladder. The run is stopped."""
    going = several.start(converter, looped_video(kitchen), ladder(folder, *LADDER))
    until(lambda: [c for c in converter.agent.processes().values() if "libx264" in c])
    (command,) = [c for c in converter.agent.processes().values() if "libx264" in c]
    going.command.signal(signal.SIGTERM)
    assert going.end().reason is ExitReason.TERMINATED
    return command


def test_videos_of_one_input_are_decoded_once(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("ladder")
    source = long_video(kitchen)
    wanted = [*ladder(folder, *LADDER), Wanted(THUMB, f"{folder}/thumb.jpg")]
    done = several.run(converter, source, wanted)
    assert done.states == [S, S, S, S], done.report.message
    assert decoded_together(done) == [3]
    alone = converter.convert(VIDEO, source, "alone.mp4", resolution="480p")
    for one, height in zip(wanted, (720, 480, 360), strict=False):
        made = lab.media(one.target, count=True)
        assert made.video["height"] == height
        assert int(made.video["nb_read_frames"]) == 125
        assert made.duration == pytest.approx(5, abs=0.1)
        assert made.streams("audio")
        assert lab.hertz(one.target, (440, 880)) == 440
    assert lab.pixels(wanted[1].target) == lab.pixels(alone.path), "the same as alone"


@pytest.mark.parametrize(
    ("kind", "extension", "options"),
    [
        (VIDEO, "mp4", {}),
        (VIDEO, "mp4", {"start": 1, "duration": 2}),
        (VIDEO, "mp4", {"loudness": "-16"}),
        (WEBM, "webm", {"duration": 1}),
    ],
)
def test_sound_is_encoded_once_and_is_the_same_as_alone(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    kind: ConversionType,
    extension: str,
    options: dict[str, object],
) -> None:
    folder = converter.workspace.scratch("sound")
    wanted = [
        Wanted(kind, f"{folder}/{size}.{extension}", {"resolution": size, **options})
        for size in ("360p", "240p")
    ]
    if kind == VIDEO:
        codec = {"resolution": "240p", "videoCodec": "hevc", **options}
        wanted.append(Wanted(kind, f"{folder}/hevc.mp4", codec))
    done = several.run(converter, long_video(kitchen), wanted)
    assert set(done.states) == {S}, done.report.message + done.log
    assert decoded_together(done) == [len(wanted)]
    alone = converter.convert(
        kind, long_video(kitchen), f"alone.{extension}", resolution="240p", **options
    )
    paths: list[Path | str] = [alone.path, *(each.target for each in wanted)]
    one, *others = (lab.packets(path, "a:0") for path in paths)
    assert one
    assert others == [one] * len(wanted)
    assert lab.pixels(wanted[1].target) == lab.pixels(alone.path)
    flags = lab.media(alone.path).video["disposition"]
    for each in wanted:
        made = lab.media(each.target)
        assert made.video["start_time"] == "0.000000"
        if kind == WEBM:
            # An MP4 needs a track that is enabled, so it cannot tell.
            assert made.video["disposition"] == flags
    if kind == VIDEO:
        assert lab.media(wanted[2].target).video["codec_tag_string"] == "hvc1"


def test_one_encoder_of_sound_is_seen_in_the_command(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("one-sound")
    command = encoding_command(kitchen, converter, folder)
    assert command.count("-c:a aac") == 1
    assert command.count("libx264") == 3


def test_a_part_is_made_together_too(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("part")
    part = {"start": 1, "duration": 2}
    wanted = [
        *ladder(folder, "480p", "360p", **part),
        Wanted(VIDEO, f"{folder}/other.mp4", {"start": 1, "duration": 3}),
    ]
    done = several.run(converter, long_video(kitchen), wanted)
    assert done.states == [S, S, S], done.report.message + done.log
    assert decoded_together(done) == [2]
    assert [round(lab.media(one.target).duration) for one in wanted] == [2, 2, 3]


def test_what_can_be_copied_is_copied(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("copied")
    source = kitchen.ffmpeg("film-720.mp4", *video("1280x720"), *tone(), *X264, "-c:a", "aac")
    wanted = [
        *ladder(folder, "360p", "240p"),
        Wanted(VIDEO, f"{folder}/copy.mp4", {"quality": "high"}),
    ]
    done = several.run(converter, source, wanted)
    assert done.states == [S, S, S], done.report.message + done.log
    assert decoded_together(done) == [2]
    assert lab.pixels(wanted[2].target) == lab.pixels(source)
    facts = [result.output for result in done.report.outputs]
    assert [fact and fact.audio_codec for fact in facts] == ["aac", "aac", "aac"]


def test_a_copy_that_does_not_decode_joins_the_others(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("broken")

    def cut(data: bytes) -> bytes:
        middle = data.index(b"mdat") + 60_000
        return data[:middle] + bytes(300) + data[middle + 300 :]

    whole = kitchen.ffmpeg("whole-720.mp4", *video("1280x720"), *X264)
    source = kitchen.edit("damaged-720.mp4", whole, cut)
    wanted = [
        Wanted(VIDEO, f"{folder}/copy.mp4", {"quality": "high"}),
        *ladder(folder, "360p", "240p"),
    ]
    done = several.run(converter, source, wanted, env={"DAMAGED_INPUT": "Convert"})
    assert done.states == [S, S, S], done.report.message
    assert "cannot be copied" in done.log
    assert decoded_together(done) == [3]
    for result in done.report.outputs:
        assert any("could not be decoded" in warning for warning in result.warnings)


def test_what_does_not_fit_together_is_made_one_after_the_other(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("memory")
    source = kitchen.ffmpeg("large.mkv", *video("3840x2160", seconds=0.2), "-c:v", "mpeg4")
    wanted = ladder(folder, "2160p", "1080p", "720p", quality="low")
    done = several.run(converter, source, wanted)
    assert done.states == [S, S, S], done.report.message
    assert decoded_together(done) == [2], "the smaller ones fit together"
    needed = re.search(r"at the same time needs a memory limit of (\d+) MiB", done.log)
    assert needed
    assert int(needed[1]) > 1024


def test_one_output_that_is_too_large_does_not_fail_the_others(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("large")
    wanted = [
        Wanted(VIDEO, f"{folder}/large.mp4", {"quality": "high"}, optional=True),
        *ladder(folder, "240p", quality="low"),
    ]
    done = several.run(converter, long_video(kitchen), wanted, env={"MAX_OUTPUT_BYTES": "1000000"})
    assert done.reason is ExitReason.COMPLETED, done.report.message
    assert done.states == [F, S]
    assert done.report.outputs[0].reason is ExitReason.OUTPUT_TOO_LARGE
    required = [wanted[0].__class__(VIDEO, wanted[0].target, {"quality": "high"}), wanted[1]]
    done = several.run(
        converter, long_video(kitchen), required, env={"MAX_OUTPUT_BYTES": "1000000"}
    )
    assert done.reason is ExitReason.OUTPUT_TOO_LARGE
    assert done.states[0] is F
    assert "outputs[0]" in done.report.message


def test_each_tool_reaches_only_its_own_outputs(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("confined")
    command = encoding_command(kitchen, converter, folder)
    assert not listing(converter.workspace.path(folder))
    assert set(re.findall(r"/proc/self/fd/(\d+)", command)) >= {"4", "6", "7"}
    assert "/proc/self/fd/8" not in command
    assert str(converter.workspace.path(folder)) not in command


def test_a_stall_of_one_encoder_is_noticed(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("stall")
    place = converter.workspace.path(folder)
    env = {"STALL_SECONDS": "3"}
    going = several.start(converter, looped_video(kitchen), ladder(folder, "480p", "240p"), env=env)
    until(lambda: any(size > 1000 for _, size, _ in listing(place).values()))
    began = time.monotonic()
    going.command.signal(signal.SIGSTOP, children=True)
    done = going.end()
    assert done.reason is ExitReason.STALLED
    assert 2.5 <= time.monotonic() - began < 9
    assert done.states in ([F, F], [F, P])
    assert not listing(place)


def test_progress_is_over_all_outputs(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("progress")
    wanted = [*ladder(folder, "480p", "240p"), Wanted(AUDIO, f"{folder}/sound.mp3")]
    going = several.start(converter, looped_video(kitchen), wanted)
    seen: list[int] = []

    def look() -> bool:
        state = going.report_now()
        if state and state.progress.percent is not None and state.outputs[2].state is S:
            seen.append(state.progress.percent)
        return len(set(seen)) >= 2

    until(look, seconds=90)
    assert seen[0] >= 30, "a third of the seconds is done with the sound"
    assert seen == sorted(seen)
    going.command.signal(signal.SIGTERM)
    assert going.end().states == [P, P, S]
