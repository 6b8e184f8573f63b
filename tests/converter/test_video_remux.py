"""A video that meets the request is stream-copied. Any other video is encoded."""

from __future__ import annotations

import pytest

from tests.converter.harness import VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import has_faststart


def test_a_video_that_fits_is_stream_copied(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    for name, arguments in {
        "base.mp4": None,
        "fits.mkv": (*video(), *tone(), *X264, *AAC),
        "fits.mov": (*video(), *tone(), *X264, *AAC),
        "fits.ts": (*video(), *tone(), *X264, *AAC),
        "fits-silent.mp4": (*video(), *X264),
    }.items():
        source = kitchen.ffmpeg(name, *arguments) if arguments else kitchen.base()
        for options in ({}, {"resolution": "720p"}):
            run = converter.convert(VIDEO, source, "out.mp4", **options)
            assert lab.pixels(run.path) == lab.pixels(source), f"{name} was encoded again"
            assert has_faststart(run.path)


MISFITS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    # name: how its video or audio differs from the request, and the options
    "ten-bit": ((*video(), "-c:v", "libx264", "-pix_fmt", "yuv420p10le"), {}),
    "full-chroma": ((*video(), "-c:v", "libx264", "-pix_fmt", "yuv444p"), {}),
    "too-high": ((*video("640x360"), *X264), {"resolution": "240p"}),
    "cut": ((*video(), *X264), {"duration": 1}),
    "cut-start": ((*video(), *X264), {"start": "0.52"}),
    "stretched": ((*video(), "-vf", "setsar=4/3", *X264), {}),
    "full-range": ((*video(), "-vf", "scale=out_range=full", *X264, "-color_range", "pc"), {}),
    "hevc": (
        (*video(), "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
        {},
    ),
    "interlaced": (
        (*video("720x576", 50), "-vf", "tinterlace=interleave_top,setfield=tff", *X264,
         "-flags", "+ilme+ildct"),
        {},
    ),
    "bt2020": (
        (*video(), *X264, "-vf",
         "setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc"),
        {},
    ),
    "fast": ((*video(rate=120), *X264), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_video_that_does_not_fit_in_one_property_is_encoded(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    arguments, options = MISFITS[name]
    source = kitchen.ffmpeg(f"misfit-{name}.mp4", *arguments)
    run = converter.convert(VIDEO, source, "out.mp4", **options)
    found = lab.media(run.path).video
    assert (found["codec_name"], found["pix_fmt"]) == ("h264", "yuv420p")
    if found["codec_name"] == lab.media(source).video["codec_name"]:
        assert lab.pixels(run.path) != lab.pixels(source)


AUDIO_CODECS = {
    "opus": ("libopus", 2),
    "mp3": ("libmp3lame", 2),
    "ac3": ("ac3", 2),
    "surround": ("aac", 6),
    "flac": ("flac", 2),
}


@pytest.mark.parametrize("name", AUDIO_CODECS)
def test_only_the_audio_does_not_fit(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    codec, channels = AUDIO_CODECS[name]
    source = kitchen.ffmpeg(
        f"audio-{name}.mkv", *video(), *tone(), *X264, "-c:a", codec, "-ac", str(channels)
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    assert found.audio["codec_name"] == "aac"
    assert found.audio["channels"] <= 2
    assert found.duration == pytest.approx(3, abs=0.1)
    assert lab.loudness(run.path)[0] > -35


def test_a_stream_copy_is_complete(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    # Frames in another display order than coding order, and a first frame before zero.
    source = kitchen.ffmpeg(
        "b-frames.mkv", *video(), *tone(), "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p",
        *AAC,
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == 75
    assert lab.media(run.path).duration == pytest.approx(3, abs=0.1)
    assert lab.media(run.path).start < 0.1
    assert lab.similarity(run.path, source) > 0.999


def test_a_requested_quality_does_not_enlarge_the_file(
    kitchen: Kitchen, converter: Converter
) -> None:
    source = kitchen.ffmpeg(
        "small.mp4", *video(), *tone(), "-c:v", "libx264", "-crf", "40", "-pix_fmt", "yuv420p",
        *AAC, "-b:a", "48k",
    )  # fmt: skip
    size = kitchen.path(source).stat().st_size
    run = converter.convert(VIDEO, source, "out.mp4")
    assert run.path.stat().st_size < 1.05 * size + 4096
