"""``spec`` of a ConversionJob. The descriptions are what ``kubectl explain`` prints.

Aliases are the names users write. This module has what a schema can say of a single field; for the
options that comes from GRAMMAR. :mod:`conversion_operator.api.validation` has the rest.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from media_converter.contract import ConversionType
from media_converter.options import GRAMMAR, MAX_LENGTH

PATH_PATTERN: Final = r"^/?[^/\x00]+(/[^/\x00]+)*$"
QUANTITY_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
URL_PATTERN: Final = r"^[!-\[\]-~]+$"
"""Printable ASCII but for the space and the backslash, which readers of URLs disagree about."""

MAX_TIMEOUT_SECONDS: Final = 604800
MAX_RETRIES: Final = 10

Path = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=PATH_PATTERN)]
Quantity = (
    Annotated[int, Field(ge=1)]
    | Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY_PATTERN)]
)


def normal_path(path: str) -> str:
    """The path from the root of the volume, with one leading slash and no doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


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


Quality = Annotated[int, _integers("quality")] | Annotated[str, _strings("quality")]
Start = Annotated[int, _integers("start")] | Annotated[str, _strings("start")]
Duration = Annotated[int, _integers("duration")] | Annotated[str, _strings("duration")]
Time = Annotated[int, _integers("time")] | Annotated[str, _strings("time")]


class ApiModel(BaseModel):
    """A value as the API server stores it: camelCase names, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class ConversionOptions(ApiModel):
    """Options of the conversion; which ones apply depends on conversionType. All are optional."""

    quality: Quality | None = Field(
        None,
        description="video_to_mp4: low, medium (default) or high. image_resize: 1 to 100, by "
        "default 85. extract_thumbnail: 1 to 100, by default as good as the video.",
    )
    resolution: Annotated[str, _strings("resolution")] | None = Field(
        None,
        description="video_to_mp4: the largest short side, 240p to 2160p. Never enlarges. "
        "Default: the size of the input.",
    )
    bitrate: Annotated[str, _strings("bitrate")] | None = Field(
        None, description="audio_to_mp3: 32k to 320k, a bit rate MP3 has. Default: 192k."
    )
    start: Start | None = Field(
        None,
        description="video_to_mp4 and audio_to_mp3: where to begin, in seconds or as "
        "HH:MM:SS.mmm. Default: the beginning.",
    )
    duration: Duration | None = Field(
        None,
        description="video_to_mp4 and audio_to_mp3: how much to convert, in seconds or as "
        "HH:MM:SS.mmm. Default: all of it.",
    )
    size: Annotated[str, _strings("size")] | None = Field(
        None,
        description="image_resize and extract_thumbnail: the box WIDTHxHEIGHT in pixels the "
        "picture is fitted into. Never enlarges. Default: 800x600 for image_resize, the size of "
        "the video for extract_thumbnail.",
    )
    time: Time | None = Field(
        None,
        description="extract_thumbnail: the moment of the picture, in seconds or as "
        "HH:MM:SS.mmm. Default: 1 second, or the middle of a shorter clip.",
    )

    @field_validator("quality", "start", "duration", "time", mode="before")
    @classmethod
    def _read_whole(cls, value: object) -> object:
        """JSON does not tell 90.0 from 90. The API server does, so it gets 90."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


class ResourceList(ApiModel):
    """Amounts of CPU and memory, as Kubernetes quantities."""

    cpu: Quantity | None = Field(None, description="CPUs, for instance 500m or 1.")
    memory: Quantity | None = Field(None, description="Memory, for instance 256Mi or 1Gi.")


class Resources(ApiModel):
    """What the converter container asks for and what it may use at most."""

    requests: ResourceList | None = Field(
        None, description="What the scheduler reserves. Default: cpu 100m, memory 256Mi."
    )
    limits: ResourceList | None = Field(
        None,
        description="What the container may use at most; the converter sizes its threads and "
        'buffers by it. Default: cpu "1", memory 1Gi.',
    )


class Notify(ApiModel):
    """Who is told of the end."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=URL_PATTERN)] = (
        Field(
            description="Where the end is POSTed to as a signed CloudEvent; docs/callbacks.md "
            "describes it. http or https, without user name or password, and a host on the "
            "operator's list CONVERTER_CALLBACK_HOSTS."
        )
    )


class ConversionJobSpec(ApiModel):
    """What to convert. Immutable but for cancel, priority and ttlSecondsAfterFinished."""

    conversion_type: ConversionType = Field(
        description="What to make: video_to_mp4 (H.264 and AAC in MP4), audio_to_mp3, "
        "image_resize, or extract_thumbnail (a picture from a video)."
    )
    input_file: Path = Field(
        description="The file to convert, relative to the root of the shared volume. A leading / "
        "means the same root. It is read in place and never changed."
    )
    output_file: Path = Field(
        description="Where the result goes, relative to the root of the shared volume. Missing "
        "folders are created; an existing file is replaced only when the result is complete. The "
        "extension must fit conversionType."
    )
    options: ConversionOptions | None = Field(None, description="Options of the conversion.")
    priority: Annotated[int, Field(ge=-100, le=100)] | None = Field(
        None,
        description="Higher starts first, from -100 to 100; one step is worth a minute of "
        "waiting, so that nothing waits for ever. May be changed while waiting. Default: 0.",
    )
    cancel: bool | None = Field(
        None, description="Set to true to stop the conversion. Once true it stays true."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = Field(
        None,
        description="Longest time to run, in seconds; waiting does not count. Default: the "
        "operator's CONVERTER_TIMEOUT_SECONDS.",
    )
    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = Field(
        None,
        description="How often a failure that a retry can cure is retried. A fault of the file "
        "never is; evictions and lost nodes do not count. Default: the operator's "
        "CONVERTER_MAX_RETRIES.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = Field(
        None,
        description="How long to keep this resource after its end, in seconds. The output file "
        "stays. May be changed. Default: the operator's CONVERTER_TTL_SECONDS.",
    )
    resources: Resources | None = Field(
        None, description="CPU and memory of the converter container."
    )
    notify: Notify | None = Field(
        None,
        description="Who is told of the end. Default: the operator's CONVERTER_CALLBACK_URL.",
    )
