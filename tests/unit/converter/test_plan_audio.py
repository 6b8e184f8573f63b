from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files.apetag import ape_tags
from media_converter.options import BITRATES
from media_converter.planning import loudness
from media_converter.planning.audio import (
    MP3_OUTPUT,
    AudioOutput,
    audio_feed,
    audio_output_filters,
    cover_step,
    plan_audio,
)
from media_converter.planning.audio_filters import (
    FOLLOW_SAMPLES,
    audio_filter,
    common_sample_rate,
    output_channels,
)
from media_converter.planning.audio_formats import AUDIO_FORMATS
from media_converter.planning.gain import Gain
from media_converter.planning.tags import kept_tags
from media_converter.probing import decoded
from media_converter.probing.decoded import Loudness
from media_converter.probing.media import AudioStream
from media_converter.typed_options import AudioOptions
from tests.unit.converter.builders import AUDIO, INFO, LIMITS, VIDEO, value_of

SONG = INFO._replace(container="flac", video=())


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        (8000, 48000), (11025, 44100), (12000, 48000), (16000, 48000), (22050, 44100),
        (24000, 48000), (32000, 32000), (44100, 44100), (48000, 48000), (88200, 44100),
        (96000, 48000), (176400, 44100), (192000, 48000), (37000, 48000),
    ],
)  # fmt: skip
def test_every_sample_rate_becomes_one_that_players_support(rate: int, wanted: int) -> None:
    assert common_sample_rate(rate) == wanted


def test_a_preview_reads_only_its_part() -> None:
    hour = SONG._replace(duration=3600.0)
    made = plan_audio(hour, AudioOptions(start=60.0, duration=30.0), LIMITS, False)
    argv = made.step.argv
    assert argv.index("-ss") < argv.index("-i")
    assert argv.index("-t") < argv.index("-i")
    assert made.expected.duration == 30.0


def test_a_part_behind_a_clock_that_starts_again_is_read_from_the_start() -> None:
    audio = AUDIO._replace(start=1.5)
    twice = INFO._replace(container="mpegts", start=1.0, clock_restarts=True, audio=(audio,))
    made = plan_audio(twice, AudioOptions(start=12.0, duration=3.0), LIMITS, False).step.argv
    assert "-ss" not in made
    assert made.index("-t") > made.index("-i"), "the range ends where that of the output does"
    assert value_of(made, "-t") == "3.000000"
    # If only the audio is read, time 0 is its start.
    assert value_of(made, "-af").startswith("atrim=start=11.500000,asetpts=PTS-11.500000/TB,")
    assert "atrim" not in value_of(
        plan_audio(twice, AudioOptions(), LIMITS, False).step.argv, "-af"
    )
    joined = audio._replace(channels=2, joined=(1, 2))
    options = AudioOptions(start=12.0, duration=3.0)
    feed = audio_feed(twice, joined, options, LIMITS)
    assert feed is not None
    assert "-ss" not in feed.argv
    assert value_of(feed.argv, "-af").startswith("atrim=start=11.500000")
    assert "atrim" not in audio_output_filters(twice, joined, options, MP3_OUTPUT)[0]


def test_a_start_after_the_stated_end_is_tried() -> None:
    """The stated duration may be an estimate, or wrong."""
    made = plan_audio(SONG, AudioOptions(start=10.0), LIMITS, False)
    assert made.expected.duration is None


def test_no_audio_and_no_decoder_are_distinguished() -> None:
    for info, words in (
        (SONG._replace(audio=()), "no audio stream"),
        (SONG._replace(audio=(), undecodable=("audio apac",)), "apac"),
    ):
        with pytest.raises(ConversionError, match=words) as refused:
            plan_audio(info, AudioOptions(), LIMITS, False)
        assert refused.value.reason is ExitReason.NO_AUDIO_STREAM


def test_an_mp3_with_the_requested_bit_rate_is_stream_copied() -> None:
    mp3 = AUDIO._replace(codec="mp3", bit_rate=192_000)
    info = SONG._replace(container="mp3", audio=(mp3,))
    assert value_of(plan_audio(info, AudioOptions(), LIMITS, False).step.argv, "-c:a") == "copy"
    for options in (AudioOptions(128), AudioOptions(start=1.0), AudioOptions(duration=1.0)):
        assert value_of(plan_audio(info, options, LIMITS, False).step.argv, "-c:a") == "libmp3lame"


def test_only_listed_tags_are_kept() -> None:
    tags = (
        ("title", "Song"),
        ("location", "+48.8577+002.2950/"),
        ("make", "Phone"),
        ("artist", ""),
    )
    argv = plan_audio(SONG._replace(tags=tags), AudioOptions(), LIMITS, False).step.argv
    assert "title=Song" in argv
    assert not any("48.8577" in word or "Phone" in word for word in argv)
    assert value_of(argv, "-map_metadata") == "-1"


def test_a_cover_is_a_step_of_its_own_and_is_attached() -> None:
    assert cover_step(SONG, LIMITS) is None
    covered = SONG._replace(attached_pics=(VIDEO._replace(stream_index=2, codec="png"),))
    step = cover_step(covered, LIMITS)
    assert step
    assert value_of(step.argv, "-map") == "0:2"
    argv = plan_audio(covered, AudioOptions(), LIMITS, True).step.argv
    assert "attached_pic" in argv
    assert argv.count("-i") == 2


STREAMS = st.builds(
    AudioStream,
    stream_index=st.integers(0, 9),
    codec=st.sampled_from(("aac", "mp3", "pcm_s16le", "opus")),
    sample_rate=st.integers(1, 400_000),
    channels=st.integers(1, 64),
    layout=st.sampled_from(("", "mono", "stereo", "5.1", "7.1")),
    bit_rate=st.none() | st.integers(0, 10**7),
)


@given(STREAMS, st.sampled_from(BITRATES))
def test_any_audio_becomes_stereo_or_mono_at_a_rate_of_mp3(audio: AudioStream, rate: int) -> None:
    made = plan_audio(SONG._replace(audio=(audio,)), AudioOptions(rate), LIMITS, False)
    if value_of(made.step.argv, "-c:a") == "copy":
        assert audio.channels <= 2
        return
    chain = value_of(made.step.argv, "-af")
    assert f"aresample={common_sample_rate(audio.sample_rate)}:" in chain
    assert chain.startswith(FOLLOW_SAMPLES), "the samples of audio alone are its clock"
    assert common_sample_rate(audio.sample_rate) in (32000, 44100, 48000)
    assert output_channels(audio) in (1, 2)
    assert (output_channels(audio) == 1) == ("channel_layouts=mono" in chain)


def follow(rate: int, blocks: Iterable[tuple[float, int]]) -> Iterator[int]:
    """The new timestamps of blocks of samples, as the filter computes them.

    Blocks are a timestamp and a number of samples. The filter drops fractions of a timestamp.
    """
    found = re.fullmatch("asetpts='(.*)'", FOLLOW_SAMPLES)
    assert found
    statements = [
        compile(statement.replace("if(", "choose("), "FOLLOW_SAMPLES", "eval")
        for statement in found[1].split(";")
    ]
    registers: dict[int, float] = {}

    def store(number: int, value: float) -> float:
        registers[number] = value
        return value

    names: dict[str, Any] = {
        "st": store,
        "ld": lambda number: registers.get(number, 0.0),
        "choose": lambda test, yes, no: yes if test else no,
        "between": lambda value, low, high: low <= value <= high,
        "isnan": math.isnan,
        "round": lambda value: math.floor(value + 0.5),
        "SR": rate,
        "TB": 1 / rate,
        "PREV_INPTS": math.nan,
        "PREV_OUTPTS": math.nan,
    }
    for timestamp, samples in blocks:
        names |= {"PTS": float(timestamp), "NB_SAMPLES": float(samples)}
        *_, made = (eval(statement, names) for statement in statements)  # noqa: S307 - our own
        yield int(made)
        names |= {"PREV_INPTS": float(timestamp), "PREV_OUTPTS": float(int(made))}


@pytest.mark.parametrize("rate", [8000, 44100])
def test_no_sample_is_lost_in_blocks_of_any_size(rate: int) -> None:
    for samples in (*range(1, 2049), 4096, 4608, 65_535):
        made = list(follow(rate, [(5, samples)] * 4))
        assert made == [5, 5 + samples, 5 + 2 * samples, 5 + 3 * samples], samples


def test_only_a_pause_moves_the_samples() -> None:
    blocks = [(0, 960), (960, 960), (1930, 960), (2890 + 44100, 960), (99_000_000, 960)]
    assert list(follow(44100, blocks)) == [0, 960, 1920, 2880 + 44100, 3840 + 44100]


def test_audio_that_starts_later_than_the_video_starts_with_silence() -> None:
    assert ":first_pts=0" in audio_filter(AUDIO, 48000, fill_start=True)
    assert ":first_pts=0" not in audio_filter(AUDIO, 48000, fill_start=False)


def test_channels_without_a_layout_are_all_mixed() -> None:
    chain = audio_filter(AUDIO._replace(channels=12, layout=""), 48000, fill_start=False)
    assert all(f"*c{channel}" in chain for channel in range(12))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Year", "date"),
        ("YEAR", "date"),
        ("WM/Year", "date"),
        ("DATE_RELEASED", "date"),
        ("Album Artist", "album_artist"),
        ("ALBUMARTIST", "album_artist"),
        ("WM/AlbumTitle", "album"),
        ("TRACKNUMBER", "track"),
        ("PART_NUMBER", "track"),
        ("DiscNumber", "disc"),
        ("WM/PartOfSet", "disc"),
        ("Author", "artist"),
        ("Name", "title"),
        ("WM/Genre", "genre"),
    ],
)
def test_tags_are_kept_by_all_their_names(name: str, kept: str) -> None:
    assert kept_tags([(name, " 7\0 8 ")]) == ((kept, "7;  8"),)


def test_ffmpegs_own_name_of_a_tag_counts_first() -> None:
    assert kept_tags([("year", "1998"), ("date", "1999-05-01")]) == (("date", "1999-05-01"),)
    assert kept_tags([("tracknumber", "3"), ("TRACKTOTAL", "12")]) == (("track", "3/12"),)
    assert kept_tags([("location", "+48.8577/"), ("comment", "x"), ("date", " ")]) == ()


def ape(*items: tuple[bytes, bytes, int]) -> bytes:
    body = b"".join(
        struct.pack("<II", len(value), flags) + name + b"\0" + value for name, value, flags in items
    )
    footer = struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(body) + 32, len(items), 0)
    return body + footer


@pytest.mark.parametrize("after", [b"", b"TAG".ljust(128)])
def test_ape_tags_are_read_from_the_end_of_a_file(after: bytes) -> None:
    items = ((b"Year", b"1999", 0), (b"Artist", "é".encode(), 0), (b"Cover Art", b"x\0\xff", 2))
    data = bytes(500) + ape(*items) + after
    found = ape_tags(lambda at, count: data[at : at + count], len(data))
    assert found == (("Year", "1999"), ("Artist", "é"))


@pytest.mark.parametrize("cut", [0, 1, 20, 40, 60])
def test_damaged_ape_tags_do_no_harm(cut: int) -> None:
    whole = ape((b"Year", b"1999", 0), (b"Title", b"x" * 20, 0))
    for data in (whole[cut:], whole[:8] + b"\xff" * 16 + whole[24:], bytes(cut)):
        ape_tags(lambda at, count, data=data: data[at : at + count], len(data))  # type: ignore[misc]


def test_the_bit_rate_is_one_that_the_codec_has() -> None:
    for name, channels, wanted, made in (
        ("mp3", 1, 320, 320), ("mp3", 2, 192, 192), ("m4a", 1, 320, 160), ("m4a", 2, None, 128),
        ("opus", 1, 320, 160), ("opus", 2, 32, 32), ("ogg", 2, 32, 48), ("ogg", 1, 32, 32),
        ("ogg", 1, None, 80), ("flac", 2, None, 0), ("wav", 1, None, 0),
    ):  # fmt: skip
        assert AUDIO_FORMATS[name].bitrate(wanted, channels) == made, (name, channels, wanted)


@pytest.mark.parametrize("name", sorted(set(AUDIO_FORMATS) - {"mp3"}))
def test_sound_is_copied_only_if_the_request_changes_nothing(name: str) -> None:
    plain = AudioOptions(bitrate=None)
    written = AUDIO_FORMATS[name]
    fitting = AUDIO._replace(codec=written.codec)
    info = INFO._replace(audio=(fitting,))

    def copies(options: AudioOptions = plain, container: str = "", **changes: Any) -> bool:
        changed = info._replace(audio=(fitting._replace(**changes),))
        if container:
            changed = changed._replace(container=container)
        return plan_audio(changed, options, LIMITS, False, output=AudioOutput(name)).copies_audio

    assert copies() == (name in {"m4a", "opus", "ogg"})
    for options in (
        AudioOptions(128), AudioOptions(None, start=1.0), AudioOptions(None, duration=1.0),
        AudioOptions(None, channels="mono"), AudioOptions(None, loudness=-16.0),
    ):  # fmt: skip
        assert not copies(options)
    assert not copies(channels=6)
    assert not copies(sample_rate=96000)
    assert not copies(bit_rate=500_000)
    assert not copies(container="aac"), "without timestamps"
    assert copies(AudioOptions(None, channels="stereo")) == copies()


def test_lossless_formats_have_the_sample_size_of_the_input() -> None:
    for bits, codec, depth in ((0, "pcm_s16le", "s16"), (16, "pcm_s16le", "s16"),
                               (24, "pcm_s24le", "s32"), (64, "pcm_s24le", "s32")):  # fmt: skip
        info = SONG._replace(audio=(AUDIO._replace(sample_bits=bits),))
        wav = plan_audio(info, AudioOptions(None), LIMITS, False, output=AudioOutput("wav"))
        assert value_of(wav.step.argv, "-c:a") == wav.expected.audio_codec == codec
        flac = plan_audio(info, AudioOptions(None), LIMITS, False, output=AudioOutput("flac"))
        assert value_of(flac.step.argv, "-sample_fmt:a") == depth


SUMMARY = """[Parsed_ebur128_0 @ 0x7f4220001c40] [info] Summary:

  Integrated loudness:
    I:         {i} LUFS
    Threshold: -31.8 LUFS

  Loudness range:
    LRA:         4.5 LU
    LRA low:   -21.8 LUFS

  True peak:
    Peak:      {peak} dBFS
[aost#0:0/pcm_s16le @ 0x556a3210bdc0] [verbose] Encoder thread received EOF
"""


def test_the_summary_of_a_measurement_is_read() -> None:
    loud = decoded.loudness(SUMMARY.format(i="-21.8", peak="-1.1"))
    assert loud == decoded.Loudness(-21.8, -1.1, 4.5)
    assert not loud.is_silent
    silent = decoded.loudness(SUMMARY.format(i="-70.0", peak="-inf"))
    assert silent is not None
    assert silent.is_silent
    assert decoded.loudness("[info] size=N/A time=00:00:04.00") is None
    mixed = SUMMARY.replace("dBFS\n", "dBFSEncoder thread received EOF\n")
    assert decoded.loudness(mixed.format(i="-21.8", peak="-1.1")) == loud
    assert decoded.errors_only(SUMMARY.format(i="-21.8", peak="-1.1")).strip() == ""
    needed = [line for line in SUMMARY.splitlines() if decoded.is_of_loudness(line)]
    assert decoded.loudness("\n".join(needed).format(i="-21.8", peak="-1.1")) == loud


def test_the_gain_is_linear_unless_it_would_clip() -> None:
    assert loudness.first_gain(Loudness(-23.0, -12.0, 5.0), -16.0) == Gain(7.0)
    assert loudness.first_gain(Loudness(-23.0, -8.0, 5.0), -16.0) == Gain(7.0)
    assert loudness.first_gain(Loudness(-23.0, -7.9, 5.0), -16.0) == Gain(7.0, -1.5)
    assert loudness.first_gain(Loudness(-10.0, 2.0, 5.0), -23.0) == Gain(-13.0)


def test_another_try_corrects_what_encoder_and_limiter_did() -> None:
    plain, limited = Gain(7.0), Gain(7.0, -1.5)
    right = Loudness(-16.2, -1.1, 5.0)
    assert loudness.better_gain(plain, right, -16.0) is None
    peaks = loudness.better_gain(plain, right._replace(true_peak=-0.5), -16.0)
    assert peaks is not None
    assert peaks.decibels == 7.0
    assert peaks.ceiling == pytest.approx(-1.8)
    lower = loudness.better_gain(limited, right._replace(true_peak=0.2), -16.0)
    assert lower is not None
    assert lower.ceiling == pytest.approx(-3.0)
    quiet = loudness.better_gain(limited, right._replace(integrated=-18.0), -16.0)
    assert quiet == Gain(9.0, -1.5)
    risen = loudness.better_gain(plain, Loudness(-18.0, -2.0, 5.0), -16.0)
    assert risen == Gain(9.0, -1.5), "the rest of the gain would clip"


def test_a_limiter_works_between_the_samples_and_the_rate_stays() -> None:
    assert Gain(-3.0).filters(44100) == ["volume=-3.00dB:precision=float"]
    filters = Gain(3.0, -1.5).filters(44100)
    assert filters[1] == "aresample=176400"
    assert filters[-1] == "aresample=44100"
    assert "limit=0.84140" in filters[2]
    assert not any("loudnorm" in name for name in filters)
    chain = plan_audio(
        SONG, AudioOptions(loudness=-16.0), LIMITS, False,
        output=AudioOutput("mp3", Gain(3.0, -1.5)),
    ).step.argv  # fmt: skip
    assert value_of(chain, "-af").endswith("aresample=48000")


def test_a_summary_of_one_part_is_not_that_of_the_whole() -> None:
    """ffmpeg prints one summary for each part of a sound whose channels change."""
    parts = SUMMARY.format(i="-9.7", peak="-1.1") + SUMMARY.format(i="-70.0", peak="-inf")
    found = decoded.loudness(parts)
    assert found is not None
    assert not found.is_whole


@pytest.mark.parametrize(("integrated", "peak"), [("-9", "inf"), ("-9", "nan"), ("nan", "-1")])
def test_what_is_no_number_is_no_loudness(integrated: str, peak: str) -> None:
    assert decoded.loudness(SUMMARY.format(i=integrated, peak=peak)) is None


def test_each_side_of_a_mono_sound_is_the_whole() -> None:
    mono = AUDIO._replace(channels=1, layout="mono")
    chain = audio_filter(mono, 48000, fill_start=False, channels=2)
    assert chain.endswith("aformat=channel_layouts=mono,pan=stereo|c0=c0|c1=c0")
    assert "pan" not in audio_filter(mono, 48000, fill_start=False)
