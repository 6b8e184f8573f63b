"""Audio to M4A, Opus, Ogg, FLAC and WAV: formats, exactness, bit rates, tags, covers, copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import SOUND, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import has_faststart
from tests.converter.recipes import covered

CODECS = {
    "m4a": "aac", "opus": "opus", "ogg": "vorbis", "flac": "flac", "wav": "pcm_s16le",
}  # fmt: skip
KINDS = {
    "m4a": "MP4", "opus": "OggOpus", "ogg": "OggVorbis", "flac": "FLAC", "wav": "WAVE",
}  # fmt: skip
_READ_TAGS = """
import json, mutagen, sys
found = mutagen.File(sys.argv[1])
tags = {str(k): [str(v) for v in (x if isinstance(x, list) else [x])]
        for k, x in (found.tags or {}).items() if not str(k).startswith("covr")}
pictures = [bytes(p.data) for p in getattr(found, "pictures", [])]
if type(found).__name__ == "MP4":
    pictures += [bytes(p) for p in found.tags.get("covr", [])]
print(json.dumps({"kind": type(found).__name__, "seconds": found.info.length, "tags": tags,
                  "pictures": [p[:3].hex() for p in pictures],
                  "bits": getattr(found.info, "bits_per_sample", None)}))
"""


def mutagen(lab: Lab, path: Path) -> dict[str, Any]:
    """What another reader of sound files finds."""
    out = lab.agent.run(("python3", "-c", _READ_TAGS, lab.inside(path)))
    return dict(json.loads(out))


def samples(lab: Lab, path: Path | str, *filters: str) -> str:
    """A hash of all decoded samples, as integers of 32 bits."""
    source = ("-i", f"file:{lab.inside(path)}", "-map", "0:a:0")
    sink = (*filters, "-c:a", "pcm_s32le", "-f", "md5", "pipe:1")
    return lab.agent.run(("ffmpeg", "-nostdin", "-v", "error", *source, *sink)).decode()


def packets(lab: Lab, path: Path | str) -> str:
    """A hash of all packets of the sound. Equal only before and after a remux."""
    source = ("-i", f"file:{lab.inside(path)}", "-map", "0:a:0", "-c", "copy")
    sink = ("-f", "md5", "pipe:1")
    return lab.agent.run(("ffmpeg", "-nostdin", "-v", "error", *source, *sink)).decode()


def music(kitchen: Kitchen, name: str = "music.wav", *encoder: str) -> str:
    """Two tones and noise in stereo, 6 s at 44.1 kHz."""
    noise = ("-f", "lavfi", "-i", "anoisesrc=d=6:a=0.05:seed=7:r=44100")
    return kitchen.ffmpeg(
        name, *tone(330, 6, 44100), *tone(550, 6, 44100), *noise, "-filter_complex",
        "[0][1]join=inputs=2:channel_layout=stereo[t];[2]aformat=channel_layouts=stereo[n];"
        "[t][n]amix=inputs=2:normalize=0[out]", "-map", "[out]", *encoder,
    )  # fmt: skip


@pytest.mark.parametrize("extension", CODECS)
def test_the_extension_is_the_format(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    run = converter.convert(SOUND, music(kitchen), f"out.{extension}")
    found = lab.media(run.path)
    assert found.kinds == ["audio"]
    assert found.audio["codec_name"] == CODECS[extension]
    assert int(found.audio["sample_rate"]) == (48000 if extension == "opus" else 44100)
    assert found.audio["channels"] == 2
    assert found.duration == pytest.approx(6, abs=0.05)
    other = mutagen(lab, run.path)
    assert other["kind"] == KINDS[extension]
    assert other["seconds"] == pytest.approx(6, abs=0.05)
    report = run.report.output
    assert report
    assert (report.container, report.audio_codec) == (extension, CODECS[extension])
    assert report.duration_seconds == pytest.approx(6, abs=0.05)


def test_capital_letters_of_the_extension(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(SOUND, music(kitchen), "out.OPUS")
    assert lab.media(run.path).audio["codec_name"] == "opus"


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("extension", ["flac", "wav"])
def test_lossless_formats_keep_every_sample(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str, bits: int
) -> None:
    source = music(kitchen, f"music-{bits}.wav", "-c:a", f"pcm_s{bits}le")
    run = converter.convert(SOUND, source, f"out.{extension}")
    assert mutagen(lab, run.path)["bits"] == bits
    assert samples(lab, run.path) == samples(lab, source)


@pytest.mark.parametrize(
    ("rate", "extension", "wanted"),
    [
        (96000, "flac", 96000), (192000, "wav", 192000), (384000, "flac", 48000),
        (96000, "m4a", 48000), (88200, "ogg", 44100), (8000, "flac", 8000), (8000, "m4a", 48000),
        (44100, "opus", 48000),
    ],
)  # fmt: skip
def test_sample_rates(
    kitchen: Kitchen, converter: Converter, lab: Lab, rate: int, extension: str, wanted: int
) -> None:
    source = kitchen.ffmpeg(f"rate-{rate}.wav", *tone(rate=rate), "-ac", "1", "-c:a", "pcm_s24le")
    found = lab.media(converter.convert(SOUND, source, f"out.{extension}").path)
    assert int(found.audio["sample_rate"]) == wanted
    assert found.duration == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize(
    ("extension", "channels", "bitrate", "wanted"),
    [
        ("m4a", None, None, 128), ("m4a", "mono", None, 96), ("m4a", None, "256k", 256),
        ("m4a", "mono", "320k", 160), ("opus", None, None, 96), ("opus", "mono", None, 64),
        ("opus", None, "192k", 192), ("opus", None, "32k", 32), ("opus", "mono", "320k", 160),
        ("ogg", None, None, 128), ("ogg", None, "192k", 192), ("ogg", None, "320k", 320),
        ("ogg", "mono", "32k", 32), ("ogg", None, "32k", 48), ("ogg", "mono", "320k", 160),
    ],
)  # fmt: skip
def test_bit_rates(  # noqa: PLR0917
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    extension: str,
    channels: str | None,
    bitrate: str | None,
    wanted: int,
) -> None:
    noise = kitchen.ffmpeg(
        "noise.wav", "-f", "lavfi", "-i", "anoisesrc=d=8:a=0.3:r=44100:seed=3:c=pink", "-ac", "2"
    )
    run = converter.convert(SOUND, noise, f"out.{extension}", bitrate=bitrate, channels=channels)
    kbits = run.path.stat().st_size * 8 / lab.media(run.path).duration / 1000
    # Encoders spend fewer bits where fewer are enough.
    assert kbits == pytest.approx(wanted, rel=0.4)


@pytest.mark.parametrize("extension", ["flac", "wav"])
def test_a_bit_rate_of_a_lossless_format_is_refused(
    kitchen: Kitchen, converter: Converter, extension: str
) -> None:
    run = converter.refused(
        SOUND, music(kitchen), f"out.{extension}", ExitReason.INVALID_OPTIONS, bitrate="128k"
    )
    assert "bitrate" in run.report.message
    assert ".m4a, .opus or .ogg" in run.report.message


@pytest.mark.parametrize(("wanted", "count"), [("mono", 1), ("stereo", 2), (None, None)])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_channels(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    layout: str,
    wanted: str | None,
    count: int | None,
) -> None:
    source = kitchen.ffmpeg(
        f"channels-{layout}.flac", *tone(), "-af", f"pan={layout}|" + {
            "mono": "c0=c0", "stereo": "c0=c0|c1=c0", "5.1": "FC=c0|FL=0.3*c0|FR=0.3*c0",
        }[layout],
    )  # fmt: skip
    run = converter.convert(SOUND, source, "out.flac", channels=wanted)
    found = lab.media(run.path)
    assert found.audio["channels"] == (count or (1 if layout == "mono" else 2))
    # The tone is as loud as it was, within the 3 dB between mono and stereo.
    assert lab.loudness(run.path)[0] == pytest.approx(lab.loudness(source)[0], abs=8)
    third = lab.loudness(run.path, "bandpass=f=1320:width_type=h:w=40")[0]
    assert third < lab.loudness(run.path)[0] - 30, "clipped"


@pytest.mark.parametrize("extension", CODECS)
def test_a_part(kitchen: Kitchen, converter: Converter, lab: Lab, extension: str) -> None:
    source = kitchen.ffmpeg(
        "steps.flac", *tone(300, 2), *tone(600, 2), *tone(900, 2), "-filter_complex",
        "[0][1][2]concat=n=3:v=0:a=1",
    )  # fmt: skip
    run = converter.convert(SOUND, source, f"out.{extension}", start=2, duration="1.5")
    assert lab.media(run.path).duration == pytest.approx(1.5, abs=0.05)
    assert lab.hertz(run.path, (300, 600, 900)) == 600


@pytest.mark.parametrize("extension", CODECS)
def test_known_tags_stay_and_others_do_not(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    words = {
        "title": "Ein Lied", "artist": "Jemand", "album": "Alles", "genre": "Folk", "date": "2019",
        "track": "3/12", "location": "+48.8577+002.2950/", "comment": "from my phone",
        "encoded_by": "somebody",
    }  # fmt: skip
    tagged = (part for name, value in words.items() for part in ("-metadata", f"{name}={value}"))
    source = kitchen.ffmpeg("tagged-words.flac", *tone(), *tagged)
    run = converter.convert(SOUND, source, f"out.{extension}")
    tags = lab.media(run.path).tags
    for name in ("title", "artist", "album", "genre", "date"):
        assert tags[name] == words[name], name
    assert tags["track"].startswith("3")
    everything = json.dumps(mutagen(lab, run.path)) + run.path.read_bytes().decode("latin-1")
    for hidden in ("48.8577", "phone", "somebody"):
        assert hidden not in everything
    if extension != "wav":
        assert "Ein Lied" in json.dumps(mutagen(lab, run.path)["tags"])


@pytest.mark.parametrize(
    ("extension", "count"), [("m4a", 1), ("flac", 1), ("opus", 0), ("ogg", 0), ("wav", 0)]
)
@pytest.mark.parametrize("name", ["covered.mp3", "covered.m4a", "covered.flac"])
def test_the_cover_stays_where_the_format_has_one(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, extension: str, count: int
) -> None:
    run = converter.convert(SOUND, covered(kitchen, name), f"out.{extension}")
    found = lab.media(run.path)
    assert len(found.attached_pics) == count
    assert mutagen(lab, run.path)["pictures"] == ["ffd8ff"] * count
    assert len(found.streams("audio")) == 1
    assert len(found.body["streams"]) == 1 + count


def test_an_m4a_plays_while_it_loads(kitchen: Kitchen, converter: Converter) -> None:
    assert has_faststart(converter.convert(SOUND, music(kitchen), "out.m4a").path)


SOURCES = {
    "m4a": ("film.mp4", (*X264, *AAC)), "opus": ("film.mkv", (*X264, "-c:a", "libopus")),
    "ogg": ("film.webm", ("-c:v", "libvpx", "-c:a", "libvorbis")),
}  # fmt: skip


@pytest.mark.parametrize("extension", SOURCES)
def test_the_sound_of_a_video_is_copied_if_it_fits(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    name, encoder = SOURCES[extension]
    source = kitchen.ffmpeg(
        f"copied-{name}", *video(), *tone(), *encoder, "-metadata", "comment=secret",
        "-metadata:s:a", "description=secret",
    )  # fmt: skip
    run = converter.convert(SOUND, source, f"out.{extension}")
    assert packets(lab, run.path) == packets(lab, source)
    assert "copied unchanged" in run.report.logs
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.1)
    assert lab.media(run.path).start == pytest.approx(0, abs=0.03)
    assert b"secret" not in run.path.read_bytes()
    for options in ({"bitrate": "64k"}, {"channels": "stereo"}, {"start": 1}):
        other = converter.convert(SOUND, source, f"out.{extension}", **options)
        assert packets(lab, other.path) != packets(lab, source)


@pytest.mark.parametrize("extension", CODECS)
def test_what_has_no_sound(kitchen: Kitchen, converter: Converter, extension: str) -> None:
    silent = kitchen.ffmpeg("pictures-only.mp4", *video(), *X264)
    converter.refused(SOUND, silent, f"out.{extension}", ExitReason.NO_AUDIO_STREAM)


@pytest.mark.parametrize("extension", ["m4a", "flac"])
def test_a_truncated_song_is_not_a_short_song(
    kitchen: Kitchen, converter: Converter, extension: str
) -> None:
    whole = music(kitchen, "whole-music.flac")
    cut = kitchen.edit("cut.flac", whole, lambda data: data[: len(data) // 2])
    run = converter.convert(SOUND, cut, f"out.{extension}")
    assert run.reason in {ExitReason.INPUT_TRUNCATED, ExitReason.INPUT_DAMAGED}


def test_a_start_after_the_end(kitchen: Kitchen, converter: Converter) -> None:
    converter.refused(SOUND, music(kitchen), "out.opus", ExitReason.NOTHING_IN_RANGE, start=3600)
