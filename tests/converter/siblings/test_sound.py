"""Layouts and tags that ffmpeg does not map."""

from __future__ import annotations

import array
import math
import struct

import pytest

from tests.converter.harness import AUDIO, VIDEO, Converter, Run
from tests.converter.kitchen import OUT, Kitchen, tone, video
from tests.converter.lab import Lab

TONES = (220, 440, 880)


def wav(channels: int, mask: int) -> bytes:
    """A WAVEX file: the mask says where the loudspeakers are, 0 if they have no names."""
    tones = [round(8000 * math.sin(2 * math.pi * 440 * at / 48000)) for at in range(2 * 48000)]
    body = array.array("h", (value for value in tones for _ in range(channels))).tobytes()
    pcm = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    form = struct.pack(
        "<HHIIHHHHI", 0xFFFE, channels, 48000, 96000 * channels, 2 * channels, 16, 22, 16, mask
    ) + pcm  # fmt: skip
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def unnamed(kitchen: Kitchen, channels: int) -> tuple[str, ...]:
    """The same tone in so many channels without names, as the next input."""
    return ("-i", kitchen.write(f"sib-{channels}-source.wav", wav(channels, 0)))


UNNAMED = {
    "sib-16.mov": (16, ("-c:a", "pcm_s16le")),
    "sib-12.w64": (12, ("-c:a", "pcm_s16le")),
    "sib-11.mka": (11, ("-c:a", "pcm_s16le")),
    "sib-5.aiff": (5, ("-c:a", "pcm_s16be")),
    "sib-4.ogg": (4, ("-c:a", "libopus", "-mapping_family", "255")),
}
WAV = {"sib-6.wav": (6, 0), "sib-7.wav": (7, 0), "sib-odd.wav": (3, 0x80000)}
"""Channels and mask."""


def check_tone(lab: Lab, run: Run) -> None:
    assert lab.hertz(run.path, TONES) == 440
    assert lab.loudness(run.path)[0] > -35
    assert lab.media(run.path).audio["channels"] <= 2


@pytest.mark.parametrize("name", [*UNNAMED, *WAV])
def test_unnamed_loudspeakers(kitchen: Kitchen, converter: Converter, lab: Lab, name: str) -> None:
    if name in WAV:
        place = kitchen.write(name, wav(*WAV[name]))
    else:
        channels, arguments = UNNAMED[name]
        place = kitchen.ffmpeg(name, *unnamed(kitchen, channels), *arguments)
    check_tone(lab, converter.convert(AUDIO, place, "o.mp3"))


def test_ambisonic_sound_of_second_order(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    same = "|".join(["sin(2*PI*440*t)/4"] * 9)
    name = kitchen.ffmpeg(
        "sib-9.webm", "-f", "lavfi", "-i", f"aevalsrc=exprs={same}:d=3:s=48000:c=ambisonic 2",
        "-c:a", "libopus", "-mapping_family", "2",
    )  # fmt: skip
    check_tone(lab, converter.convert(AUDIO, name, "o.mp3"))


def test_a_film_with_unnamed_loudspeakers(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    name = kitchen.ffmpeg(
        "sib-film-10.mov", *video(), *unnamed(kitchen, 10), "-c:v", "mpeg4", "-c:a", "pcm_s16le"
    )
    check_tone(lab, converter.convert(VIDEO, name, "o.mp4"))


# Tags

TAGS = """
import sys, mutagen
from mutagen.oggvorbis import OggVorbis
from mutagen.asf import ASF
path = sys.argv[1]
values = {'title': 'Song', 'artist': 'Band', 'album': 'Disc'}
if path.endswith('.ogg'):
    file = OggVorbis(path)
    file.clear()
    for key, value in values.items():
        file[key.upper()] = value
    file['YEAR'] = '1999'
elif path.endswith('.wma'):
    file = ASF(path)
    file.tags.clear()
    file['Title'], file['Author'] = 'Song', 'Band'
    file['WM/AlbumTitle'], file['WM/Year'] = 'Disc', '1999'
else:
    from mutagen.aiff import AIFF
    from mutagen.id3 import TIT2, TPE1, TALB, TYER
    file = AIFF(path)
    if file.tags is None:
        file.add_tags()
    for frame in (TIT2(3, 'Song'), TPE1(3, 'Band'), TALB(3, 'Disc'), TYER(3, '1999')):
        file.tags.add(frame)
    file.tags.update_to_v23()
    file.tags.save(path, v2_version=3)
    sys.exit()
file.save()
"""
MATROSKA_TAGS = b"""<?xml version="1.0"?><Tags>
<Tag><Targets><TargetTypeValue>50</TargetTypeValue></Targets>
<Simple><Name>TITLE</Name><String>Disc</String></Simple></Tag>
<Tag><Targets><TargetTypeValue>30</TargetTypeValue></Targets>
<Simple><Name>TITLE</Name><String>Song</String></Simple>
<Simple><Name>ARTIST</Name><String>Band</String></Simple>
<Simple><Name>DATE_RELEASED</Name><String>1999</String></Simple></Tag></Tags>"""
KINDS = {"ogg": "libvorbis", "wma": "wmav2", "aiff": "pcm_s16be"}


def tagged(kitchen: Kitchen, kind: str) -> str:
    if kind == "id3v1":
        plain = kitchen.ffmpeg(
            "sib-untagged.mp3", *tone(), "-c:a", "libmp3lame", "-id3v2_version", "0"
        )
        block = b"TAG" + b"Song".ljust(30, b"\0") + b"Band".ljust(30, b"\0")
        block += b"Disc".ljust(30, b"\0") + b"1999" + bytes(30) + b"\xff"
        return kitchen.edit("sib-id3v1.mp3", plain, lambda data: data + block)
    if kind == "mka":
        plain = kitchen.ffmpeg("sib-untagged.mka", *tone(), "-c:a", "flac")
        text = kitchen.write("sib-tags.xml", MATROSKA_TAGS)
        return kitchen.by(
            "sib-tagged.mka", "mkvmerge", "-q", "-o", OUT, "--global-tags", text, plain
        )

    def recipe(out: str) -> None:
        kitchen.run("ffmpeg", "-v", "error", *tone(), "-c:a", KINDS[kind], out)
        kitchen.agent.python(TAGS, out)

    return kitchen.make(f"sib-tagged.{kind}", recipe)


@pytest.mark.parametrize("kind", ["ogg", "wma", "aiff", "id3v1", "mka"])
def test_tags_that_have_another_name(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: str
) -> None:
    run = converter.convert(AUDIO, tagged(kitchen, kind), "o.mp3")
    tags = lab.media(run.path).tags
    assert tags.get("title") == "Song", tags
    assert tags.get("artist") == "Band", tags
    assert tags.get("date") == "1999", tags
    if kind != "mka":
        assert tags.get("album") == "Disc", tags
