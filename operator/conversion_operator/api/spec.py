"""``spec`` of a ConversionJob. ``kubectl explain`` prints the docstrings of the fields.

The aliases are the names that users write. Rules about one field are here; the rules of the options
come from GRAMMAR. Rules about several fields are in :mod:`conversion_operator.api.validation`.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from conversion_operator.api import names
from media_converter.contract import MAX_OUTPUTS, ConversionType, DamagedInput
from media_converter.options import GRAMMAR, MAX_LENGTH, output_files
from media_converter.forbidden_paths import (
    NO_FORBIDDEN_CHARACTERS,
    NOT_IN_LOG_FOLDER,
    has_forbidden_character,
    is_in_log_folder,
)

PATH_PATTERN: Final = r"^/?[^/\x00]+(/[^/\x00]+)*$"
QUANTITY_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
URL_PATTERN: Final = r"^[!-\[\]-~]+$"
"""Printable ASCII without the space and the backslash: URL parsers disagree about these two."""
CALLBACK_URL_PATTERN: Final = r"^https?://[!-\"$-.0->A-\[\]-~]+([/?#][!-\[\]-~]*)?$"
"""All rules about a callback URL in one: it has a host, and no user name and password."""

QUEUE_PATTERN: Final = f"^{names.NAMESPACE_PATTERN}$"
PROFILE_PATTERN: Final = f"^{names.NAMESPACE_PATTERN}$"

NO_OUTPUTS: Final = "there is no output: the CRD in the cluster may be older than the operator"
ONE_FORM: Final = "set exactly one of these: conversionType with outputFile, outputs, or profile"
NOT_SAME_PATH: Final = "must not have the same outputFile"
NOT_SAME_VTT: Final = "must not have the same .vtt file"
ONE_REQUIRED: Final = "at least one output must not be optional"

MAX_TIMEOUT_SECONDS: Final = 604800
MAX_RETRIES: Final = 10


def require_allowed(path: str) -> str:
    """The path. Raises ValueError if it has a forbidden character, or is in the folder of logs."""
    if has_forbidden_character(path):
        raise ValueError(NO_FORBIDDEN_CHARACTERS)
    if is_in_log_folder(path):
        raise ValueError(NOT_IN_LOG_FOLDER)
    return path


Path = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=PATH_PATTERN),
    AfterValidator(require_allowed),
]
"""The CRD has rules with these checks of the text, because their messages are readable."""

Quantity = (
    Annotated[int, Field(ge=1)]
    | Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY_PATTERN)]
)


def normal_path(path: str) -> str:
    """The path from the root of the volume, with one leading slash and no doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def collide(first: str, second: str) -> bool:
    """True if two files cannot both exist: they are the same, or one is a folder of the other."""
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")


def _integers(name: str) -> Any:
    """The integers an option takes, in any conversion type.

    Strict: pydantic would also read True and strings such as "+5" or " 5 " as integers.
    """
    bounds = [bound for row in GRAMMAR if row.name == name for bound in row.kind.integers or ()]
    return Field(strict=True, ge=min(bounds), le=max(bounds))


def _strings(name: str) -> StringConstraints:
    """The strings an option takes, in any conversion type."""
    patterns = [row.kind.pattern for row in GRAMMAR if row.name == name]
    return StringConstraints(max_length=MAX_LENGTH, pattern="|".join(patterns))


Resolution = Annotated[int, _integers("resolution")] | Annotated[str, _strings("resolution")]
MaxFrameRate = Annotated[int, _integers("maxFrameRate")] | Annotated[str, _strings("maxFrameRate")]
MaxBitrate = Annotated[int, _integers("maxBitrate")] | Annotated[str, _strings("maxBitrate")]
Bitrate = Annotated[int, _integers("bitrate")] | Annotated[str, _strings("bitrate")]
Quality = Annotated[int, _integers("quality")] | Annotated[str, _strings("quality")]
Start = Annotated[int, _integers("start")] | Annotated[str, _strings("start")]
Duration = Annotated[int, _integers("duration")] | Annotated[str, _strings("duration")]
Loudness = Annotated[int, _integers("loudness")] | Annotated[str, _strings("loudness")]
SamplesPerPixel = (
    Annotated[int, _integers("samplesPerPixel")] | Annotated[str, _strings("samplesPerPixel")]
)
Time = Annotated[int, _integers("time")] | Annotated[str, _strings("time")]
Interval = Annotated[int, _integers("interval")] | Annotated[str, _strings("interval")]
Count = Annotated[int, _integers("count")] | Annotated[str, _strings("count")]
Segments = Annotated[int, _integers("segments")] | Annotated[str, _strings("segments")]
Columns = Annotated[int, _integers("columns")] | Annotated[str, _strings("columns")]


def _join_lines(schema: dict[str, Any]) -> None:
    """Remove the line breaks of the fields' docstrings from the descriptions."""
    for field in schema.get("properties", {}).values():
        if "description" in field:
            field["description"] = " ".join(field["description"].split())


class ApiModel(BaseModel):
    """A frozen value as the API server stores it: camelCase names, unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_join_lines,
    )

    def to_json(self) -> dict[str, object]:
        """The value as the API server stores it: camelCase names, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ConversionOptions(ApiModel):
    """Options of the conversion. Each applies only to some conversion types."""

    video_codec: Annotated[str, _strings("videoCodec")] | None = None
    """Codec that the video is encoded to. hevc and av1 make smaller files than h264, but fewer
    players have them, and encoding takes longer. Allowed: h264, hevc or av1 for video_to_mp4; vp9
    or av1 for video_to_webm. Default: h264 for video_to_mp4, vp9 for video_to_webm.
    """
    quality: Quality | None = None
    """Quality of the output. A higher quality makes a larger file. Allowed: low, medium or high for
    video_to_mp4 and video_to_webm; 1 to 100, as a number or a string, for image_resize and
    extract_thumbnail. Default: medium for videos, 85 for image_resize, 94 for extract_thumbnail.
    """
    resolution: Resolution | None = None
    """Maximum length of the short side of the output, for video_to_mp4 and video_to_webm. A smaller
    video is not enlarged. Allowed: 240p, 360p, 480p, 720p, 1080p, 1440p or 2160p, or the number
    without p. Default: the size of the input.
    """
    max_bitrate: MaxBitrate | None = None
    """Highest bit rate of the video, for video_to_mp4 and video_to_webm. A video that is larger is
    not copied. It can only lower the limit that quality sets. Allowed: 100 to 100000 kbit/s, as a
    whole number (4000) or a string ("4000k"). Default: the limit of the quality, which depends on
    the size and the frame rate: 5760 for medium at 720p with 25 frames per second.
    """
    max_frame_rate: MaxFrameRate | None = None
    """Most pictures per second, for video_to_mp4 and video_to_webm. A video with fewer is not
    changed. Allowed: 1 to 60, as a number or a string. Default: 60.
    """
    audio: Annotated[str, _strings("audio")] | None = None
    """Whether the output has the sound of the video, for video_to_mp4 and video_to_webm. Allowed:
    keep or none. Default: keep.
    """
    bitrate: Bitrate | None = None
    """Bit rate of the output, for audio_to_mp3, and for audio_convert to .m4a, .opus and .ogg.
    A bit rate that the format does not have for mono or stereo becomes the nearest one. Allowed:
    32k, 40k, 48k, 56k, 64k, 80k, 96k, 112k, 128k, 160k, 192k, 224k, 256k or 320k, or the number
    without k. Default: 192k for audio_to_mp3; 128k for .m4a and .ogg and 96k for .opus, in mono
    96k, 80k and 64k.
    """
    channels: Annotated[str, _strings("channels")] | None = None
    """Channels of the output, for audio_to_mp3 and audio_convert. Allowed: mono or stereo. Default:
    mono for a mono input, stereo for all others.
    """
    start: Start | None = None
    """Start of the part to convert, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. Allowed: 0 to 604800 seconds, as a whole number (90) or a string ("1.5" or
    "HH:MM:SS.mmm"). Default: 0.
    """
    duration: Duration | None = None
    """Length of the part to convert, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. Allowed: more than 0 and up to 604800 seconds, as a whole number (90) or a string
    ("1.5" or "HH:MM:SS.mmm"). Default: up to the end of the input. For video_to_preview, the length
    of the output. Allowed: 3 to 10 seconds, as a whole number (6) or a string ("6s"). Default: 6.
    """
    size: Annotated[str, _strings("size")] | None = None
    """Box in pixels that the output fits into, for video_to_mp4, video_to_webm, image_resize and
    extract_thumbnail. The aspect ratio is kept, and nothing is enlarged. With fit cover, the box
    that the output fills. Does not go together with resolution. For audio_waveform to .png, the
    size of the drawing. For video_storyboard, the box of one picture. For video_to_preview, a box
    as for image_resize. Allowed: WIDTHxHEIGHT, each 1 to 16384. Default: 800x600 for image_resize
    if it is the single output, otherwise the size of the input; the size of the video for
    video_to_mp4, video_to_webm and extract_thumbnail; 800x250 for audio_waveform; 160x160 for
    video_storyboard; 640x640 for video_to_preview.
    """
    fit: Annotated[str, _strings("fit")] | None = None
    """Whether the output fits into the size or fills it, for video_to_mp4, video_to_webm and
    image_resize. Allowed: contain, or cover: what is outside of the aspect ratio is cut off, and
    nothing is enlarged. The middle of a video remains. cover needs size. Default: contain.
    """
    gravity: Annotated[str, _strings("gravity")] | None = None
    """Which part of the image remains, for image_resize with fit cover. Allowed: centre, north,
    north-east, east, south-east, south, south-west, west or north-west; attention for the part that
    draws the eye; entropy for the part with the most detail. Default: centre.
    """
    colour: Annotated[str, _strings("colour")] | None = None
    """Colour of the waveform, for audio_waveform to .png. Allowed: RRGGBB in quotes, such as
    "1E90FF", or transparent. Default: 1E90FF, a blue.
    """
    background: Annotated[str, _strings("background")] | None = None
    """Colour behind the waveform, for audio_waveform to .png, or behind the transparent pixels of
    an image, for image_resize. Allowed: RRGGBB in quotes, such as "FFFFFF", or transparent for
    audio_waveform. Default: transparent for audio_waveform; for image_resize white, if the output
    format has no transparency.
    """
    samples_per_pixel: SamplesPerPixel | None = None
    """How many samples one pair of peaks stands for, for audio_waveform to .json. Allowed: 64, 128,
    256, 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536. Default: 256.
    """
    time: Time | None = None
    """Time of the frame in the video, for extract_thumbnail. Allowed: 0 to 604800 seconds,
    as a whole number (90) or a string ("1.5" or "HH:MM:SS.mmm"), or a percentage of the duration
    ("25%"), at most 100%. Default: 1 second, or the middle of a shorter video. If that frame is
    black, another frame is used.
    """

    loudness: Loudness | None = None
    """Loudness of the output by EBU R128, for video_to_mp4, video_to_webm, audio_to_mp3 and
    audio_convert. The gain is linear. Only where it would clip, peaks are limited, and the true
    peak is at most -1 dBTP. For media_info, whether the loudness is measured. Allowed: LUFS from
    -40 to -9 as a whole number (-16) or a string ("-16.5"); measure for media_info. Default: the
    loudness of the input; it is not measured.
    """
    placeholder: Annotated[str, _strings("placeholder")] | None = None
    """What a page shows while the picture loads, for media_info. The document then also has the
    dominant colour. Allowed: thumbhash or blurhash. Default: none.
    """
    interval: Interval | None = None
    """Time between two pictures, for video_storyboard. Does not go together with count. A
    storyboard has at most 1000 pictures: if that is too few for this interval, they are further
    apart, and a warning says so. Allowed: more than 0 and up to 604800 seconds, as a whole number
    (10) or a string ("2.5" or "HH:MM:SS.mmm"). Default: see count.
    """
    count: Count | None = None
    """Number of pictures, for video_storyboard. Does not go together with interval. Allowed: 1 to
    1000, as a number or a string. Default: 100, or fewer, so that there is at most one for each
    second.
    """
    columns: Columns | None = None
    """Number of pictures in a row, for video_storyboard. Allowed: 1 to 100, as a number or a
    string. Default: 10.
    """

    segments: Segments | None = None
    """Number of places that the output shows, for video_to_preview. Allowed: 1 to 10, as a number
    or a string. Default: 4.
    """

    @field_validator(
        *("quality", "resolution", "bitrate", "start", "duration", "time", "samples_per_pixel"),
        *("loudness", "max_bitrate", "max_frame_rate", "interval", "count", "columns", "segments"),
        mode="before",
    )
    @classmethod
    def _read_whole(cls, value: object) -> object:
        """JSON does not tell 90.0 from 90. The API server does, so it gets 90."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


class ResourceList(ApiModel):
    """CPU and memory as Kubernetes quantities."""

    cpu: Quantity | None = None
    """CPUs, as a whole number (2) or a string ("500m" or "1.5")."""
    memory: Quantity | None = None
    """Memory, as a string ("256Mi" or "1Gi") or a whole number of bytes."""


class Resources(ApiModel):
    """Requests and limits of the converter container."""

    requests: ResourceList | None = None
    """CPU and memory that the scheduler reserves. Allowed: at most the limits, and at most the
    settings CONVERTER_MAX_CPU and CONVERTER_MAX_MEMORY. Default: the settings
    CONVERTER_REQUESTS_CPU and CONVERTER_REQUESTS_MEMORY, or the limits if these are lower.
    """
    limits: ResourceList | None = None
    """The most CPU and memory that the container may use. The converter adapts its threads and
    buffers to them. Allowed: at most the settings CONVERTER_MAX_CPU and CONVERTER_MAX_MEMORY.
    Default: the settings CONVERTER_LIMITS_CPU and CONVERTER_LIMITS_MEMORY.
    """


class Notify(ApiModel):
    """The callback that the operator makes when the conversion ends."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=URL_PATTERN)]
    """URL that receives a signed CloudEvent, see docs/callbacks.md. Allowed: http and https URLs
    without user name and password. The host must be in the setting CONVERTER_CALLBACK_HOSTS.
    """


class OutputSpec(ApiModel):
    """One of several outputs."""

    conversion_type: ConversionType
    """Type of the conversion, as spec.conversionType."""
    output_file: Path
    """Path of the output file, as spec.outputFile. The extension must fit conversionType. A
    video_storyboard also has a WebVTT file of the same name with the extension .vtt.
    """
    options: ConversionOptions | None = None
    """Options of the conversion. Each applies only to some conversion types."""
    optional: Annotated[bool, Field(strict=True)] | None = None
    """Whether the conversion succeeds without this output. If true, a failure of this output is
    written to status.outputs, and is not retried. Default: false.
    """

    def paths(self) -> tuple[str, ...]:
        """The paths of all files of the output, from the root of the volume."""
        return tuple(map(normal_path, output_files(self.conversion_type, self.output_file)))


class ConversionJobSpec(ApiModel):
    """What to convert. Only cancel, priority, queue, suspend and ttlSecondsAfterFinished can be
    changed.
    """

    @model_validator(mode="after")
    def _check_outputs(self) -> ConversionJobSpec:
        """The CRD has these rules too. Without one clear list of outputs, a spec is not valid."""
        single = (self.conversion_type, self.output_file)
        forms = (single != (None, None), self.outputs is not None, self.profile is not None)
        if not any(forms):
            raise ValueError(NO_OUTPUTS)
        if sum(forms) != 1 or (forms[0] and None in single):
            raise ValueError(ONE_FORM)
        paths = [output.paths() for output in self.all_outputs()]
        for number, files in enumerate(paths):
            for earlier in paths[:number]:
                if any(collide(one, other) for one in files for other in earlier):
                    what = NOT_SAME_PATH if collide(files[0], earlier[0]) else NOT_SAME_VTT
                    raise ValueError(f"outputs[{number}] {what} as an earlier output")
        if paths and all(output.optional for output in self.all_outputs()):
            raise ValueError(ONE_REQUIRED)
        return self

    conversion_type: ConversionType | None = None
    """Type of the conversion, for a single output. video_to_mp4 makes an MP4 file with H.264, HEVC
    or AV1, and AAC. video_to_webm makes a WebM file with VP9 or AV1, and Opus. audio_to_mp3 makes
    an MP3 file. image_resize makes an image that fits a size. extract_thumbnail makes an image from
    a frame of a video. audio_convert makes an audio file, whose format is that of the extension.
    media_info makes a JSON document that says what the input is. audio_waveform makes a drawing of
    a sound or a JSON document of its peaks. video_storyboard makes an image of many small pictures
    of a video, and a WebVTT file beside it, of the same name with the extension .vtt, that says
    which one belongs to which time. video_to_preview makes a video without sound, or an animated
    image, of a few seconds from several places of a video.
    """
    input_file: Path
    """Path of the input file, relative to the root of the shared volume. A leading / makes no
    difference. The file is never changed.
    """
    output_file: Path | None = None
    """Path of the output file, relative to the root of the shared volume, for a single output. A
    leading / makes no difference. Missing folders are created. An existing file is replaced when
    the output is complete, and kept if the conversion fails; see overwrite. The extension must fit
    conversionType.
    """
    overwrite: Annotated[bool, Field(strict=True)] | None = None
    """Whether the output may replace a file that exists at outputFile. If false, the conversion
    fails as OutputExists, unless an earlier attempt of this conversion has written the file.
    Default: true.
    """
    options: ConversionOptions | None = None
    """Options of the conversion, for a single output. Each applies only to some conversion types.
    """
    outputs: Annotated[list[OutputSpec], Field(min_length=1, max_length=MAX_OUTPUTS)] | None = None
    """Several outputs that one pod makes from the input, instead of conversionType, outputFile and
    options. At least one must not be optional. See docs/outputs.md.
    """
    profile: Annotated[str, StringConstraints(max_length=63, pattern=PROFILE_PATTERN)] | None = None
    """Name of a ConversionProfile in the same namespace, which lists the outputs, instead of
    outputs or conversionType. The operator reads it once, and keeps the result in status.resolved.
    """
    dry_run: Annotated[bool, Field(strict=True)] | None = None
    """Whether the converter only probes the input and plans. If true, no file is written, and
    status.plan says what would be made. Default: false.
    """
    damaged_input: DamagedInput | None = None
    """What to do with a video or audio file of which a large part cannot be decoded. Fail: the
    conversion fails as InputDamaged or InputTruncated. Convert: the converter converts what can be
    decoded, and status.output.warnings says what is missing. Default: Fail.
    """
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    """Priority in the queue. One step counts as one minute of waiting, so a conversion with a
    higher priority starts earlier. Can be changed. Allowed: -100 to 100, but at
    most the setting CONVERTER_MAX_PRIORITY. Default: 0.
    """
    queue: Annotated[str, StringConstraints(max_length=63, pattern=QUEUE_PATTERN)] | None = None
    """Name of the ConversionQueue, in the namespace of the operator. It limits how many conversions
    run at a time. Can be changed while the conversion waits. Default: default.
    """
    cancel: bool | None = None
    """Set to true to cancel the conversion. It cannot be set back to false. Default: false."""
    suspend: Annotated[bool, Field(strict=True)] | None = None
    """Whether the conversion is suspended. While it is true, no attempt starts. An attempt that
    runs is stopped, and does not count as a retry. The conversion keeps its place in the queue. Can
    be changed. Default: false.
    """
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    """Longest time that an attempt may run, in seconds. Waiting does not count. Allowed: 1 to
    604800, but at most the setting CONVERTER_MAX_TIMEOUT_SECONDS. Default: the setting
    CONVERTER_TIMEOUT_SECONDS.
    """
    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = None
    """How many times to retry after a failure. A conversion that fails because of its input file is
    not retried. Disruptions, such as evictions and lost nodes, do not count. Allowed: 0 to 10,
    but at most the setting CONVERTER_MAX_RETRIES_ALLOWED. Default: the setting
    CONVERTER_MAX_RETRIES.
    """
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None
    """How long to keep this resource after the conversion ends, in seconds. The output file is not
    deleted. Can be changed. Allowed: 0 to 31536000. Default: the setting CONVERTER_TTL_SECONDS.
    """
    resources: Resources | None = None
    """Requests and limits of the converter container."""
    notify: Notify | None = None
    """The callback that the operator makes when the conversion ends. Default: the setting
    CONVERTER_CALLBACK_URL.
    """

    def all_outputs(self) -> tuple[OutputSpec, ...]:
        """The outputs of all three forms. Empty for a profile that is not resolved."""
        if self.outputs is not None:
            return tuple(self.outputs)
        if self.conversion_type is None or self.output_file is None:
            return ()
        return (
            OutputSpec(
                conversion_type=self.conversion_type,
                output_file=self.output_file,
                options=self.options,
            ),
        )
