"""Audio to MP3: rates, layouts, durations, covers, previews."""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, Converter
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.recipes import covered

RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}


def header_seconds(path: Path) -> float:
    """The duration that the Xing or Info header states, from its frame count."""
    data = path.read_bytes()
    at = max(data.find(b"Xing"), data.find(b"Info"))
    assert at > 0, "no length header"
    flags, frames = struct.unpack(">II", data[at + 4 : at + 12])
    assert flags & 1, "the length header has no frame count"
    frame = data[: at + 4].rfind(b"\xff")
    while data[frame + 1] & 0xE0 != 0xE0:
        frame = data.rfind(b"\xff", 0, frame)
    version = (data[frame + 1] >> 3) & 3
    rate = ((44100, 48000, 32000)[(data[frame + 2] >> 2) & 3]) >> {3: 0, 2: 1, 0: 2}[version]
    return float(frames) * (1152 if version == 3 else 576) / rate


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
def test_every_sample_rate_becomes_one_of_mp3(
    kitchen: Kitchen, converter: Converter, lab: Lab, rate: int
) -> None:
    source = kitchen.ffmpeg(f"r{rate}.wav", *tone(rate=rate), "-ac", "1", "-c:a", "pcm_s24le")
    found = lab.media(converter.convert(AUDIO, source, "out.mp3").path)
    assert found.audio["codec_name"] == "mp3"
    assert int(found.audio["sample_rate"]) in RATES
    assert int(found.audio["sample_rate"]) >= 32000, "players want at least 32 kHz"
    assert found.audio["channels"] == 1
    assert found.duration == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("bitrate", ["32k", "64k", "128k", "192k", "320k", "128", 96])
def test_the_requested_bitrate_is_delivered(
    kitchen: Kitchen, converter: Converter, lab: Lab, bitrate: object
) -> None:
    source = kitchen.ffmpeg("stereo.wav", *tone(seconds=6), "-ac", "2", "-ar", "44100")
    run = converter.convert(AUDIO, source, "out.mp3", bitrate=bitrate)
    wanted = int(str(bitrate).rstrip("k")) * 1000
    assert int(lab.media(run.path).audio["bit_rate"]) == pytest.approx(wanted, rel=0.05)


def test_a_high_bitrate_at_a_low_sample_rate_is_kept(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("r8000.wav", *tone(rate=8000), "-ac", "1", "-c:a", "pcm_s24le")
    run = converter.convert(AUDIO, source, "out.mp3", bitrate="320k")
    assert int(lab.media(run.path).audio["bit_rate"]) == pytest.approx(320_000, rel=0.05)


def test_the_default_bitrate(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("stereo.wav", *tone(seconds=6), "-ac", "2", "-ar", "44100")
    found = lab.media(converter.convert(AUDIO, source, "out.mp3").path).audio
    assert int(found["bit_rate"]) == pytest.approx(192_000, rel=0.05)
    assert found["channels"] == 2
    assert found["sample_rate"] == "44100"


LAYOUTS = {
    # layout: the channel that speech is in
    "mono": "FC", "stereo": "FL", "3.0": "FC", "quad": "BL", "5.0": "FC", "5.1": "FC",
    "5.1(side)": "SL", "6.1": "BC", "7.1": "FC", "octagonal": "BC",
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_speech_survives_every_layout(
    kitchen: Kitchen, converter: Converter, lab: Lab, layout: str
) -> None:
    source = kitchen.ffmpeg(
        f"speech-{layout.replace('(', '-').replace(')', '')}.wav", *tone(), "-af",
        f"pan={layout}|{LAYOUTS[layout]}=c0",
    )  # fmt: skip
    run = converter.convert(AUDIO, source, "out.mp3")
    found = lab.media(run.path).audio
    assert found["channels"] in {1, 2}
    # Compare the louder side with the original tone: a centre channel goes to both sides.
    one = lab.loudness(kitchen.ffmpeg("tone.wav", *tone()))[0]
    sides = [lab.loudness(run.path, f"pan=mono|c0=c{side}")[0] for side in range(found["channels"])]
    assert max(sides) > one - 12


@pytest.mark.parametrize("channels", [3, 6, 8, 12, 16])
def test_channels_without_a_layout(
    kitchen: Kitchen, converter: Converter, lab: Lab, channels: int
) -> None:
    plain = kitchen.ffmpeg(
        f"many-{channels}.wav", *tone(), "-af",
        f"pan={channels}c|" + "|".join(f"c{n}=c0" for n in range(channels)), "-c:a", "pcm_s16le",
    )  # fmt: skip
    found = lab.media(converter.convert(AUDIO, plain, "out.mp3").path)
    assert found.audio["channels"] in {1, 2}
    assert found.duration == pytest.approx(3, abs=0.1)
    assert lab.loudness(converter.convert(AUDIO, plain, "out.mp3").path)[0] > -35


def test_sides_in_opposite_phase_are_not_mixed_away(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("phase.wav", *tone(), "-af", "pan=stereo|c0=c0|c1=-1*c0")
    run = converter.convert(AUDIO, source, "out.mp3")
    assert lab.media(run.path).audio["channels"] == 2
    assert lab.loudness(run.path)[0] > -30


def test_mixing_down_does_not_clip(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "loud51.wav", *tone(), "-af",
        "volume=17dB,pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0",
    )  # fmt: skip
    assert lab.loudness(source)[1] > -2
    run = converter.convert(AUDIO, source, "out.mp3")
    # A clipped sine has strong odd harmonics.
    third = lab.loudness(run.path, "bandpass=f=1320:width_type=h:w=40")[0]
    assert third < lab.loudness(run.path)[0] - 30


FORMATS = {
    "mp3": ("libmp3lame",), "m4a": ("aac",), "aac": ("aac",), "flac": ("flac",),
    "ogg": ("libvorbis",), "opus": ("libopus",), "wma": ("wmav2",), "aiff": ("pcm_s16be",),
    "caf": ("pcm_s16le",), "ac3": ("ac3",), "eac3": ("eac3",), "w64": ("pcm_s16le",),
    "mka": ("libopus",), "webm": ("libvorbis",), "mp2": ("mp2",), "wav": ("pcm_f32le",),
    "alac.m4a": ("alac",), "u8.wav": ("pcm_u8",), "adpcm.wav": ("adpcm_ms",),
    "mulaw.wav": ("pcm_mulaw",), "f64.wav": ("pcm_f64le",), "amr": ("amr_nb",),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_by_its_content(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    if name == "amr":
        # There is no free encoder. Silence in AMR is one frame, repeated.
        frame = bytes([0x3C]) + bytes(31)
        source = kitchen.write("audio.upload-amr", b"#!AMR\n" + frame * 150)
    else:
        made = kitchen.ffmpeg(f"audio.{name}", *tone(), "-ac", "2", "-c:a", *FORMATS[name])
        source = kitchen.write(f"audio-{name}.upload", kitchen.read(made))
    run = converter.convert(AUDIO, source, "out.mp3")
    found = lab.media(run.path)
    assert found.kinds == ["audio"]
    # Windows Media pads its last block.
    assert found.duration == pytest.approx(3, abs=0.15)
    assert lab.seconds(run.path) == pytest.approx(3, abs=0.15)
    if name != "amr":
        assert lab.loudness(run.path)[0] > -30
        assert lab.hertz(run.path, (440, 900)) == 440


@pytest.mark.parametrize("bitrate", ["32k", "192k"])
def test_the_header_states_the_right_duration(
    kitchen: Kitchen, converter: Converter, lab: Lab, bitrate: str
) -> None:
    source = kitchen.ffmpeg("long-ish.flac", *tone(seconds=61))
    run = converter.convert(AUDIO, source, "out.mp3", bitrate=bitrate)
    assert header_seconds(run.path) == pytest.approx(61, abs=0.1)
    assert lab.media(run.path).duration == pytest.approx(61, abs=0.1)
    assert lab.seconds(run.path) == pytest.approx(61, abs=0.1)
    assert run.report.output
    assert run.report.output.duration_seconds == pytest.approx(61, abs=0.1)


def test_wrong_headers_of_good_files(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    wav = kitchen.ffmpeg("tone-s16.wav", *tone(), "-c:a", "pcm_s16le")

    def sizes(riff: int, data: int) -> bytes:
        body = bytearray(kitchen.read(wav))
        body[4:8] = struct.pack("<I", riff)
        at = body.index(b"data")
        body[at + 4 : at + 8] = struct.pack("<I", data)
        return bytes(body)

    # A recorder that cannot seek back to its header writes no size, or the largest one.
    streamed = kitchen.write("streamed.wav", sizes(0xFFFFFFFF, 0xFFFFFFFF))
    unset = kitchen.write("unset.wav", sizes(0, 0))
    # Variable bit rate without a length header: the estimate from the first frame is far off.
    vbr = kitchen.ffmpeg(
        "vbr.mp3", *tone(seconds=2), "-f", "lavfi", "-i", "anoisesrc=d=6:r=48000:a=0.5",
        "-filter_complex", "[0][1]concat=n=2:v=0:a=1", "-c:a", "libmp3lame", "-q:a", "0",
        "-write_xing", "0",
    )  # fmt: skip
    assert abs(lab.media(vbr).duration - 8) > 0.5, "the recipe's header is not wrong"
    adts = kitchen.ffmpeg(
        "vbr.aac", *tone(seconds=2), "-f", "lavfi", "-i", "anoisesrc=d=6:r=48000:a=0.5",
        "-filter_complex", "[0][1]concat=n=2:v=0:a=1", "-c:a", "aac",
    )  # fmt: skip
    flac = kitchen.make(
        "piped.flac",
        lambda out: kitchen.run(
            "sh", "-c", 'exec "$@" > "$0"', out, "ffmpeg", "-v", "error", *tone(), "-f", "flac",
            "pipe:1",
        ),
    )  # fmt: skip
    for source, wanted in ((streamed, 3), (unset, 3), (vbr, 8), (adts, 8), (flac, 3)):
        run = converter.convert(AUDIO, source, "out.mp3")
        assert lab.seconds(run.path) == pytest.approx(wanted, abs=0.15), source
        assert header_seconds(run.path) == pytest.approx(wanted, abs=0.15), source


@pytest.mark.parametrize("name", ["cov.mp3", "cov.m4a", "cov.flac"])
def test_cover_art_stays_cover_art(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    run = converter.convert(AUDIO, covered(kitchen, name), "out.mp3")
    found = lab.media(run.path)
    assert len(found.streams("audio")) == 1
    (cover,) = found.streams("video")
    assert cover["disposition"]["attached_pic"] == 1
    assert (cover["width"], cover["height"]) == (64, 64)
    assert near(lab.frame(run.path).at(0.5, 0.5), (254, 0, 0))
    assert found.duration == pytest.approx(3, abs=0.1)


def test_a_preview_keeps_the_cover_too(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(AUDIO, covered(kitchen, "cov.m4a"), "out.mp3", duration=1)
    assert len(lab.media(run.path).attached_pics) == 1
    assert lab.seconds(run.path) == pytest.approx(1, abs=0.1)


def test_a_damaged_cover_does_not_fail_the_conversion(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.edit(
        "cov-broken.mp3",
        covered(kitchen, "cov.mp3"),
        lambda data: data.replace(b"IHDR", b"IHDX").replace(b"IDAT", b"IDAX"),
    )
    run = converter.convert(AUDIO, source, "out.mp3")
    assert len(lab.media(run.path).streams("audio")) == 1
    assert lab.seconds(run.path) == pytest.approx(3, abs=0.1)


def test_the_audio_of_a_video(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(AUDIO, kitchen.base(), "out.mp3")
    assert lab.media(run.path).kinds == ["audio"]
    assert lab.hertz(run.path, (440, 900)) == 440


def test_titles_are_kept(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "tagged.flac", *tone(), "-metadata", "title=Морзянка é", "-metadata", "artist=Somebody"
    )
    tags = lab.media(converter.convert(AUDIO, source, "out.mp3").path).tags
    assert tags["title"] == "Морзянка é"
    assert tags["artist"] == "Somebody"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"duration": "30"}, 3),
        ({"duration": 1}, 1),
        ({"start": 1, "duration": "0.5"}, 0.5),
        ({"start": "00:00:02.000"}, 1),
    ],
)
def test_start_and_duration(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    options: dict[str, object],
    wanted: float,
) -> None:
    source = kitchen.ffmpeg("tone.flac", *tone())
    run = converter.convert(AUDIO, source, "out.mp3", **options)
    assert lab.seconds(run.path) == pytest.approx(wanted, abs=0.1)
    assert header_seconds(run.path) == pytest.approx(wanted, abs=0.1)


def test_the_output_starts_at_the_requested_time(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "two-tones.ogg", *tone(440, seconds=2), *tone(900, seconds=2), "-filter_complex",
        "[0][1]concat=n=2:v=0:a=1", "-c:a", "libvorbis",
    )  # fmt: skip
    late = converter.convert(AUDIO, source, "out.mp3", start=2.2)
    assert lab.hertz(late.path, (440, 900)) == 900
    early = converter.convert(AUDIO, source, "out.mp3", duration=1.8)
    assert lab.hertz(early.path, (440, 900)) == 440


def test_a_start_after_the_end(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg("tone.flac", *tone())
    converter.refused(AUDIO, source, "out.mp3", ExitReason.NOTHING_IN_RANGE, start=10)


@pytest.mark.parametrize("name", ["hour.flac", "hour.mp3", "hour.m4a", "hour.ogg"])
def test_a_preview_does_not_read_the_whole_file(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    codec = {"flac": "flac", "mp3": "libmp3lame", "m4a": "aac", "ogg": "libvorbis"}
    minutes = kitchen.ffmpeg(
        f"minute-{name}", *tone(seconds=60), "-c:a", codec[name.partition(".")[2]]
    )
    source = kitchen.ffmpeg(name, "-stream_loop", "59", "-i", minutes, "-c", "copy")
    run = converter.convert(AUDIO, source, "out.mp3", duration="30", bitrate="128k")
    assert lab.seconds(run.path) == pytest.approx(30, abs=0.1)
    # Decoding the hour takes several seconds of CPU time, thirty seconds of it a third of one.
    assert run.ended.cpu < 2


def test_audio_without_samples(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.write(
        "nothing.wav",
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x44\xac\0\0\x88\x58\1\0\2\0\x10\0data\0\0\0\0",
    )
    run = converter.convert(AUDIO, source, "out.mp3")
    assert run.reason in {
        ExitReason.INPUT_DAMAGED,
        ExitReason.INPUT_TRUNCATED,
        ExitReason.NO_AUDIO_STREAM,
    }


def test_the_place_of_a_recording_is_removed(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("located.m4a", *tone(), "-metadata", "location=+48.8577+002.2950/")
    assert "location" in lab.media(source).tags, "the recipe has no place"
    assert b"48.8577" not in converter.convert(AUDIO, source, "out.mp3").path.read_bytes()


def test_a_video_without_a_video_track(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    # Two seconds of video, three of audio: the audio counts.
    source = kitchen.ffmpeg("short-video.mkv", *video(seconds=2), *tone(), *X264, "-c:a", "flac")
    run = converter.convert(AUDIO, source, "out.mp3")
    assert lab.seconds(run.path) == pytest.approx(3, abs=0.1)
    assert not lab.media(run.path).streams("video")


TAGS = {b"Title": b"Song", b"Artist": b"Somebody", b"Album": b"Record", b"Year": b"1999",
        b"Track": b"3/12", b"Genre": b"Jazz", b"Album Artist": b"All"}  # fmt: skip


def ape_tag() -> bytes:
    body = b"".join(
        struct.pack("<II", len(value), 0) + name + b"\0" + value for name, value in TAGS.items()
    )
    return body + struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(body) + 32, len(TAGS), 0)


@pytest.mark.parametrize("extension", ["wv", "mp3"])
def test_ape_tags_are_kept(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    bare = ("-map_metadata", "-1", "-fflags", "+bitexact", "-id3v2_version", "0")
    plain = kitchen.ffmpeg(f"bare.{extension}", *tone(), *(bare if extension == "mp3" else ()))
    source = kitchen.edit(f"ape.{extension}", plain, lambda data: data + ape_tag())
    tags = lab.media(converter.convert(AUDIO, source, "out.mp3").path).tags
    assert {name: tags.get(name) for name in ("title", "artist", "album", "date", "track")} == {
        "title": "Song", "artist": "Somebody", "album": "Record", "date": "1999", "track": "3/12",
    }  # fmt: skip
    assert (tags["genre"], tags["album_artist"]) == ("Jazz", "All")


def test_ape_tags_count_more_than_short_ones(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """Programs write the same tags as ID3v1, too, which cuts texts and knows few genres."""
    bare = ("-map_metadata", "-1", "-fflags", "+bitexact", "-id3v2_version", "0")
    plain = kitchen.ffmpeg("bare.mp3", *tone(), *bare)
    short = b"TAG" + b"A title that is c".ljust(30, b"\0") + bytes(94) + b"\0"
    source = kitchen.edit("both.mp3", plain, lambda data: data + ape_tag() + short)
    tags = lab.media(converter.convert(AUDIO, source, "out.mp3").path).tags
    assert (tags["title"], tags["genre"]) == ("Song", "Jazz")


def test_the_year_of_a_flac_is_kept(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("year.flac", *tone(), "-metadata", "YEAR=1999")
    assert lab.media(converter.convert(AUDIO, source, "out.mp3").path).tags["date"] == "1999"


def test_sound_that_cancels_itself_out_is_no_success(
    kitchen: Kitchen, converter: Converter
) -> None:
    """Nine channels without a layout are mixed to one. Here, two of them cancel each other out."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(9)
        file.setsampwidth(2)
        file.setframerate(48000)
        for number in range(3 * 48000):
            level = round(8000 * math.sin(440 * 2 * math.pi * number / 48000))
            file.writeframes(struct.pack("<9h", level, -level, *[0] * 7))
    source = kitchen.write("cancels.wav", made.getvalue())
    run = converter.refused(AUDIO, source, "out.mp3", ExitReason.VERIFICATION_FAILED)
    assert "silent" in run.report.message
