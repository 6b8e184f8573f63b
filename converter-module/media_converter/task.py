"""Reads the task, which is one conversion, from the environment variables of the container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from media_converter.contract import ConversionType, DamagedInput, ExitReason
from media_converter.errors import ConversionError
from media_converter.options import (
    FORMATS,
    OptionError,
    Options,
    check_extensions,
    extensions_of,
    parse,
)

DEFAULT_TIMEOUT_SECONDS: Final = 21_600
DEFAULT_STALL_SECONDS: Final = 300
DEFAULT_MAX_OUTPUT_BYTES: Final = 100 * 1024**3
DEFAULT_TERMINATION_LOG: Final = "/dev/termination-log"
DEFAULT_BACKGROUND: Final = "FFFFFF"
DEFAULT_MAX_DAMAGED_PERCENT: Final = 10
DEFAULT_MAX_MISSING_SECONDS: Final = 5


class DamageLimits(NamedTuple):
    """How much of a damaged input may be lost.

    More than ``max_percent`` of the pictures or of the sound's packets, or a stretch of at least
    ``max_seconds`` without pictures, is a failure, unless ``convert_anyway`` is set.
    """

    max_percent: float = DEFAULT_MAX_DAMAGED_PERCENT
    max_seconds: float = DEFAULT_MAX_MISSING_SECONDS
    convert_anyway: bool = False


class Task(NamedTuple):
    """One conversion to do. Paths are relative to the root of the workspace.

    ``output_format`` is one of the values in options.FORMATS. ``background`` is a colour as RRGGBB.
    If ``overwrites`` is False, an existing output is never replaced. Attempts of the same
    conversion have the same ``conversion_uid``.
    """

    id: str
    conversion_type: ConversionType
    input_file: str
    output_file: str
    output_format: str
    options: Options
    timeout_seconds: float
    stall_seconds: float
    max_output_bytes: int
    overwrites: bool
    conversion_uid: str
    background: str
    damage: DamageLimits = DamageLimits()


def read_task(environment: Mapping[str, str]) -> Task:
    """Read the task from the environment. Raises ConversionError with InvalidOptions."""
    name = _required(environment, "CONVERSION_TYPE")
    try:
        conversion_type = ConversionType(name)
    except ValueError:
        known = ", ".join(ConversionType)
        raise _invalid(f"CONVERSION_TYPE {name} is unknown; it must be one of {known}") from None
    try:
        values = _options(environment.get("CONVERSION_OPTIONS", ""))
        options = parse(conversion_type, values)
        output_file = _required(environment, "OUTPUT_FILE")
        given = (name for name, value in values.items() if value is not None)
        check_extensions(conversion_type, given, output_file)
    except OptionError as error:
        raise _invalid(str(error)) from error
    return Task(
        id=environment.get("JOB_ID", ""),
        conversion_type=conversion_type,
        input_file=_required(environment, "INPUT_FILE"),
        output_file=output_file,
        output_format=_output_format(conversion_type, output_file),
        options=options,
        timeout_seconds=_number(environment, "TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS),
        stall_seconds=_number(environment, "STALL_SECONDS", DEFAULT_STALL_SECONDS),
        max_output_bytes=_bytes(environment, "MAX_OUTPUT_BYTES", DEFAULT_MAX_OUTPUT_BYTES),
        overwrites=_truth(environment, "OVERWRITE", default=True),
        conversion_uid=environment.get("CONVERSION_UID", ""),
        background=_background(environment.get("BACKGROUND", "")),
        damage=DamageLimits(
            _number(environment, "MAX_DAMAGED_PERCENT", DEFAULT_MAX_DAMAGED_PERCENT),
            _number(environment, "MAX_MISSING_SECONDS", DEFAULT_MAX_MISSING_SECONDS),
            _convert_anyway(environment.get("DAMAGED_INPUT", "")),
        ),
    )


def _output_format(conversion_type: ConversionType, output_file: str) -> str:
    formats = FORMATS[conversion_type]
    _, dot, extension = output_file.rpartition("/")[2].rpartition(".")
    if dot and extension.lower() in formats:
        return formats[extension.lower()]
    raise _invalid(f"OUTPUT_FILE of {conversion_type} must end in {extensions_of(conversion_type)}")


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise _invalid(f"the environment variable {name} is missing")
    return value


def _options(text: str) -> Mapping[str, object]:
    if not text.strip():
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _invalid("CONVERSION_OPTIONS is not JSON") from None
    if not isinstance(values, dict):
        raise _invalid("CONVERSION_OPTIONS must be a JSON object")
    return values


def _number(environment: Mapping[str, str], name: str, default: int) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text) <= 10_000_000:
        return int(text)
    raise _invalid(f"{name} must be a whole number, more than 0")


def _convert_anyway(text: str) -> bool:
    if text in ("", DamagedInput.FAIL):
        return False
    if text == DamagedInput.CONVERT:
        return True
    raise _invalid(f"DAMAGED_INPUT must be {DamagedInput.FAIL} or {DamagedInput.CONVERT}")


def _bytes(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 63:
        return int(text)
    raise _invalid(f"{name} must be a whole number of bytes, more than 0")


def _truth(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name, "")
    if not text:
        return default
    if text in ("true", "false"):
        return text == "true"
    raise _invalid(f"{name} must be true or false")


def _background(text: str) -> str:
    if not text:
        return DEFAULT_BACKGROUND
    digits = text.removeprefix("#")
    try:
        channels = bytes.fromhex(digits)
    except ValueError:
        channels = b""
    if len(channels) != 3:
        raise _invalid("BACKGROUND must be a colour as RRGGBB")
    return channels.hex().upper()


def _invalid(message: str) -> ConversionError:
    return ConversionError(ExitReason.INVALID_OPTIONS, message)
