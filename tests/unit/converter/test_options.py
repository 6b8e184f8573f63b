from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ConversionType
from media_converter.options import MAX_SECONDS, OptionError, check_extensions, options_of, parse
from media_converter.typed_options import (
    AudioOptions,
    ImageOptions,
    Options,
    ThumbnailOptions,
    VideoOptions,
)

VIDEO = ConversionType.VIDEO_TO_MP4
WEBM = ConversionType.VIDEO_TO_WEBM
AUDIO = ConversionType.AUDIO_TO_MP3
IMAGE = ConversionType.IMAGE_RESIZE
THUMB = ConversionType.EXTRACT_THUMBNAIL
SOUND = ConversionType.AUDIO_CONVERT


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        (VIDEO, {}, VideoOptions(None, None, 0.0, None)),
        (VIDEO, {"quality": "low", "resolution": "720p"}, VideoOptions("low", 720)),
        (VIDEO, {"resolution": 1080}, VideoOptions(resolution=1080)),
        (VIDEO, {"start": 90, "duration": "1.5"}, VideoOptions(start=90.0, duration=1.5)),
        (VIDEO, {"start": "01:02:03.250"}, VideoOptions(start=3723.25)),
        (VIDEO, {"start": "1:2:3"}, VideoOptions(start=3723.0)),
        (VIDEO, {"start": None}, VideoOptions()),
        (VIDEO, {"videoCodec": "hevc"}, VideoOptions(video_codec="hevc")),
        (VIDEO, {"maxFrameRate": "30"}, VideoOptions(max_frame_rate=30)),
        (VIDEO, {"audio": "none"}, VideoOptions(audio="none")),
        (WEBM, {}, VideoOptions(container="webm")),
        (WEBM, {"videoCodec": "av1"}, VideoOptions(video_codec="av1", container="webm")),
        (VIDEO, {"maxBitrate": "4000k"}, VideoOptions(max_bitrate=4000)),
        (AUDIO, {}, AudioOptions(192)),
        (AUDIO, {"bitrate": "128k", "duration": "30"}, AudioOptions(128, 0.0, 30.0)),
        (AUDIO, {"bitrate": 320}, AudioOptions(320)),
        (AUDIO, {"loudness": -16, "channels": "mono"}, AudioOptions(192, 0.0, None, "mono", -16.0)),
        (AUDIO, {"loudness": "-16.5"}, AudioOptions(loudness=-16.5)),
        (SOUND, {}, AudioOptions(None)),
        (SOUND, {"channels": "mono", "bitrate": "64"}, AudioOptions(64, channels="mono")),
        (IMAGE, {}, ImageOptions(800, 600, 85)),
        (IMAGE, {"size": "300x200", "quality": "80"}, ImageOptions(300, 200, 80)),
        (IMAGE, {"size": "16384x1", "quality": 100}, ImageOptions(16384, 1, 100)),
        (THUMB, {}, ThumbnailOptions(None, None, None)),
        (THUMB, {"time": 0, "size": "1x1", "quality": 1}, ThumbnailOptions(0.0, (1, 1), 1)),
    ],
)
def test_what_is_accepted(
    kind: ConversionType, values: Mapping[str, object], wanted: Options
) -> None:
    assert parse(kind, values) == wanted


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (VIDEO, "videoCodec", "vp9"),
        (WEBM, "videoCodec", "h264"),
        (VIDEO, "quality", "best"),
        (VIDEO, "quality", 5),
        (VIDEO, "resolution", "723p"),
        (VIDEO, "resolution", True),
        (VIDEO, "start", -1),
        (VIDEO, "start", "00:60:00"),
        (VIDEO, "start", "1e3"),
        (VIDEO, "start", float("nan")),
        (VIDEO, "start", 10**400),
        (VIDEO, "start", "٣"),
        (VIDEO, "start", [1]),
        (VIDEO, "duration", 0),
        (VIDEO, "duration", "00:00:00.0"),
        (VIDEO, "size", "10x0"),
        (VIDEO, "gravity", "north"),
        (AUDIO, "bitrate", "100k"),
        (AUDIO, "bitrate", "192kk"),
        (AUDIO, "channels", "both"),
        (AUDIO, "loudness", -8),
        (AUDIO, "loudness", "-16.55"),
        (SOUND, "channels", "5.1"),
        (IMAGE, "size", "0x10"),
        (IMAGE, "size", "16385x10"),
        (IMAGE, "size", "10x10\n"),
        (IMAGE, "size", 10),
        (IMAGE, "quality", 0),
        (IMAGE, "quality", "101"),
        (IMAGE, "quality", 85.0),
        (IMAGE, "time", 1),
        (THUMB, "time", MAX_SECONDS + 1),
        (THUMB, "colour", "red"),
    ],
)
def test_what_is_refused_by_name(kind: ConversionType, field: str, value: object) -> None:
    with pytest.raises(OptionError) as refused:
        parse(kind, {field: value})
    assert refused.value.field == field
    assert field in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(ConversionType), st.data())
def test_any_json_is_parsed_or_refused(kind: ConversionType, data: st.DataObject) -> None:
    names = st.sampled_from([*options_of(kind), "other"])
    values = data.draw(st.dictionaries(names, JSON, max_size=4))
    try:
        options: Options | None = parse(kind, values)
    except OptionError as refused:
        blamed: str | None = refused.field
        options = None
    else:
        blamed = None
    assert (blamed in values) == (options is None)
    assert options is None or values.get("other") is None


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_clock_and_its_seconds_are_the_same(h: int, m: int, s: int, ms: int) -> None:
    clock = parse(THUMB, {"time": f"{h:02}:{m:02}:{s:02}.{ms:03}"})
    seconds = parse(THUMB, {"time": f"{h * 3600 + m * 60 + s}.{ms:03}"})
    assert isinstance(clock, ThumbnailOptions)
    assert isinstance(seconds, ThumbnailOptions)
    assert clock.time == pytest.approx(seconds.time)


@pytest.mark.parametrize("name", ["a.m4a", "a.OPUS", "b.wav/a.ogg"])
def test_an_option_applies_to_its_extensions_only(name: str) -> None:
    check_extensions(SOUND, ["bitrate", "start"], name)
    for other in ("a.flac", "a.ogg.wav", "a.m4a/b.FLAC"):
        check_extensions(SOUND, ["start"], other)
        with pytest.raises(OptionError) as refused:
            check_extensions(SOUND, ["bitrate"], other)
        assert "of audio_convert applies to .m4a, .opus or .ogg only" in str(refused.value)
