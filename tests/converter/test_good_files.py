"""Good files with unusual headers, layouts, colours and lengths are converted as players do."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.test_video_copies import Atoms, atom

PLACEHOLDERS = (0x7FFFF000, 2_000_000_000, 0x80000000, 0x7FFFFFDB, 0, 0xFFFFFFFF)


@pytest.mark.parametrize("length", PLACEHOLDERS)
def test_a_recorder_that_was_not_stopped(
    kitchen: Kitchen, converter: Converter, lab: Lab, length: int
) -> None:
    plain = kitchen.ffmpeg("plain.wav", *tone(), "-fflags", "+bitexact")

    def claim(data: bytes) -> bytes:
        at = data.index(b"data") + 4
        size = struct.pack("<I", length)
        return data[:4] + size + data[8:at] + size + data[at + 4 :]

    run = converter.convert(AUDIO, kitchen.edit(f"live-{length}.wav", plain, claim), "out.mp3")
    assert lab.seconds(run.path) == pytest.approx(3, abs=0.15)


def test_a_start_behind_an_estimated_length(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    loud = kitchen.ffmpeg("loud.mp3", *tone(seconds=4), "-b:a", "320k", "-write_xing", "0")
    soft = kitchen.ffmpeg("soft.mp3", *tone(seconds=56), "-b:a", "32k", "-write_xing", "0")
    source = kitchen.write("estimated.mp3", kitchen.read(loud) + kitchen.read(soft))
    assert lab.media(source).duration < 50
    run = converter.convert(AUDIO, source, "out.mp3", start=55, duration=10)
    assert lab.seconds(run.path) == pytest.approx(5, abs=0.5)
    converter.refused(AUDIO, source, "out.mp3", ExitReason.NOTHING_IN_RANGE, start=100)


@pytest.mark.parametrize("name", ["sphere.webm", "sphere.mka"])
def test_the_sound_of_a_360_degree_camera(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    source = kitchen.ffmpeg(
        name, *(video("64x48") if name.endswith("webm") else ()),
        "-f", "lavfi", "-i",
        "aevalsrc=exprs='0.12*sin(440*2*PI*t)|0|0|0':channel_layout='ambisonic 1':s=48000:d=3",
        *(("-c:v", "libvpx", "-deadline", "realtime") if name.endswith("webm") else ()),
        "-c:a", "libopus", "-mapping_family", "2", "-b:a", "256k",
    )  # fmt: skip
    assert lab.loudness(converter.convert(AUDIO, source, "out.mp3").path)[0] > -35
    if name.endswith("webm"):
        assert lab.loudness(converter.convert(VIDEO, source, "out.mp4").path)[0] > -35


@pytest.mark.parametrize("matrix", [8, 10, 11, 12, 13, 14])
def test_a_rare_colour_matrix(
    kitchen: Kitchen, converter: Converter, lab: Lab, matrix: int
) -> None:
    plain = kitchen.ffmpeg("422.mp4", *colour("orange"), "-c:v", "libx264", "-pix_fmt", "yuv422p")
    source = kitchen.ffmpeg(
        f"matrix{matrix}.mp4", "-i", plain, "-c", "copy",
        "-bsf:v", f"h264_metadata=matrix_coefficients={matrix}",
    )  # fmt: skip
    wanted = lab.frame(plain).at(0.5, 0.5)
    assert near(lab.frame(converter.convert(VIDEO, source, "out.mp4").path).at(0.5, 0.5), wanted)
    assert near(lab.image(converter.convert(THUMB, source, "out.png").path).at(0.5, 0.5), wanted)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p"])
@pytest.mark.parametrize("matrix", [0, 8, 14])
def test_an_output_has_a_matrix_that_players_know(
    kitchen: Kitchen, converter: Converter, lab: Lab, matrix: int, pixels: str
) -> None:
    """0 is that of RGB, which these pixels are not. A copy would keep the tag."""
    plain = kitchen.ffmpeg(
        f"plain-{pixels}.mp4", *colour("orange"), "-c:v", "libx264", "-pix_fmt", pixels
    )
    source = kitchen.ffmpeg(
        f"matrix-{matrix}-{pixels}.mp4", "-i", plain, "-c", "copy",
        "-bsf:v", f"h264_metadata=matrix_coefficients={matrix}",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).video.get("color_space") in {None, "bt709", "smpte170m"}
    assert near(lab.frame(run.path).at(0.5, 0.5), lab.frame(plain).at(0.5, 0.5))


def test_a_colour_matrix_that_does_not_exist(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "matrix3.mp4", "-i", kitchen.base(), "-c", "copy", "-bsf:v",
        "h264_metadata=matrix_coefficients=3",
    )  # fmt: skip
    run = converter.refused(THUMB, source, "out.png", ExitReason.UNSUPPORTED_FORMAT)
    assert "colour" in run.report.message


def test_untagged_hd_has_the_colours_of_hd(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "untagged.mp4", "-f", "lavfi", "-i", "color=0x30b040:s=1280x720:r=5:d=1", "-vf",
        "scale=out_color_matrix=bt709,format=yuv420p,setparams=colorspace=unknown", "-c:v", "mpeg4",
        "-q:v", "2",
    )  # fmt: skip
    assert "color_space" not in lab.media(source).video
    shown = lab.image(converter.convert(THUMB, source, "out.png").path)
    assert near(shown.at(0.5, 0.5), (0x30, 0xB0, 0x40), 8)
    run = converter.convert(VIDEO, source, "out.mp4", resolution="240p")
    assert lab.media(run.path).video["color_space"] == "bt709"


def clap(data: bytes, width: int, height: int) -> bytes:
    """Hide the border of a video by a clean aperture, as cameras do."""
    parts = Atoms(data)
    box = atom(b"clap", struct.pack(">8I", width, 1, height, 1, 0, 1, 0, 1))
    entry = struct.pack(">I", len(parts.entry) + len(box)) + parts.entry[4:] + box
    grown = data.replace(parts.entry, entry)
    for kind in (b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        at = grown.index(kind) - 4
        size = int.from_bytes(grown[at : at + 4], "big") + len(box)
        grown = grown[:at] + struct.pack(">I", size) + grown[at + 4 :]
    return grown


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_border_that_the_container_hides(
    kitchen: Kitchen, converter: Converter, lab: Lab, codec: str
) -> None:
    whole = kitchen.ffmpeg(
        f"border-{codec}.mp4", "-f", "lavfi", "-i", "color=blue:s=640x360:r=10:d=1", "-vf",
        "drawbox=270:130:100:100:red:fill", "-c:v", codec, "-pix_fmt", "yuv420p",
    )  # fmt: skip
    source = kitchen.edit(f"clap-{codec}.mp4", whole, lambda data: clap(data, 640, 240))
    for made in (
        lab.frame(converter.convert(VIDEO, source, "out.mp4").path),
        lab.image(converter.convert(THUMB, source, "out.png").path),
    ):
        assert made.size == (640, 240)
        row = [made.at((x + 0.5) / 640, 0.5) for x in range(640)]
        column = [made.at(0.5, (y + 0.5) / 240) for y in range(240)]
        wide, high = (sum(near(p, (254, 0, 0), 80) for p in line) for line in (row, column))
        assert wide == pytest.approx(100, abs=6)
        assert high == pytest.approx(100, abs=6)


def grown(data: bytes, at: int, extra: int) -> bytes:
    """A copy of a Matroska file in which the element whose length is at ``at`` is longer."""
    width = 9 - data[at].bit_length()
    length = int.from_bytes(data[at : at + width], "big") + extra
    return data[:at] + length.to_bytes(width, "big") + data[at + width :]


def cropped(data: bytes, shown: int) -> bytes:
    """Hide 60 rows above and below, and state the size for display as 640 x ``shown``."""
    extra = b"\x54\xaa\x81\x3c\x54\xbb\x81\x3c"
    extra += b"\x54\xb0\x82\x02\x80\x54\xba\x82" + shown.to_bytes(2, "big")
    video = data.index(b"\xb0\x82\x02\x80\xba\x82\x01\x68") - 2
    end = video + 2 + (data[video + 1] & 0x7F)
    tracks = data.rindex(b"\x16\x54\xae\x6b", 0, video)
    entry = data.index(b"\xae", tracks + 5)
    data = data[:end] + extra + data[end:]
    for at in (video + 1, entry + 1, tracks + 4):
        data = grown(data, at, len(extra))
    return data


@pytest.mark.parametrize("shown", [240, 360])
def test_a_size_for_display_from_before_the_border_was_hidden(
    kitchen: Kitchen, converter: Converter, lab: Lab, shown: int
) -> None:
    whole = kitchen.ffmpeg(
        "border.mkv", "-f", "lavfi", "-i", "color=blue:s=640x360:r=10:d=1", "-vf",
        "drawbox=270:130:100:100:red:fill", "-c:v", "mpeg4", "-live", "1",
    )  # fmt: skip
    source = kitchen.edit(f"border-{shown}.mkv", whole, lambda data: cropped(data, shown))
    for made in (
        lab.frame(converter.convert(VIDEO, source, "out.mp4").path),
        lab.image(converter.convert(THUMB, source, "out.png").path),
    ):
        assert made.size == (640, 240)
        for place, inside in ((0.33, True), (0.67, True), (0.25, False), (0.75, False)):
            assert near(made.at(0.5, place), (254, 0, 0), 80) == inside, place
        assert near(made.at(0.01, 0.5), (0, 0, 254), 80), "there are bars at the sides"


@pytest.mark.parametrize("ending", ["gif", "apng"])
def test_the_last_picture_of_an_animation_rests(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    muxer = ("-final_delay", "500") if ending == "gif" else ("-final_delay", "5", "-plays", "0")
    source = kitchen.ffmpeg(f"rests.{ending}", *video("64x48", 10, 0.5), *muxer, "-f", ending)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(5.4, abs=0.3)


def test_noise_in_a_film_is_not_too_large(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "vp9.webm", *video("160x90", seconds=1), "-c:v", "libvpx-vp9", "-deadline", "realtime"
    )

    def spoil(data: bytes) -> bytes:
        at = data.index(b"\x1f\x43\xb6\x75") + 40
        return data[:at] + bytes(range(256)) * ((len(data) - at) // 256)

    broken = kitchen.edit("noise.webm", source, spoil)
    run = converter.convert(VIDEO, broken, "out.mp4")
    assert run.reason in {ExitReason.INPUT_DAMAGED, ExitReason.INPUT_TRUNCATED}, run.report


def test_sound_beside_video_is_kept(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("control.mp4", *video(), *tone(), *X264, *AAC)
    assert lab.loudness(converter.convert(VIDEO, source, "out.mp4").path)[0] > -35
