"""Defines the options of the conversion types. GRAMMAR lists the values of each option.

The CRD's schema and rules, the checks of the HTTP API and :func:`parse` are derived from GRAMMAR.
The operator imports this module too, so it does no I/O and imports the standard library only.

The converter and the HTTP API also accept seconds with decimals as a number (``1.5``). The CRD
cannot: Kubernetes has integers and strings only. ``null`` is the same as absent.
"""

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
from media_converter.typed_options import (
    DEFAULT_SIZE,
    AudioOptions,
    ImageOptions,
    InfoOptions,
    Options,
    PreviewOptions,
    StoryboardOptions,
    ThumbnailOptions,
    VideoOptions,
    WaveformOptions,
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
PREVIEW_SECONDS: Final = (3, 4, 5, 6, 7, 8, 9, 10)
MAX_TILES: Final = 1000
"""The most images of a storyboard that may be asked for."""


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
_MP3: Final = ConversionType.AUDIO_TO_MP3
_IMAGE: Final = ConversionType.IMAGE_RESIZE
_THUMBNAIL: Final = ConversionType.EXTRACT_THUMBNAIL
_AUDIO: Final = ConversionType.AUDIO_CONVERT
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
"""Which part of an image remains. Attention and entropy look at the image."""
_MAX_FRAME_RATE: Final = Whole(
    "[1-9]|[1-5][0-9]|60", (1, 60), "", "frames per second from 1 to 60, such as 30"
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
    Option("bitrate", (_MP3,), Choices(BITRATES, "k")),
    Option("bitrate", (_AUDIO,), Choices(BITRATES, "k"), extensions=("m4a", "opus", "ogg")),
    Option("channels", (_MP3, _AUDIO), Words(("mono", "stereo"))),
    Option("start", (_VIDEO, _WEBM, _MP3, _AUDIO), Time(MAX_SECONDS)),
    Option("duration", (_VIDEO, _WEBM, _MP3, _AUDIO), Time(MAX_SECONDS, allows_zero=False)),
    Option("size", (_VIDEO, _WEBM, _IMAGE, _THUMBNAIL, _STORYBOARD, _PREVIEW), Size(MAX_SIDE)),
    Option("size", (_WAVEFORM,), Size(MAX_SIDE), extensions=("png",)),
    Option("fit", (_VIDEO, _WEBM, _IMAGE), Words(("contain", "cover"))),
    Option("gravity", (_IMAGE,), Words(GRAVITIES)),
    Option("background", (_IMAGE,), OPAQUE_COLOUR),
    Option("colour", (_WAVEFORM,), Colour(), extensions=("png",)),
    Option("background", (_WAVEFORM,), Colour(), extensions=("png",)),
    Option("samplesPerPixel", (_WAVEFORM,), Choices(ZOOMS, ""), extensions=("json",)),
    Option("time", (_THUMBNAIL,), Moment(MAX_SECONDS)),
    Option("loudness", (_VIDEO, _WEBM, _MP3, _AUDIO), Lufs()),
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
    _MP3: {"mp3": "mp3"},
    _IMAGE: {**_STILLS, "gif": "gif", "jxl": "jxl"},
    _THUMBNAIL: _STILLS,
    _AUDIO: {name: name for name in ("m4a", "opus", "ogg", "flac", "wav")},
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
    _MP3: Stage.AUDIO,
    _AUDIO: Stage.AUDIO,
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
            return StoryboardOptions(images=parsed.pop("count", None), **parsed)
        case _:
            time = parsed.pop("time", None)
            if isinstance(time, Share):
                return ThumbnailOptions(share=time.fraction, **parsed)
            return ThumbnailOptions(time=time, **parsed)


_TYPED: Final[Mapping[ConversionType, Callable[..., Options]]] = {
    _VIDEO: VideoOptions,
    _MP3: AudioOptions,
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
