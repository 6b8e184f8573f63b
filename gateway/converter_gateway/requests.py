"""Parses request bodies. The models of the ConversionJob check them; errors name the field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from conversion_operator.api.spec import ConversionJobSpec, OutputSpec, normal_path
from converter_gateway import caller_paths
from converter_gateway.caller_paths import CallerPaths
from converter_gateway.errors import ApiError
from converter_gateway.paths import PathMapping, PathRejected, to_volume
from media_converter.contract import MAX_OUTPUTS, ConversionType
from media_converter.options import (
    FORMATS,
    OptionError,
    check_together,
    extensions_of,
    options_of,
    output_files,
    types_of,
)

# What only one of the three forms of a request has.
_ONE: Final = ("output_file", "conversion_type", "options")
_COMMON: Final = ("overwrite", "callback_url", "queue", "dry_run")


@dataclass(frozen=True, slots=True)
class Submission:
    """A conversion to start. ``spec`` has paths on the volume, the others are callers' paths.

    ``output_file`` is that of a single output, ``paths`` are those of several outputs. The other
    one is None.
    """

    spec: ConversionJobSpec
    input_file: str
    output_file: str | None = None
    paths: CallerPaths | None = None


def parse_convert(raw: bytes, mappings: tuple[PathMapping, ...]) -> Submission:
    """Parse the body of convert. Raises ApiError 400. The message names the field."""
    data = _read_json(raw)
    if "outputs" in data:
        return _parse_outputs(data, mappings)
    if "profile" in data:
        return _parse_profile(data, mappings)
    check_fields(data, ("input_file", "output_file", "conversion_type"), ("options", *_COMMON))
    fields = _common(data, mappings) | _output(data, mappings)
    return Submission(_validate(fields, data), data["input_file"], data["output_file"])


def _parse_outputs(data: dict[str, Any], mappings: tuple[PathMapping, ...]) -> Submission:
    _check_form(data, "outputs", ("profile", *_ONE))
    check_fields(data, ("input_file",), ("outputs", *_COMMON))
    items = data["outputs"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_OUTPUTS:
        raise ApiError(400, f"outputs: must be a list of 1 to {MAX_OUTPUTS} outputs")
    outputs = []
    for number, item in enumerate(items):
        where = f"outputs[{number}]"
        if not isinstance(item, dict):
            raise ApiError(400, f"{where}: must be an object")
        where += "."
        check_fields(item, ("output_file", "conversion_type"), ("options", "optional"), where)
        outputs.append(_output(item, mappings, where) | {"optional": item.get("optional")})
    _check_together(outputs)
    spec = _validate(_common(data, mappings) | {"outputs": outputs}, data)
    paths = caller_paths.of_outputs([item["output_file"] for item in items], mappings)
    return Submission(spec, data["input_file"], paths=paths)


def _check_together(outputs: Sequence[Mapping[str, Any]]) -> None:
    """Raise ApiError 400 if two outputs have one path, or all outputs are optional."""
    paths: dict[str, int] = {}
    for number, output in enumerate(outputs):
        # The type need not be valid yet.
        files = output_files(str(output["conversion_type"]), output["output_file"])
        for place, path in enumerate(map(normal_path, files)):
            first = paths.setdefault(path, number)
            if first != number:
                its = "its .vtt file" if place else ""
                raise ApiError(
                    400,
                    f"outputs[{number}].output_file: {its}".rstrip()
                    + f" must not be that of outputs[{first}]",
                )
    if all(output["optional"] is True for output in outputs):
        raise ApiError(400, "outputs: at least one must not be optional")


def _parse_profile(data: dict[str, Any], mappings: tuple[PathMapping, ...]) -> Submission:
    _check_form(data, "profile", _ONE)
    check_fields(data, ("input_file", "profile"), _COMMON)
    spec = _validate(_common(data, mappings) | {"profile": data["profile"]}, data)
    paths = caller_paths.beside(data["input_file"], mappings)
    return Submission(spec, data["input_file"], paths=paths)


def _check_form(data: Mapping[str, Any], form: str, others: Sequence[str]) -> None:
    """Raise ApiError 400 if a request has fields of another form."""
    for name in others:
        if name in data:
            raise ApiError(
                400,
                f"{name}: does not go together with {form}. Send outputs, or profile, or "
                "conversion_type with output_file and options",
            )


def _common(data: Mapping[str, Any], mappings: tuple[PathMapping, ...]) -> dict[str, Any]:
    """The fields of the spec that all forms have."""
    return {
        "input_file": read_path("input_file", data["input_file"], mappings),
        "overwrite": data.get("overwrite"),
        "queue": data.get("queue"),
        "dry_run": data.get("dry_run"),
        "notify": read_callback(data.get("callback_url")),
    }


def _output(
    item: Mapping[str, Any], mappings: tuple[PathMapping, ...], where: str = ""
) -> dict[str, Any]:
    """The fields of the spec about one output."""
    options = item.get("options")
    return {
        "output_file": read_path(f"{where}output_file", item["output_file"], mappings),
        "conversion_type": item["conversion_type"],
        # PHP, for example, encodes an empty object as [].
        "options": None if options in ({}, []) else _as_strings(options),
    }


def _validate(fields: dict[str, Any], data: Mapping[str, Any]) -> ConversionJobSpec:
    try:
        spec = ConversionJobSpec.model_validate(fields)
    except ValidationError as error:
        raise ApiError(400, _explain(error, data)) from None
    check_spec(spec)
    return spec


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
    data = _read_json(raw)
    check_fields(data, required, optional)
    return data


def _read_json(raw: bytes) -> dict[str, Any]:
    try:
        data: Any = orjson.loads(raw)
    except ValueError:
        raise ApiError(400, "the body is not JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "the body must be a JSON object")
    return data


def check_fields(
    data: Mapping[str, Any], required: Sequence[str], optional: Sequence[str], where: str = ""
) -> None:
    """Raise ApiError 400 if a required field is empty or one is unknown.

    ``where`` is put before the name of the field.
    """
    for name in required:
        if data.get(name) in (None, ""):
            raise ApiError(400, f"Missing required field: {where}{name}")
    unknown = sorted(data.keys() - {*required, *optional})
    if unknown:
        raise ApiError(400, f"unknown field: {where}{unknown[0][:64]}")


def check_spec(spec: ConversionJobSpec) -> None:
    """Check the same rules as the CRD. Raises ApiError 400. The message names the HTTP field."""
    for number, output in enumerate(spec.all_outputs()):
        where = f"outputs[{number}]." if spec.outputs is not None else ""
        check_output(output, where)
        path, *beside = output.paths()
        if path == normal_path(spec.input_file):
            raise ApiError(400, f"{where}output_file: must not be the input_file")
        if normal_path(spec.input_file) in beside:
            raise ApiError(400, f"{where}output_file: its .vtt file must not be the input_file")
        check_options(output, where)


def check_output(output: OutputSpec, where: str = "") -> None:
    """Raise ApiError 400 if the extension of the output does not fit its type."""
    kind = output.conversion_type
    if not output.output_file.lower().endswith(tuple(f".{e}" for e in FORMATS[kind])):
        raise ApiError(400, f"{where}output_file: must end in {extensions_of(kind)} for {kind}")


def check_options(output: OutputSpec, where: str = "") -> None:
    """Raise ApiError 400 if an option does not fit the type of the output."""
    kind = output.conversion_type
    allowed = options_of(kind)
    given = output.options.to_json() if output.options else {}
    for name, value in given.items():
        if name not in allowed or allowed[name].kind.read(value) is None:
            raise ApiError(400, where + _explain_option(kind, name))
        if not allowed[name].applies_to(output.output_file):
            raise ApiError(400, f"{where}options.{name}: of {kind} {allowed[name].only_for}")
    try:
        check_together(given)
    except OptionError as error:
        raise ApiError(400, f"{where}options.{error.field}: {error.message}") from None


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
    "dryRun": "dry_run",
    "notify.url": "callback_url",
}
PATH_MUST_BE: Final = (
    "must be the path of a file, up to 1024 characters, without // and without / at its end"
)
_NAME_MUST_BE: Final = (
    "must be the name of a {}: up to 63 lowercase letters, digits and -, and no - at the ends"
)
# What people read. The CRD has the exact patterns.
_REQUIREMENTS: Final = {
    "input_file": PATH_MUST_BE,
    "output_file": PATH_MUST_BE,
    "conversion_type": f"must be {', '.join(ConversionType)}",
    "callback_url": "must be up to 1024 printable ASCII characters without spaces",
    "options": "must be an object",
    "overwrite": "must be true or false",
    "optional": "must be true or false",
    "dry_run": "must be true or false",
    "queue": _NAME_MUST_BE.format("ConversionQueue"),
    "profile": _NAME_MUST_BE.format("ConversionProfile"),
}


def _explain(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The message about the first error. ``data`` is the request."""
    first = error.errors(include_input=False, include_url=False)[0]
    location, prefix, output = first["loc"], "", data
    match location:
        case ("outputs", int(number), *inside):
            location, prefix, output = tuple(inside), f"outputs[{number}].", data["outputs"][number]
    # For a field with two types, pydantic appends the type to the location.
    where = ".".join(str(part)[:64] for part in location[:2])
    if where.startswith("options."):  # conversion_type is valid: pydantic checks it first
        kind = ConversionType(output["conversion_type"])
        return prefix + _explain_option(kind, where.removeprefix("options."))
    field = _FIELD_NAMES.get(where, where)
    if first["type"] == "value_error":
        return f"{prefix}{field}: {first['ctx']['error']}"
    return f"{prefix}{field}: {_REQUIREMENTS.get(field, first['msg'])}"


def _explain_option(kind: ConversionType, name: str) -> str:
    """The message about an invalid option or value."""
    option = options_of(kind).get(name)
    if option:
        return f"options.{name}: must be {option.kind.must_be}"
    if types_of(name):
        return f"options.{name}: belongs to {types_of(name)} only"
    return f"options.{name}: there is no such option"
