"""Which tracks the MP4 has, which are dropped, and faststart."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import AUDIO, THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import has_faststart, near
from tests.converter.recipes import covered

ONE_EACH = ["video", "audio"]


def test_the_plain_good_video(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    run = converter.convert(VIDEO, kitchen.base(), "out.mp4", quality="medium")
    found = lab.media(run.path, count=True)
    assert found.kinds == ONE_EACH
    assert found.video["codec_name"] == "h264"
    assert found.video["pix_fmt"] == "yuv420p"
    assert found.video["nb_read_frames"] == "75"
    assert found.audio["codec_name"] == "aac"
    assert found.duration == pytest.approx(3, abs=0.1)
    assert has_faststart(run.path)
    output = run.report.output
    assert output
    assert (output.width, output.height) == (320, 180)
    assert output.video_codec == "h264"
    assert output.audio_codec == "aac"
    assert output.duration_seconds == pytest.approx(3, abs=0.1)
    assert "mp4" in output.container


def test_quality_words_order_size_and_likeness(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "ffv1-noise.mkv", *video("640x360", seconds=1), "-vf", "noise=alls=12:allf=t",
        "-c:v", "ffv1", "-pix_fmt", "yuv420p",
    )  # fmt: skip
    sizes, likeness = [], []
    for quality in ("low", "medium", "high"):
        run = converter.convert(VIDEO, source, "out.mp4", quality=quality)
        sizes.append(run.path.stat().st_size)
        likeness.append(lab.similarity(run.path, source))
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.8 * sizes[1] < 0.8 * 0.9 * sizes[2]
    assert likeness == sorted(likeness)
    assert likeness[0] < likeness[2] - 0.01


def test_timecode_and_data_tracks_are_dropped(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    timecode = kitchen.ffmpeg("tc.mov", *video(), *tone(), *X264, *AAC, "-timecode", "01:00:00:00")
    assert "data" in lab.media(timecode).kinds
    for options in ({}, {"quality": "low"}):
        found = lab.media(converter.convert(VIDEO, timecode, "out.mp4", **options).path)
        assert found.kinds == ONE_EACH
        assert "timecode" not in found.tags
    # Telemetry, as cameras write it: a data track with an unknown codec.
    unknown = kitchen.edit("gpmd.mov", timecode, lambda data: data.replace(b"tmcd", b"gpmd"))
    assert lab.media(converter.convert(VIDEO, unknown, "out.mp4").path).kinds == ONE_EACH


def subtitles(kitchen: Kitchen) -> str:
    text = kitchen.write("s.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n")
    return kitchen.ffmpeg(
        "subtitled.mkv", *video(), "-i", text, "-map", "0", "-map", "1", *X264, "-c:s", "srt"
    )


def test_subtitles_of_every_kind_are_dropped(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = subtitles(kitchen)
    bitmaps = kitchen.edit(
        "pgs.mkv", plain, lambda data: data.replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0")
    )
    for source in (plain, bitmaps):
        assert lab.media(converter.convert(VIDEO, source, "out.mp4").path).kinds == ["video"]


def test_attachments_and_chapters_are_dropped(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    chapters = kitchen.write(
        "chapters.txt",
        b";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=secret one\n",
    )
    font = kitchen.write("font.ttf", bytes(2000))
    source = kitchen.ffmpeg(
        "attached.mkv", *video(), *tone(), "-i", chapters, "-map", "0", "-map", "1",
        "-map_metadata", "2", *X264, *AAC, "-attach", f"/workspace/{font}",
        "-metadata:s:t", "mimetype=application/x-truetype-font",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    assert found.kinds == ONE_EACH
    assert not found.body["chapters"]
    assert b"secret one" not in run.path.read_bytes()


def test_an_undecodable_second_audio_track_is_ignored(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    two = kitchen.ffmpeg(
        "two.mp4", *video(), *tone(), *tone(900), "-map", "0", "-map", "1", "-map", "2",
        *X264, *AAC,
    )  # fmt: skip

    def rename(at: int) -> bytes:
        data = bytearray(kitchen.read(two))
        data[at : at + 4] = b"apac"
        settings = data.index(b"esds", at)
        data[settings : settings + 4] = b"xsds"
        return bytes(data)

    movie = kitchen.read(two)
    second = kitchen.write("apac.mp4", rename(movie.rindex(b"mp4a")))
    first = kitchen.write("apac-first.mp4", rename(movie.index(b"mp4a")))
    for source, hertz in ((second, 440), (first, 900)):
        for kind, target in ((VIDEO, "out.mp4"), (AUDIO, "out.mp3")):
            run = converter.convert(kind, source, target)
            found = lab.media(run.path)
            assert len(found.streams("audio")) == 1
            assert lab.loudness(run.path)[0] > -30
            assert lab.hertz(run.path, (440, 900)) == hertz
        assert (
            lab.media(converter.convert(VIDEO, source, "out.mp4").path).audio["codec_name"] == "aac"
        )


def test_the_default_audio_track_is_chosen(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    def source(name: str, *marks: str) -> str:
        return kitchen.ffmpeg(
            name, *video(), *tone(440), *tone(900), "-map", "0", "-map", "1", "-map", "2",
            *X264, *AAC, *marks,
        )  # fmt: skip

    plain = source("tracks.mkv", "-disposition:a:0", "0", "-disposition:a:1", "0")
    second = source("tracks2.mkv", "-disposition:a:0", "0", "-disposition:a:1", "default")
    for path, hertz in ((plain, 440), (second, 900)):
        for kind, target in ((VIDEO, "out.mp4"), (AUDIO, "out.mp3")):
            run = converter.convert(kind, path, target)
            assert lab.hertz(run.path, (440, 900)) == hertz


def test_undecodable_audio_alone_does_not_fail_the_video(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.edit(
        "apac-only.mp4",
        kitchen.base(),
        lambda data: data.replace(b"mp4a", b"apac").replace(b"esds", b"xsds"),
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).kinds == ["video"]
    converter.refused(AUDIO, source, "out.mp3", ExitReason.NO_AUDIO_STREAM)


def test_no_audio_at_all(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("silent.mp4", *video(), *X264)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).kinds == ["video"]
    assert run.report.output
    assert run.report.output.audio_codec is None
    refused = converter.refused(AUDIO, source, "out.mp3", ExitReason.NO_AUDIO_STREAM)
    assert "no audio stream" in refused.report.message.lower()


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.webm", "a.ogg", "a.wav", "a.flac"])
def test_audio_only_in_a_video_container(kitchen: Kitchen, converter: Converter, name: str) -> None:
    codec = {"webm": ("-c:a", "libopus"), "ogg": ("-c:a", "libvorbis")}
    source = kitchen.ffmpeg(name, *tone(), *codec.get(name.partition(".")[2], ()))
    for kind, target in ((VIDEO, "out.mp4"), (THUMB, "out.jpg")):
        run = converter.refused(kind, source, target, ExitReason.NO_VIDEO_STREAM)
        assert "no video stream" in run.report.message.lower()


def test_cover_art_is_not_a_video(kitchen: Kitchen, converter: Converter) -> None:
    for name in ("cov.mp3", "cov.m4a", "cov.flac"):
        source = covered(kitchen, name)
        converter.refused(VIDEO, source, "out.mp4", ExitReason.NO_VIDEO_STREAM)


def test_a_cover_before_the_video_is_ignored(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    cover = kitchen.ffmpeg("cover.jpg", *colour("red", "64x64", seconds=1), "-frames:v", "1")
    source = kitchen.ffmpeg(
        "cover-first.mp4", "-i", cover, *video(), *tone(), "-map", "0", "-map", "1", "-map", "2",
        "-c:v:0", "copy", "-c:v:1", "libx264", "-pix_fmt", "yuv420p", *AAC,
        "-disposition:v:0", "attached_pic",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    assert found.kinds == ONE_EACH
    assert found.size == (320, 180)
    thumb = lab.image(converter.convert(THUMB, source, "out.png").path)
    assert thumb.size == (320, 180)
    assert not near(thumb.at(0.5, 0.5), (254, 0, 0), 30)


def test_two_videos_in_one_file(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "two-videos.mkv", *video(), *colour("blue", "160x120", seconds=3), *tone(),
        "-map", "0", "-map", "1", "-map", "2", *X264, *AAC,
    )  # fmt: skip
    found = lab.media(converter.convert(VIDEO, source, "out.mp4").path)
    assert found.kinds == ONE_EACH
    assert found.size == (320, 180)


@pytest.mark.parametrize("layout", ["mono", "5.1", "7.1", "quad"])
def test_audio_of_any_layout_becomes_stereo_or_mono(
    kitchen: Kitchen, converter: Converter, lab: Lab, layout: str
) -> None:
    # Speech is in the centre channel only.
    centre = {"5.1": "FC", "7.1": "FC", "quad": "FL", "mono": "FC"}[layout]
    source = kitchen.ffmpeg(
        f"layout-{layout}.mkv", *video(), *tone(), "-filter_complex",
        f"[1:a]pan={layout}|{centre}=c0[a]", "-map", "0:v", "-map", "[a]", *X264,
        "-c:a", "flac",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path).audio
    assert found["codec_name"] == "aac"
    assert found["channels"] in {1, 2}
    before = lab.loudness(source, f"pan=mono|c0={centre}" if layout != "mono" else "anull")[0]
    assert lab.loudness(run.path)[0] > before - 12


def test_faststart(kitchen: Kitchen, converter: Converter) -> None:
    encoded = kitchen.ffmpeg("to-encode.avi", *video(), *tone(), "-c:v", "mpeg4", "-c:a", "mp3")
    for source, options in (
        (kitchen.base(), {}),
        (kitchen.base(), {"quality": "low"}),
        (encoded, {}),
        (encoded, {"duration": 1}),
    ):
        assert has_faststart(converter.convert(VIDEO, source, "out.mp4", **options).path)


LOCATED = {
    "gps.mp4": ("-metadata", "location=+48.8577+002.2950/", "-metadata", "make=SecretMaker"),
    "gps.mov": (
        "-movflags", "use_metadata_tags",
        "-metadata", "com.apple.quicktime.location.ISO6709=+48.8577+002.2950/",
        "-metadata", "com.apple.quicktime.make=SecretMaker",
        "-metadata", "com.apple.quicktime.model=SecretModel",
    ),
    "gps.mkv": (
        "-metadata", "LOCATION=+48.8577+002.2950/",
        "-metadata:s:v", "com.android.manufacturer=SecretMaker",
        "-metadata:s:a", "handler_name=SecretModel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCATED)
@pytest.mark.parametrize("options", [{}, {"quality": "low"}], ids=["default", "encoded"])
def test_place_and_device_are_removed(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, options: dict[str, object]
) -> None:
    source = kitchen.ffmpeg(name, "-i", kitchen.base(), "-c", "copy", *LOCATED[name])
    assert any("location" in tag for tag in lab.media(source).tags), "the recipe has no place"
    run = converter.convert(VIDEO, source, "out.mp4", **options)
    data = run.path.read_bytes()
    for secret in (b"48.8577", b"ISO6709", b"loci", b"SecretMaker", b"SecretModel"):
        assert secret not in data
    tags = lab.media(run.path).tags
    assert not [t for t in tags if any(w in t for w in ("location", "make", "model", "gps"))]
    for kind, target in ((AUDIO, "out.mp3"), (THUMB, "out.jpg")):
        data = converter.convert(kind, source, target).path.read_bytes()
        assert b"48.8577" not in data
        assert b"SecretM" not in data


def test_a_place_in_a_side_box_is_removed(kitchen: Kitchen, converter: Converter) -> None:
    # Cameras put XMP and maker notes into uuid boxes, which ffprobe does not list.
    secret = b"<x:xmpmeta>GPSLatitude 48.8577</x:xmpmeta>"
    box = (len(secret) + 24).to_bytes(4, "big") + b"uuid" + bytes(range(16)) + secret
    source = kitchen.edit("uuid.mp4", kitchen.base(), lambda data: data + box)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert b"48.8577" not in run.path.read_bytes()


@pytest.mark.parametrize("ending", ["mkv", "mp4", "avi"])
def test_a_cover_before_the_film_is_not_the_film(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    """It is stored as a video track like any other, and only has one picture."""
    cover = kitchen.ffmpeg("cover.jpg", *colour("red", "64x64", seconds=1), "-frames:v", "1")
    source = kitchen.ffmpeg(
        f"plain-cover.{ending}", "-i", cover, *video(), *tone(),
        "-map", "0", "-map", "1", "-map", "2", "-c:v:0", "mjpeg", "-c:v:1", "mpeg4",
        "-c:a", "libmp3lame",
    )  # fmt: skip
    assert lab.media(source).streams("video")[0]["codec_name"] == "mjpeg"
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).size == (320, 180)
    assert lab.frames(run.path) >= 74
    assert lab.image(converter.convert(THUMB, source, "out.jpg").path).size == (320, 180)
