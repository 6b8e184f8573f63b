"""JSON schemas of the request bodies, for the OpenAPI document: as strict as the API.

They are generated from the table of the options. What JSON Schema cannot say, such as that the
output must not be the input, is in the descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from conversion_operator.api.spec import CALLBACK_URL_PATTERN, QUEUE_PATTERN
from media_converter.contract import MAX_OUTPUTS, ConversionType
from media_converter.forbidden_paths import FORBIDDEN_CHARACTERS
from media_converter.option_values import (
    Choices,
    Colour,
    Lufs,
    Moment,
    Percent,
    Size,
    Time,
    Whole,
    Words,
)
from media_converter.options import FORMATS, MAX_LENGTH, Option, extensions_of, options_of

Schema = dict[str, Any]

PATH_MAX_LENGTH: Final = 1024
ID_MAX_LENGTH: Final = 256
TYPE_MAX_LENGTH: Final = 255

# ECMA regular expressions have no escapes for characters beyond U+FFFF.
_FORBIDDEN: Final = "".join(
    f"\\u{first:04x}-\\u{last:04x}" for first, last in FORBIDDEN_CHARACTERS if last <= 0xFFFF
)
_PART: Final = f"[^/{_FORBIDDEN}]"
_PRINTABLE: Final = f"^[^{_FORBIDDEN}]+$"

_NULL: Final[Schema] = {"type": "null"}


def _path(description: str, extensions: tuple[str, ...] = ()) -> Schema:
    pattern = f"^/?({_PART}+/)*{_PART}+$"
    if extensions:
        either_case = ("".join(_either_case(char) for char in name) for name in extensions)
        pattern = f"^/?({_PART}+/)*{_PART}*[.]({'|'.join(either_case)})$"
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": PATH_MAX_LENGTH,
        "pattern": pattern,
        "description": description,
    }


def _either_case(char: str) -> str:
    return f"[{char}{char.upper()}]" if char.isalpha() else char


def _value(option: Option) -> list[Schema]:
    """The schemas of the values of an option. One of them must fit."""
    match option.kind:
        case Words(words):
            return [{"type": "string", "enum": list(words)}]
        case Choices(numbers, unit):
            suffixes = dict.fromkeys((unit, ""))
            texts = [f"{number}{suffix}" for suffix in suffixes for number in numbers]
            return [{"type": "string", "enum": texts}, {"type": "integer", "enum": list(numbers)}]
        case Percent(pattern, (low, high)) | Lufs(pattern, (low, high)):
            return [
                {"type": "integer", "minimum": low, "maximum": high},
                {"type": "string", "pattern": pattern},
            ]
        case Whole(_, (low, high)) as kind:
            return [
                {"type": "integer", "minimum": low, "maximum": high},
                {"type": "string", "pattern": kind.pattern},
            ]
        case Size(max_side):
            side = _from_1_to(max_side)
            return [{"type": "string", "pattern": f"^{side}x{side}$"}]
        case Colour(pattern):
            return [{"type": "string", "pattern": pattern}]
        case Moment(most, _, percent_pattern):
            return [*_seconds(most), {"type": "string", "pattern": percent_pattern}]
        case Time(most, allows_zero):
            return _seconds(most, allows_zero)


def _seconds(most: int, allows_zero: bool = True) -> list[Schema]:
    """The schemas of a time in seconds."""
    least = 0 if allows_zero else 0.000001
    text: Schema = {"type": "string", "maxLength": MAX_LENGTH, "pattern": _time(most)}
    if not allows_zero:
        text["not"] = {"pattern": "^[0:.]*$"}
    return [{"type": "number", "minimum": least, "maximum": most}, text]


def _from_1_to(most: int) -> str:
    """A pattern of the integers from 1 to ``most``, without leading zeros."""
    digits = str(most)
    return f"([1-9][0-9]{{0,{len(digits) - 2}}}|{_below(digits, first=1)}|{digits})"


def _below(digits: str, first: int = 0) -> str:
    """A pattern of the numbers with as many digits, and less than ``digits``.

    ``first`` is the least first digit.
    """
    return "|".join(
        f"{digits[:place]}[{least}-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if int(digit) > (least := 0 if place else first)
    )


def _time(most: int) -> str:
    """A pattern of the times from 0 to ``most`` seconds, which are whole hours."""
    hours, rest = divmod(most, 3600)
    assert rest == 0  # noqa: S101  a constant
    seconds, decimals, zeros = "[0-5]?[0-9]", "([.][0-9]{1,6})?", "([.]0{1,6})?"
    less, hour = (
        f"([0-9]{{1,{len(str(number)) - 1}}}|{_below(str(number))})" for number in (most, hours)
    )
    return (
        f"^({less}{decimals}|{most}{zeros}|{hour}:{seconds}:{seconds}{decimals}"
        f"|{hours}:0?0:0?0{zeros})$"
    )


def _description(option: Option) -> str:
    must_be = f"Must be {option.kind.must_be}."
    only_for = option.only_for
    return f"{must_be} {only_for[0].upper()}{only_for[1:]}." if option.extensions else must_be


def _output(kind: ConversionType) -> Schema:
    """The properties of one output of a conversion type."""
    options = {
        name: {
            "anyOf": [*_value(option), _NULL],
            "description": _description(option),
        }
        for name, option in options_of(kind).items()
    }
    return {
        "output_file": _path(
            f"The file to write, as the caller names it, with the extension {extensions_of(kind)}. "
            "Not the input_file.",
            tuple(FORMATS[kind]),
        ),
        "conversion_type": {"type": "string", "const": str(kind)},
        "options": {
            "description": "Options of this type. An empty list is the same as an empty object.",
            "anyOf": [
                {"type": "object", "additionalProperties": False, "properties": options},
                {"type": "array", "maxItems": 0, "items": {"type": "string"}},
                _NULL,
            ],
        },
    }


def _name(description: str) -> Schema:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "pattern": QUEUE_PATTERN,
        "description": description,
    }


def _common() -> Schema:
    """The properties that all forms of a request have."""
    return {
        "input_file": _path(
            "The file to convert, as the caller names it. Not in the folder of logs, "
            ".conversion-logs, nor is the output."
        ),
        "overwrite": {
            "type": ["boolean", "null"],
            "description": "False: fail if an output exists already. Default: true.",
        },
        "queue": {
            "anyOf": [_name("The name of a ConversionQueue."), _NULL],
            "description": "The ConversionQueue in which the conversion waits. Default: default.",
        },
        "dry_run": {
            "type": ["boolean", "null"],
            "description": "True: write no file, and say in plan what would be made. Default: "
            "false.",
        },
        "callback_url": {
            "anyOf": [
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": CALLBACK_URL_PATTERN,
                },
                _NULL,
            ],
            "description": "URL to call when the conversion ends. 400 if the operator's settings "
            "do not allow its host in the namespace.",
        },
    }


def _object(title: str, required: Sequence[str], properties: Schema) -> Schema:
    return {
        "type": "object",
        "title": title,
        "additionalProperties": False,
        "required": [*required],
        "properties": properties,
    }


def _title(kind: ConversionType, what: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_")) + what


def _one_of(reference: str, what: str) -> Schema:
    """One of the schemas for the conversion types."""
    references = {str(kind): reference.format(model=_title(kind, what)) for kind in ConversionType}
    return {
        "oneOf": [{"$ref": target} for target in references.values()],
        "discriminator": {"propertyName": "conversion_type", "mapping": references},
    }


def _outputs(reference: str) -> Schema:
    """The property of a request for several outputs."""
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_OUTPUTS,
        "items": {"$ref": reference.format(model="Output")},
        "contains": {"properties": {"optional": {"enum": [False, None]}}},
        "description": "The files to make, in any order. All paths are different, and at least one "
        "output is not optional.",
    }


def convert_schemas(reference: str) -> dict[str, Schema]:
    """The schemas of convert, by name. ``reference`` has a place for the name of a schema."""
    required, common = ["input_file"], _common()
    schemas: dict[str, Schema] = {
        "ConvertRequest": {
            "description": "The body of POST /api/v1/converter/convert: one output, several "
            "outputs, or the outputs of a profile.",
            "oneOf": [
                {"$ref": reference.format(model=model)}
                for model in ("OneOutputRequest", "OutputsRequest", "ProfileRequest")
            ],
        },
        "OneOutputRequest": _one_of(reference, "Request"),
        "Output": _one_of(reference, "Output"),
        "OutputsRequest": _object(
            "OutputsRequest", [*required, "outputs"], common | {"outputs": _outputs(reference)}
        ),
        "ProfileRequest": _object(
            "ProfileRequest",
            [*required, "profile"],
            common
            | {"profile": _name("The name of a ConversionProfile, which lists the outputs.")},
        ),
    }
    optional: Schema = {
        "type": ["boolean", "null"],
        "description": "True: the conversion can succeed without this output. Default: false.",
    }
    of_output = ["output_file", "conversion_type"]
    for kind in ConversionType:
        name, item = _title(kind, "Request"), _title(kind, "Output")
        schemas[name] = _object(name, [*required, *of_output], common | _output(kind))
        schemas[item] = _object(item, of_output, _output(kind) | {"optional": optional})
    return schemas


def content_schema(example: Schema) -> Schema:
    """The body of POST content."""
    return {
        "type": "object",
        "title": "ContentRequest",
        "description": "The body of POST /api/v1/content.",
        "additionalProperties": False,
        "required": ["content_id", "content_type", "file_path"],
        "properties": {
            "content_id": {
                "anyOf": [
                    {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": ID_MAX_LENGTH,
                        "pattern": _PRINTABLE,
                    },
                    {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
                ],
                "description": f"1 to {ID_MAX_LENGTH} printable characters, but not . or .., or a "
                "whole number of 64 bits.",
            },
            "content_type": {
                "type": "string",
                "minLength": 1,
                "maxLength": TYPE_MAX_LENGTH,
                "pattern": _PRINTABLE,
                "description": "A MIME type, or its first part: video, audio or image.",
            },
            "file_path": _path("The uploaded file, as the caller names it."),
        },
        "examples": [example],
    }
