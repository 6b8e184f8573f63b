"""The options of the four conversion types. GRAMMAR is the one table of what each may be.

The CRD's schema and rules, the checks of the HTTP API and :func:`parse` are derived from it. No
I/O, standard library only: the operator imports this module too.

The converter also takes a few spellings that the CRD and the HTTP API refuse, because JSON writes
them naturally: a number without its unit (``720``, ``192``) and seconds with decimals (``1.5``).
``null`` is the same as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from media_converter.contract import ConversionType

RESOLUTIONS: Final = (240, 360, 480, 720, 1080, 1440, 2160)
BITRATES: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MAX_SIDE: Final = 16384
MAX_SECONDS: Final = 604800
"""One week. The bound of every time, whichever way it is written."""
MAX_LENGTH: Final = 20
"""No string of the grammar is longer."""

DEFAULT_BITRATE: Final = 192
DEFAULT_SIZE: Final = (800, 600)
DEFAULT_QUALITY: Final = 85


def in_words(items: Sequence[str], conjunction: str = "or") -> str:
    """``a, b or c``."""
    *most, last = items or [""]
    return f"{', '.join(most)} {conjunction} {last}" if most else last


# Each kind of option below has
#   pattern   which strings it takes, as a regular expression that RE2 (the API server), Python and
#             JSON Schema read alike: hence [0-9] and [.] rather than \d and \.
#   integers  the smallest and the largest integer it takes; None if it takes strings only
#   must_be   the end of the sentence "options.NAME must be ..."
#   read()    what a value means; None for a value that is refused


class Words(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]
    integers: None = None

    @property
    def pattern(self) -> str:
        """``^(low|high)$``."""
        return f"^({'|'.join(self.words)})$"

    @property
    def must_be(self) -> str:
        """``low or high``."""
        return in_words(self.words)

    def read(self, value: object) -> str | None:
        """The word."""
        return value if isinstance(value, str) and value in self.words else None


class Choices(NamedTuple):
    """One of a few numbers, with their unit."""

    numbers: tuple[int, ...]
    unit: str
    integers: None = None

    @property
    def pattern(self) -> str:
        """``^(32|40)k$``."""
        return f"^({'|'.join(map(str, self.numbers))}){self.unit}$"

    @property
    def must_be(self) -> str:
        """``32k or 40k``."""
        return in_words([f"{number}{self.unit}" for number in self.numbers])

    def read(self, value: object) -> int | None:
        """The number. The converter's own spelling: without the unit, as string or number."""
        text = str(value) if _is_integer(value) else value
        known = {f"{number}": number for number in self.numbers}
        return known.get(text.removesuffix(self.unit)) if isinstance(text, str) else None


class Percent(NamedTuple):
    """An integer from 1 to 100, as a number or a string."""

    pattern: str = "^([1-9][0-9]?|100)$"
    integers: tuple[int, int] = (1, 100)
    must_be: str = "an integer from 1 to 100"

    def read(self, value: object) -> int | None:
        """The number."""
        if isinstance(value, str):
            return int(value) if re.fullmatch(self.pattern, value) else None
        return value if _is_integer(value) and 1 <= value <= 100 else None


class Size(NamedTuple):
    """WIDTHxHEIGHT in pixels. The pattern alone does not hold ``max_side``."""

    max_side: int
    pattern: str = "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
    integers: None = None

    @property
    def must_be(self) -> str:
        """The bound in words."""
        return f"WIDTHxHEIGHT with sides of 1 to {self.max_side} pixels"

    def read(self, value: object) -> tuple[int, int] | None:
        """Width and height."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return None
        width, height = map(int, value.split("x"))
        return (width, height) if max(width, height) <= self.max_side else None


class Time(NamedTuple):
    """Seconds, or hours, minutes and seconds. The pattern alone does not hold the bounds."""

    max_seconds: int
    zero: bool = True
    pattern: str = "^([0-9]{1,6}|[0-9]{1,3}:[0-5]?[0-9]:[0-5]?[0-9])([.][0-9]{1,6})?$"

    @property
    def integers(self) -> tuple[int, int]:
        """``zero`` decides about 0, for strings too."""
        return 0 if self.zero else 1, self.max_seconds

    @property
    def must_be(self) -> str:
        """The bounds in words."""
        least = "from 0 to" if self.zero else "more than 0 and at most"
        return f'seconds (90 or "1.5") or "HH:MM:SS.mmm", {least} {self.max_seconds} seconds'

    def read(self, value: object) -> float | None:
        """Seconds. The converter's own spelling: a number with decimals."""
        if isinstance(value, str):
            seconds = self._parse(value)
        else:
            seconds = value if _is_integer(value) or isinstance(value, float) else None
        # Compared before it is converted: JSON has integers that no float can hold.
        if seconds is None or not 0 <= seconds <= self.max_seconds:
            return None
        return float(seconds) if self.zero or seconds > 0 else None

    def _parse(self, text: str) -> float | None:
        if not re.fullmatch(self.pattern, text):
            return None
        *clock, seconds = text.split(":")
        hours, minutes = map(int, clock or (0, 0))
        return hours * 3600 + minutes * 60 + float(seconds)


class Option(NamedTuple):
    """A row of GRAMMAR: an option, the conversion types it belongs to, and what it may be."""

    name: str
    types: tuple[ConversionType, ...]
    kind: Words | Choices | Percent | Size | Time


_VIDEO: Final = ConversionType.VIDEO_TO_MP4
_AUDIO: Final = ConversionType.AUDIO_TO_MP3
_IMAGE: Final = ConversionType.IMAGE_RESIZE
_THUMBNAIL: Final = ConversionType.EXTRACT_THUMBNAIL

GRAMMAR: Final = (
    Option("quality", (_VIDEO,), Words(("low", "medium", "high"))),
    Option("quality", (_IMAGE, _THUMBNAIL), Percent()),
    Option("resolution", (_VIDEO,), Choices(RESOLUTIONS, "p")),
    Option("bitrate", (_AUDIO,), Choices(BITRATES, "k")),
    Option("start", (_VIDEO, _AUDIO), Time(MAX_SECONDS)),
    Option("duration", (_VIDEO, _AUDIO), Time(MAX_SECONDS, zero=False)),
    Option("size", (_IMAGE, _THUMBNAIL), Size(MAX_SIDE)),
    Option("time", (_THUMBNAIL,), Time(MAX_SECONDS)),
)

_STILLS: Final = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif"}
FORMATS: Final[Mapping[ConversionType, Mapping[str, str]]] = {
    _VIDEO: {"mp4": "mp4"},
    _AUDIO: {"mp3": "mp3"},
    _IMAGE: {**_STILLS, "gif": "gif"},
    _THUMBNAIL: _STILLS,
}
"""The extensions an output file may have, and the format that each stands for."""


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


def options_of(conversion_type: ConversionType) -> dict[str, Option]:
    """The options of a conversion type, by name."""
    return {option.name: option for option in GRAMMAR if conversion_type in option.types}


def types_of(name: str) -> str:
    """The conversion types an option belongs to, in words. Empty if there is no such option."""
    types = [kind for option in GRAMMAR if option.name == name for kind in option.types]
    return in_words(types, "and")


def extensions_of(conversion_type: ConversionType) -> str:
    """The extensions of a conversion type, in words: ``.jpg or .png``."""
    return in_words([f".{extension}" for extension in FORMATS[conversion_type]])


def parse(conversion_type: ConversionType, values: Mapping[str, object]) -> Options:
    """The typed options of a conversion. Raises OptionError for what is unknown or out of range."""
    allowed = options_of(conversion_type)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name not in allowed:
            known = ", ".join(allowed)
            raise OptionError(name, f"does not belong to {conversion_type}, which has {known}")
        read[name] = allowed[name].kind.read(value)
        if read[name] is None:
            raise OptionError(name, f"must be {allowed[name].kind.must_be}, not {_shown(value)}")
    match conversion_type:
        case ConversionType.VIDEO_TO_MP4:
            return VideoOptions(**read)
        case ConversionType.AUDIO_TO_MP3:
            return AudioOptions(**read)
        case ConversionType.IMAGE_RESIZE:
            return ImageOptions(*read.pop("size", DEFAULT_SIZE), **read)
        case ConversionType.EXTRACT_THUMBNAIL:
            return ThumbnailOptions(**read)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
