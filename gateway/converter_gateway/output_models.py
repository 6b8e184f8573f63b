"""Models of the outputs in responses, as those in :mod:`converter_gateway.responses`."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(extra="allow")


TYPE: Final = "The kind of conversion."
OUTPUT: Final = "The caller's path of the output."
_OPTIONAL: Final = "True: the conversion can succeed without this output."
_VIDEO_CODEC: Final = "Codec of the video or image."
_WIDTH: Final = "Displayed width in pixels."
_HEIGHT: Final = "Displayed height in pixels."


class OutputFacts(Model):
    """What has become of an output. Fields without a value are left out."""

    state: Literal["Pending", "Succeeded", "Failed", "Skipped"] = Field(
        description="Pending: not made. Succeeded: the file is complete. Failed: reason and "
        "message say why. Skipped: the type of an optional output does not apply to the input."
    )
    size: int | None = Field(None, ge=0, description="Bytes of the file.")
    sha256: str | None = Field(None, description="SHA-256 of the file, in hexadecimal.")
    container: str | None = Field(None, description="Format of the file.")
    video_codec: str | None = Field(None, description=_VIDEO_CODEC)
    audio_codec: str | None = Field(None, description="Codec of the audio.")
    width: int | None = Field(None, ge=0, description=_WIDTH)
    height: int | None = Field(None, ge=0, description=_HEIGHT)
    duration_seconds: float | None = Field(None, ge=0, description="Length of the media.")
    warnings: list[str] | None = Field(
        None, description="What the output lacks of the input, in sentences. Absent if complete."
    )
    reason: str | None = Field(None, description="Why it has failed or was skipped, in one word.")
    message: str | None = Field(None, description="Why it has failed or was skipped.")


class OutputStatus(OutputFacts):
    """One of several outputs. Fields without a value are left out."""

    conversion_type: str = Field(description=TYPE)
    output_file: str = Field(description=OUTPUT)
    optional: bool | None = Field(None, description=_OPTIONAL)


class PlannedOutput(Model):
    """What a dry run says about one output. Fields without a value are left out."""

    conversion_type: str = Field(description=TYPE)
    output_file: str = Field(description=OUTPUT)
    optional: bool | None = Field(None, description=_OPTIONAL)
    action: Literal["Encode", "Copy", "Convert", "Skip"] = Field(
        description="Encode: encode video or audio. Copy: change the container only. Convert: "
        "convert an image. Skip: leave out an optional output that does not apply to the input."
    )
    video_codec: str | None = Field(None, description=_VIDEO_CODEC)
    audio_codec: str | None = Field(None, description="Codec of the audio.")
    width: int | None = Field(None, ge=0, description=_WIDTH)
    height: int | None = Field(None, ge=0, description=_HEIGHT)
    duration_seconds: float | None = Field(None, ge=0, description="Length of the media.")
    memory: int | None = Field(None, ge=0, description="Bytes that the conversion needs.")
    estimated_seconds: float | None = Field(
        None, ge=0, description="Estimated run time on one CPU."
    )
    estimated_size: int | None = Field(None, ge=0, description="Estimated bytes of the file.")
    reason: str | None = Field(None, description="Why it would be skipped, in one word.")
    message: str | None = Field(None, description="Why it would be skipped.")
