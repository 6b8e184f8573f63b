"""Request bodies, checked by the models of the resource itself so that errors name the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conversion_operator.api.spec import ConversionJobSpec, ConversionOptions
from converter_gateway.errors import ApiError
from converter_gateway.paths import Mapping, PathRefused, to_volume
from media_converter.contract import ConversionType
from media_converter.options import FORMATS, extensions_of, options_of, types_of

_REQUIRED: Final = ("input_file", "output_file", "conversion_type")


class ConvertRequest(BaseModel):
    """The body of POST /api/v1/converter/convert, for the OpenAPI page."""

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

    input_file: str = Field(description="The file to convert, as the caller knows it.")
    output_file: str = Field(description="Where the result goes, as the caller knows it.")
    conversion_type: ConversionType = Field(description="What to make.")
    options: ConversionOptions | None = Field(None, description="Options of that type.")
    callback_url: str | None = Field(
        None, description="Who is told of the end; its host has to be on the operator's list."
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """A conversion to start: the spec with paths on the volume, and the caller's own paths."""

    spec: ConversionJobSpec
    input_file: str
    output_file: str


def parse_convert(raw: bytes, mappings: tuple[Mapping, ...]) -> Submission:
    """Raises ApiError 400, naming the field."""
    data = read_object(raw, _REQUIRED, ("options", "callback_url"))
    paths = {name: read_path(name, data[name], mappings) for name in ("input_file", "output_file")}
    options = data.get("options")
    wanted = paths | {
        "conversion_type": data["conversion_type"],
        # Some languages write no options as an empty list.
        "options": None if options in ({}, []) else options,
        "notify": read_callback(data.get("callback_url")),
    }
    try:
        spec = ConversionJobSpec.model_validate(wanted)
    except ValidationError as error:
        raise ApiError(400, _explain(error, data["conversion_type"])) from None
    check_together(spec)
    return Submission(spec, data["input_file"], data["output_file"])


def read_object(raw: bytes, required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """A JSON object with these fields, none of the required ones empty. Raises ApiError 400."""
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
    kind = spec.conversion_type
    if not spec.output_file.lower().endswith(tuple(f".{e}" for e in FORMATS[kind])):
        raise ApiError(400, f"output_file: must end in {extensions_of(kind)} for {kind}")
    if spec.input_file.lstrip("/") == spec.output_file.lstrip("/"):
        raise ApiError(400, "output_file: must not be the input_file")
    allowed = options_of(kind)
    given = spec.options.model_dump(exclude_none=True) if spec.options else {}
    for name, value in given.items():
        if name not in allowed or allowed[name].kind.read(value) is None:
            raise ApiError(400, _explain_option(kind, name))


def read_callback(url: object) -> dict[str, object] | None:
    """``spec.notify`` for a callback_url. Raises ApiError 400 for what the CRD's rules refuse."""
    if url is None:
        return None
    if isinstance(url, str) and not re.match("https?://[^/?#]", url):
        raise ApiError(400, "callback_url: must begin with http:// or https:// and a host")
    if isinstance(url, str) and re.match("[^/]*//[^/?#]*@", url):
        raise ApiError(400, "callback_url: must not hold a user name or password")
    return {"url": url}


def read_path(name: str, value: object, mappings: tuple[Mapping, ...]) -> str:
    """The path on the volume of the caller's path in a field. Raises ApiError 400."""
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
_PATH: Final = "must be a path of up to 1024 characters, no folder of which is empty"
# In people's words; the patterns themselves are for the CRD.
_WANTED: Final = {
    "input_file": _PATH,
    "output_file": _PATH,
    "conversion_type": f"must be {', '.join(ConversionType)}",
    "callback_url": "must be up to 1024 printable ASCII characters without spaces",
    "options": "must be an object",
}


def _explain(error: ValidationError, conversion_type: str) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    # Where a value may be of two kinds, pydantic names a kind after the field.
    where = ".".join(str(part)[:64] for part in first["loc"][:2])
    if where.startswith("options."):  # so the conversion type, which comes first, is valid
        return _explain_option(ConversionType(conversion_type), where.removeprefix("options."))
    field = _OURS.get(where, where)
    return f"{field}: {_WANTED.get(field, first['msg'])}"


def _explain_option(kind: ConversionType, name: str) -> str:
    """Why a value of an option is refused, or any value."""
    option = options_of(kind).get(name)
    if option:
        return f"options.{name}: must be {option.kind.must_be}"
    if types_of(name):
        return f"options.{name}: belongs to {types_of(name)} only"
    return f"options.{name}: there is no such option"
