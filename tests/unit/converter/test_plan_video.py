from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import INPUT_FAULTS, ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning import memory
from media_converter.planning.filters import fit_box, fit_short_side
from media_converter.planning.gain import Gain
from media_converter.planning.loudness import measure_step
from media_converter.planning.plan import Evidence, Position
from media_converter.planning.video import MAX_FRAME_RATE, can_copy_video, output_size, plan_video
from media_converter.planning.video_audio import plan_encoded_audio, trial_step
from media_converter.planning.video_codecs import CODECS
from media_converter.probing.codecs import VIDEO_DECODERS
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.probing.rates import Rates
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import (
    AUDIO,
    GIB,
    INFO,
    LIMITS,
    LISTED,
    STEADY,
    VIDEO,
    WHITE,
    value_of,
    with_video,
)

PEAKS = {
    "hevc": (415, 321, 198),
    "av1": (388, 328, 252),
    "vp9": (369, 292, 260),
}
"""MiB, resident, of ffmpeg at 1080p with the settings of each codec."""


def copies(
    info: MediaInfo, options: VideoOptions | None = None, rates: Rates | None = STEADY
) -> bool:
    known = Evidence(rates=rates)
    argv = plan_video(info, options or VideoOptions(), LIMITS, WHITE, known).step.argv
    return value_of(argv, "-c:v") == "copy"


def test_a_video_that_fits_is_stream_copied() -> None:
    assert copies(INFO)
    assert copies(INFO, VideoOptions(quality="high", resolution=720))
    assert copies(INFO._replace(container="matroska,webm"))
    assert plan_video(INFO, VideoOptions(), LIMITS, WHITE, LISTED).step.name == "remux"


@pytest.mark.parametrize(
    "change",
    [
        {"codec": "hevc"},
        {"profile": "High 10"},
        {"level": 60},
        {"pixel_format": "yuv444p"},
        {"pixel_format": "yuvj420p", "full_range": True},
        {"full_range": True},
        {"color_transfer": "smpte2084"},
        {"color_primaries": "bt2020"},
        {"color_space": "bt2020nc"},
        {"color_space": "gbr"},
        {"color_space": "ycgco"},
        {"field_order": "tt"},
        {"field_order": "unknown"},
        {"r_frame_rate": (120, 1)},
        {"sample_aspect_ratio": (4, 3)},
        {"rotation": 90},
        {"rotation": 180},
        {"mirrored": True},
        {"width": 1281},
    ],
)
def test_a_video_that_does_not_fit_in_one_property_is_encoded(change: dict[str, object]) -> None:
    assert not copies(with_video(**change))


@pytest.mark.parametrize(
    "options",
    [
        VideoOptions(resolution=480),
        VideoOptions(start=1.0),
        VideoOptions(duration=2.0),
        VideoOptions(quality="low"),
    ],
)
def test_a_video_that_does_not_fit_the_options_is_encoded(options: VideoOptions) -> None:
    heavy = STEADY._replace(bit_rate=5_000_000)
    assert copies(INFO, rates=heavy)
    assert not copies(INFO, options, heavy)


@pytest.mark.parametrize(
    ("change", "options", "limit"),
    [
        ({}, VideoOptions(resolution=240), 2_000_000),
        ({"codec": "hevc"}, VideoOptions(), 5_760_000),
        ({"codec": "hevc"}, VideoOptions(quality="low"), 2_764_800),
        ({"codec": "hevc"}, VideoOptions(quality="high"), 11_520_000),
        ({"codec": "hevc", "r_frame_rate": (90000, 1)}, VideoOptions(), 13_824_000),
        ({"codec": "hevc"}, VideoOptions(max_bitrate=1500), 1_500_000),
        ({"codec": "hevc"}, VideoOptions(max_bitrate=90_000), 5_760_000),
    ],
)
def test_the_bit_rate_has_a_limit(
    change: dict[str, object], options: VideoOptions, limit: int
) -> None:
    argv = plan_video(with_video(**change), options, LIMITS, WHITE).step.argv
    assert int(value_of(argv, "-maxrate")) == limit
    assert int(value_of(argv, "-bufsize")) == limit, "of any ten seconds, at most 10 % more"


def test_a_video_above_the_wanted_bit_rate_is_encoded() -> None:
    rates = STEADY._replace(bit_rate=3_000_000)
    assert copies(INFO, VideoOptions(max_bitrate=3000), rates)
    assert not copies(INFO, VideoOptions(max_bitrate=2999), rates)
    fast = STEADY._replace(bit_rate=6_000_000)
    assert not copies(INFO, VideoOptions(max_bitrate=10_000), fast)


def test_the_bit_rate_in_a_header_proves_nothing() -> None:
    """A header can state a low bit rate, or a duration that is too long."""
    heavy = STEADY._replace(bit_rate=14_400_000)
    limit = VideoOptions(max_bitrate=500)
    assert not copies(with_video(bit_rate=300_000), limit, heavy)
    assert not copies(with_video(bit_rate=None)._replace(duration=9e9), limit, heavy)
    assert not copies(with_video(bit_rate=300_000), rates=None), "its packets were not listed"
    light = STEADY._replace(bit_rate=400_000)
    assert copies(with_video(bit_rate=90_000_000), limit, light)


def test_the_frame_rate_is_only_lowered() -> None:
    options = VideoOptions(max_frame_rate=24, resolution=240)
    argv = plan_video(INFO, options, LIMITS, WHITE, LISTED).step.argv
    assert "ld(0))+1/24)" in value_of(argv, "-vf")
    for most in (25, 60, None):
        wanted = options._replace(max_frame_rate=most)
        argv = plan_video(INFO, wanted, LIMITS, WHITE, LISTED).step.argv
        assert "select=" not in value_of(argv, "-vf")
    assert not copies(INFO, VideoOptions(max_frame_rate=24))
    assert copies(INFO, VideoOptions(max_frame_rate=25))


@pytest.mark.parametrize(("most", "limit"), [(24, 24), (None, 60)])
def test_a_film_that_becomes_faster_has_the_limit_too(most: int | None, limit: int) -> None:
    """Its header states the rate of the beginning, or the mean."""
    times = [*(n / 10 for n in range(900)), *(90 + n / 120 for n in range(1200))]
    rates = Rates(tuple(times), 100_000, 120.0)
    slow = with_video(r_frame_rate=(10, 1), avg_frame_rate=(21, 1))
    options = VideoOptions(max_frame_rate=most)
    assert not copies(slow, options, rates)
    argv = plan_video(slow, options, LIMITS, WHITE, Evidence(rates=rates)).step.argv
    assert f"ld(0))+1/{limit})" in value_of(argv, "-vf")
    assert int(value_of(argv, "-maxrate")) == max(2_000_000, int(1280 * 720 * limit * 0.25))
    assert value_of(argv, "-enc_time_base") == "filter"
    assert copies(slow, options, rates._replace(times=tuple(times[:900]), frame_rate=10.0))
    small = VideoOptions(resolution=240)
    argv = plan_video(INFO, small, LIMITS, WHITE, LISTED).step.argv
    assert "-enc_time_base" not in argv


def test_without_times_of_packets_a_wanted_frame_rate_is_kept() -> None:
    options = VideoOptions(max_frame_rate=30, resolution=240)
    for known in (Evidence(), Evidence(rates=Rates((), 9e9, float("inf")))):
        argv = plan_video(INFO, options, LIMITS, WHITE, known).step.argv
        assert "select=" in value_of(argv, "-vf")
        argv = plan_video(INFO, VideoOptions(resolution=240), LIMITS, WHITE, known).step.argv
        assert "select=" not in value_of(argv, "-vf")
        assert int(value_of(argv, "-maxrate")) == 2_000_000


def test_a_picture_that_stands_does_not_raise_the_frame_rate() -> None:
    """The filter that lets it stand makes a constant frame rate."""
    held = Evidence(position=Position(5.0, 4.0, 9.0, 4.0))
    options = VideoOptions(max_frame_rate=10, start=5.0)
    argv = plan_video(INFO, options, LIMITS, WHITE, held).step.argv
    assert value_of(argv, "-vf").endswith("fps=10")
    slow = with_video(avg_frame_rate=(1, 1), r_frame_rate=(25, 1))
    argv = plan_video(slow, options._replace(max_frame_rate=5), LIMITS, WHITE, held).step.argv
    assert value_of(argv, "-vf").endswith("fps=5")
    gif = with_video(codec="gif", r_frame_rate=(100, 1))
    argv = plan_video(gif, VideoOptions(max_frame_rate=5), LIMITS, WHITE).step.argv
    assert value_of(argv, "-r") == "5"


def test_an_output_without_sound() -> None:
    made = plan_video(INFO, VideoOptions(audio="none"), LIMITS, WHITE, LISTED)
    assert made.copies_video
    assert made.audio_index is None
    assert made.expected.audio_codec is None
    assert made.expected.audio_duration is None
    mapped = [word for word in made.step.argv if word.startswith("0:")]
    assert mapped == ["0:0"]


def test_sound_that_is_left_out_does_not_make_a_video_longer() -> None:
    info = with_video(duration=30.0)._replace(
        duration=100.0, audio=(AUDIO._replace(duration=100.0),)
    )
    silent = VideoOptions(audio="none")
    made = plan_video(info, silent, LIMITS, WHITE)
    assert made.duration == made.expected.duration == made.expected.video_duration == 30
    made = plan_video(info, silent._replace(duration=50.0), LIMITS, WHITE)
    assert made.duration == made.expected.duration == 30
    made = plan_video(info, VideoOptions(), LIMITS, WHITE)
    assert made.duration == made.expected.duration == 100
    # Matroska need not state how long each stream is.
    unstated = info._replace(video=(VIDEO._replace(duration=None),), start=1.0)
    rates = Rates((1.0, 16.0, 31.0), 9.0, 1.0)
    assert plan_video(unstated, silent, LIMITS, WHITE, Evidence(rates=rates)).duration == 30


def test_the_loudness_of_a_part_is_that_of_the_part() -> None:
    """The filters cut its beginning, so only an option of the output can cut its end."""
    argv = measure_step(LIMITS, 1, (), (), demuxer_options=(), seconds=10.0).argv
    assert value_of(argv, "-t") == "10.000000"
    assert argv.index("-i") < argv.index("-t") < argv.index("null")
    assert "-t" not in measure_step(LIMITS, 1, (), (), demuxer_options=()).argv


def test_sound_with_a_gain_is_not_copied() -> None:
    options = VideoOptions(loudness=-16.0)
    made = plan_video(INFO, options, LIMITS, WHITE, LISTED._replace(gain=Gain(3.0, -1.5)))
    assert made.copies_video
    assert not made.copies_audio
    chain = value_of(made.step.argv, "-af")
    assert chain.startswith("aformat=sample_fmts=fltp,aresample=48000")
    assert "volume=3.00dB" in chain
    assert "alimiter" in chain


def test_the_trial_of_the_sound_is_that_of_the_video() -> None:
    for options in (VideoOptions(loudness=-16.0, duration=2.0), WEBM._replace(loudness=-16.0)):
        evidence = Evidence(gain=Gain(3.0))
        video = plan_video(INFO, options, LIMITS, WHITE, evidence).step.argv
        audio = plan_encoded_audio(INFO, AUDIO, options, evidence, LIMITS)
        trial = trial_step(INFO, audio, options, Gain(3.0), LIMITS).argv
        for option in ("-af", "-c:a", "-b:a", "-f"):
            assert value_of(trial, option) == value_of(video, option)
        assert ("-t" in trial) == ("-t" in video)
        assert "-c:v" not in trial


WEBM = VideoOptions(container="webm")
VP9 = {"codec": "vp9", "profile": "Profile 0", "level": -99}


@pytest.mark.parametrize(
    ("options", "encoder", "audio"),
    [
        (VideoOptions(), "libx264", "aac"),
        (VideoOptions(video_codec="hevc"), "libx265", "aac"),
        (VideoOptions(video_codec="av1"), "libsvtav1", "aac"),
        (WEBM, "libvpx-vp9", "libopus"),
        (WEBM._replace(video_codec="av1"), "libsvtav1", "libopus"),
    ],
)
def test_each_codec_has_its_encoder(options: VideoOptions, encoder: str, audio: str) -> None:
    info = with_video(codec="mpeg4")._replace(audio=(AUDIO._replace(channels=6),))
    made = plan_video(info, options, LIMITS, WHITE)
    argv = made.step.argv
    assert (value_of(argv, "-c:v"), value_of(argv, "-c:a")) == (encoder, audio)
    assert value_of(argv, "-threads:v") == "1"
    assert made.expected.container == options.container
    assert made.expected.video_codec == options.codec
    assert 0.7 * 5_760_000 <= int(value_of(argv, "-maxrate")) <= 5_760_000
    wanted = [int(plan_video(
        info, options._replace(quality=quality), LIMITS, WHITE
    ).step.argv[argv.index("-crf") + 1]) for quality in ("low", "medium", "high")]  # fmt: skip
    assert wanted == sorted(wanted, reverse=True)
    assert wanted[1] == int(value_of(argv, "-crf"))


@pytest.mark.parametrize(
    ("change", "options", "is_copied"),
    [
        (VP9, WEBM, True),
        ({**VP9, "codec": "vp8"}, WEBM, True),
        (VP9, WEBM._replace(video_codec="vp9"), True),
        (VP9, WEBM._replace(video_codec="av1"), False),
        ({**VP9, "codec": "vp8"}, WEBM._replace(video_codec="vp9"), False),
        ({**VP9, "coded_alpha": True}, WEBM, False),
        ({**VP9, "pixel_format": "yuv420p10le"}, WEBM, False),
        # Its packets may have captions, which nothing removes.
        ({**VP9, "codec": "av1"}, WEBM, False),
        (VP9, VideoOptions(), False),
        ({}, WEBM, False),
        ({}, VideoOptions(video_codec="h264"), True),
        ({}, VideoOptions(video_codec="hevc"), False),
        ({"codec": "hevc"}, VideoOptions(video_codec="hevc"), False),
    ],
)
def test_only_what_fits_the_container_is_copied(
    change: dict[str, object], options: VideoOptions, is_copied: bool
) -> None:
    assert copies(with_video(**change), options) is is_copied


@pytest.mark.parametrize(
    ("codec", "options", "is_copied"),
    [
        ("opus", WEBM, True),
        ("vorbis", WEBM, True),
        ("aac", WEBM, False),
        ("opus", VideoOptions(), False),
        ("aac", VideoOptions(), True),
    ],
)
def test_only_sound_that_fits_the_container_is_copied(
    codec: str, options: VideoOptions, is_copied: bool
) -> None:
    info = INFO._replace(audio=(AUDIO._replace(codec=codec),))
    made = plan_video(info, options, LIMITS, WHITE)
    assert made.copies_audio is is_copied
    assert made.expected.audio_codec == (
        codec if is_copied else {"mp4": "aac", "webm": "opus"}[options.container]
    )


@pytest.mark.parametrize(("codec", "least"), [("hevc", 16), ("av1", 64)])
def test_pictures_that_an_encoder_cannot_write_are_refused(codec: str, least: int) -> None:
    options = VideoOptions(video_codec=codec)
    plan_video(with_video(width=least, height=least), options, LIMITS, WHITE)
    with pytest.raises(ConversionError, match="choose another videoCodec") as refused:
        plan_video(with_video(width=least, height=least - 2), options, LIMITS, WHITE)
    assert refused.value.reason is ExitReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("codec", PEAKS)
def test_memory_of_each_codec(codec: str) -> None:
    """The peaks were measured at 1080p on one thread."""
    large = VIDEO._replace(width=1920, height=1080)
    for settings in CODECS[codec].settings:
        estimated = memory.estimate(large, (1920, 1080), (settings, 1), codec) / (1 << 20)
        measured = PEAKS[codec][CODECS[codec].settings.index(settings)]
        assert measured <= estimated <= 1.12 * measured, settings
    frames = [settings.frames for settings in CODECS[codec].settings]
    assert frames == sorted(frames, reverse=True)
    with pytest.raises(ConversionError, match=f"in {codec} needs a memory limit"):
        memory.choose_encoder_settings(large, (1920, 1080), Limits(1, 100 << 20), codec)


def test_only_the_audio_is_encoded_if_only_it_does_not_fit() -> None:
    argv = plan_video(
        INFO._replace(audio=(AUDIO._replace(channels=6),)), VideoOptions(), LIMITS, WHITE, LISTED
    ).step.argv
    assert value_of(argv, "-c:v") == "copy"
    assert value_of(argv, "-c:a") == "aac"


def test_the_default_track_that_is_not_a_commentary_is_chosen() -> None:
    commentary = AUDIO._replace(stream_index=1, secondary=True)
    plain = AUDIO._replace(stream_index=2, default=False)
    default = AUDIO._replace(stream_index=3)
    info = INFO._replace(audio=(commentary, plain, default))
    argv = plan_video(info, VideoOptions(), LIMITS, WHITE).step.argv
    assert "0:3" in argv


@pytest.mark.parametrize(
    ("info", "options", "reason"),
    [
        (INFO._replace(video=()), VideoOptions(), ExitReason.NO_VIDEO_STREAM),
        (
            INFO._replace(video=(), undecodable=("video vvc",)),
            VideoOptions(),
            ExitReason.UNSUPPORTED_FORMAT,
        ),
        (
            with_video(dolby_profile=5, needs_dolby_vision=True),
            VideoOptions(),
            ExitReason.UNSUPPORTED_FORMAT,
        ),
        (with_video(width=16000, height=16000), VideoOptions(), ExitReason.INPUT_TOO_LARGE),
    ],
)  # fmt: skip
def test_what_cannot_be_converted(
    info: MediaInfo, options: VideoOptions, reason: ExitReason
) -> None:
    with pytest.raises(ConversionError) as refused:
        plan_video(info, options, LIMITS, WHITE)
    assert refused.value.reason is reason


def test_only_the_last_picture_refuses_a_start() -> None:
    """A header may state any duration."""
    options = VideoOptions(start=10.0)
    plan_video(INFO._replace(duration=3.0), options, LIMITS, WHITE, at(10.0, 9.96))
    for info in (INFO, INFO._replace(duration=1000.0)):
        with pytest.raises(ConversionError) as refused:
            plan_video(info, options, LIMITS, WHITE, at(10.0, 9.9))
        assert refused.value.reason is ExitReason.NOTHING_IN_RANGE


def at(time: float, picture: float) -> Evidence:
    return Evidence(position=Position(time, picture, 0.04, picture))


@pytest.mark.parametrize(
    ("change", "resolution", "wanted"),
    [
        ({}, None, (1280, 720)),
        ({"width": 321, "height": 243}, None, (320, 242)),
        ({"width": 1, "height": 1}, None, (2, 2)),
        ({"width": 1920, "height": 1080}, 480, (854, 480)),
        ({"width": 1920, "height": 1080, "rotation": 90}, 720, (720, 1280)),
        ({"width": 720, "height": 576, "sample_aspect_ratio": (64, 45)}, None, (1024, 576)),
        ({"width": 720, "height": 480, "sample_aspect_ratio": (8, 9)}, None, (720, 540)),
        ({"width": 2000, "height": 8}, 240, (2000, 8)),
    ],
)
def test_sizes(change: dict[str, object], resolution: int | None, wanted: tuple[int, int]) -> None:
    video = with_video(**change).video[0]
    assert output_size(video, VideoOptions(resolution=resolution)) == wanted


@pytest.mark.parametrize("info", [INFO, with_video(codec="hevc")], ids=["copied", "encoded"])
def test_the_output_has_only_video_and_audio(info: MediaInfo) -> None:
    argv = plan_video(info, VideoOptions(), LIMITS, WHITE).step.argv
    assert value_of(argv, "-map_metadata") == value_of(argv, "-map_chapters") == "-1"
    assert value_of(argv, "-write_tmcd") == "0"
    assert {"-sn", "-dn"} <= set(argv)
    output = argv[: argv.index("file:/proc/self/fd/4")]
    mapped = [word for option, word in itertools.pairwise(output) if option == "-map"]
    assert mapped == ["0:0", "0:1"]


def test_4k_fits_a_gibibyte_and_otherwise_the_needed_limit_is_named() -> None:
    uhd = with_video(width=3840, height=2160, codec="hevc")
    argv = plan_video(uhd, VideoOptions(), LIMITS, WHITE).step.argv
    assert "scale=3840:2160" in value_of(argv, "-vf")
    deep = with_video(
        width=3840,
        height=2160,
        codec="hevc",
        pixel_format="yuv420p10le",
        color_transfer="smpte2084",
    )
    assert value_of(plan_video(deep, VideoOptions(), LIMITS, WHITE).step.argv, "-x264-params")
    with pytest.raises(ConversionError, match=r"memory limit of \d+ MiB") as refused:
        plan_video(deep, VideoOptions(), Limits(threads=1, memory=GIB // 4), WHITE)
    assert refused.value.reason is ExitReason.NEEDS_MEMORY


def test_the_needed_limit_is_enough() -> None:
    deep = VIDEO._replace(
        width=3840, height=2160, pixel_format="yuv420p10le", color_transfer="smpte2084"
    )
    for mebibytes in range(128, 2048, 64):
        limits = Limits(threads=2, memory=mebibytes << 20)
        try:
            memory.choose_encoder_settings(deep, (3840, 2160), limits)
        except ConversionError as error:
            needed = int(error.message.split("limit of ")[1].split(" MiB")[0])
            memory.choose_encoder_settings(deep, (3840, 2160), Limits(1, needed << 20))
            assert needed > mebibytes


def test_less_memory_never_means_more_frames_in_the_encoder() -> None:
    frames = []
    for mebibytes in (2048, 1024, 800, 700):
        settings, threads = memory.choose_encoder_settings(
            VIDEO._replace(width=3840, height=2160), (3840, 2160), Limits(2, mebibytes << 20)
        )
        frames.append((settings.frames, threads))
    assert frames == sorted(frames, reverse=True)
    assert frames[0][1] == 2


SIDES = st.integers(1, 8000)


@given(SIDES, SIDES, st.none() | st.sampled_from((240, 360, 480, 720, 1080, 2160)))
def test_the_short_side_is_bounded_and_even(width: int, height: int, short: int | None) -> None:
    new = fit_short_side(width, height, short)
    assert all(side % 2 == 0 and side >= 2 for side in new)
    assert all(now <= max(before, 2) for now, before in zip(new, (width, height), strict=True))
    if short is not None:
        assert min(new) <= short


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_size_fits_the_box_and_is_never_enlarged(w: int, h: int, bw: int, bh: int) -> None:
    new = fit_box(w, h, (bw, bh))
    assert new[0] <= min(w, bw)
    assert new[1] <= min(h, bh)
    assert min(new) >= 1
    assert new == (w, h) or new[0] == bw or new[1] == bh or min(new) == 1 or max(bw, bh) > max(w, h)


STREAMS = st.builds(
    VideoStream,
    stream_index=st.integers(0, 9),
    codec=st.sampled_from(sorted(VIDEO_DECODERS)),
    width=SIDES,
    height=st.integers(1, 5000),
    pixel_format=st.sampled_from(
        ("yuv420p", "yuv444p10le", "rgba", "bgr0", "gray", "yuva420p", "")
    ),
    profile=st.sampled_from(("High", "Main", "High 4:4:4 Predictive", "")),
    level=st.integers(-99, 62),
    sample_aspect_ratio=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    rotation=st.sampled_from((0, 90, 180, 270)),
    mirrored=st.booleans(),
    full_range=st.booleans(),
    color_space=st.sampled_from(("", "bt709", "bt2020nc", "gbr")),
    color_primaries=st.sampled_from(("", "bt709", "bt2020")),
    color_transfer=st.sampled_from(("", "bt709", "smpte2084", "arib-std-b67")),
    field_order=st.sampled_from(("progressive", "tt", "bb", "unknown")),
    r_frame_rate=st.none() | st.tuples(st.integers(1, 90000), st.integers(1, 1001)),
    avg_frame_rate=st.none() | st.tuples(st.integers(1, 90000), st.integers(1, 1001)),
    duration=st.none() | st.floats(0.001, 1e5),
    bit_rate=st.none() | st.integers(0, 10**9),
    coded_alpha=st.booleans(),
)


@given(STREAMS, st.sampled_from((None, 240, 720, 2160)), st.sampled_from((None, GIB, GIB // 2)))
def test_every_stream_gets_a_plan_or_a_file_fault(
    video: VideoStream, resolution: int | None, limit: int | None
) -> None:
    options = VideoOptions(resolution=resolution)
    info = INFO._replace(video=(video,))
    try:
        made = plan_video(info, options, Limits(threads=2, memory=limit), WHITE, LISTED)
    except ConversionError as error:
        refusal: ConversionError | None = error
    else:
        refusal = None
    if refusal:
        assert refusal.reason in INPUT_FAULTS
        assert "\n" not in refusal.message
        return
    argv = made.step.argv
    assert all(isinstance(word, str) and "\0" not in word for word in argv)
    assert made.expected.size == output_size(video, options)
    for option in ("-nostdin", "-sn", "-dn", "-max_pixels", "-protocol_whitelist"):
        assert option in argv
    assert argv.count("file:/proc/self/fd/4") == 1
    assert argv[argv.index("-i") + 1] == "file:/proc/self/fd/3"
    assert argv.index("-threads") < argv.index("-i")
    if value_of(argv, "-c:v") == "copy":
        assert can_copy_video(info, video, options, STEADY)
        assert made.expected.size == (video.width, video.height)
    else:
        assert "format=yuv420p" in value_of(argv, "-vf")
        assert "setsar=1" in value_of(argv, "-vf")


def test_the_rate_limit_keeps_its_own_frames() -> None:
    fast = with_video(r_frame_rate=(120, 1), codec="vp9")
    chain = value_of(plan_video(fast, VideoOptions(), LIMITS, WHITE).step.argv, "-vf")
    assert f"ld(0))+1/{MAX_FRAME_RATE})" in chain
