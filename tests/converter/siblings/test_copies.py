"""Streams that look like ones to copy, and films whose picture changes while they run."""

from __future__ import annotations

import json
import re

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, OUT, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.siblings.inputs import (
    box_of,
    clock,
    colour_of,
    flv_joined,
    noise,
    ts_scrambled,
    webm_encrypted,
)

BLUE = (0, 0, 254)


def decoder_errors(lab: Lab, name: str) -> str:
    """What ffmpeg complains about when it decodes all of a file."""
    command = ("ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{name}", "-f", "null", "-")
    return lab.agent.start(command).result().stderr.decode()


def test_a_live_recording_whose_encoder_was_restarted(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """FLV with a second sequence header: another size and profile from the middle on."""
    first = kitchen.ffmpeg(
        "sib-live-1.flv", *clock(3), *tone(), *X264, "-profile:v", "baseline", *AAC
    )
    second = kitchen.ffmpeg(
        "sib-live-2.flv", *clock(3, "640x360"), *tone(), "-vf", "hue=h=180", *X264, *AAC
    )
    name = kitchen.write(
        "sib-restarted.flv", flv_joined(kitchen.read(first), kitchen.read(second), 3000)
    )
    run = converter.convert(VIDEO, name, "o.mp4")
    media = lab.media(run.path, count=True)
    assert abs(int(media.video["nb_read_frames"]) - 150) <= 2
    assert decoder_errors(lab, lab.inside(run.path)) == ""
    assert abs(lab.seconds(run.path) - 6) <= 0.2
    assert [colour_of(lab.frame(run.path, at)) for at in (0.5, 2.5)] == ["red", "blue"]
    # The hue is turned: blue becomes yellow, red becomes cyan.
    assert near(lab.frame(run.path, 3.5).at(0.1, 0.1), lab.frame(second, 0.5).at(0.1, 0.1), 25)
    assert near(lab.frame(run.path, 5.5).at(0.9, 0.9), lab.frame(second, 2.5).at(0.9, 0.9), 25)


@pytest.mark.parametrize("kind", [VIDEO, THUMB, AUDIO])
def test_a_scrambled_broadcast(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    plain = kitchen.ffmpeg("sib-clear.ts", *video(), *tone(), *X264, *AAC)
    name = kitchen.edit("sib-scrambled.ts", plain, lambda data: ts_scrambled(data, (0x100, 0x101)))
    target = {VIDEO: "o.mp4", THUMB: "o.jpg", AUDIO: "o.mp3"}[kind]
    converter.refused(kind, name, target, ExitReason.ENCRYPTED)


def test_only_the_sound_is_scrambled(kitchen: Kitchen, converter: Converter) -> None:
    plain = kitchen.ffmpeg("sib-clear.ts", *video(), *tone(), *X264, *AAC)
    name = kitchen.edit("sib-scrambled-sound.ts", plain, lambda data: ts_scrambled(data, (0x101,)))
    run = converter.convert(VIDEO, name, "o.mp4")
    told = run.reason is ExitReason.COMPLETED and "no audio" in " ".join(run.report.warnings)
    assert told or run.reason is ExitReason.ENCRYPTED, (run.reason, run.report)
    converter.refused(AUDIO, name, "o.mp3", ExitReason.ENCRYPTED)


@pytest.mark.parametrize("kind", [VIDEO, THUMB])
def test_an_encrypted_webm(kitchen: Kitchen, converter: Converter, kind: ConversionType) -> None:
    plain = kitchen.ffmpeg(
        "sib-plain-vp8.webm", *video(seconds=2), "-c:v", "libvpx", "-deadline", "realtime",
        "-live", "1",
    )  # fmt: skip
    name = kitchen.edit("sib-encrypted.webm", plain, webm_encrypted)
    converter.refused(kind, name, {VIDEO: "o.mp4", THUMB: "o.jpg"}[kind], ExitReason.ENCRYPTED)


def test_a_hole_in_sound_that_would_be_copied(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """Half a second of ten is noise: less than what refuses the input, but it is told."""
    plain = kitchen.ffmpeg(
        "sib-hole-plain.mp4", *video(seconds=10), "-f", "lavfi", "-i",
        "anoisesrc=r=48000:d=10:a=0.3", *X264, *AAC,
    )  # fmt: skip
    found = json.loads(
        kitchen.run(
            "ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "packet=pos,size",
            "-of", "json", plain,
        )
    )["packets"]  # fmt: skip

    def change(data: bytes) -> bytes:
        body = bytearray(data)
        for number, packet in enumerate(found[200:224]):
            at, size = int(packet["pos"]), int(packet["size"])
            body[at : at + size] = noise(size, seed=number)
        return bytes(body)

    name = kitchen.edit("sib-hole.mp4", plain, change)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert run.output, run.report
    assert decoder_errors(lab, lab.inside(run.path)) == ""
    assert "audio packets" in " ".join(run.report.warnings), run.report
    assert abs(lab.seconds(run.path) - 10) <= 0.2


def test_an_edit_list_that_starts_between_key_frames(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    whole = kitchen.ffmpeg("sib-clock.mp4", *clock(5), *tone(seconds=5), *X264, "-g", "250", *AAC)
    name = kitchen.ffmpeg("sib-trimmed.mp4", "-ss", "1.6", "-i", whole, "-c", "copy")
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.media(run.path).duration - 3.4) <= 0.15
    seen = [colour_of(lab.frame(run.path, at)) for at in (0, 0.3, 0.5, 1.3, 3.3)]
    assert seen == ["lime", "lime", "blue", "blue", "magenta"]


def test_a_place_in_the_messages_of_an_mkv(kitchen: Kitchen, converter: Converter) -> None:
    base = kitchen.base()
    placed = kitchen.ffmpeg(
        "sib-place.h264", "-i", base, "-map", "0:v", "-c", "copy", "-bsf:v",
        "h264_mp4toannexb,h264_metadata=sei_user_data="
        "086f3693-b7b3-4f2c-9653-21492feee5b8+GPS48.8577N002.2950E", "-f", "h264",
    )  # fmt: skip
    name = kitchen.by("sib-place.mkv", "mkvmerge", "-q", "-o", OUT, placed)
    assert b"GPS48.8577" in kitchen.read(name)
    run = converter.convert(VIDEO, name, "o.mp4")
    assert b"48.8577" not in run.path.read_bytes()


# Sizes and shapes that change


def test_the_size_of_a_vp8_stream_changes(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """A call whose bandwidth changed: 320x240 and then 640x360, a square in each."""

    def part(name: str, size: str, square: str) -> str:
        return kitchen.ffmpeg(
            name, *colour("gray", size), "-vf", f"{square}:blue:fill", "-c:v", "libvpx",
            "-deadline", "realtime", "-b:v", "1M",
        )  # fmt: skip

    first = part("sib-call-1.webm", "320x240", "drawbox=40:40:120:120")
    second = part("sib-call-2.webm", "640x360", "drawbox=100:100:180:180")
    listed = kitchen.write(
        "sib-call.txt",
        f"file '/workspace/{first}'\nfile '/workspace/{second}'\n".encode(),
    )
    name = kitchen.ffmpeg("sib-call.webm", "-f", "concat", "-safe", "0", "-i", listed, "-c", "copy")
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.frames(run.path) - 100) <= 2
    for at in (0.5, 1.5, 2.5, 3.8):
        wide, high = box_of(lab.frame(run.path, at), BLUE)
        assert abs(wide / high - 1) <= 0.06, at
    late = converter.convert(THUMB, name, "o.png", time=3)
    wide, high = box_of(lab.image(late.path), BLUE)
    assert abs(wide / high - 1) <= 0.06


def test_the_shape_of_the_pixels_changes(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """A broadcast that goes from 4:3 to 16:9 with the same number of pixels."""

    def part(name: str, aspect: str, square: str) -> str:
        return kitchen.ffmpeg(
            name, *colour("gray", "352x288"), "-vf", f"{square}:blue:fill", "-aspect", aspect,
            "-c:v", "mpeg2video", "-q:v", "3",
        )  # fmt: skip

    first = part("sib-shape-1.ts", "4:3", "drawbox=60:60:132:144")
    second = part("sib-shape-2.ts", "16:9", "drawbox=60:60:99:144")
    name = kitchen.write("sib-shape.ts", kitchen.read(first) + kitchen.read(second))
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.frames(run.path) - 100) <= 3
    assert lab.media(run.path).video.get("sample_aspect_ratio", "1:1") in {"1:1", "0:1"}
    for at in (0.5, 1.5, 2.5, 3.5):
        wide, high = box_of(lab.frame(run.path, at), BLUE)
        assert abs(wide / high - 1) <= 0.06, at


def test_a_camera_turned_while_it_recorded_jpegs(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """MJPEG, landscape and then portrait, in one stream of a Matroska file."""

    def part(name: str, size: str) -> str:
        return kitchen.ffmpeg(
            name, *colour("gray", size), "-vf", "drawbox=40:40:100:100:blue:fill", "-c:v", "mjpeg",
            "-q:v", "3", "-f", "mjpeg",
        )  # fmt: skip

    first, second = part("sib-turn-1.mjpeg", "320x180"), part("sib-turn-2.mjpeg", "180x320")
    joined = kitchen.write("sib-turn.mjpeg", kitchen.read(first) + kitchen.read(second))
    name = kitchen.ffmpeg("sib-turn.mkv", "-f", "mjpeg", "-i", joined, "-c", "copy")
    run = converter.convert(VIDEO, name, "o.mp4")
    assert abs(lab.frames(run.path) - 100) <= 2
    for at in (0.5, 1.5, 2.5, 3.5):
        wide, high = box_of(lab.frame(run.path, at), BLUE)
        assert abs(wide / high - 1) <= 0.06, at
    assert not re.search("deprecated|error", decoder_errors(lab, lab.inside(run.path)))
