"""Several videos in one run of ffmpeg: the command, the threads and the memory."""

from __future__ import annotations

import pytest

from media_converter.contract import MAX_OUTPUTS
from media_converter.limits import Limits
from media_converter.planning import memory
from media_converter.planning.gain import Gain
from media_converter.planning.plan import Evidence, MayCopy
from media_converter.planning.together import combine
from media_converter.planning.video import plan_video
from media_converter.planning.video_codecs import CODECS
from media_converter.running.videos import same_part
from media_converter.step import COVER_FD, INPUT_FD, JOINED_FD, LAST_FD, OUTPUT_FD, output_fd
from media_converter.typed_options import AudioOptions, VideoOptions
from tests.unit.converter.builders import AUDIO, GIB, INFO, LIMITS, VIDEO, WHITE

SIZES = [memory.EncodedVideo(size) for size in ((1280, 720), (854, 480), (426, 240))]
RESOLUTIONS = (720, 480, 240)


def together(limits: Limits = LIMITS, duration: float | None = None) -> tuple[str, ...]:
    encoders = memory.share_threads(VIDEO, SIZES, limits).encoders
    plans = [
        plan_video(
            INFO,
            VideoOptions(resolution=resolution, quality="low", duration=duration),
            limits,
            WHITE,
            Evidence(MayCopy(video=False)),
            encoder=encoder,
        )
        for resolution, encoder in zip(RESOLUTIONS, encoders, strict=True)
    ]
    combined = combine(plans)
    assert len({plan.step for plan in combined}) == 1
    assert [plan.expected for plan in combined] == [plan.expected for plan in plans]
    return combined[0].step.argv


def test_one_command_reads_once_and_writes_each_output() -> None:
    argv = together()
    assert argv.count("-i") == 1
    assert argv.count("libx264") == 3
    outputs = [word for word in argv if word.startswith("file:/proc/self/fd/")]
    assert outputs == [f"file:/proc/self/fd/{number}" for number in (INPUT_FD, 4, 6, 7)]
    assert argv.count("-progress") == 1
    assert argv.count("+faststart") == 3
    assert argv.count("-crf") == 3
    # The copied sound is decoded once, to count its damage.
    assert argv.count("null") == 1
    assert argv[-1] == "-"
    assert together(duration=2.0).count("null") == 0, "the sound of a part is encoded"


def test_copied_sound_is_decoded_whichever_output_copies_it() -> None:
    wanted = [VideoOptions(resolution=240, container="webm"), VideoOptions(resolution=240)]
    evidence = Evidence(MayCopy(video=False))
    encoders = memory.share_threads(VIDEO, SIZES[:2], LIMITS).encoders
    plans = [
        plan_video(INFO, options, LIMITS, WHITE, evidence, encoder=encoder)
        for options, encoder in zip(wanted, encoders, strict=True)
    ]
    assert [plan.copies_audio for plan in plans] == [False, True]
    argv = combine(plans)[0].step.argv
    assert argv.count("null") == 1
    assert argv[-4:] == plans[1].step.argv[-4:]


def sounds(*wanted: VideoOptions, gains: tuple[float | None, ...] = ()) -> tuple[str, ...]:
    """The command for videos of a film whose sound must be encoded."""
    info = INFO._replace(audio=(AUDIO._replace(codec="flac"),))
    videos = [memory.EncodedVideo((426, 240))] * len(wanted)
    encoders = memory.share_threads(VIDEO, videos, LIMITS).encoders
    found = (None if gain is None else Gain(gain) for gain in gains)
    plans = [
        plan_video(info, options, LIMITS, WHITE, Evidence(gain=next(found, None)), encoder=encoder)
        for options, encoder in zip(wanted, encoders, strict=True)
    ]
    return combine(plans)[0].step.argv


def test_sound_that_is_the_same_is_encoded_once() -> None:
    argv = sounds(VideoOptions(resolution=240), VideoOptions(resolution=144))
    assert argv.count("aac") == 1
    assert argv.count("libx264") == 2
    maps = [argv[place + 1] for place, word in enumerate(argv) if word == "-map"]
    assert maps == ["0:0", "0:0", "0:1"]
    assert argv[-2] == "tee"
    assert argv[-1] == (
        r"[write_tmcd=0:movflags=+faststart:f=mp4:select=\'v:0,a\']file:/proc/self/fd/4|"
        r"[write_tmcd=0:movflags=+faststart:f=mp4:select=\'v:1,a\']file:/proc/self/fd/6"
    )
    assert ":240:" in argv[argv.index("-filter:v:0") + 1]
    assert ":144:" in argv[argv.index("-filter:v:1") + 1]
    for name in ("-crf", "-maxrate", "-preset", "-threads", "-fps_mode", "-profile"):
        assert f"{name}:v:1" in argv
    assert not {"-vf", "-crf", "-maxrate", "-fps_mode", "-c:v", "-threads:v"} & set(argv)
    # Without these, the muxers would lack headers, and the sound would be 20 ms late.
    assert argv[argv.index("-flags:a") + 1] == "+global_header"
    assert argv[argv.index("-avoid_negative_ts") + 1] == "disabled"
    assert argv[argv.index("-disposition:v") + 1] == "+0"


@pytest.mark.parametrize(
    ("other", "gains"),
    [
        (VideoOptions(resolution=144, container="webm"), (None, None)),
        (VideoOptions(resolution=144), (None, -3.0)),
        (VideoOptions(resolution=144), (-3.0, -2.0)),
    ],
)
def test_sound_that_differs_has_an_encoder_for_each(
    other: VideoOptions, gains: tuple[float | None, float | None]
) -> None:
    argv = sounds(VideoOptions(resolution=240), other, gains=gains)
    assert "tee" not in argv
    assert argv.count("-c:a") == 2


def test_outputs_without_sound_and_with_another_one_are_files_of_their_own() -> None:
    argv = sounds(
        VideoOptions(resolution=240),
        VideoOptions(resolution=144, audio="none"),
        VideoOptions(resolution=180),
        VideoOptions(resolution=120, container="webm"),
    )
    assert argv.count("-c:a") == 2
    files = [word for word in argv if word.startswith(("file:", "[")) and "fd/3" not in word]
    assert files[0].count("file:") == 2
    assert files[1:] == ["file:/proc/self/fd/6", "file:/proc/self/fd/8"]


def test_each_codec_has_its_own_memory() -> None:
    """Of an encoder, not of the decoder that all share."""
    size = SIZES[0].size
    needed = {
        codec: memory.share_threads(VIDEO, [memory.EncodedVideo(size, codec)], LIMITS).needed
        for codec in CODECS
    }
    assert needed["h264"] < needed["vp9"] < needed["hevc"]
    both = memory.share_threads(
        VIDEO, [memory.EncodedVideo(size), memory.EncodedVideo(size, "hevc")], LIMITS
    ).needed
    assert needed["hevc"] < both < needed["h264"] + needed["hevc"]


def test_one_output_has_the_command_that_it_always_had() -> None:
    alone = plan_video(INFO, VideoOptions(resolution=240), LIMITS, WHITE)
    (same,) = combine([alone])
    assert same == alone


def test_each_output_of_a_tool_has_its_own_descriptor() -> None:
    numbers = [output_fd(number) for number in range(MAX_OUTPUTS)]
    assert numbers[0] == OUTPUT_FD
    assert len({INPUT_FD, COVER_FD, JOINED_FD, *numbers}) == MAX_OUTPUTS + 3
    assert max(*numbers, JOINED_FD) <= LAST_FD


def test_threads_are_shared_by_the_number_of_pixels() -> None:
    sharing = memory.share_threads(VIDEO, SIZES, Limits(8, None))
    assert [threads for _, threads in sharing.encoders] == [5, 2, 1]
    alone = memory.share_threads(VIDEO, SIZES[:1], Limits(8, None))
    assert alone.encoders == (
        memory.choose_encoder_settings(VIDEO, SIZES[0].size, Limits(8, None)),
    )
    one = memory.share_threads(VIDEO, SIZES, Limits(1, None))
    assert [threads for _, threads in one.encoders] == [1, 1, 1]


def test_memory_adds_up() -> None:
    limits = Limits(1, GIB)
    parts = [memory.share_threads(VIDEO, [size], limits).needed for size in SIZES]
    whole = memory.share_threads(VIDEO, SIZES, limits).needed
    assert max(parts) < whole < sum(parts), "the input is decoded once"
    enough = memory.sufficient_limit(whole)
    assert memory.share_threads(VIDEO, SIZES, Limits(1, enough << 20)).fits
    least = memory.share_threads(VIDEO, SIZES, Limits(1, (enough - 64) << 20))
    assert not least.fits
    for size in SIZES:
        assert memory.share_threads(VIDEO, [size], Limits(1, (enough - 64) << 20)).fits


def test_sharing_never_changes_the_settings_of_an_encoder() -> None:
    for size_limit in range(320, 1024, 64):
        limits = Limits(1, size_limit << 20)
        for (size, _), (settings, _) in zip(
            SIZES, memory.share_threads(VIDEO, SIZES, limits).encoders, strict=True
        ):
            assert settings == memory.choose_encoder_settings(VIDEO, size, limits)[0]


def test_only_videos_of_the_same_part_are_made_together() -> None:
    whole, part = VideoOptions(), VideoOptions(start=1.0, duration=2.0)
    assert same_part(whole, VideoOptions(resolution=240, quality="low"))
    assert same_part(part, VideoOptions(start=1.0, duration=2.0, resolution=240))
    assert not same_part(part, whole)
    assert not same_part(part, VideoOptions(start=1.0))
    assert not same_part(AudioOptions(), AudioOptions())


@pytest.mark.parametrize("silent", [0, 1])
def test_checksums_of_sound_are_checked_whichever_output_has_none(silent: int) -> None:
    info = INFO._replace(audio=(AUDIO._replace(codec="flac"),))
    encoders = memory.share_threads(VIDEO, SIZES[:2], LIMITS).encoders
    plans = [
        plan_video(
            info,
            VideoOptions(
                resolution=240, audio="none" if number == silent else VideoOptions().audio
            ),
            LIMITS,
            WHITE,
            encoder=encoder,
        )
        for number, encoder in enumerate(encoders)
    ]
    argv = combine(plans)[0].step.argv
    assert argv.count("libx264") == 2
    assert argv.count("-i") == 1
    assert argv.index("crccheck") < argv.index("-i")
