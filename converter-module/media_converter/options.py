"""Defines the options of the conversion types. GRAMMAR lists the values of each option.

The CRD's schema and rules, the checks of the HTTP API and :func:`parse` are derived from GRAMMAR.
The operator imports this module too, so it does no I/O and imports the standard library only.

The converter and the HTTP API also accept seconds with decimals as a number (``1.5``). The CRD
cannot: Kubernetes has integers and strings only. ``null`` is the same as absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple

from media_converter.contract import ConversionType
from media_converter.option_values import (
    OPAQUE_COLOUR,
    Choices,
    Colour,
    Kind,
    Lufs,
    Moment,
    Percent,
    Share,
    Size,
    Time,
    Whole,
    Words,
    in_words,
    whole_up_to,
)

RESOLUTIONS: Final = (240, 360, 480, 720, 1080, 1440, 2160)
BITRATES: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
ZOOMS: Final = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Samples per pixel of a waveform."""
MAX_SIDE: Final = 16384
MAX_SECONDS: Final = 604800
"""One week, the maximum of every time."""
MAX_LENGTH: Final = 20
"""Maximum length of a value that is a string."""

FORBIDDEN_CHARACTERS: Final = (
    (0x0000, 0x001F),  # control characters, such as line breaks
    (0x007F, 0x009F),
    (0x061C, 0x061C),  # Arabic letter mark
    (0x180E, 0x180E),  # Mongolian vowel separator
    (0x200B, 0x200B),  # zero-width space
    (0x200E, 0x200F),  # left-to-right and right-to-left mark
    (0x2028, 0x202E),  # line and paragraph separator, bidirectional embeddings and overrides
    (0x2060, 0x206F),  # word joiner, invisible operators, bidirectional isolates
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFF9, 0xFFFB),  # interlinear annotations
    (0xE0001, 0xE0001),  # language tag
)
"""Ranges of characters that no path may contain.

They break a line, change the direction of the text around them, or are not visible. So a path with
one could look like another path, or forge a line of a log or of ``kubectl describe``. Two invisible
characters are allowed, because real names contain them and they change nothing else: the zero-width
joiner of emoji (U+200D) and the zero-width non-joiner of Persian (U+200C).
"""

NO_FORBIDDEN_CHARACTERS: Final = (
    "must not contain control characters, such as line breaks, or invisible characters that change "
    "how text is shown"
)

LOG_FOLDER: Final = ".conversion-logs"
"""The folder of the converter's logs, in the root of the shared volume."""
LOG_FOLDER_PATTERN: Final = r"^/?[.]conversion-logs(/|$)"
"""What the lower case of a path in this folder matches. Some volumes ignore the case of names."""
NOT_IN_LOG_FOLDER: Final = f"must not be in the folder {LOG_FOLDER}, which is for the logs"

# Half of a surrogate pair is no character. JSON can hold one, but a file name or a request cannot.
_SURROGATES: Final = (0xD800, 0xDFFF)
_FORBIDDEN: Final = re.compile(
    "[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in (*FORBIDDEN_CHARACTERS, _SURROGATES)) + "]"
)

DEFAULT_BITRATE: Final = 192
DEFAULT_SIZE: Final = (800, 600)
DEFAULT_QUALITY: Final = 85
DEFAULT_WAVEFORM_SIZE: Final = (800, 250)
DEFAULT_TILE_SIZE: Final = (160, 160)
DEFAULT_PREVIEW_SIZE: Final = (640, 640)
PREVIEW_SECONDS: Final = (3, 4, 5, 6, 7, 8, 9, 10)
MAX_TILES: Final = 1000
"""The most pictures of a storyboard that may be asked for."""
DEFAULT_CODECS: Final = {"mp4": "h264", "webm": "vp9"}
"""The codec of the video, by container."""


def has_forbidden_character(text: str) -> bool:
    """Whether the text has a character that no path may contain."""
    return _FORBIDDEN.search(text) is not None


def is_in_log_folder(path: str) -> bool:
    """Whether a path from the root of the volume leads to the folder of logs, or is this folder."""
    first = next((part for part in path.split("/") if part), "")
    return first.lower() == LOG_FOLDER


class Option(NamedTuple):
    """A row of GRAMMAR: an option, the conversion types that have it, and its values.

    ``extensions`` are those of the output files that it applies to. Without them, it applies to
    all.
    """

    name: str
    types: tuple[ConversionType, ...]
    kind: Kind
    extensions: tuple[str, ...] = ()

    @property
    def only_for(self) -> str:
        """The end of the sentence "options.NAME of TYPE ..." for another extension."""
        return f"applies to {in_words([f'.{name}' for name in self.extensions])} only"

    def applies_to(self, output_file: str) -> bool:
        """Whether the option applies to a file of this name."""
        extensions = tuple(f".{name}" for name in self.extensions)
        return not extensions or output_file.lower().endswith(extensions)


_VIDEO: Final = ConversionType.VIDEO_TO_MP4
_WEBM: Final = ConversionType.VIDEO_TO_WEBM
_AUDIO: Final = ConversionType.AUDIO_TO_MP3
_IMAGE: Final = ConversionType.IMAGE_RESIZE
_THUMBNAIL: Final = ConversionType.EXTRACT_THUMBNAIL
_SOUND: Final = ConversionType.AUDIO_CONVERT
_INFO: Final = ConversionType.MEDIA_INFO
_WAVEFORM: Final = ConversionType.AUDIO_WAVEFORM
_STORYBOARD: Final = ConversionType.VIDEO_STORYBOARD
_PREVIEW: Final = ConversionType.VIDEO_TO_PREVIEW

_MAX_BITRATE: Final = Whole(
    "[1-9][0-9]{2,4}|100000",
    (100, 100_000),
    "k",
    'kbit/s from 100 to 100000, such as 4000 or "4000k"',
)

GRAVITIES: Final = (
    *("centre", "north", "north-east", "east", "south-east", "south", "south-west", "west"),
    *("north-west", "attention", "entropy"),
)
"""Which part of an image remains. Attention and entropy look at the picture."""
_MAX_FRAME_RATE: Final = Whole(
    "[1-9]|[1-5][0-9]|60", (1, 60), "", "pictures per second from 1 to 60, such as 30"
)

GRAMMAR: Final = (
    Option("videoCodec", (_VIDEO,), Words(("h264", "hevc", "av1"))),
    Option("videoCodec", (_WEBM,), Words(("vp9", "av1"))),
    Option("quality", (_VIDEO, _WEBM), Words(("low", "medium", "high"))),
    Option("quality", (_IMAGE, _THUMBNAIL), Percent()),
    Option("resolution", (_VIDEO, _WEBM), Choices(RESOLUTIONS, "p")),
    Option("maxBitrate", (_VIDEO, _WEBM), _MAX_BITRATE),
    Option("maxFrameRate", (_VIDEO, _WEBM), _MAX_FRAME_RATE),
    Option("audio", (_VIDEO, _WEBM), Words(("keep", "none"))),
    Option("bitrate", (_AUDIO,), Choices(BITRATES, "k")),
    Option("bitrate", (_SOUND,), Choices(BITRATES, "k"), extensions=("m4a", "opus", "ogg")),
    Option("channels", (_AUDIO, _SOUND), Words(("mono", "stereo"))),
    Option("start", (_VIDEO, _WEBM, _AUDIO, _SOUND), Time(MAX_SECONDS)),
    Option("duration", (_VIDEO, _WEBM, _AUDIO, _SOUND), Time(MAX_SECONDS, allows_zero=False)),
    Option("size", (_VIDEO, _WEBM, _IMAGE, _THUMBNAIL, _STORYBOARD, _PREVIEW), Size(MAX_SIDE)),
    Option("size", (_WAVEFORM,), Size(MAX_SIDE), extensions=("png",)),
    Option("fit", (_VIDEO, _WEBM, _IMAGE), Words(("contain", "cover"))),
    Option("gravity", (_IMAGE,), Words(GRAVITIES)),
    Option("background", (_IMAGE,), OPAQUE_COLOUR),
    Option("colour", (_WAVEFORM,), Colour(), extensions=("png",)),
    Option("background", (_WAVEFORM,), Colour(), extensions=("png",)),
    Option("samplesPerPixel", (_WAVEFORM,), Choices(ZOOMS, ""), extensions=("json",)),
    Option("time", (_THUMBNAIL,), Moment(MAX_SECONDS)),
    Option("loudness", (_VIDEO, _WEBM, _AUDIO, _SOUND), Lufs()),
    Option("loudness", (_INFO,), Words(("measure",))),
    Option("placeholder", (_INFO,), Words(("thumbhash", "blurhash"))),
    Option("interval", (_STORYBOARD,), Time(MAX_SECONDS, allows_zero=False)),
    Option("count", (_STORYBOARD,), whole_up_to(MAX_TILES)),
    Option("columns", (_STORYBOARD,), whole_up_to(100)),
    Option("duration", (_PREVIEW,), Choices(PREVIEW_SECONDS, "s")),
    Option("segments", (_PREVIEW,), whole_up_to(10)),
)

EXCLUSIVE: Final = (("interval", "count"), ("resolution", "size"))
"""Options of which an output may have only one."""


class Need(NamedTuple):
    """An option that needs another one. None stands for all values."""

    option: str
    value: str | None
    needed: str
    needed_value: str | None

    @property
    def words(self) -> str:
        """The end of the sentence "options.NAME ..."."""
        value = f" {self.value}" if self.value else ""
        needed_value = f": {self.needed_value}" if self.needed_value else ""
        return f"{value} needs the option {self.needed}{needed_value}".strip()

    def is_met(self, values: Mapping[str, object]) -> bool:
        """Whether options have what they need."""
        given = values.get(self.option)
        if given is None or (self.value is not None and given != self.value):
            return True
        needed = values.get(self.needed)
        return needed is not None and self.needed_value in (None, needed)


NEEDS: Final = (Need("gravity", None, "fit", "cover"), Need("fit", "cover", "size", None))

_STILLS: Final = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif"}
FORMATS: Final[Mapping[ConversionType, Mapping[str, str]]] = {
    _VIDEO: {"mp4": "mp4"},
    _WEBM: {"webm": "webm"},
    _AUDIO: {"mp3": "mp3"},
    _IMAGE: {**_STILLS, "gif": "gif", "jxl": "jxl"},
    _THUMBNAIL: _STILLS,
    _SOUND: {name: name for name in ("m4a", "opus", "ogg", "flac", "wav")},
    _INFO: {"json": "json"},
    _WAVEFORM: {"png": "png", "json": "json"},
    _STORYBOARD: {"jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"},
    _PREVIEW: {"mp4": "mp4", "webp": "webp"},
}
"""The extensions that an output file may have, and the format of each extension."""


class Stage(IntEnum):
    """In which order the outputs of a run are made: what is fast comes first."""

    PROBE = 0
    SEEK = 1
    IMAGE = 2
    SCAN = 3
    AUDIO = 4
    VIDEO = 5


STAGES: Final[Mapping[ConversionType, Stage]] = {
    _THUMBNAIL: Stage.SEEK,
    _IMAGE: Stage.IMAGE,
    _AUDIO: Stage.AUDIO,
    _SOUND: Stage.AUDIO,
    _WAVEFORM: Stage.AUDIO,
    _STORYBOARD: Stage.SCAN,
    _PREVIEW: Stage.SCAN,
    _INFO: Stage.PROBE,
    _VIDEO: Stage.VIDEO,
    _WEBM: Stage.VIDEO,
}


class OptionError(ValueError):
    """An option that is unknown or out of range. ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"option {field} {message}")
        self.field = field
        self.message = message


class VideoOptions(NamedTuple):
    """The options of video_to_mp4 and video_to_webm, which differ in ``container``.

    ``resolution`` is the maximum of the shorter side in pixels. ``size`` is the box, in pixels,
    that the video fits into (``fit`` contain) or fills (cover). Times are in seconds.
    ``max_bitrate`` is in kbit/s, None for the limit of the quality. ``video_codec`` is None for the
    default of the container, or for a copy. ``audio`` is keep or none. ``loudness`` is in LUFS.
    """

    quality: str | None = None
    resolution: int | None = None
    start: float = 0.0
    duration: float | None = None
    max_bitrate: int | None = None
    video_codec: str | None = None
    container: str = "mp4"
    max_frame_rate: int | None = None
    audio: str = "keep"
    loudness: float | None = None
    size: tuple[int, int] | None = None
    fit: str = "contain"

    @property
    def codec(self) -> str:
        """The codec that a video is encoded to."""
        return self.video_codec or DEFAULT_CODECS[self.container]


class AudioOptions(NamedTuple):
    """The options of audio_to_mp3 and audio_convert.

    ``bitrate`` is in kbit/s, None for the default of the format. Times are in seconds. ``channels``
    is mono or stereo, None for the default. ``loudness`` is in LUFS, None for that of the input.
    """

    bitrate: int | None = DEFAULT_BITRATE
    start: float = 0.0
    duration: float | None = None
    channels: str | None = None
    loudness: float | None = None


class ImageOptions(NamedTuple):
    """The options of image_resize.

    ``width`` and ``height`` are the box, in pixels, that the image fits into (``fit`` contain) or
    fills (cover). ``gravity`` is which part of it then remains. Transparent pixels are laid on
    ``background``, RRGGBB. None: only if the format has no transparency.
    """

    width: int = DEFAULT_SIZE[0]
    height: int = DEFAULT_SIZE[1]
    quality: int = DEFAULT_QUALITY
    fit: str = "contain"
    gravity: str = "centre"
    background: str | None = None


class ThumbnailOptions(NamedTuple):
    """The options of extract_thumbnail. ``time`` is in seconds, ``size`` in pixels.

    ``share`` is the time as a share of the duration, 0 to 1. None means the default time, the size
    of the video, the default quality.
    """

    time: float | None = None
    size: tuple[int, int] | None = None
    quality: int | None = None
    share: float | None = None


class InfoOptions(NamedTuple):
    """The options of media_info. ``placeholder`` is thumbhash, blurhash or None."""

    loudness: str | None = None
    placeholder: str | None = None


class WaveformOptions(NamedTuple):
    """The options of audio_waveform. ``size`` is in pixels. Colours are RRGGBB or transparent."""

    size: tuple[int, int] = DEFAULT_WAVEFORM_SIZE
    colour: str = "1E90FF"
    background: str = "transparent"
    samples_per_pixel: int = 256


class StoryboardOptions(NamedTuple):
    """The options of video_storyboard. ``size`` is the box, in pixels, of one picture.

    ``interval`` is in seconds. Without it and ``pictures``, the option count, the number of
    pictures is the default.
    """

    interval: float | None = None
    pictures: int | None = None
    columns: int = 10
    size: tuple[int, int] = DEFAULT_TILE_SIZE


class PreviewOptions(NamedTuple):
    """The options of video_to_preview. ``size`` is a box in pixels, ``duration`` in seconds."""

    duration: float = 6
    size: tuple[int, int] = DEFAULT_PREVIEW_SIZE
    segments: int = 4


Options = (
    VideoOptions
    | AudioOptions
    | ImageOptions
    | ThumbnailOptions
    | InfoOptions
    | WaveformOptions
    | StoryboardOptions
    | PreviewOptions
)


def output_files(conversion_type: str, output_file: str) -> tuple[str, ...]:
    """The paths of all files of an output, that of the output itself first.

    A storyboard has a WebVTT file beside it. The arguments need not be valid.
    """
    if conversion_type != _STORYBOARD:
        return (output_file,)
    folder, slash, name = output_file.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return output_file, f"{folder}{slash}{stem if dot else name}.vtt"


def options_of(conversion_type: ConversionType) -> dict[str, Option]:
    """The options of a conversion type, by name."""
    return {option.name: option for option in GRAMMAR if conversion_type in option.types}


def types_of(name: str) -> str:
    """The conversion types that have an option, in words. Empty if there is no such option."""
    types = [kind for option in GRAMMAR if option.name == name for kind in option.types]
    return in_words(types, "and")


def extensions_of(conversion_type: ConversionType) -> str:
    """The extensions of a conversion type, in words: ``.jpg or .png``."""
    return in_words([f".{extension}" for extension in FORMATS[conversion_type]])


def parse(conversion_type: ConversionType, values: Mapping[str, object]) -> Options:
    """The typed options of a conversion. Raises OptionError if one is unknown or not allowed."""
    allowed = options_of(conversion_type)
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name not in allowed:
            known = ", ".join(allowed)
            raise OptionError(name, f"does not belong to {conversion_type}, which has {known}")
        parsed[name] = allowed[name].kind.read(value)
        if parsed[name] is None:
            raise OptionError(name, f"must be {allowed[name].kind.must_be}, not {_shown(value)}")
    check_together(values)
    return _typed(conversion_type, parsed)


def _typed(conversion_type: ConversionType, parsed: dict[str, Any]) -> Options:
    make = _TYPED.get(conversion_type)
    if make is not None:
        return make(**_named(parsed))
    match conversion_type:
        case ConversionType.VIDEO_TO_WEBM:
            return VideoOptions(**_named(parsed), container="webm")
        case ConversionType.AUDIO_CONVERT:
            return AudioOptions(**{"bitrate": None, **parsed})
        case ConversionType.IMAGE_RESIZE:
            return ImageOptions(*parsed.pop("size", DEFAULT_SIZE), **parsed)
        case ConversionType.VIDEO_STORYBOARD:
            return StoryboardOptions(pictures=parsed.pop("count", None), **parsed)
        case _:
            time = parsed.pop("time", None)
            if isinstance(time, Share):
                return ThumbnailOptions(share=time.fraction, **parsed)
            return ThumbnailOptions(time=time, **parsed)


_TYPED: Final[Mapping[ConversionType, Callable[..., Options]]] = {
    _VIDEO: VideoOptions,
    _AUDIO: AudioOptions,
    _INFO: InfoOptions,
    _WAVEFORM: WaveformOptions,
    _PREVIEW: PreviewOptions,
}
"""What has a field for each option, with its name."""


def _named(parsed: dict[str, Any]) -> dict[str, Any]:
    """By the names of fields: maxBitrate is max_bitrate."""
    return {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", k): v for k, v in parsed.items()}


def check_together(values: Mapping[str, object]) -> None:
    """Raise OptionError if two options exclude each other, or if one lacks another one."""
    for one, other in EXCLUSIVE:
        if values.get(one) is not None and values.get(other) is not None:
            raise OptionError(other, f"does not go together with {one}; set one of them")
    for need in NEEDS:
        if not need.is_met(values):
            raise OptionError(need.option, need.words)


def check_extensions(
    conversion_type: ConversionType, names: Iterable[str], output_file: str
) -> None:
    """Raise OptionError if one of the options does not apply to an output file of this name."""
    for name in names:
        option = options_of(conversion_type)[name]
        if not option.applies_to(output_file):
            raise OptionError(name, f"of {conversion_type} {option.only_for}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
