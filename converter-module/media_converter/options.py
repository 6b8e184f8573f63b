"""The options of the four conversions: one grammar for the image, the operator and the CRD.

Values may be strings or numbers, as MY Network writes both. ``null`` is the same as absent.

=================  ==========================================================================
quality            video_to_mp4: ``low``, ``medium`` or ``high``
quality            image_resize, extract_thumbnail: a whole number 1 to 100
resolution         240p 360p 480p 720p 1080p 1440p 2160p (``720`` is the same as ``720p``)
bitrate            32k 40k 48k 56k 64k 80k 96k 112k 128k 160k 192k 224k 256k 320k
                   (``192`` is the same as ``192k``)
size               ``WIDTHxHEIGHT``, each side 1 to 16384
start, duration,   seconds (``90``, ``1.5``) or ``HH:MM:SS`` with at most six decimals;
time               0 to 999999 seconds; duration must be more than 0
=================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from media_converter.contract import ConversionType

QUALITY_WORDS: Final = ("low", "medium", "high")
RESOLUTIONS: Final = (240, 360, 480, 720, 1080, 1440, 2160)
BITRATES: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MAX_SIDE: Final = 16384
DEFAULT_BITRATE: Final = 192
DEFAULT_SIZE: Final = (800, 600)
DEFAULT_QUALITY: Final = 85
MAX_SECONDS: Final = 999_999

# re.ASCII: \d would also match other scripts' digits, which the CRD's patterns refuse.
_SECONDS = re.compile(r"(\d{1,6})(\.\d{1,6})?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,3}):([0-5]?\d):([0-5]?\d(?:\.\d{1,6})?)", re.ASCII)
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


class OptionError(ValueError):
    """An option that is unknown or out of range. ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"option {field} {message}")
        self.field = field
        self.message = message


class VideoOptions(NamedTuple):
    """Of video_to_mp4. ``resolution`` is the largest short side in pixels; times are seconds."""

    quality: str | None = None
    resolution: int | None = None
    start: float = 0.0
    duration: float | None = None


class AudioOptions(NamedTuple):
    """Of audio_to_mp3. ``bitrate`` is kbit/s; times are seconds."""

    bitrate: int = DEFAULT_BITRATE
    start: float = 0.0
    duration: float | None = None


class ImageOptions(NamedTuple):
    """Of image_resize: the box to fit into, in pixels, and the quality of the format."""

    width: int = DEFAULT_SIZE[0]
    height: int = DEFAULT_SIZE[1]
    quality: int = DEFAULT_QUALITY


class ThumbnailOptions(NamedTuple):
    """Of extract_thumbnail. None: the default moment, the size of the video."""

    time: float | None = None
    size: tuple[int, int] | None = None
    quality: int | None = None


Options = VideoOptions | AudioOptions | ImageOptions | ThumbnailOptions

FIELDS: Final[Mapping[ConversionType, tuple[str, ...]]] = {
    ConversionType.VIDEO_TO_MP4: ("quality", "resolution", "start", "duration"),
    ConversionType.AUDIO_TO_MP3: ("bitrate", "start", "duration"),
    ConversionType.IMAGE_RESIZE: ("size", "quality"),
    ConversionType.EXTRACT_THUMBNAIL: ("time", "size", "quality"),
}


def parse(conversion_type: ConversionType, values: Mapping[str, object]) -> Options:
    """The typed options of a conversion. Raises OptionError for what is unknown or out of range."""
    given = {name: value for name, value in values.items() if value is not None}
    allowed = FIELDS[conversion_type]
    for name in given:
        if name not in allowed:
            raise OptionError(
                name, f"does not belong to {conversion_type}, which has {', '.join(allowed)}"
            )
    match conversion_type:
        case ConversionType.VIDEO_TO_MP4:
            return VideoOptions(
                quality=_word(given),
                resolution=_choice(given, "resolution", "p", RESOLUTIONS),
                start=_time(given, "start") or 0.0,
                duration=_duration(given),
            )
        case ConversionType.AUDIO_TO_MP3:
            return AudioOptions(
                bitrate=_choice(given, "bitrate", "k", BITRATES) or DEFAULT_BITRATE,
                start=_time(given, "start") or 0.0,
                duration=_duration(given),
            )
        case ConversionType.IMAGE_RESIZE:
            width, height = _size(given) or DEFAULT_SIZE
            return ImageOptions(width, height, _percent(given) or DEFAULT_QUALITY)
        case ConversionType.EXTRACT_THUMBNAIL:
            return ThumbnailOptions(_time(given, "time"), _size(given), _percent(given))


def _word(given: Mapping[str, object]) -> str | None:
    value = given.get("quality")
    if value is None or value in QUALITY_WORDS:
        return None if value is None else str(value)
    raise OptionError("quality", f"must be low, medium or high, not {_shown(value)}")


def _percent(given: Mapping[str, object]) -> int | None:
    value = given.get("quality")
    number = _whole(value)
    if value is None or (number is not None and 1 <= number <= 100):
        return number
    raise OptionError("quality", f"must be a whole number 1 to 100, not {_shown(value)}")


def _choice(
    given: Mapping[str, object], field: str, unit: str, choices: tuple[int, ...]
) -> int | None:
    value = given.get(field)
    number = _whole(value.removesuffix(unit) if isinstance(value, str) else value)
    if value is None or number in choices:
        return number
    known = ", ".join(f"{choice}{unit}" for choice in choices)
    raise OptionError(field, f"must be one of {known}, not {_shown(value)}")


def _size(given: Mapping[str, object]) -> tuple[int, int] | None:
    value = given.get("size")
    if value is None:
        return None
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found:
        width, height = int(found[1]), int(found[2])
        if max(width, height) <= MAX_SIDE:
            return width, height
    raise OptionError(
        "size", f"must be WIDTHxHEIGHT with sides of 1 to {MAX_SIDE} pixels, not {_shown(value)}"
    )


def _duration(given: Mapping[str, object]) -> float | None:
    seconds = _time(given, "duration")
    if seconds == 0:
        raise OptionError("duration", "must be more than 0")
    return seconds


def _time(given: Mapping[str, object], field: str) -> float | None:
    value = given.get(field)
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= MAX_SECONDS:
        raise OptionError(
            field,
            f"must be seconds or HH:MM:SS, from 0 to {MAX_SECONDS} seconds, not {_shown(value)}",
        )
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        # Compared before converted: JSON has whole numbers that no float can hold.
        return float(value) if value <= MAX_SECONDS else None
    if not isinstance(value, str):
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    clock = _CLOCK.fullmatch(value)
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
