"""What the options may be: values at and beyond every bound, as a caller would write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from conversion_operator.api import names

VIDEO, AUDIO, IMAGE, THUMBNAIL = "video_to_mp4", "audio_to_mp3", "image_resize", "extract_thumbnail"

WEBM = "video_to_webm"
SOUND, INFO, WAVEFORM = "audio_convert", "media_info", "audio_waveform"
STORYBOARD, PREVIEW = "video_storyboard", "video_to_preview"

_EXTENSIONS: Final = {
    VIDEO: "mp4", AUDIO: "mp3", IMAGE: "webp", THUMBNAIL: "jpg", SOUND: "m4a", INFO: "json",
    WAVEFORM: "png", STORYBOARD: "jpg", PREVIEW: "mp4", WEBM: "webm",
}  # fmt: skip


_NEEDS: Final = {"fit": {"size": "9x9"}, "gravity": {"fit": "cover", "size": "9x9"}}


class Case(NamedTuple):
    """A conversion with one option, and whether it is accepted."""

    kind: str
    option: str
    value: Any
    accepted: bool

    def __str__(self) -> str:
        return f"{self.kind}-{self.option}-{self.value!r}"

    @property
    def options(self) -> dict[str, Any]:
        """The option, and what it needs."""
        needs = _NEEDS.get(self.option, {}) if self.kind in (VIDEO, WEBM, IMAGE) else {}
        return {**needs, self.option: self.value}

    @property
    def output_file(self) -> str:
        if (self.kind, self.option) == (WAVEFORM, "samplesPerPixel"):
            return "output/a.json"
        return f"output/a.{_EXTENSIONS[self.kind]}"

    def manifest(self, name: str, namespace: str) -> dict[str, Any]:
        """The ConversionJob."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "conversionType": self.kind,
                "inputFile": "input/a",
                "outputFile": self.output_file,
                "options": self.options,
            },
        }


_TIMES: Final = (
    *(1, 604799, 604800, "1", "0.000001", "0.5", "000001", "604800", "604800.000000"),
    *("604799.999999", "0:0:1", "1:2:3", "00:00:00.000001", "167:59:59.999999", "168:00:00"),
    *("168:0:0.000000", "001:00:00", "99:59:59"),
)
_ZEROS: Final = (0, "0", "000000", "0.000000", "0:0:0", "00:00:00.0")
_NOT_TIMES: Final = (
    *(-1, 604801, 700000, 10**18, "604800.000001", "604801", "700000", "999999", "0000001"),
    *("168:00:00.000001", "168:00:01", "168:01:00", "169:00:00", "999:59:59", "1000:00:00"),
    *("00:60:00", "00:00:60", "1:2", "1:2:3:4", ":1:2", "1::2", "1:2:", "1.", ".5", "1.0000001"),
    *("-1", "+1", "1e3", "0x10", "1_0", "1,5", "1s", "1h0m0s", "soon", "inf", "nan", "1:-2:3"),
)
_SIZES: Final = ("1x1", "800x600", "16384x1", "1x16384", "16384x16384", "9999x9999")
_NOT_SIZES: Final = (
    *(800, "0x1", "1x0", "16385x1", "1x16385", "99999x1", "100000x1", "01x1", "1x01", "800", "x"),
    *("800x", "x600", "1x1x1", "800X600", "800*600", "-1x1", "+1x1", "1.5x1", "axb", "800 x 600"),
)
_PERCENTS: Final = (1, 2, 99, 100, "1", "9", "10", "99", "100")
_NOT_PERCENTS: Final = (
    *(-1, 0, 101, 10**18, "0", "00", "01", "080", "101", "1000", "-1", "+1", "1.0", "85%"),
    *("low", "medium", "high", "0x1", "1_0"),
)
_NOT_COUNTS: Final = (
    *(-1, 0, 1001, 10**18, "0", "00", "01", "0100", "1001", "10000", "-1", "+1", "1.0", "5p"),
    *("all", "0x1", "1_0"),
)
_NOT_PREVIEWS: Final = (
    *(-1, 0, 2, 11, 10**18, "2", "11", "2s", "03", "3.5", "0:0:5", "5m", "5 s"),
)
_SHARES: Final = ("0%", "25%", "99.999999%", "100%", "100.0%", "05%")
_NOT_SHARES: Final = (
    *("101%", "100.1%", "100.000001%", "200%", "-1%", "%"),
    *("25 %", "25%%", "1e1%", ".5%", "5.%", "1:00%", "0.0000001%", "025%", "%25"),
)
_NOT_WORDS: Final = (0, 1, 50, "1", "50", "100", "Low", "HIGH", "lower", "lo", "best", "low|high")
_COLOURS: Final = ("000000", "1E90FF", "ffffff", "102030", "transparent")
_GRAVITIES: Final = (
    *("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"),
    *("attention", "entropy", "centre"),
)
_NOT_COLOURS: Final = (
    *(0, 102030, "#1E90FF", "1E90F", "1E90FFF", "1E90FG", "red", "Transparent", "0x1E90FF"),
)
_NOT_ZOOMS: Final = (0, 1, 63, 65, 65537, 131072, -64, 10**18, "0", "63", "064", "64k", "all")
_LUFS: Final = (-40, -16, -9, "-16", "-16.5", "-9", "-9.9", "-40", "-39.9", "-10.0")
_NOT_LUFS: Final = (
    *(
        0,
        16,
        -8,
        -41,
        -(10**18),
        "-8",
        "-8.9",
        "-40.1",
        "-41",
        "16",
        "+16",
        "-016",
        "-16.",
        "-16.55",
    ),
    *("-16LUFS", "- 16", "-.5", "-16,5", "measure", "off"),
)
_NOT_CHANNELS: Final = (0, 1, 2, "1", "2", "Mono", "STEREO", "5.1", "both", "mono|stereo")
_RESOLUTIONS: Final = (
    *("240p", "360p", "480p", "720p", "1080p", "1440p", "2160p"),
    *(240, 360, 480, 720, 1080, 1440, 2160, "240", "720", "2160"),
)
_NOT_RESOLUTIONS: Final = (
    *("239p", "241p", "0p", "p", "2161p", "4320p", "0720p", "720P", "720pp", "+720p", "-720p"),
    *("720.0p", "720k", 0, -720, 239, 241, 721, 2161, 10**18, "721", "0720", "720.0"),
)
_BITRATES: Final = (
    *("32k", "40k", "48k", "56k", "64k", "80k", "96k", "112k", "128k", "160k", "192k", "224k"),
    *("256k", "320k", 32, 128, 320, "32", "192", "320"),
)
_NOT_BITRATES: Final = (
    *("8k", "31k", "33k", "100k", "319k", "321k", "384k", "k", "0k", "032k", "128K", "128kk"),
    *("+128k", "-128k", "128.0k", "128p", 0, -128, 31, 33, 100, 321, 10**18, "100", "0128"),
)

_RATES: Final = (100, 4000, 100_000, "100", "4000k", "100000k")
_NOT_RATES: Final = (
    *(
        0,
        99,
        100_001,
        -4000,
        10**18,
        "0",
        "99",
        "099k",
        "100001k",
        "4M",
        "4000kk",
        "4000K",
        "+4000",
    ),
    *("4000.0", "4e3", "4_000", "4 000", "k", "4Mbit", "unlimited"),
)

_OPTIONS: Final = (
    ("videoCodec", (VIDEO,), ("h264", "hevc", "av1"), ("vp9", "h265", "HEVC", "x264", 264)),
    ("videoCodec", (WEBM,), ("vp9", "av1"), ("h264", "hevc", "vp8", "VP9", 9)),
    ("quality", (VIDEO, WEBM), ("low", "medium", "high"), _NOT_WORDS),
    ("quality", (IMAGE, THUMBNAIL), _PERCENTS, _NOT_PERCENTS),
    ("resolution", (VIDEO, WEBM), _RESOLUTIONS, _NOT_RESOLUTIONS),
    ("maxBitrate", (VIDEO, WEBM), _RATES, _NOT_RATES),
    ("maxFrameRate", (VIDEO, WEBM), (1, 30, 60, "1", "59", "60"), (0, 61, -1, "0", "030", "30fps")),
    ("audio", (VIDEO, WEBM), ("keep", "none"), (0, "None", "mute", "aac")),
    ("bitrate", (AUDIO, SOUND), _BITRATES, _NOT_BITRATES),
    ("channels", (AUDIO, SOUND), ("mono", "stereo"), _NOT_CHANNELS),
    ("start", (VIDEO, WEBM, AUDIO, SOUND), (*_TIMES, *_ZEROS), _NOT_TIMES),
    ("duration", (VIDEO, WEBM, AUDIO, SOUND), _TIMES, (*_NOT_TIMES, *_ZEROS)),
    ("size", (VIDEO, WEBM, IMAGE, THUMBNAIL, WAVEFORM, STORYBOARD, PREVIEW), _SIZES, _NOT_SIZES),
    ("fit", (VIDEO, WEBM, IMAGE), ("contain", "cover"), (0, "Cover", "fill", "contain|cover")),
    ("gravity", (IMAGE,), _GRAVITIES, (0, "center", "North", "north_east", "up", "northeast")),
    ("colour", (WAVEFORM,), _COLOURS, _NOT_COLOURS),
    ("background", (WAVEFORM,), _COLOURS, _NOT_COLOURS),
    ("background", (IMAGE,), _COLOURS[:-1], (*_NOT_COLOURS, "transparent")),
    ("samplesPerPixel", (WAVEFORM,), (64, 256, 65536, "64", "65536"), _NOT_ZOOMS),
    ("time", (THUMBNAIL,), (*_SHARES, *_TIMES, *_ZEROS), (*_NOT_TIMES, *_NOT_SHARES)),
    ("loudness", (VIDEO, WEBM, AUDIO, SOUND), _LUFS, _NOT_LUFS),
    ("loudness", (INFO,), ("measure",), (-16, 0, "-16", "true", "Measure", "ebur128")),
    ("placeholder", (INFO,), ("thumbhash", "blurhash"), (0, "none", "Thumbhash", "lqip")),
    ("interval", (STORYBOARD,), _TIMES, (*_NOT_TIMES, *_ZEROS)),
    ("count", (STORYBOARD,), (1, 999, 1000, "1", "10", "999", "1000"), _NOT_COUNTS),
    ("duration", (PREVIEW,), (3, 10, "3", "10", "3s", "10s"), _NOT_PREVIEWS),
    ("segments", (PREVIEW,), (1, 9, 10, "1", "9", "10"), (-1, 0, 11, "0", "11", "01", "10s", "x")),
    ("columns", (STORYBOARD,), _PERCENTS, _NOT_PERCENTS),
)

DECIMALS: Final = tuple(
    Case(kind, option, 1.5, accepted=False)
    for option, kinds in (
        ("start", (VIDEO, WEBM, AUDIO, SOUND)),
        ("duration", (VIDEO, WEBM, AUDIO, SOUND)),
        ("time", (THUMBNAIL,)),
        ("interval", (STORYBOARD,)),
    )
    for kind in kinds
)
"""Rejected by the CRD alone: Kubernetes has no numbers with decimals."""


def _disguised(good: str) -> tuple[str, ...]:
    """Nearly a value that is accepted."""
    arabic = good.translate({ord("0") + i: 0x660 + i for i in range(10)})
    wide = good.translate({ord("0") + i: 0xFF10 + i for i in range(10)})
    around = (f" {good}", f"{good} ", f"\t{good}", f"{good}\n", f"{good}\u202e")
    return (*around, *sorted({arabic, wide} - {good}))


def _cases() -> Iterator[Case]:
    for option, kinds, good, bad in _OPTIONS:
        text = next(value for value in reversed(good) if isinstance(value, str))
        odd = (True, False, [], [1], {}, "", " ", *_disguised(text), "9" * 30)
        for kind in kinds:
            yield from (Case(kind, option, value, accepted=True) for value in good)
            yield from (Case(kind, option, value, accepted=False) for value in (*bad, *odd))
    for option, _, good, _ in _OPTIONS:
        owners = {kind for name, kinds, _, _ in _OPTIONS if name == option for kind in kinds}
        for kind in _EXTENSIONS:
            if kind not in owners:
                yield Case(kind, option, good[0], accepted=False)


CASES: Final = tuple(_cases())
