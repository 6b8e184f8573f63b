"""Builds the JSON document of media_info, which says what the input is. Does no I/O.

A name never changes its meaning within a version. A later version of the converter may add names.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from media_converter.planning.tags import kept_tags
from media_converter.probing.decoded import Loudness
from media_converter.probing.media import AudioStream, ImageInfo, MediaInfo, Ratio, VideoStream

VERSION: Final = 1
MAX_STREAMS: Final = 32
"""Of each kind. The document says how many there are, but describes no more."""

Document = dict[str, Any]


class Placeholder(NamedTuple):
    """What a page shows while an image loads. ``name`` is thumbhash or blurhash."""

    name: str
    text: str
    colour: str | None


class Extra(NamedTuple):
    """What is measured only on request. None if it was not requested, or if there is none."""

    loudness: Loudness | None = None
    placeholder: Placeholder | None = None


def describe_media(info: MediaInfo, size_bytes: int, missing_bytes: int, extra: Extra) -> Document:
    """The document of a video or an audio file."""
    video = next(iter(info.video), None)
    width, height = video.displayed_size if video else (None, None)
    body: Document = {
        "version": VERSION,
        "kind": "video" if info.video else "audio",
        "container": info.container,
        "size": size_bytes,
        "missingBytes": missing_bytes or None,
        "durationSeconds": info.duration,
        "durationIsExact": info.duration_is_exact if info.duration else None,
        "width": width,
        "height": height,
        "videoStreams": len(info.video) or None,
        "audioStreams": len(info.audio) or None,
        "video": [_video(stream) for stream in info.video[:MAX_STREAMS]],
        "audio": [_audio(stream) for stream in info.audio[:MAX_STREAMS]],
        "attachedPictures": len(info.attached_pics) or None,
        "notDecodable": [*info.undecodable, *_unread(info)][:MAX_STREAMS],
        "tags": dict(kept_tags(info.tags)),
    }
    return _without_nothing(body | _extra(extra))


def describe_image(info: ImageInfo, size_bytes: int, missing_bytes: int, extra: Extra) -> Document:
    """The document of an image."""
    width, height = info.displayed_size
    body: Document = {
        "version": VERSION,
        "kind": "image",
        "container": info.format,
        "size": size_bytes,
        "missingBytes": missing_bytes or None,
        "width": width,
        "height": height,
        "orientation": info.orientation,
        "frames": info.pages if info.is_animated else None,
        "pages": info.pages if info.pages > 1 and not info.is_animated else None,
        "transparency": info.has_alpha,
        "grey": info.is_grey,
    }
    return _without_nothing(body | _extra(extra))


def _extra(extra: Extra) -> Document:
    found = extra.loudness
    level: Mapping[str, float] | None = None
    if found is not None and not found.is_silent:
        level = {
            "integratedLUFS": found.integrated,
            "truePeakDBTP": found.true_peak,
            "rangeLU": found.range,
        }
    hint = extra.placeholder
    return {
        "loudness": level,
        "silent": found.is_silent if found else None,
        "placeholder": {hint.name: hint.text, "dominantColour": hint.colour} if hint else None,
    }


def _video(video: VideoStream) -> Document:
    width, height = video.displayed_size
    return _without_nothing(
        {
            "codec": video.codec,
            "profile": video.profile,
            "width": video.width,
            "height": video.height,
            "displayedWidth": width,
            "displayedHeight": height,
            "rotation": video.rotation,
            "mirrored": video.mirrored,
            "frameRate": _decimal(video.avg_frame_rate or video.r_frame_rate),
            "durationSeconds": video.duration,
            "bitRate": video.bit_rate,
            "pixelFormat": video.pixel_format,
            "transparency": video.has_alpha,
            "interlaced": video.field_order in ("tt", "bb", "tb", "bt"),
            "hdr": video.is_hdr,
            "dolbyVisionProfile": video.dolby_profile,
            "colour": {
                "space": video.color_space,
                "primaries": video.color_primaries,
                "transfer": video.color_transfer,
                "range": "full" if video.full_range else "limited",
            },
        }
    )


def _audio(audio: AudioStream) -> Document:
    return _without_nothing(
        {
            "codec": audio.codec,
            "profile": audio.profile,
            "channels": audio.channels,
            "layout": audio.layout,
            "sampleRate": audio.sample_rate,
            "sampleBits": audio.sample_bits or None,
            "durationSeconds": audio.duration,
            "bitRate": audio.bit_rate,
            "default": audio.default,
        }
    )


def _unread(info: MediaInfo) -> list[str]:
    return [f"{stream.kind} {stream.codec}" for stream in info.unread]


def _decimal(rate: Ratio | None) -> float | None:
    return round(rate[0] / rate[1], 3) if rate else None


def _without_nothing(body: Document) -> Document:
    """Drop unknown values. False and 0 are known values."""
    found = {}
    for name, value in body.items():
        kept = _without_nothing(value) if isinstance(value, dict) else value
        if kept not in (None, "", [], {}):
            found[name] = kept
    return found
