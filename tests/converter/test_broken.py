"""Empty, truncated, damaged and hostile files fail quickly, with the right reason."""

from __future__ import annotations

import os
import random

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Converter, Run
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.rawfiles import (
    GREY,
    RGB,
    gif_bomb,
    jpeg_claiming,
    png,
    svg,
    webp_claiming,
)
from tests.converter.recipes import PLAYLISTS, photo

TARGETS = {VIDEO: "out.mp4", AUDIO: "out.mp3", IMAGE: "out.jpg", THUMB: "out.jpg"}
BROKEN = {ExitReason.INPUT_DAMAGED, ExitReason.INPUT_TRUNCATED, ExitReason.UNSUPPORTED_FORMAT}


def quick(run: Run) -> None:
    assert run.wall < 5
    assert len(run.report.message) < 400


@pytest.mark.parametrize("kind", TARGETS)
def test_an_empty_file(kitchen: Kitchen, converter: Converter, kind: ConversionType) -> None:
    for name in ("z.mp4", "z.jpg", "z.mp3", "z"):
        source = kitchen.write(name, b"")
        run = converter.refused(kind, source, TARGETS[kind], ExitReason.INPUT_EMPTY)
        assert "empty" in run.report.message.lower()
        quick(run)


@pytest.mark.parametrize("kind", TARGETS)
def test_noise_is_not_media(kitchen: Kitchen, converter: Converter, kind: ConversionType) -> None:
    for seed, size in ((1, 4096), (2, 100_000), (3, 1), (4, 11)):
        noise = random.Random(seed).randbytes(size)  # noqa: S311 - not for secrets
        source = kitchen.write(f"noise{seed}.mp4", noise)
        run = converter.convert(kind, source, TARGETS[kind])
        assert run.reason in BROKEN, f"{run.reason}: {run.report.message}"
        quick(run)
    for name, content in (
        ("text.mp4", b"Dear Sir or Madam,\n" * 400),
        ("zeros.mp4", bytes(50_000)),
        ("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("archive.mp4", b"PK\3\4" + bytes(4000)),
        ("program.mp4", b"\x7fELF" + bytes(4000)),
    ):
        source = kitchen.write(name, content)
        run = converter.convert(kind, source, TARGETS[kind])
        assert run.reason in BROKEN, f"{run.reason}: {run.report.message}"
        quick(run)


@pytest.mark.parametrize("kind", [VIDEO, AUDIO, THUMB])
def test_a_recording_without_a_moov_box(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    source = kitchen.edit("nomoov.mp4", kitchen.base(), lambda data: data[:20000])
    run = converter.convert(kind, source, TARGETS[kind])
    assert run.reason in {ExitReason.INPUT_DAMAGED, ExitReason.INPUT_TRUNCATED}
    assert "index" in run.report.message.lower() or "moov" in run.report.message.lower()
    quick(run)


@pytest.mark.parametrize("kind", [VIDEO, THUMB])
def test_a_video_without_its_codec_settings(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    source = kitchen.edit("nocfg.mp4", kitchen.base(), lambda data: data.replace(b"avcC", b"xxxC"))
    run = converter.convert(kind, source, TARGETS[kind])
    assert run.reason in {ExitReason.INPUT_DAMAGED, ExitReason.NO_VIDEO_STREAM}
    quick(run)


def full(kitchen: Kitchen, extension: str) -> str:
    codec = {
        "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
        "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    }
    front = ("-movflags", "+faststart") if extension in {"mp4", "mov"} else ()
    return kitchen.ffmpeg(
        f"full.{extension}", *video(seconds=20), *tone(seconds=20),
        *codec.get(extension, (*X264, *AAC)), *front,
    )  # fmt: skip


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv", "webm", "avi"])
@pytest.mark.parametrize("options", [{}, {"quality": "low"}], ids=["default", "encoded"])
def test_half_a_video_is_not_a_success(
    kitchen: Kitchen, converter: Converter, extension: str, options: dict[str, object]
) -> None:
    whole = full(kitchen, extension)
    half = kitchen.edit(f"half.{extension}", whole, lambda data: data[: len(data) // 2])
    run = converter.refused(VIDEO, half, "out.mp4", ExitReason.INPUT_TRUNCATED, **options)
    assert "truncated" in run.report.message.lower() or "cut" in run.report.message.lower()


@pytest.mark.parametrize("part", [0.88, 0.97])
def test_a_cut_below_the_damage_limits_is_a_warning(
    kitchen: Kitchen, converter: Converter, part: float
) -> None:
    whole = full(kitchen, "mp4")
    cut = kitchen.edit(f"cut{part}.mp4", whole, lambda data: data[: int(len(data) * part)])
    run = converter.convert(VIDEO, cut, "out.mp4")
    assert run.reason is (ExitReason.INPUT_TRUNCATED if part < 0.9 else ExitReason.COMPLETED)
    assert "truncated" in "".join([run.report.message, *run.report.warnings])


@pytest.mark.parametrize("name", ["half.flac", "half.m4a", "half.wav", "half.mp3", "half.ogg"])
def test_half_a_song_is_not_a_success(kitchen: Kitchen, converter: Converter, name: str) -> None:
    extension = name.partition(".")[2]
    codec = {"flac": "flac", "m4a": "aac", "wav": "pcm_s16le", "mp3": "libmp3lame",
             "ogg": "libvorbis"}[extension]  # fmt: skip
    front = ("-movflags", "+faststart") if extension == "m4a" else ()
    whole = kitchen.ffmpeg(f"song20.{extension}", *tone(seconds=20), "-c:a", codec, *front)
    source = kitchen.edit(name, whole, lambda data: data[: len(data) // 2])
    run = converter.convert(AUDIO, source, "out.mp3")
    if extension == "ogg":
        # Ogg states no duration, so a truncated file is complete as far as anyone can tell.
        assert run.reason in {ExitReason.COMPLETED, ExitReason.INPUT_TRUNCATED}
    else:
        # In some formats missing bytes and unreadable ones look the same.
        assert run.reason in {ExitReason.INPUT_TRUNCATED, ExitReason.INPUT_DAMAGED}, (
            run.report.message
        )


def test_an_intact_part_of_a_truncated_file_can_be_converted(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    half = kitchen.edit("half.mp4", full(kitchen, "mp4"), lambda data: data[: len(data) // 2])
    run = converter.convert(VIDEO, half, "out.mp4", duration=2)
    assert lab.media(run.path).duration == pytest.approx(2, abs=0.1)
    assert lab.image(converter.convert(THUMB, half, "out.jpg", time=2).path).size == (320, 180)


def test_bit_rot_in_the_middle(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    def rot(data: bytes) -> bytes:
        at = len(data) // 2
        noise = random.Random(5).randbytes(2000)  # noqa: S311 - not for secrets
        return data[:at] + noise + data[at + 2000 :]

    for extension in ("mp4", "mkv", "avi"):
        source = kitchen.edit(f"rot.{extension}", full(kitchen, extension), rot)
        for options in ({}, {"quality": "low"}):
            run = converter.convert(VIDEO, source, "out.mp4", **options)
            if run.output:
                assert lab.media(run.path).duration == pytest.approx(20, abs=0.5)
            else:
                assert run.reason in {ExitReason.INPUT_DAMAGED, ExitReason.INPUT_TRUNCATED}


def noisy_jpeg(kitchen: Kitchen, *save: str) -> bytes:
    name = f"noisy{''.join(save).replace('=', '')}.jpg"
    return kitchen.read(photo(kitchen, name, "400x300", "Q=75", *save))


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_truncated_jpeg(kitchen: Kitchen, converter: Converter, part: float) -> None:
    whole = noisy_jpeg(kitchen)
    source = kitchen.write(f"cut{part}.jpg", whole[: int(len(whole) * part)])
    for options in ({}, {"size": "40x40"}):
        run = converter.refused(IMAGE, source, "out.jpg", ExitReason.INPUT_TRUNCATED, **options)
        assert "truncated" in run.report.message.lower() or "cut" in run.report.message.lower()
        assert "WARNING" not in run.report.message, "a message for people, not a log line"
    progressive = noisy_jpeg(kitchen, "interlace")
    source = kitchen.write(f"cutp{part}.jpg", progressive[: int(len(progressive) * part)])
    converter.refused(IMAGE, source, "out.jpg", ExitReason.INPUT_TRUNCATED)


def test_sloppy_jpegs_are_accepted(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    whole = noisy_jpeg(kitchen)
    scan = whole.find(b"\xff\xda")
    length = int.from_bytes(whole[scan + 2 : scan + 4], "big")
    sos = bytearray(whole)
    sos[scan + length - 1 : scan + length + 2] = bytes(3)
    reference = lab.image(kitchen.write("whole.jpg", whole)).luma
    for name, data in {
        "sos.jpg": bytes(sos),
        "trail.jpg": whole + b"\xff\xd8junk" * 50,
        "zeros-behind.jpg": whole + bytes(5000),
        "fill-bytes.jpg": whole.replace(b"\xff\xda", b"\xff\xff\xff\xda", 1),
        "progressive.jpg": noisy_jpeg(kitchen, "interlace"),
        "restart.jpg": noisy_jpeg(kitchen, "restart-interval=4"),
    }.items():
        run = converter.convert(IMAGE, kitchen.write(name, data), "out.jpg")
        bitmap = lab.image(run.path)
        assert bitmap.size == (400, 300), name
        assert bitmap.luma == pytest.approx(reference, abs=4), name


@pytest.mark.parametrize("extension", ["png", "webp", "gif", "tif", "avif"])
def test_other_images_cut_in_half(kitchen: Kitchen, converter: Converter, extension: str) -> None:
    whole = kitchen.read(photo(kitchen, f"photo.{extension}"))
    source = kitchen.write(f"cut.{extension}", whole[: len(whole) // 2])
    run = converter.convert(IMAGE, source, "out.jpg")
    assert run.reason in {ExitReason.INPUT_TRUNCATED, ExitReason.INPUT_DAMAGED}, run.report.message
    quick(run)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "tif", "avif"])
def test_damaged_headers_of_images(kitchen: Kitchen, converter: Converter, extension: str) -> None:
    whole = kitchen.read(photo(kitchen, f"photo.{extension}"))
    source = kitchen.write(f"head.{extension}", whole[:4] + b"\xff" * 60 + whole[64:])
    run = converter.convert(IMAGE, source, "out.jpg")
    # A GIF repeats its settings before each frame.
    wanted = {*BROKEN, ExitReason.INPUT_TOO_LARGE}
    if extension == "gif":
        wanted.add(ExitReason.COMPLETED)
    assert run.reason in wanted, run.report.message
    quick(run)


def bombs(kitchen: Kitchen) -> dict[str, bytes]:
    small = kitchen.read(photo(kitchen, "photo.jpg"))
    return {
        "b1.png": png(30000, 30000, 1, GREY, bytes(3750)),
        "b2.png": png(60000, 1, 8, RGB, bytes(180000), claimed=(60000, 60000)),
        "b3.png": png(1, 1, 8, RGB, bytes(3), claimed=(2**31 - 1, 2**31 - 1)),
        "pf.jpg": jpeg_claiming(small, 64250, 64250),
        "b4.webp": webp_claiming(16384, 16384),
        "frames.gif": gif_bomb(5000, 5000, 500),
        "many.gif": gif_bomb(1000, 1000, 20000),
    }


@pytest.mark.parametrize(
    "name", ["b1.png", "b2.png", "b3.png", "pf.jpg", "b4.webp", "frames.gif", "many.gif"]
)
def test_bombs_of_pixels_and_of_frames(kitchen: Kitchen, converter: Converter, name: str) -> None:
    source = kitchen.write(name, bombs(kitchen)[name])
    for target in ("out.jpg", "out.gif", "out.webp") if "gif" in name else ("out.jpg",):
        run = converter.convert(IMAGE, source, target)
        if run.reason is ExitReason.COMPLETED:
            # One frame of many is not a bomb.
            assert (name, target) in {("frames.gif", "out.jpg"), ("many.gif", "out.jpg")}
        else:
            # A size that no decoder accepts may count as damage instead.
            liar = name in {"b3.png", "b4.webp"}
            wanted = {ExitReason.INPUT_TOO_LARGE} | ({ExitReason.INPUT_DAMAGED} if liar else set())
            assert run.reason in wanted, run.report.message
            if run.reason is ExitReason.INPUT_TOO_LARGE:
                assert "x" in run.report.message or "frames" in run.report.message
                assert "limit" in run.report.message
        assert run.ended.cpu < 2
        assert run.ended.largest_kib < 200 * 1024


def test_a_target_as_large_as_a_bomb(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.write("small.png", png(100, 50, 8, RGB, b"\xff\0\0" * 100))
    for size in ("100000x100000", "65536x65536"):
        run = converter.convert(IMAGE, source, "out.jpg", size=size)
        # Images are never enlarged, so the target may also be harmless.
        if run.output:
            assert lab.image(run.path).size == (100, 50)
        else:
            assert run.reason is ExitReason.INVALID_OPTIONS


def test_a_large_photo_is_not_a_bomb(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    small = photo(kitchen, "photo-2000.png", "2000x1500")
    source = kitchen.vips("48mp.jpg", "replicate", small, "--", "4", "4")
    assert (lab.header(source)["width"], lab.header(source)["height"]) == ("8000", "6000")
    run = converter.convert(IMAGE, source, "out.jpg")
    assert lab.image(run.path).size == (800, 600)
    assert run.ended.largest_kib < 300 * 1024


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("kind", [VIDEO, AUDIO, THUMB])
def test_playlists_are_not_followed(
    kitchen: Kitchen, converter: Converter, name: str, kind: ConversionType
) -> None:
    kitchen.write("other.mp4", kitchen.read(kitchen.base()))
    source = kitchen.write(name, PLAYLISTS[name])
    run = converter.refused(kind, source, TARGETS[kind], ExitReason.UNSUPPORTED_FORMAT)
    # Rejected by its content, before a demuxer sees it. In addition, ffmpeg has no such demuxer.
    assert CALLED.get(name, "") in run.report.message
    quick(run)


CALLED = {
    "hls.mp4": "a playlist",
    "concat.mp4": "a playlist",
    "session.mp4": "a session description",
    "dash.mp4": "an XML document",
}


def test_a_video_that_refers_to_other_files_reads_none_of_them(
    kitchen: Kitchen, converter: Converter
) -> None:
    # QuickTime may keep its media in another file, which a data reference names.
    plain = kitchen.ffmpeg("reference-plain.mov", *video(), *X264)
    data = kitchen.read(plain)
    at = data.index(b"dref") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    name = b"media/other.mp4\0"
    alias = (12 + len(name)).to_bytes(4, "big") + b"url " + bytes(4) + name
    entry = bytes(4) + (1).to_bytes(4, "big") + alias
    box = (8 + len(entry)).to_bytes(4, "big") + b"dref" + entry
    grown = bytearray(data[:at] + box + data[at + size :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = grown.rindex(parent, 0, at) - 4 if parent != b"moov" else grown.index(parent) - 4
        old = int.from_bytes(grown[place : place + 4], "big")
        grown[place : place + 4] = (old + len(box) - size).to_bytes(4, "big")
    source = kitchen.write("reference.mov", bytes(grown))
    run = converter.convert(VIDEO, source, "out.mp4")
    assert run.reason in {ExitReason.COMPLETED, *BROKEN, ExitReason.NO_VIDEO_STREAM}


DRAWINGS = {
    "plain.svg": svg('<rect width="64" height="64" fill="red"/>'),
    "huge.svg": svg("", 90000, 90000),
    "http.svg": svg('<image xlink:href="http://127.0.0.1:9999/a.png" width="64" height="64"/>'),
    "near.svg": svg('<image xlink:href="secret.png" width="64" height="64"/>'),
    "passwd.svg": svg('<image xlink:href="file:///etc/passwd" width="64" height="64"/>'),
    "entity.svg": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    + svg("<text>&e;</text>"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_refused(kitchen: Kitchen, converter: Converter, name: str) -> None:
    kitchen.write("secret.png", png(64, 64, 8, RGB, b"\xff\0\0" * 64))
    for file_name in (name, f"{name}.jpg"):
        source = kitchen.write(file_name, DRAWINGS[name])
        for kind in (IMAGE, THUMB, VIDEO):
            run = converter.refused(kind, source, TARGETS[kind], ExitReason.UNSUPPORTED_FORMAT)
            assert "an SVG drawing" in run.report.message
            quick(run)


@pytest.mark.parametrize("kind", TARGETS)
def test_inputs_that_are_not_regular_files(
    kitchen: Kitchen, converter: Converter, kind: ConversionType
) -> None:
    folder = kitchen.workspace.folder("media/a-folder.mp4")
    pipe = kitchen.path("media/pipe.mp4")
    if not pipe.exists():
        os.mkfifo(pipe, 0o666)
        pipe.chmod(0o666)
    device = kitchen.path("media/device.mp4")
    if not device.exists():
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
        device.chmod(0o666)
    for path in (folder, pipe, device):
        source = str(path.relative_to(kitchen.workspace.root))
        run = converter.refused(kind, source, TARGETS[kind], ExitReason.INPUT_NOT_REGULAR)
        quick(run)


@pytest.mark.parametrize("kind", TARGETS)
def test_missing_inputs(converter: Converter, kind: ConversionType) -> None:
    for source in ("media/never-made.mp4", "nowhere/x.mp4", "media/base.mp4/x.mp4"):
        run = converter.refused(kind, source, TARGETS[kind], ExitReason.INPUT_NOT_FOUND)
        assert run.ended.cpu < 1
