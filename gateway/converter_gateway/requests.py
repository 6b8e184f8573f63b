"""Parses request bodies. The models of the ConversionJob check them; errors name the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conversion_operator.api.spec import MAX_SECONDS, ConversionJobSpec, ConversionOptions
from conversion_operator.api.validation import EXTENSIONS, MAX_SIDE, OPTION_TYPES
from converter_gateway.errors import ApiError
from converter_gateway.paths import PathMapping, PathRefused, to_volume
from media_converter.contract import ConversionType

_WORDS: Final = ("low", "medium", "high")
_REQUIRED: Final = ("input_file", "output_file", "conversion_type")


class ConvertRequest(BaseModel):
    """The body of POST /api/v1/converter/convert."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input_file": "/opt/my-network/storage/videos/holiday.mov",
                    "output_file": "/opt/my-network/shared/output/holiday.mp4",
                    "conversion_type": "video_to_mp4",
                    "options": {"quality": "medium", "resolution": "720p"},
                }
            ]
        }
    )

    input_file: str = Field(description="The file to convert, as the caller names it.")
    output_file: str = Field(description="The file to write, as the caller names it.")
    conversion_type: ConversionType = Field(description="The kind of conversion.")
    options: ConversionOptions | None = Field(None, description="Options of this type.")
    callback_url: str | None = Field(
        None, description="URL to call when the conversion ends. The operator must allow its host."
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """A conversion to start. The spec has paths on the volume; the files are the caller's paths."""

    spec: ConversionJobSpec
    input_file: str
    output_file: str


def parse_convert(raw: bytes, mappings: tuple[PathMapping, ...]) -> Submission:
    """Parse the body of convert. Raises ApiError 400, which names the field."""
    data = read_object(raw, _REQUIRED, ("options", "callback_url"))
    paths = {name: read_path(name, data[name], mappings) for name in ("input_file", "output_file")}
    fields = paths | {
        "conversion_type": data["conversion_type"],
        "options": _read_options(data.get("options")),
        "notify": read_callback(data.get("callback_url")),
    }
    try:
        spec = ConversionJobSpec.model_validate(fields)
    except ValidationError as error:
        raise ApiError(400, _explain(error)) from None
    check_together(spec)
    return Submission(spec, data["input_file"], data["output_file"])


def _read_options(value: object) -> object:
    """None for none, which some languages write as an empty list. Raises ApiError 400."""
    if value in ({}, []):
        return None
    if isinstance(value, dict):
        for name, given in value.items():
            if isinstance(given, bool):  # to pydantic it is the number 1 or 0
                raise ApiError(400, f"options.{name[:64]}: must not be true or false")
    return value


def read_object(raw: bytes, required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """Parse a JSON object with these fields, the required ones not empty. Raises ApiError 400."""
    try:
        data: Any = orjson.loads(raw)
    except ValueError:
        raise ApiError(400, "the body is not JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "the body must be a JSON object")
    for name in required:
        if data.get(name) in (None, ""):
            raise ApiError(400, f"Missing required field: {name}")
    unknown = sorted(data.keys() - {*required, *optional})
    if unknown:
        raise ApiError(400, f"unknown field: {unknown[0][:64]}")
    return data


def check_together(spec: ConversionJobSpec) -> None:
    """What the CRD's rules refuse most often, in the caller's own names. Raises ApiError 400."""
    kind, extensions = str(spec.conversion_type), EXTENSIONS[spec.conversion_type]
    if not spec.output_file.lower().endswith(tuple(f".{e}" for e in extensions)):
        raise ApiError(400, f"output_file: must end in .{' or .'.join(extensions)} for {kind}")
    if spec.input_file.lstrip("/") == spec.output_file.lstrip("/"):
        raise ApiError(400, "output_file: must not be the input_file")
    options = spec.options.model_dump(exclude_none=True) if spec.options else {}
    for option in options:
        if kind not in OPTION_TYPES[option]:
            owners = " and ".join(OPTION_TYPES[option])
            raise ApiError(400, f"options.{option}: belongs to {owners} only")
    quality = options.get("quality")
    if quality is not None and (quality in _WORDS) != (kind == "video_to_mp4"):
        wanted = "low, medium or high" if kind == "video_to_mp4" else "1 to 100"
        raise ApiError(400, f"options.quality: must be {wanted} for {kind}")
    if re.search("[1-9]", str(options.get("duration", 1))) is None:
        raise ApiError(400, "options.duration: must be more than 0")
    if any(int(side) > MAX_SIDE for side in options.get("size", "1x1").split("x")):
        raise ApiError(400, f"options.size: sides must be 1 to {MAX_SIDE} pixels")


def read_callback(url: object) -> dict[str, object] | None:
    """``spec.notify`` for a callback_url. Raises ApiError 400 for what the CRD's rules refuse."""
    if url is None:
        return None
    if isinstance(url, str) and not re.match("https?://[^/?#]", url):
        raise ApiError(400, "callback_url: must begin with http:// or https:// and a host")
    if isinstance(url, str) and re.match("[^/]*//[^/?#]*@", url):
        raise ApiError(400, "callback_url: must not hold a user name or password")
    return {"url": url}


def read_path(name: str, value: object, mappings: tuple[PathMapping, ...]) -> str:
    """Turn a caller's path into the path on the volume. Raises ApiError 400."""
    if not isinstance(value, str):
        raise ApiError(400, f"{name}: must be a string")
    try:
        return to_volume(value, mappings)
    except PathRefused as error:
        raise ApiError(400, f"{name}: {error}") from None


_OURS: Final = {
    "inputFile": "input_file",
    "outputFile": "output_file",
    "conversionType": "conversion_type",
    "notify.url": "callback_url",
}
_TIME: Final = (
    f'must be seconds, such as 90 or "1.5", or "HH:MM:SS.mmm", up to {MAX_SECONDS} seconds'
)
_PATH: Final = "must be a path of up to 1024 characters, no folder of which is empty"
# In people's words; the patterns themselves are for the CRD.
_WANTED: Final = {
    "input_file": _PATH,
    "output_file": _PATH,
    "conversion_type": f"must be {', '.join(ConversionType)}",
    "callback_url": "must be up to 1024 printable ASCII characters without spaces",
    "options": "must be an object",
    "options.quality": "must be low, medium or high for a video, else 1 to 100",
    "options.resolution": "must be 240p, 360p, 480p, 720p, 1080p, 1440p or 2160p",
    "options.bitrate": "must be one that MP3 has, from 32k to 320k, such as 128k or 192k",
    "options.start": _TIME,
    "options.duration": _TIME,
    "options.time": _TIME,
    "options.size": 'must be WIDTHxHEIGHT in pixels, such as "800x600"',
}


def _explain(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    # Where a value may be of two kinds, pydantic names a kind after the field.
    where = ".".join(str(part)[:64] for part in first["loc"][:2])
    field = _OURS.get(where, where)
    if first["type"] == "extra_forbidden":
        return f"{field}: there is no such option"
    return f"{field}: {_WANTED.get(field, first['msg'])}"
