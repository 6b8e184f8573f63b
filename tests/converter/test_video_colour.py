"""Colours of video: HDR, deep and full chroma, full range, transparency, comb lines."""

from __future__ import annotations

import itertools
import re

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.harness import THUMB, VIDEO, Case, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.probing import near

HDR = {
    "pq": "color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
    "hlg": "color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc",
    # Unset fields, which a tone mapper refuses with "no path between colorspaces".
    "pq-bare": "color_trc=smpte2084",
    "hlg-bare": "color_trc=arib-std-b67",
}


def hdr(kitchen: Kitchen, name: str) -> str:
    return kitchen.ffmpeg(
        f"{name}.mp4", *video(seconds=1), "-vf",
        f"format=yuv420p10le,setparams={HDR[name]}", "-c:v", "libx264", "-preset", "ultrafast",
    )  # fmt: skip


@pytest.mark.parametrize("name", HDR)
def test_hdr_becomes_sdr(kitchen: Kitchen, converter: Converter, lab: Lab, name: str) -> None:
    run = converter.convert(VIDEO, hdr(kitchen, name), "out.mp4")
    found = lab.media(run.path).video
    assert found["pix_fmt"] == "yuv420p"
    assert found["color_transfer"] == "bt709"
    assert found["color_primaries"] == "bt709"
    assert found["color_space"] == "bt709"
    bitmap = lab.frame(run.path, 0.4)
    assert 30 < bitmap.luma < 225
    # The bars of the test image must still have many colours: neither grey nor one flat neon.
    assert bitmap.commonest_share < 0.5
    assert max(bitmap.mean) - min(bitmap.mean) < 120


def test_a_tone_mapped_white_is_white_and_grey_stays_grey(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # PQ code 0.58 of full scale is 203 cd/m2, the reference white of BT.2408; 0.38 is 26 cd/m2.
    source = kitchen.ffmpeg(
        "pq-grey.mp4", *colour("gray", seconds=1), "-vf",
        "format=yuv420p10le,geq=lum='if(lt(X,W/2),64+876*0.58,64+876*0.38)':cb=512:cr=512,"
        "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv",
        "-c:v", "libx264", "-preset", "ultrafast",
    )  # fmt: skip
    bitmap = lab.frame(converter.convert(VIDEO, source, "out.mp4").path)
    bright, dark = bitmap.at(0.25, 0.5), bitmap.at(0.75, 0.5)
    assert max(bright) - min(bright) <= 6
    assert max(dark) - min(dark) <= 6
    assert 140 <= bright[0] <= 255, bright
    assert 30 <= dark[0] <= bright[0] - 50, (bright, dark)


@pytest.mark.parametrize("name", ["pq", "hlg"])
def test_the_thumbnail_of_hdr_is_sdr(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    run = converter.convert(THUMB, hdr(kitchen, name), "out.jpg", time=0.4)
    as_video = lab.frame(converter.convert(VIDEO, hdr(kitchen, name), "out.mp4").path, 0.4)
    bitmap = lab.image(run.path)
    assert bitmap.luma == pytest.approx(as_video.luma, abs=12)
    assert bitmap.commonest_share < 0.5


def test_sdr_keeps_its_brightness(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("ffv1.mkv", *video(seconds=1), "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frame(run.path, 0.4).luma == pytest.approx(lab.frame(source, 0.4).luma, abs=2)


def test_dolby_vision_without_a_compatible_base_is_refused(
    kitchen: Kitchen, converter: Converter
) -> None:
    plain = kitchen.ffmpeg(
        "hevc10.mp4", *video(seconds=1), "-c:v", "libx265", "-preset", "ultrafast",
        "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1",
    )  # fmt: skip

    def profile_5(data: bytes) -> bytes:
        """Put a dvcC box (profile 5, level 1, base layer, compatibility 0) into the hvc1 entry."""
        record = bytes([1, 0, 5 << 1, 1 << 3 | 0b101, 0]) + bytes(19)
        box = (len(record) + 8).to_bytes(4, "big") + b"dvcC" + record
        at = data.index(b"hvcC") - 4
        grown = bytearray(data[:at] + box + data[at:])
        for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
            place = grown.index(name) - 4
            size = int.from_bytes(grown[place : place + 4], "big") + len(box)
            grown[place : place + 4] = size.to_bytes(4, "big")
        return bytes(grown)

    source = kitchen.edit("dovi5.mp4", plain, profile_5)
    for kind, target in ((VIDEO, "out.mp4"), (THUMB, "out.jpg")):
        run = converter.refused(kind, source, target, ExitReason.UNSUPPORTED_FORMAT)
        assert "Dolby Vision" in run.report.message


DEEP = {
    "h264-444": ("mp4", "libx264", "yuv444p"),
    "h264-422": ("mp4", "libx264", "yuv422p"),
    "h264-10": ("mp4", "libx264", "yuv420p10le"),
    "h264-rgb": ("mp4", "libx264rgb", "bgr0"),
    "h264-gray": ("mp4", "libx264", "gray"),
    "hevc-10": ("mp4", "libx265", "yuv420p10le"),
    "vp9-444": ("webm", "libvpx-vp9", "yuv444p"),
    "ffv1-16": ("mkv", "ffv1", "yuv444p16le"),
    "prores-10": ("mov", "prores_ks", "yuv422p10le"),
    "mjpeg": ("avi", "mjpeg", "yuvj422p"),
    "huffyuv": ("avi", "huffyuv", "rgb24"),
}


@pytest.mark.parametrize("name", DEEP)
def test_every_pixel_format_becomes_one_that_browsers_play(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    extension, codec, pixels = DEEP[name]
    quick = ("-preset", "ultrafast") if codec.startswith("libx26") else ()
    source = kitchen.ffmpeg(
        f"{name}.{extension}", *video(seconds=0.6), "-c:v", codec, *quick, "-pix_fmt", pixels
    )
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path).video
    assert found["codec_name"] == "h264"
    assert found["pix_fmt"] == "yuv420p"
    assert found["profile"] in {"Constrained Baseline", "Main", "High"}
    assert lab.frame(run.path, 0.2).luma == pytest.approx(lab.frame(source, 0.2).luma, abs=4)


@pytest.mark.parametrize("pixels", ["yuvj420p", "yuvj444p"])
def test_full_range_keeps_its_black_and_white(
    kitchen: Kitchen, converter: Converter, lab: Lab, pixels: str
) -> None:
    # Black, white and a grey that is off by 16 levels if the range is misread.
    source = kitchen.ffmpeg(
        f"{pixels}.mp4", *colour("black", seconds=1), "-vf",
        "drawbox=0:0:iw/3:ih:white:fill,drawbox=iw/3:0:iw/3:ih:0x404040:fill,scale=out_range=full",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "5", "-pix_fmt", pixels,
        "-color_range", "pc",
    )  # fmt: skip
    for bitmap in (
        lab.frame(converter.convert(VIDEO, source, "out.mp4").path),
        lab.image(converter.convert(THUMB, source, "out.jpg", time=0).path),
    ):
        assert near(bitmap.at(0.16, 0.5), (255, 255, 255), 3), bitmap.at(0.16, 0.5)
        assert near(bitmap.at(0.5, 0.5), (64, 64, 64), 3), bitmap.at(0.5, 0.5)
        assert near(bitmap.at(0.9, 0.5), (0, 0, 0), 3), bitmap.at(0.9, 0.5)


def test_standard_definition_colours_survive(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # Reading BT.601 as BT.709 changes pure green by more than 20 levels.
    source = kitchen.ffmpeg(
        "bt601.mkv", *colour("0x00C000", "720x576", seconds=1), "-vf",
        "scale=out_color_matrix=smpte170m:out_range=tv,format=yuv420p",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "5", "-colorspace", "smpte170m",
        "-color_primaries", "smpte170m", "-color_trc", "smpte170m",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "out.mp4", resolution="240p")
    assert near(lab.frame(run.path).at(0.5, 0.5), (0, 192, 0), 8)


TRANSPARENT = {
    "qtrle": ("mov", ("-c:v", "qtrle", "-pix_fmt", "argb"), "argb"),
    "vp9": ("webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"), "yuva420p"),
    "vp8": ("webm", ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0"), "yuva420p"),
    "prores": ("mov", ("-c:v", "prores_ks", "-profile:v", "4444"), "yuva444p10le"),
    "png": ("mov", ("-c:v", "png", "-pix_fmt", "rgba"), "rgba"),
    "ffv1": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "bgra"), "bgra"),
}


def half_transparent(kitchen: Kitchen, name: str) -> str:
    """A video with a transparent red left half and an opaque blue right half."""
    extension, codec, pixels = TRANSPARENT[name]
    return kitchen.ffmpeg(
        f"alpha-{name}.{extension}", *colour("red", seconds=0.6), "-filter_complex",
        "[0]format=rgba,colorchannelmixer=aa=0[t];"
        "color=blue:s=160x180:r=25:d=0.6,format=rgba[b];"
        f"[t][b]overlay=x=160:format=auto,format={pixels}",
        *codec,
    )  # fmt: skip


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_parts_become_white(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    source = half_transparent(kitchen, name)
    for bitmap in (
        lab.frame(converter.convert(VIDEO, source, "out.mp4").path),
        lab.image(converter.convert(THUMB, source, "out.jpg", time=0).path),
    ):
        assert near(bitmap.at(0.25, 0.5), (255, 255, 255), 6), bitmap.at(0.25, 0.5)
        assert near(bitmap.at(0.75, 0.5), (0, 0, 254), 12), bitmap.at(0.75, 0.5)
        assert bitmap.share((254, 0, 0), 60) == 0


@pytest.mark.parametrize(("kind", "target"), [(VIDEO, "out.mp4"), (THUMB, "out.png")])
def test_the_background_can_be_chosen(
    kitchen: Kitchen, converter: Converter, lab: Lab, kind: ConversionType, target: str
) -> None:
    source = half_transparent(kitchen, "png")
    folder = converter.workspace.scratch("background")
    case = Case(kind, source, f"{folder}/{target}", {"time": 0} if kind is THUMB else {})
    path = converter.run(case, env={"BACKGROUND": "0040FF"}).path
    bitmap = lab.frame(path) if kind is VIDEO else lab.image(path)
    assert near(bitmap.at(0.25, 0.5), (0, 64, 255), 12), bitmap.at(0.25, 0.5)
    assert near(bitmap.at(0.75, 0.5), (0, 0, 254), 12), bitmap.at(0.75, 0.5)


@pytest.mark.parametrize("name", ["red", "lime", "blue"])
@pytest.mark.parametrize("size", ["5x3", "1x1", "33x16"])
def test_rgb_of_odd_width_keeps_its_colour_to_the_last_column(
    kitchen: Kitchen, converter: Converter, lab: Lab, size: str, name: str
) -> None:
    source = kitchen.ffmpeg(
        f"odd-{size}-{name}.mkv", *colour(name, "64x64", rate=10, seconds=0.3), "-vf",
        f"format=rgb24,scale={size}:flags=neighbor,setsar=1", "-c:v", "ffv1", "-pix_fmt", "bgr0",
    )  # fmt: skip
    wanted = {"red": (254, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 254)}[name]
    video_frame = lab.frame(converter.convert(VIDEO, source, "out.mp4").path)
    thumbnail = lab.image(converter.convert(THUMB, source, "out.jpg", time=0).path)
    for bitmap in (video_frame, thumbnail):
        assert bitmap.share(wanted, 16) == 1, bitmap.pixels[:99].hex(" ", 3)


def combed(lab: Lab, path: str) -> float:
    """The share of frames that look interlaced, 0 to 1."""
    ended = lab.agent.start(
        (
            "ffmpeg",
            "-nostdin",
            "-hide_banner",
            "-nostats",
            "-i",
            path,
            "-map",
            "0:v:0",
            "-vf",
            "idet",
            "-f",
            "null",
            "-",
        )
    ).result()
    found = re.findall(
        rb"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", ended.stderr
    )
    top, bottom, progressive = (int(number) for number in found[-1])
    return (top + bottom) / max(1, top + bottom + progressive)


INTERLACED = {
    "tff-h264": ("mp4", "interleave_top", "tff", (*X264, "-flags", "+ilme+ildct")),
    "bff-h264": ("mkv", "interleave_bottom", "bff", (*X264, "-flags", "+ilme+ildct")),
    "tff-mpeg2": (
        "mpg", "interleave_top", "tff",
        ("-c:v", "mpeg2video", "-q:v", "3", "-flags", "+ilme+ildct"),
    ),
    "bff-dv": ("avi", "interleave_bottom", "bff", ("-c:v", "dvvideo", "-flags", "+ildct")),
}  # fmt: skip


@pytest.mark.parametrize("name", INTERLACED)
def test_comb_lines_are_removed(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    extension, weave, field, codec = INTERLACED[name]
    source = kitchen.ffmpeg(
        f"il-{name}.{extension}", *video("720x576", rate=50, seconds=2), "-vf",
        f"tinterlace={weave},setfield={field}", "-pix_fmt", "yuv420p", *codec,
    )  # fmt: skip
    assert combed(lab, lab.inside(source)) > 0.8, "the recipe is not interlaced"
    run = converter.convert(VIDEO, source, "out.mp4")
    found = lab.media(run.path, count=True).video
    assert found.get("field_order", "progressive") == "progressive"
    assert combed(lab, lab.inside(run.path)) < 0.1
    assert 45 <= int(found["nb_read_frames"]) <= 102


def test_progressive_video_is_not_touched_by_a_deinterlacer(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = kitchen.ffmpeg("progressive.mkv", *video(), "-c:v", "mpeg2video", "-q:v", "2")
    run = converter.convert(VIDEO, source, "out.mp4", quality="high")
    assert lab.frames(run.path) == 75
    assert lab.similarity(run.path, source) > 0.97
    assert lab.frames(converter.convert(VIDEO, kitchen.base(), "out.mp4").path) == 75


def test_the_thumbnail_of_interlaced_video_has_no_comb(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    # Two fields of two colours: weaving them gives lines of both colours.
    source = kitchen.ffmpeg(
        "il-flash.mp4", *colour("red", "720x576", 50, 1), *colour("blue", "720x576", 50, 1),
        "-filter_complex", "[0][1]interleave,tinterlace=interleave_top,setfield=tff",
        *X264, "-flags", "+ilme+ildct",
    )  # fmt: skip
    bitmap = lab.image(converter.convert(THUMB, source, "out.png", time=0.4).path)
    rows = [bitmap.at(0.5, (row + 0.5) / bitmap.height) for row in range(100, 140)]
    jumps = [abs(a[0] - b[0]) for a, b in itertools.pairwise(rows)]
    assert max(jumps) < 60, "comb lines in the thumbnail"


def test_the_audio_is_kept(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "pq-audio.mp4", "-i", hdr(kitchen, "pq"), *tone(seconds=1), "-map", "0:v", "-map", "1:a",
        "-c:v", "copy", *AAC,
    )  # fmt: skip
    found = lab.media(converter.convert(VIDEO, source, "out.mp4").path)
    assert found.kinds == ["video", "audio"]
