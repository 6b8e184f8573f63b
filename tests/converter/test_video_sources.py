"""Every accepted container, recognised by content and not by name; animations; refusals."""

from __future__ import annotations

import re

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab

CONTAINERS = {
    "mp4": (*X264, *AAC),
    "mov": (*X264, "-c:a", "pcm_s16le"),
    "m4v": (*X264, *AAC),
    "3gp": ("-c:v", "h263", "-s", "176x144", *AAC),
    "mkv": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "ts": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "flv": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
}


@pytest.mark.parametrize("extension", CONTAINERS)
def test_every_container_is_recognised_by_its_content(
    kitchen: Kitchen, converter: Converter, lab: Lab, extension: str
) -> None:
    made = kitchen.ffmpeg(
        f"container.{extension}", *video("352x288", seconds=2), *tone(seconds=2),
        *CONTAINERS[extension],
    )  # fmt: skip
    source = kitchen.write(f"container-{extension}.upload", kitchen.read(made))
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    assert found.kinds == ["video", "audio"]
    assert found.video["codec_name"] == "h264"
    assert found.audio["codec_name"] == "aac"
    assert found.duration == pytest.approx(2, abs=0.15)
    assert lab.loudness(run.path)[0] > -35
    assert lab.image(converter.convert(THUMB, source, "out.jpg").path).commonest_share < 0.5


@pytest.mark.parametrize("codec", ["av1", "hevc", "vp9", "mjpeg", "h263p", "msmpeg4v3", "wmv1"])
def test_current_and_old_codecs(
    kitchen: Kitchen, converter: Converter, lab: Lab, codec: str
) -> None:
    encoder = {
        "av1": ("libaom-av1", "-cpu-used", "8", "-usage", "realtime"),
        "hevc": ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
        "vp9": ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
        "msmpeg4v3": ("msmpeg4",),
    }.get(codec, (codec,))
    source = kitchen.ffmpeg(
        f"codec-{codec}.{'avi' if encoder[0] in {'msmpeg4', 'wmv1'} else 'mkv'}",
        *video("352x288", seconds=1), "-c:v", *encoder,
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == 25
    assert lab.media(run.path).video["codec_name"] == "h264"


def gif(kitchen: Kitchen, name: str = "g.gif", *extra: str) -> str:
    return kitchen.ffmpeg(name, *video("101x75", rate=10, seconds=1), *extra)


def test_a_gif_keeps_its_speed(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(VIDEO, gif(kitchen), "out.mp4")
    found = lab.media(run.path, count=True)
    assert found.duration == pytest.approx(1, abs=0.1)
    assert int(found.video["nb_read_frames"]) == 10
    assert abs(found.size[0] - 101) <= 1
    assert abs(found.size[1] - 75) <= 1


def test_a_gif_without_delays_plays_as_in_browsers(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    data = kitchen.read(gif(kitchen))
    for hundredths in (0, 1):
        # Every graphic control extension holds the delay in its fifth and sixth byte.
        changed = bytearray(data)
        for found in re.finditer(rb"\x21\xf9\x04", data):
            changed[found.start() + 4 : found.start() + 6] = bytes((hundredths, 0))
        source = kitchen.write(f"delay{hundredths}.gif", bytes(changed))
        run = converter.convert(VIDEO, source, "out.mp4")
        assert lab.media(run.path).duration == pytest.approx(1, abs=0.1)
        assert lab.frames(run.path) == 10


def test_a_gif_of_one_frame(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(VIDEO, gif(kitchen, "one.gif", "-frames:v", "1"), "out.mp4")
    found = lab.media(run.path, count=True)
    assert int(found.video["nb_read_frames"]) == 1
    assert found.duration > 0
    small = kitchen.ffmpeg("1x1.gif", *colour("red", "1x1", rate=10, seconds=1))
    assert lab.media(converter.convert(VIDEO, small, "out.mp4").path).size == (2, 2)


def test_a_transparent_gif_becomes_white(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "clear.gif", *colour("black", "64x64", rate=10, seconds=0.5), "-vf",
        "format=rgba,colorchannelmixer=aa=0,"
        "drawbox=x=32:y=0:w=32:h=64:color=blue@1:t=fill:replace=1,split[a][b];"
        "[a]palettegen[p];[b][p]paletteuse",
    )  # fmt: skip
    bitmap = lab.frame(converter.convert(VIDEO, source, "out.mp4").path)
    assert min(bitmap.at(0.2, 0.5)) > 240
    assert bitmap.at(0.8, 0.5)[2] > 200


def test_a_gif_has_a_thumbnail(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    width, height = lab.image(converter.convert(THUMB, gif(kitchen), "out.jpg").path).size
    assert abs(width - 101) <= 1
    assert abs(height - 75) <= 1


def test_animated_webp_is_complete_or_refused(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "anim.webp", *video("100x100", rate=5, seconds=1), "-c:v", "libwebp_anim", "-loop", "0"
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    if run.output:
        assert lab.frames(run.path) == 5
        assert lab.media(run.path).duration == pytest.approx(1, abs=0.1)
    else:
        assert run.reason is ExitReason.UNSUPPORTED_FORMAT
        assert "webp" in run.report.message.lower()


def test_animated_png_is_complete_or_refused(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "anim.png", *video("100x100", rate=5, seconds=1), "-plays", "0", "-f", "apng"
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    if run.output:
        assert lab.frames(run.path) == 5
    else:
        assert run.reason in {ExitReason.UNSUPPORTED_FORMAT, ExitReason.NO_VIDEO_STREAM}


def test_a_still_image_is_neither_audio_nor_video(kitchen: Kitchen, converter: Converter) -> None:
    still = kitchen.ffmpeg("still.jpg", *colour("red", "64x64"), "-frames:v", "1")
    for kind, target in ((AUDIO, "out.mp3"), (VIDEO, "out.mp4"), (THUMB, "out.jpg")):
        run = converter.refused(kind, still, target, ExitReason.UNSUPPORTED_FORMAT)
        assert "image_resize" in run.report.message


def test_a_video_is_not_an_image(kitchen: Kitchen, converter: Converter) -> None:
    renamed = kitchen.write("video.jpg", kitchen.read(kitchen.base()))
    for source in (kitchen.base(), renamed):
        converter.refused(IMAGE, source, "out.jpg", ExitReason.UNSUPPORTED_FORMAT)
