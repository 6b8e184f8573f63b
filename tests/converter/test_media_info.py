"""The JSON document that says what a file is."""

from __future__ import annotations

import base64
import json
import math
import string
import struct
from typing import Any

import jsonschema
import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import INFO, Converter, Run
from tests.converter.kitchen import AAC, X264, Kitchen, colour, tone, video
from tests.converter.lab import Lab
from tests.converter.recipes import PLAYLISTS, covered, photo

NUMBER = {"type": "number", "minimum": 0}
COUNT = {"type": "integer", "minimum": 0}
WORD = {"type": "string", "minLength": 1}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["version", "kind", "container", "size"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 1},
        "kind": {"enum": ["video", "audio", "image"]},
        "container": WORD,
        "size": COUNT,
        "missingBytes": {"type": "integer", "minimum": 1},
        "durationSeconds": NUMBER,
        "durationIsExact": {"type": "boolean"},
        "width": COUNT,
        "height": COUNT,
        "videoStreams": COUNT,
        "audioStreams": COUNT,
        "video": {"type": "array", "items": {"type": "object", "required": ["codec", "width"]}},
        "audio": {"type": "array", "items": {"type": "object", "required": ["codec", "channels"]}},
        "attachedPictures": COUNT,
        "notDecodable": {"type": "array", "items": WORD},
        "tags": {"type": "object", "additionalProperties": WORD},
        "orientation": {"type": "integer", "minimum": 1, "maximum": 8},
        "frames": COUNT,
        "pages": COUNT,
        "transparency": {"type": "boolean"},
        "grey": {"type": "boolean"},
        "loudness": {
            "type": "object",
            "required": ["integratedLUFS", "truePeakDBTP", "rangeLU"],
            "additionalProperties": {"type": "number"},
        },
        "silent": {"type": "boolean"},
        "placeholder": {
            "type": "object",
            "required": ["dominantColour"],
            "properties": {
                "dominantColour": {"type": "string", "pattern": "^#[0-9A-F]{6}$"},
                "thumbhash": WORD,
                "blurhash": WORD,
            },
        },
    },
}


def document(run: Run) -> dict[str, Any]:
    """The document that a run wrote, checked against the schema."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    body = json.loads(run.path.read_text(), parse_constant=refuse)
    jsonschema.validate(body, SCHEMA)
    assert run.report.output
    assert run.report.output.container == "json"
    return dict(body)


def info(converter: Converter, source: str, **options: object) -> dict[str, Any]:
    return document(converter.convert(INFO, source, "out.json", **options))


def test_a_video(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg(
        "described.mp4", *video(rate=30000 / 1001), *tone(), *X264, *AAC, "-ac", "2",
        "-metadata", "title=A film", "-metadata", "location=+48.8577+002.2950/",
    )  # fmt: skip
    body = info(converter, source)
    found = lab.media(source)
    assert body["kind"] == "video"
    assert body["size"] == kitchen.path(source).stat().st_size
    assert body["durationSeconds"] == pytest.approx(found.duration, abs=0.01)
    assert (body["width"], body["height"]) == (320, 180)
    (stream,) = body["video"]
    assert (stream["codec"], stream["pixelFormat"]) == ("h264", "yuv420p")
    assert stream["frameRate"] == pytest.approx(29.97, abs=0.01)
    assert stream["rotation"] == 0
    (sound,) = body["audio"]
    assert (sound["codec"], sound["channels"], sound["sampleRate"]) == ("aac", 2, 48000)
    assert body["tags"] == {"title": "A film"}
    assert "loudness" not in body
    assert "placeholder" not in body


def test_what_is_shown_is_told_upright_and_with_square_pixels(
    kitchen: Kitchen, converter: Converter
) -> None:
    plain = kitchen.ffmpeg("wide.mp4", *video("360x200"), "-vf", "setsar=4/3", *X264)
    turned = kitchen.ffmpeg("turned.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy")
    body = info(converter, turned)
    assert (body["width"], body["height"]) == (200, 480)
    (stream,) = body["video"]
    assert (stream["width"], stream["height"]) == (360, 200)
    assert stream["rotation"] == 270


def test_hdr_and_colours(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "hdr.mkv", *video(), "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params",
        "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
    )  # fmt: skip
    (stream,) = info(converter, source)["video"]
    assert stream["hdr"]
    assert stream["colour"] == {
        "space": "bt2020nc", "primaries": "bt2020", "transfer": "smpte2084", "range": "limited",
    }  # fmt: skip


def test_a_song(kitchen: Kitchen, converter: Converter) -> None:
    body = info(converter, covered(kitchen, "covered.mp3"))
    assert body["kind"] == "audio"
    assert body["attachedPictures"] == 1
    assert "video" not in body
    assert "width" not in body
    flac = kitchen.ffmpeg("deep.flac", *tone(), "-sample_fmt", "s32", "-c:a", "flac")
    (sound,) = info(converter, flac)["audio"]
    assert sound["sampleBits"] == 24


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif", "avif", "gif", "bmp"])
def test_an_image(kitchen: Kitchen, converter: Converter, extension: str) -> None:
    name = f"described.{extension}"
    source = (
        kitchen.ffmpeg(name, *video("400x300"), "-frames:v", "1")
        if extension in {"gif", "bmp"}
        else photo(kitchen, name)
    )
    body = info(converter, source)
    assert body["kind"] == "image"
    assert (body["width"], body["height"]) == (400, 300)
    assert body.get("frames") is None
    assert body["transparency"] is (extension == "gif" and body["transparency"])


def test_an_animation_and_an_image_on_its_side(kitchen: Kitchen, converter: Converter) -> None:
    animated = kitchen.ffmpeg("moving.gif", *video("64x48", rate=5, seconds=2))
    assert info(converter, animated)["frames"] == 10
    plain = photo(kitchen, "photo.jpg")
    side = kitchen.make("side.jpg", lambda out: _turn(kitchen, plain, out))
    body = info(converter, side)
    assert (body["width"], body["height"], body["orientation"]) == (300, 400, 6)


def _turn(kitchen: Kitchen, source: str, out: str) -> None:
    kitchen.run("cp", f"/workspace/{source}", out)
    kitchen.run("exiftool", "-q", "-n", "-overwrite_original", "-Orientation=6", out)


@pytest.mark.parametrize("name", ["thumbhash", "blurhash"])
def test_a_placeholder_has_the_colours_of_the_picture(
    kitchen: Kitchen, converter: Converter, name: str
) -> None:
    for source in (
        kitchen.ffmpeg("blue.png", *colour("0x2040C0", "300x200"), "-frames:v", "1"),
        kitchen.ffmpeg("blue.mp4", *colour("0x2040C0", "300x200"), *X264),
    ):
        found = info(converter, source, placeholder=name)["placeholder"]
        shown = bytes.fromhex(found["dominantColour"].lstrip("#"))
        assert all(abs(a - b) <= 6 for a, b in zip(shown, (0x20, 0x40, 0xC0), strict=True))
        text = found[name]
        if name == "blurhash":
            digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
            digits += "#$%*+,-.:;=?@[]^_{|}~"
            mean = 0
            for digit in text[2:6]:
                mean = mean * 83 + digits.index(digit)
            colours = mean.to_bytes(3, "big")
        else:
            # The mean colour of a ThumbHash, as its decoders compute it.
            head = int.from_bytes(base64.b64decode(text)[:3], "little")
            light, yellow, red = (
                (head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1,
            )  # fmt: skip
            blue = light - 2 / 3 * yellow
            r = (3 * light - blue + red) / 2
            colours = bytes(round(255 * max(0.0, min(1.0, v))) for v in (r, r - red, blue))
        assert all(abs(a - b) <= 10 for a, b in zip(colours, (0x20, 0x40, 0xC0), strict=True))


def test_the_placeholder_of_a_song_is_that_of_its_cover(
    kitchen: Kitchen, converter: Converter
) -> None:
    body = info(converter, covered(kitchen, "covered.flac"), placeholder="thumbhash")
    red, green, blue = bytes.fromhex(body["placeholder"]["dominantColour"][1:])
    assert red > 240
    assert max(green, blue) < 16


def test_what_cannot_be_measured_is_a_warning(kitchen: Kitchen, converter: Converter) -> None:
    plain = kitchen.ffmpeg("tone.flac", *tone())
    run = converter.convert(INFO, plain, "out.json", placeholder="blurhash")
    assert "placeholder" not in document(run)
    assert run.report.warnings == (
        "The document has no placeholder: the input has neither a video nor an image.",
    )
    silent = kitchen.ffmpeg("pictures-only.mp4", *video(), *X264)
    run = converter.convert(INFO, silent, "out.json", loudness="measure")
    assert "loudness" not in document(run)
    assert run.report.warnings == ("The document has no loudness: the input has no audio.",)


def test_loudness(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = kitchen.ffmpeg("loud.wav", *tone(1000, 8), "-af", "volume=6dB", "-ac", "2")
    body = info(converter, source, loudness="measure")
    integrated, peak = lab.ebur128(source)
    assert body["loudness"]["integratedLUFS"] == pytest.approx(integrated, abs=0.1)
    assert body["loudness"]["truePeakDBTP"] == pytest.approx(peak, abs=0.1)
    assert body["silent"] is False
    nothing = kitchen.ffmpeg("silence-3s.wav", "-f", "lavfi", "-i", "anullsrc=d=3")
    body = info(converter, nothing, loudness="measure")
    assert body["silent"] is True
    assert "loudness" not in body


def test_a_sample_that_is_no_number_makes_no_invalid_document(
    kitchen: Kitchen, converter: Converter
) -> None:
    plain = kitchen.ffmpeg("float.wav", *tone(440, 3), "-c:a", "pcm_f32le")
    data = bytearray(kitchen.read(plain))
    data[-400:-396] = struct.pack("<f", math.inf)
    source = kitchen.write("infinite.wav", bytes(data))
    run = converter.convert(INFO, source, "out.json", loudness="measure")
    assert "loudness" not in document(run)
    assert run.report.warnings == ("The document has no loudness: it cannot be measured.",)


def test_a_jpeg_without_its_end_mark_has_a_placeholder(
    kitchen: Kitchen, converter: Converter
) -> None:
    whole = photo(kitchen, "noise-whole.jpg", "64x48")
    source = kitchen.write("noise-cut.jpg", kitchen.read(whole)[:-2])
    assert info(converter, source, placeholder="thumbhash")["placeholder"]["thumbhash"]


def test_a_truncated_file_says_what_is_missing(kitchen: Kitchen, converter: Converter) -> None:
    whole = kitchen.ffmpeg("whole.wav", *tone())
    cut = kitchen.edit("cut.wav", whole, lambda data: data[:-1000])
    assert info(converter, cut)["missingBytes"] == 1000
    assert "missingBytes" not in info(converter, whole)


def test_what_is_no_media_is_refused(kitchen: Kitchen, converter: Converter) -> None:
    for name, content in (
        ("text.mp4", b"hello\n" * 100), ("list.mp4", PLAYLISTS["hls.mp4"]),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ):  # fmt: skip
        source = kitchen.write(f"no-{name}", content)
        converter.refused(INFO, source, "out.json", ExitReason.UNSUPPORTED_FORMAT)


def test_a_bomb_is_described_but_never_decoded(kitchen: Kitchen, converter: Converter) -> None:
    bomb = kitchen.vips("bomb.png", "black", "--", "20000", "20000")
    body = info(converter, bomb)
    assert (body["width"], body["height"]) == (20000, 20000)
    converter.refused(INFO, bomb, "out.json", ExitReason.INPUT_TOO_LARGE, placeholder="thumbhash")


def test_it_takes_half_a_second(kitchen: Kitchen, converter: Converter) -> None:
    runs = [converter.convert(INFO, kitchen.base(), "out.json") for _ in range(5)]
    assert min(run.wall for run in runs) <= 0.5


def test_a_retry_recognises_its_document(kitchen: Kitchen, converter: Converter) -> None:
    env = {"OVERWRITE": "false", "CONVERSION_UID": "uid-1"}
    first = converter.convert(INFO, kitchen.base(), "out.json")
    assert converter.run(first.case, env=env).reason is ExitReason.OUTPUT_EXISTS
    first.path.unlink()
    made = converter.run(first.case, env=env)
    again = converter.run(first.case, env=env)
    assert again.report.output == made.report.output
