"""Sizes and rotations of video and thumbnails: rotated, mirrored, odd, non-square, thin."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import THUMB, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import red_corner
from tests.converter.siblings.inputs import box_of

CORNER = "drawbox=0:0:iw/4:ih/4:red:fill"
ROTATIONS = (
    # display matrix, displayed size of a 640x360 video, corner to which its red top left moves
    (("-display_rotation", "-90"), (360, 640), "TR"),
    (("-display_rotation", "90"), (360, 640), "BL"),
    (("-display_rotation", "180"), (640, 360), "BR"),
    (("-display_hflip",), (640, 360), "TR"),
    (("-display_vflip",), (640, 360), "BL"),
    (("-display_rotation", "90", "-display_hflip"), (360, 640), "BR"),
)
ROTATION_IDS = ["-".join(part.strip("-") for part in rotation[0]) for rotation in ROTATIONS]


def upright(kitchen: Kitchen, size: str = "640x360") -> str:
    return kitchen.ffmpeg(
        f"upright-{size}.mp4",
        *colour("0x3050A0", size, seconds=1),
        *tone(seconds=1),
        "-vf",
        CORNER,
        *X264,
        *AAC,
    )


def rotated(kitchen: Kitchen, flags: tuple[str, ...], extension: str = "mp4") -> str:
    name = f"rotated{''.join(flags)}.{extension}"
    return kitchen.ffmpeg(name, *flags, "-i", upright(kitchen), "-c", "copy")


@pytest.mark.parametrize(("flags", "size", "corner"), ROTATIONS, ids=ROTATION_IDS)
def test_a_rotated_video_becomes_upright(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    flags: tuple[str, ...],
    size: tuple[int, int],
    corner: str,
) -> None:
    run = converter.convert(VIDEO, rotated(kitchen, flags), "out.mp4")
    found = lab.media(run.path)
    assert found.size == size
    assert found.video.get("sample_aspect_ratio", "1:1") == "1:1"
    assert not found.rotated
    assert red_corner(lab.frame(run.path, 0.4)) == corner
    assert run.report.output
    assert (run.report.output.width, run.report.output.height) == size


@pytest.mark.parametrize(("flags", "size", "corner"), ROTATIONS, ids=ROTATION_IDS)
def test_the_thumbnail_of_a_rotated_video_is_upright(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    flags: tuple[str, ...],
    size: tuple[int, int],
    corner: str,
) -> None:
    run = converter.convert(THUMB, rotated(kitchen, flags), "out.jpg", time=0.4)
    bitmap = lab.image(run.path)
    assert bitmap.size == size
    assert red_corner(bitmap) == corner


@pytest.mark.parametrize("kind", [VIDEO, THUMB])
def test_a_rotation_in_the_bit_stream_is_applied(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: str
) -> None:
    source = kitchen.ffmpeg(
        "rotated-sei.mp4", "-i", upright(kitchen), "-c", "copy", "-bsf:v",
        "h264_metadata=display_orientation=insert:rotate=90",
    )  # fmt: skip
    if kind == VIDEO:
        run = converter.convert(VIDEO, source, "out.mp4")
        bitmap = lab.frame(run.path, 0.4)
        # Players that read the bit stream must not rotate it a second time.
        stripped = kitchen.agent.run(
            (
                "ffprobe",
                "-v",
                "error",
                "-show_frames",
                "-read_intervals",
                "%+#1",
                "-select_streams",
                "v:0",
                lab.inside(run.path),
            )
        )
        assert b"rotation" not in stripped
    else:
        bitmap = lab.image(converter.convert(THUMB, source, "out.jpg", time=0.4).path)
    assert bitmap.size == (360, 640)
    assert red_corner(bitmap) == "BL"


def test_a_rotated_quicktime_hevc_becomes_upright(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg(
        "hevc.mov", *colour("0x3050A0", "640x360", seconds=1), "-vf", CORNER, "-c:v", "libx265",
        "-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1",
    )  # fmt: skip
    source = kitchen.ffmpeg("hevc-90.mov", "-display_rotation", "-90", "-i", plain, "-c", "copy")
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).size == (360, 640)
    assert lab.media(run.path).video["codec_name"] == "h264"
    assert red_corner(lab.frame(run.path, 0.4)) == "TR"


@pytest.mark.parametrize(
    ("size", "resolution", "wanted"),
    [
        ("1080x1920", "720p", (720, 1280)),
        ("1920x1080", "720p", (1280, 720)),
        ("640x360", "240p", (426, 240)),
        ("480x640", "360p", (360, 480)),
        ("1000x1000", "480p", (480, 480)),
        ("1280x720", "480", (854, 480)),
        ("320x180", "2160p", (320, 180)),
        ("320x180", "1440p", (320, 180)),
        ("320x180", "1080p", (320, 180)),
        ("180x320", "240p", (180, 320)),
        ("2000x100", "240p", (2000, 100)),
    ],
)
def test_resolution_is_the_short_side_and_never_enlarges(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    size: str,
    resolution: str,
    wanted: tuple[int, int],
) -> None:
    if not resolution.endswith("p"):
        resolution += "p"
    source = kitchen.ffmpeg(f"size-{size}.mp4", *video(size, seconds=0.4), *X264)
    run = converter.convert(VIDEO, source, "out.mp4", resolution=resolution)
    found = lab.media(run.path).size
    # The long side may be rounded to either even neighbour.
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 2
    assert min(found) == min(wanted)
    assert all(side % 2 == 0 for side in found)


def test_resolution_applies_after_the_rotation(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg(
        "hd-rotated.mp4", "-display_rotation", "-90", "-i", upright(kitchen, "1280x720"),
        "-c", "copy",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", resolution="480p")
    width, height = lab.media(run.path).size
    assert width == 480
    assert abs(height - 853.3) <= 2
    assert red_corner(lab.frame(run.path, 0.4)) == "TR"


@pytest.mark.parametrize("size", ["321x243", "1x1", "3x5", "1x64", "64x1", "101x75"])
def test_odd_sides_become_even_without_losing_content(
    kitchen: Kitchen, converter: Converter, lab: Lab, size: str
) -> None:
    source = kitchen.ffmpeg(
        f"odd-{size}.mkv", *colour("red", size, seconds=0.4), "-c:v", "ffv1", "-pix_fmt", "bgr0"
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    width, height = (int(side) for side in size.split("x"))
    assert found.video["pix_fmt"] == "yuv420p"
    assert all(side % 2 == 0 and side >= 2 for side in found.size)
    assert abs(found.size[0] - width) <= 1
    assert abs(found.size[1] - height) <= 1
    if min(width, height) > 8:
        assert lab.frame(run.path).share((254, 0, 0), 12) > 0.95


def test_odd_h264_in_full_chroma_and_odd_after_the_rotation(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    plain = kitchen.ffmpeg(
        "odd444.mp4", *video("321x243", seconds=1), "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv444p",
    )  # fmt: skip
    turned_source = kitchen.ffmpeg(
        "odd444-90.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy"
    )
    for source, wanted in ((plain, (321, 243)), (turned_source, (243, 321))):
        found = lab.media(converter.convert(VIDEO, source, "out.mp4").path)
        assert found.video["pix_fmt"] == "yuv420p"
        for side, want in zip(found.size, wanted, strict=True):
            assert side % 2 == 0
            assert abs(side - want) <= 1


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ("720x576", "64/45", (1024, 576)),
        ("720x576", "16/15", (768, 576)),
        ("720x480", "8/9", (640, 480)),
        ("352x480", "20/11", (640, 480)),
        ("1440x1080", "4/3", (1920, 1080)),
    ],
)
def test_non_square_pixels_become_square(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    size: str,
    aspect: str,
    shown: tuple[int, int],
) -> None:
    source = kitchen.ffmpeg(
        f"anamorphic-{size}-{aspect.replace('/', '-')}.mkv", *video(size, seconds=0.4),
        "-vf", f"setsar={aspect}", *X264,
    )  # fmt: skip
    found = lab.media(converter.convert(VIDEO, source, "out.mp4").path)
    assert found.video.get("sample_aspect_ratio", "1:1") == "1:1"
    assert found.size[0] / found.size[1] == pytest.approx(shown[0] / shown[1], rel=0.01)
    thumb = lab.image(converter.convert(THUMB, source, "out.jpg", time=0).path)
    assert thumb.width / thumb.height == pytest.approx(shown[0] / shown[1], rel=0.01)


def test_non_square_pixels_and_rotation(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    plain = kitchen.ffmpeg(
        "dv.mp4",
        *colour("0x3050A0", "720x576", seconds=0.4),
        "-vf",
        f"{CORNER},setsar=64/45",
        *X264,
    )
    source = kitchen.ffmpeg("dv-90.mp4", "-display_rotation", "-90", "-i", plain, "-c", "copy")
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path)
    assert found.size[0] / found.size[1] == pytest.approx(576 / 1024, rel=0.01)
    assert red_corner(lab.frame(run.path)) == "TR"
    thumb = lab.image(converter.convert(THUMB, source, "out.jpg", time=0).path)
    assert thumb.width / thumb.height == pytest.approx(576 / 1024, rel=0.01)
    assert red_corner(thumb) == "TR"


@pytest.mark.parametrize(
    ("size", "box", "wanted"),
    [
        ("640x360", "320x320", (320, 180)),
        ("360x640", "320x320", (180, 320)),
        ("2000x8", "100x100", (100, 1)),
        ("320x180", "1000x1000", (320, 180)),
        ("640x360", "33x1000", (33, 19)),
    ],
)
def test_a_thumbnail_fits_its_box(
    kitchen: Kitchen,
    converter: Converter,
    lab: Lab,
    size: str,
    box: str,
    wanted: tuple[int, int],
) -> None:
    source = kitchen.ffmpeg(f"size-{size}.mp4", *video(size, seconds=0.4), *X264)
    run = converter.convert(THUMB, source, "out.jpg", size=box, time=0)
    found = lab.image(run.path).size
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 1
    assert min(found) >= 1


def test_a_thin_video_keeps_its_sides(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("size-2000x8.mp4", *video("2000x8", seconds=0.4), *X264)
    assert lab.media(converter.convert(VIDEO, source, "out.mp4").path).size == (2000, 8)
    tall = kitchen.ffmpeg("size-8x1000.mp4", *video("8x1000", seconds=0.4), *X264)
    assert lab.media(converter.convert(VIDEO, tall, "out.mp4").path).size == (8, 1000)


def test_a_video_too_large_to_decode_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    # A few kilobytes that decode to a gigabyte.
    source = kitchen.ffmpeg(
        "huge.mkv", *colour("red", "16000x16000", rate=1, seconds=1), "-c:v", "png",
        "-pix_fmt", "monob",
    )  # fmt: skip
    run = converter.refused(VIDEO, source, "out.mp4", ExitReason.INPUT_TOO_LARGE)
    assert "16000" in run.report.message
    assert run.wall < 5
    converter.refused(THUMB, source, "out.jpg", ExitReason.INPUT_TOO_LARGE)


def test_a_phone_that_was_turned_while_it_recorded(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """The rotation is in the bit stream, and changes with a key picture."""
    parts = [
        kitchen.ffmpeg(
            f"turned-{angle}.h264", *colour("gray", "320x180"), "-vf",
            "drawbox=0:0:60:60:red:fill", *X264,
            "-bsf:v", f"h264_metadata=rotate={angle}:display_orientation=insert",
        )
        for angle in (0, 90)
    ]  # fmt: skip
    source = kitchen.write("turned.h264", b"".join(kitchen.read(part) for part in parts))
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == pytest.approx(100, abs=2)
    for time in (0.5, 3.5):
        wide, high = box_of(lab.frame(run.path, time), (254, 0, 0))
        assert wide == pytest.approx(high, abs=4), f"{wide}x{high} at {time} s"
