"""Builds the step that runs ffprobe, and parses its JSON into a MediaInfo. Does no I/O.

Fields may be missing, "N/A", "0/0" or nonsense. An invalid field counts as missing and never
raises, because users have files with strange headers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from media_converter.probing.codecs import AUDIO_DECODERS, ESTIMATED_DURATION, VIDEO_DECODERS
from media_converter.probing.media import (
    FULL_RANGE_FORMATS,
    MAX_FRAME_PIXELS,
    AudioStream,
    MediaInfo,
    Ratio,
    Unread,
    VideoStream,
)
from media_converter.step import INPUT, Step

FFPROBE: Final = "/opt/ffmpeg/bin/ffprobe"

# Usually enough packets to reach a video frame after interleaved audio.
_PROBED_PACKETS: Final = 6
# A more extreme sample aspect ratio counts as invalid.
_MAX_ASPECT_RATIO: Final = 100
_SAMPLE_RATES: Final = range(1_000, 3_000_001)
"""Hz. The highest rate in use, DSD512, is decoded at 2.8 MHz. Rates under 1 kHz are not in use, and
a small file of 1 Hz would become an output of gigabytes."""
# The dispositions of tracks that are not the main one.
_SECONDARY: Final = ("comment", "visual_impaired", "hearing_impaired", "descriptions", "karaoke")
_DECIMALS: Final = 6
# Apple's spatial audio. It reuses a box of AAC, so ffprobe reports it as AAC.
_UNDECODABLE_TAGS: Final = ("apac",)


MAX_LOOK_BYTES: Final = 200_000_000
"""A tool keeps what it reads while it looks for streams in memory."""
_LONG_LOOK_SECONDS: Final = 60
_WHOLE_SECONDS: Final = 86_400


MERGE: Final = ("-merge_pmt_versions", "1")
"""Options that read a transport stream whose streams get new numbers as one video."""


def long_look(size_bytes: int | None = None) -> tuple[str, ...]:
    """Options that look for streams in the first 60 s of a file, or in its first bytes.

    Tools usually look at 5 s.
    """
    seconds = _LONG_LOOK_SECONDS if size_bytes is None else _WHOLE_SECONDS
    count = MAX_LOOK_BYTES if size_bytes is None else size_bytes
    return ("-probesize", str(count), "-analyzeduration", str(seconds * 1_000_000))


def step(path: str = INPUT, *, demuxer_options: tuple[str, ...] = ()) -> Step:
    """Build the step that describes a file: its format, its streams and a few decoded frames.

    Only frames show a rotation that is in the bit stream, and the actual field order. Only packets
    show that they are encrypted.
    """
    argv = [FFPROBE, "-v", "error", "-hide_banner", "-protocol_whitelist", "file", "-threads", "1"]
    argv += ["-max_pixels", str(MAX_FRAME_PIXELS)]
    argv += demuxer_options
    argv += ["-show_format", "-show_streams", "-show_programs", "-show_frames", "-show_packets"]
    argv += ["-read_intervals", f"%+#{_PROBED_PACKETS}", "-of", "json", f"file:{path}"]
    return Step("probe", tuple(argv))


def parse(text: bytes, *, demuxer_options: tuple[str, ...] = ()) -> MediaInfo | None:
    """Parse ffprobe's output. None if it does not describe a file."""
    try:
        document = json.loads(text)
        streams, container = document["streams"], document["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    seen = document.get("packets_and_frames") or document.get("frames") or ()
    frames = _first_frames(entry for entry in seen if entry.get("type") != "packet")
    video: list[VideoStream] = []
    attached_pics: list[VideoStream] = []
    audio, undecodable, unread = [], [], []
    for stream in streams:
        kind, codec = stream.get("codec_type"), str(stream.get("codec_name", ""))
        index = _whole(stream.get("index")) or 0
        if kind == "video":
            is_attached = stream.get("disposition", {}).get("attached_pic")
            if codec in VIDEO_DECODERS and (found := _video(stream, frames.get(index, {}))):
                (attached_pics if is_attached else video).append(found)
            elif not is_attached and codec in VIDEO_DECODERS:
                unread.append(Unread("video", codec, index))
            elif not is_attached:
                undecodable.append(f"video {codec or 'unknown'}")
        elif kind == "audio":
            track = _track(stream, codec, index)
            if isinstance(track, AudioStream):
                audio.append(track)
            elif isinstance(track, Unread):
                unread.append(track)
            else:
                undecodable.append(track)
    name = str(container.get("format_name", ""))
    return MediaInfo(
        container=name,
        size_bytes=_whole(container.get("size")) or 0,
        duration=_seconds(container.get("duration")),
        duration_is_exact=name not in ESTIMATED_DURATION,
        start=_float(container.get("start_time")) or 0.0,
        video=tuple(video),
        audio=tuple(audio),
        attached_pics=tuple(attached_pics),
        undecodable=tuple(undecodable),
        unread=tuple(unread),
        encrypted=_is_encrypted((*streams, *seen)),
        programs=_programs(document.get("programs", ())),
        demuxer_options=demuxer_options,
        tags=_tags(container, streams),
    )


def _is_encrypted(entries: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a stream or a packet has the data that a decryptor needs."""
    return any(
        str(data.get("side_data_type", "")).startswith("Encryption")
        for entry in entries
        for data in entry.get("side_data_list", ())
    )


def _programs(programs: Iterable[Mapping[str, Any]]) -> tuple[frozenset[int], ...]:
    """The indexes of the streams of each program."""
    return tuple(
        frozenset(
            index for s in p.get("streams", ()) if (index := _whole(s.get("index"))) is not None
        )
        for p in programs
    )


def _first_frames(frames: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The first frame of each stream, by stream index."""
    found: dict[int, Mapping[str, Any]] = {}
    for frame in frames:
        index = _whole(frame.get("stream_index"))
        if index is not None:
            found.setdefault(index, frame)
    return found


def _video(stream: Mapping[str, Any], frame: Mapping[str, Any]) -> VideoStream | None:
    width, height = _whole(stream.get("width")) or 0, _whole(stream.get("height")) or 0
    if not width or not height:
        return None
    side_data = stream.get("side_data_list", ())
    cropped = cropped_width, cropped_height = _cropping(side_data)
    pixel = aspect(frame.get("sample_aspect_ratio")) or aspect(stream.get("sample_aspect_ratio"))
    rotation, mirrored = _rotation((*side_data, *frame.get("side_data_list", ())))
    dolby_profile, needs_dolby_vision = _dolby_vision(side_data)
    pixel_format = str(frame.get("pix_fmt") or stream.get("pix_fmt", ""))

    def frame_or_stream(name: str) -> str:
        value = str(frame.get(name) or stream.get(name) or "")
        return "" if value in ("unknown", "unspecified") else value

    field_order = str(stream.get("field_order", "unknown"))
    if frame.get("interlaced_frame") and field_order in ("progressive", "unknown"):
        field_order = "tt" if frame.get("top_field_first") else "bb"
    return VideoStream(
        stream_index=_whole(stream.get("index")) or 0,
        codec=str(stream["codec_name"]),
        width=max(1, width - cropped_width),
        height=max(1, height - cropped_height),
        cropped=cropped,
        pixel_format=pixel_format,
        profile=str(stream.get("profile", "")),
        level=_whole(stream.get("level")) or 0,
        sample_aspect_ratio=_shown_aspect(pixel, (width, height), cropped),
        rotation=rotation,
        mirrored=mirrored,
        full_range=frame_or_stream("color_range") == "pc" or pixel_format in FULL_RANGE_FORMATS,
        color_space=frame_or_stream("color_space"),
        color_primaries=frame_or_stream("color_primaries"),
        color_transfer=frame_or_stream("color_transfer"),
        field_order=field_order,
        r_frame_rate=_ratio(stream.get("r_frame_rate"), "/"),
        avg_frame_rate=_ratio(stream.get("avg_frame_rate"), "/"),
        start=_float(stream.get("start_time")) or 0.0,
        duration=_stream_duration(stream),
        bit_rate=_whole(stream.get("bit_rate")),
        coded_alpha=str(stream.get("tags", {}).get("alpha_mode", "")) == "1",
        dolby_profile=dolby_profile,
        needs_dolby_vision=needs_dolby_vision,
    )


def _track(stream: Mapping[str, Any], codec: str, index: int) -> AudioStream | Unread | str:
    """An audio stream. A text names one that cannot be decoded."""
    decodable = codec in AUDIO_DECODERS and stream.get("codec_tag_string") not in _UNDECODABLE_TAGS
    if decodable and (track := _audio(stream)):
        return track
    rate = _sample_rate(stream)
    if rate and rate not in _SAMPLE_RATES:
        return f"audio {codec or 'unknown'} with {rate} Hz"
    return Unread("audio", codec, index) if decodable else f"audio {codec or 'unknown'}"


def _sample_rate(stream: Mapping[str, Any]) -> int:
    """The sample rate that the header states, 0 if it states none."""
    return _whole(stream.get("sample_rate")) or 0


def _audio(stream: Mapping[str, Any]) -> AudioStream | None:
    sample_rate = _sample_rate(stream)
    channels = _whole(stream.get("channels")) or 0
    # A resampler's memory grows with the sample rate, and a damaged header can claim any rate.
    if sample_rate not in _SAMPLE_RATES or not channels:
        return None
    disposition = stream.get("disposition", {})
    layout = str(stream.get("channel_layout", ""))
    tags = stream.get("tags", {})
    return AudioStream(
        stream_index=_whole(stream.get("index")) or 0,
        codec=str(stream["codec_name"]),
        sample_rate=sample_rate,
        channels=channels,
        layout="" if layout == "unknown" else layout,
        profile=str(stream.get("profile", "")),
        start=_float(stream.get("start_time")) or 0.0,
        duration=_stream_duration(stream),
        bit_rate=_whole(stream.get("bit_rate")),
        default=bool(disposition.get("default")),
        secondary=any(disposition.get(name) for name in _SECONDARY),
        sample_bits=_whole(stream.get("bits_per_raw_sample"))
        or _whole(stream.get("bits_per_sample"))
        or 0,
        language=_language(tags),
        title=str(tags.get("title", "")),
    )


def _language(tags: Mapping[str, Any]) -> str:
    """The language of a track. Empty if the file names none: "und" means undetermined."""
    language = str(tags.get("language", ""))
    return "" if language == "und" else language


def _cropping(side_data: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many columns and rows the container hides. ffmpeg removes them before any filter."""
    for entry in side_data:
        if entry.get("side_data_type") == "Frame Cropping":
            left, right, top, bottom = (
                _whole(entry.get(f"crop_{side}")) or 0
                for side in ("left", "right", "top", "bottom")
            )
            return left + right, top + bottom
    return 0, 0


def _shown_aspect(aspect: Ratio | None, size: Ratio, cropped: tuple[int, int]) -> Ratio:
    """The aspect ratio of a pixel.

    Some programs crop in the container, but leave the display size of the uncropped video. Its
    aspect ratio would stretch what remains, so square pixels are assumed.
    """
    if aspect is None:
        return (1, 1)
    width, height = size[0] - cropped[0], size[1] - cropped[1]
    is_stretched = width * aspect[0] * size[1] == height * aspect[1] * size[0]
    return (1, 1) if any(cropped) and is_stretched else aspect


def _rotation(side_data: Iterable[Mapping[str, Any]]) -> tuple[int, bool]:
    """Clockwise rotation in degrees (0, 90, 180 or 270), and whether the video is mirrored."""
    for entry in side_data:
        if entry.get("side_data_type") not in ("Display Matrix", "3x3 displaymatrix"):
            continue
        angle = _float(entry.get("rotation"))
        if angle is None:
            continue
        # ffprobe counts counter-clockwise.
        return round(-angle / 90) % 4 * 90, _is_mirrored(str(entry.get("displaymatrix", "")))
    return 0, False


def _is_mirrored(matrix: str) -> bool:
    """Whether a display matrix, as printed, has a negative determinant."""
    rows = [line.partition(":")[2].split() for line in matrix.splitlines() if ":" in line]
    try:
        (a, b), (c, d) = (tuple(int(cell) for cell in row[:2]) for row in rows[:2])
    except (ValueError, IndexError):
        return False
    return a * d - b * c < 0


def _dolby_vision(side_data: Iterable[Mapping[str, Any]]) -> tuple[int | None, bool]:
    """The Dolby Vision profile, and whether only Dolby Vision decoders can show the video."""
    for entry in side_data:
        if "dv_profile" in entry:
            profile = _whole(entry["dv_profile"])
            return profile, profile == 5 or not _whole(entry.get("dv_bl_signal_compatibility_id"))
    return None, False


def _stream_duration(stream: Mapping[str, Any]) -> float | None:
    tags = stream.get("tags", {})
    return _seconds(stream.get("duration")) or _clock(str(tags.get("DURATION", "")))


def _tags(
    container: Mapping[str, Any], streams: Iterable[Mapping[str, Any]]
) -> tuple[tuple[str, str], ...]:
    """Tags of the file and of its first audio stream, which has the tags of an Ogg file."""
    found: dict[str, str] = {}
    sources = [container, *(s for s in streams if s.get("codec_type") == "audio")]
    for source in sources[:2]:
        for key, value in source.get("tags", {}).items():
            found.setdefault(str(key).lower(), str(value))
    return tuple(found.items())


def _ratio(value: object, separator: str) -> Ratio | None:
    """Two positive whole numbers. None for "0/0", "N/A" and anything else."""
    before, _, after = str(value).partition(separator)
    first, second = _whole(before), _whole(after)
    return (first, second) if first and second and first > 0 and second > 0 else None


def aspect(value: object) -> Ratio | None:
    """The shape of a pixel, such as "16:11". None if it is unknown or extreme."""
    found = _ratio(value, ":")
    if found is None or max(found) > _MAX_ASPECT_RATIO * min(found):
        return None
    return found


def _clock(text: str) -> float | None:
    """Seconds from Matroska's "00:00:03.000000000"."""
    parts = text.split(":")
    values = [_float(part) for part in parts]
    if len(parts) != 3 or None in values:
        return None
    hours, minutes, seconds = (value or 0.0 for value in values)
    return _seconds(hours * 3600 + minutes * 60 + seconds)


def _seconds(value: object) -> float | None:
    number = _float(value)
    return number if number is not None and number > 0 else None


def _float(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return round(number, _DECIMALS) if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
