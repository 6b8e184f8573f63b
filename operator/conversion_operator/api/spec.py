"""``spec`` of a ConversionJob. ``kubectl explain`` prints the docstrings of the fields.

The aliases are the names that users write. Rules about one field are here; the rules of the options
come from GRAMMAR. Rules about several fields are in :mod:`conversion_operator.api.validation`.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    model_validator,
)

from conversion_operator.api import names
from conversion_operator.api.api_model import ApiModel
from conversion_operator.api.conversion_options import ConversionOptions
from media_converter.contract import MAX_OUTPUTS, ConversionType, DamagedInput
from media_converter.forbidden_paths import (
    NO_FORBIDDEN_CHARACTERS,
    NOT_IN_LOG_FOLDER,
    has_forbidden_character,
    is_in_log_folder,
)
from media_converter.options import output_files

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
    audio or a JSON document of its peaks. video_storyboard makes an image of many small frames of a
    video, and a WebVTT file beside it, of the same name with the extension .vtt, that says which
    one belongs to which time. video_to_preview makes a video without audio, or an animated image,
    of a few seconds from several places of a video.
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
