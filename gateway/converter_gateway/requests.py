"""Parses request bodies. The models of the ConversionJob check them; errors name the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from conversion_operator.api.spec import ConversionJobSpec
from converter_gateway.errors import ApiError
from converter_gateway.paths import PathMapping, PathRejected, to_volume
from media_converter.contract import ConversionType
from media_converter.options import FORMATS, extensions_of, options_of, types_of

_REQUIRED: Final = ("input_file", "output_file", "conversion_type")


@dataclass(frozen=True, slots=True)
class Submission:
    """A conversion to start. ``spec`` has paths on the volume, the files are callers' paths."""

    spec: ConversionJobSpec
    input_file: str
    output_file: str


def parse_convert(raw: bytes, mappings: tuple[PathMapping, ...]) -> Submission:
    """Parse the body of convert. Raises ApiError 400. The message names the field."""
    data = read_object(raw, _REQUIRED, ("options", "overwrite", "callback_url"))
    paths = {name: read_path(name, data[name], mappings) for name in ("input_file", "output_file")}
    options = data.get("options")
    fields = paths | {
        "conversion_type": data["conversion_type"],
        # PHP, for example, encodes an empty object as [].
        "options": None if options in ({}, []) else _as_strings(options),
        "overwrite": data.get("overwrite"),
        "notify": read_callback(data.get("callback_url")),
    }
    try:
        spec = ConversionJobSpec.model_validate(fields)
    except ValidationError as error:
        raise ApiError(400, _explain(error, data["conversion_type"])) from None
    check_spec(spec)
    return Submission(spec, data["input_file"], data["output_file"])


def _as_strings(options: object) -> object:
    """Options with each number that has decimals as a string. A ConversionJob cannot hold it."""
    if not isinstance(options, dict):
        return options
    return {
        name: f"{value:.6f}".rstrip("0").removesuffix(".") if _has_decimals(value) else value
        for name, value in options.items()
    }


def _has_decimals(value: object) -> bool:
    return isinstance(value, float) and not value.is_integer()


def read_object(raw: bytes, required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """Parse a JSON object. Raises ApiError 400 if a required field is empty or one is unknown."""
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


def check_spec(spec: ConversionJobSpec) -> None:
    """Check the same rules as the CRD. Raises ApiError 400. The message names the HTTP field."""
    kind = spec.conversion_type
    if kind is None or spec.output_file is None:
        raise ApiError(400, "Missing required field: conversion_type or output_file")
    if not spec.output_file.lower().endswith(tuple(f".{e}" for e in FORMATS[kind])):
        raise ApiError(400, f"output_file: must end in {extensions_of(kind)} for {kind}")
    if spec.input_file.lstrip("/") == spec.output_file.lstrip("/"):
        raise ApiError(400, "output_file: must not be the input_file")
    allowed = options_of(kind)
    given = spec.options.model_dump(exclude_none=True) if spec.options else {}
    for name, value in given.items():
        if name not in allowed or allowed[name].kind.read(value) is None:
            raise ApiError(400, _explain_option(kind, name))
        if not allowed[name].applies_to(spec.output_file):
            raise ApiError(400, f"options.{name}: of {kind} {allowed[name].only_for}")


def read_callback(url: object) -> dict[str, object] | None:
    """Turn a callback_url into ``spec.notify``. Raises ApiError 400."""
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
    except PathRejected as error:
        raise ApiError(400, f"{name}: {error}") from None


_FIELD_NAMES: Final = {
    "inputFile": "input_file",
    "outputFile": "output_file",
    "conversionType": "conversion_type",
    "notify.url": "callback_url",
}
PATH_MUST_BE: Final = "must be the path of a file, up to 1024 characters, without empty folders"
# What people read. The CRD has the exact patterns.
_REQUIREMENTS: Final = {
    "input_file": PATH_MUST_BE,
    "output_file": PATH_MUST_BE,
    "conversion_type": f"must be {', '.join(ConversionType)}",
    "callback_url": "must be up to 1024 printable ASCII characters without spaces",
    "options": "must be an object",
    "overwrite": "must be true or false",
}


def _explain(error: ValidationError, conversion_type: str) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    # For a field with two types, pydantic appends the type to the location.
    where = ".".join(str(part)[:64] for part in first["loc"][:2])
    if where.startswith("options."):  # conversion_type is valid: pydantic checks it first
        return _explain_option(ConversionType(conversion_type), where.removeprefix("options."))
    field = _FIELD_NAMES.get(where, where)
    if first["type"] == "value_error":
        return f"{field}: {first['ctx']['error']}"
    return f"{field}: {_REQUIREMENTS.get(field, first['msg'])}"


def _explain_option(kind: ConversionType, name: str) -> str:
    """The message about an invalid option or value."""
    option = options_of(kind).get(name)
    if option:
        return f"options.{name}: must be {option.kind.must_be}"
    if types_of(name):
        return f"options.{name}: belongs to {types_of(name)} only"
    return f"options.{name}: there is no such option"
