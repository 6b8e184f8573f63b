"""The codecs and the containers of videos."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from media_converter.contract import ConversionType, ExitReason, OutputState
from tests.converter import several
from tests.converter.harness import VIDEO, WEBM, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.several import Wanted


class Format(NamedTuple):
    """A type of conversion, and what it makes."""

    kind: ConversionType
    codec: str
    container: str
    sound: str

    def __str__(self) -> str:
        return f"{self.codec}.{self.container}"


FORMATS = [
    Format(VIDEO, "hevc", "mp4", "aac"),
    Format(VIDEO, "av1", "mp4", "aac"),
    Format(WEBM, "vp9", "webm", "opus"),
    Format(WEBM, "av1", "webm", "opus"),
]
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "800k")
KEY = bytes.fromhex("9d012a")
"""The start code of a key picture of VP8."""
OPUS, VORBIS = ("-c:a", "libopus"), ("-c:a", "libvorbis")


def codecs(lab: Lab, path: Path) -> list[str]:
    return [stream["codec_name"] for stream in lab.media(path).body["streams"]]


each_codec = pytest.mark.parametrize("wanted", FORMATS, ids=str)


@each_codec
def test_a_video_in_each_codec(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    wanted: Format,
) -> None:
    source = kitchen.base()
    made = converter.convert(wanted.kind, source, f"a.{wanted.container}", videoCodec=wanted.codec)
    found = lab.media(made.path, count=True)
    assert found.video["codec_name"] == wanted.codec
    assert found.video["pix_fmt"] == "yuv420p"
    assert (found.video["width"], found.video["height"]) == (320, 180)
    assert int(found.video["nb_read_frames"]) == 75
    assert found.duration == pytest.approx(3, abs=0.1)
    (audio,) = found.streams("audio")
    assert audio["codec_name"] == wanted.sound
    assert lab.hertz(made.path, (440, 880)) == 440
    assert lab.similarity(made.path, source) > 0.95
    output = made.report.output
    assert output
    facts = (output.video_codec, output.container, output.audio_codec)
    assert facts == (wanted.codec, wanted.container, wanted.sound)
    if wanted.codec == "hevc":
        assert found.video["codec_tag_string"] == "hvc1", "the tag that Apple's players need"


@each_codec
def test_turned_wide_pixels_and_few_pictures(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    wanted: Format,
) -> None:
    upright = kitchen.ffmpeg(
        "wide-pixels.mp4", *video("160x90", rate=5), "-vf", "setsar=2/1", *X264
    )
    source = kitchen.ffmpeg(
        "wide-turned.mp4", "-display_rotation", "90", "-i", upright, "-c", "copy"
    )
    made = converter.convert(wanted.kind, source, f"a.{wanted.container}", videoCodec=wanted.codec)
    found = lab.media(made.path, count=True).video
    assert (found["width"], found["height"]) == (90, 320)
    assert int(found["nb_read_frames"]) == 15
    assert found.get("sample_aspect_ratio", "1:1") in ("1:1", "0:1")


@each_codec
@pytest.mark.parametrize(
    ("frames", "clip"),
    [
        # The filter that moves a part to time 0 removes the frame rate.
        (25, ("part.mkv", 25, {"start": 1, "duration": 1})),
        (120, ("fast.mp4", 300, {})),
        # The frames of a slide show are repeated.
        (6, ("slow.mkv", 0.25, {})),
    ],
)
def test_any_frame_rate_in_each_codec(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    wanted: Format,
    frames: int,
    clip: tuple[str, float, dict[str, object]],
) -> None:
    """An encoder may reject the rate of the time base, or that of the input."""
    name, rate, options = clip
    seconds = max(2, 3 / rate)
    source = kitchen.ffmpeg(name, *video("128x72", rate=rate, seconds=seconds), *X264)
    made = converter.convert(
        wanted.kind, source, f"a.{wanted.container}", videoCodec=wanted.codec, **options
    )
    found = lab.media(made.path, count=True)
    assert found.duration == pytest.approx(options.get("duration", seconds), abs=0.1)
    assert int(found.video["nb_read_frames"]) == pytest.approx(frames, abs=2)


@pytest.mark.parametrize("codec", ["hevc", "av1", "h264"])
def test_hdr_becomes_sdr_in_each_codec(
    kitchen: Kitchen, converter: Converter, lab: Lab, codec: str
) -> None:
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
    source = kitchen.ffmpeg(
        "hdr-codecs.mkv",
        *video(seconds=1),
        *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", *tags),
    )
    made = converter.convert(VIDEO, source, "a.mp4", videoCodec=codec)
    found = lab.media(made.path).video
    assert (found["pix_fmt"], found["color_transfer"]) == ("yuv420p", "bt709")


@each_codec
def test_the_bit_rate_has_a_limit_in_each_codec(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    wanted: Format,
) -> None:
    source = kitchen.ffmpeg(
        "noise-13s.mp4",
        *video("160x90", seconds=13),
        *("-vf", "noise=alls=90:allf=t+u", "-crf", "10", *X264),
    )
    made = converter.convert(
        wanted.kind, source, f"a.{wanted.container}", videoCodec=wanted.codec, maxBitrate=500
    )
    assert 2.5e5 < lab.highest_bit_rate(made.path) <= 5.5e5


@pytest.mark.parametrize(("codec", "size"), [("hevc", "30x16"), ("av1", "64x70"), ("h264", "2x2")])
def test_the_smallest_pictures_of_a_codec(
    kitchen: Kitchen, converter: Converter, lab: Lab, codec: str, size: str
) -> None:
    source = kitchen.ffmpeg(f"small-{size}.mkv", *video(size, seconds=1), "-c:v", "ffv1")
    made = converter.convert(VIDEO, source, "a.mp4", videoCodec=codec)
    width, height = map(int, size.split("x"))
    found = lab.media(made.path).video
    assert (found["codec_name"], found["width"], found["height"]) == (codec, width, height)


@pytest.mark.parametrize(("codec", "size"), [("hevc", "30x14"), ("av1", "62x70")])
def test_what_is_too_small_for_a_codec_is_refused(
    kitchen: Kitchen, converter: Converter, codec: str, size: str
) -> None:
    source = kitchen.ffmpeg(f"small-{size}.mkv", *video(size, seconds=1), "-c:v", "ffv1")
    refused = converter.refused(
        VIDEO, source, "a.mp4", ExitReason.UNSUPPORTED_FORMAT, videoCodec=codec
    )
    assert "choose another videoCodec" in refused.report.message


@each_codec
def test_a_thousand_pictures_per_second(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    wanted: Format,
) -> None:
    """A recorder that counts in milliseconds names this rate, whatever the real one is."""
    source = kitchen.ffmpeg(
        "milliseconds.mkv",
        *video(rate=1000, seconds=1),
        *("-vf", "select=not(mod(n\\,40))", "-fps_mode", "passthrough", *X264),
    )
    made = converter.convert(wanted.kind, source, f"a.{wanted.container}", videoCodec=wanted.codec)
    assert lab.frames(made.path) == 25


@pytest.mark.parametrize(
    ("name", "arguments", "names"),
    [
        ("vp9.webm", (*VP9, *OPUS), ["vp9", "opus"]),
        ("vp8.webm", (*VP8, *VORBIS), ["vp8", "vorbis"]),
        ("vp9.mp4", (*VP9, *OPUS), ["vp9", "opus"]),
    ],
)
def test_what_fits_webm_is_copied(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    name: str,
    arguments: tuple[str, ...],
    names: list[str],
) -> None:
    source = kitchen.ffmpeg(name, *video(), *tone(), *arguments)
    made = converter.convert(WEBM, source, "a.webm")
    assert lab.pixels(made.path) == lab.pixels(source)
    assert codecs(lab, made.path) == names
    assert "copied unchanged; audio" in made.report.logs
    other = converter.convert(WEBM, source, "b.webm", videoCodec="av1")
    assert lab.media(other.path).video["codec_name"] == "av1"


def test_what_fits_another_container_only_is_encoded(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("vp9-only.webm", *video(), *tone(), *VP9, *OPUS)
    made = converter.convert(VIDEO, source, "a.mp4")
    assert codecs(lab, made.path) == ["h264", "aac"]
    made = converter.convert(WEBM, kitchen.base(), "a.webm")
    assert codecs(lab, made.path) == ["vp9", "opus"]


def test_a_webm_copy_that_does_not_decode_is_encoded(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    def spoil(data: bytes) -> bytes:
        """Without its start code, the second key picture is none."""
        start = data.index(KEY, data.index(KEY) + 1)
        return data[:start] + bytes(3) + data[start + 3 :]

    whole = kitchen.ffmpeg("whole-vp8.webm", *video(), *VP8, "-g", "25")
    source = kitchen.edit("damaged-vp8.webm", whole, spoil)
    folder = converter.workspace.scratch("damaged")
    done = several.run(
        converter, source, [Wanted(WEBM, f"{folder}/a.webm")], env={"DAMAGED_INPUT": "Convert"}
    )
    assert done.states == [OutputState.SUCCEEDED], done.report.message
    assert "cannot be copied" in done.log


def test_outputs_of_several_codecs_share_a_decoder(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    folder = converter.workspace.scratch("codecs")
    wanted = [
        Wanted(WEBM, f"{folder}/a.webm", {"resolution": "240p"}),
        Wanted(VIDEO, f"{folder}/a.mp4", {"resolution": "240p"}),
        Wanted(VIDEO, f"{folder}/b.mp4", {"resolution": "240p", "videoCodec": "hevc"}),
    ]
    source = kitchen.ffmpeg("for-codecs.mp4", *video("640x360"), *tone(), *X264, *AAC)
    done = several.run(converter, source, wanted)
    assert done.states == [OutputState.SUCCEEDED] * 3, done.report.message
    assert re.findall(r"(\d+) videos from one decoder", done.log) == ["3"]
    assert [lab.media(one.target).video["codec_name"] for one in wanted] == ["vp9", "h264", "hevc"]
