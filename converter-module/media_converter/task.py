"""Reads a task, which is one output to make, from the environment variables of the container."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from media_converter.contract import ConversionType, DamagedInput, ExitReason
from media_converter.errors import ConversionError
from media_converter.options import (
    FORMATS,
    OptionError,
    check_extensions,
    extensions_of,
    output_files,
    parse,
)
from media_converter.typed_options import Options

DEFAULT_TIMEOUT_SECONDS: Final = 21_600
DEFAULT_STALL_SECONDS: Final = 300
DEFAULT_LOG_RETENTION_SECONDS: Final = 604_800
DEFAULT_MAX_OUTPUT_BYTES: Final = 100 * 1024**3
DEFAULT_TERMINATION_LOG: Final = "/dev/termination-log"
DEFAULT_BACKGROUND: Final = "FFFFFF"
DEFAULT_MAX_DAMAGED_PERCENT: Final = 10
DEFAULT_MAX_MISSING_SECONDS: Final = 5


class DamageLimits(NamedTuple):
    """How much of a damaged input may be lost.

    If more than ``max_percent`` of the frames or of the audio packets are lost, or all frames of
    ``max_seconds`` in a row, the run fails, unless ``convert_anyway`` is set.
    """

    max_percent: float = DEFAULT_MAX_DAMAGED_PERCENT
    max_seconds: float = DEFAULT_MAX_MISSING_SECONDS
    convert_anyway: bool = False


class Task(NamedTuple):
    """One output to make. Paths are relative to the root of the workspace.

    ``output_format`` is one of the values in options.FORMATS. ``background`` is a colour as RRGGBB.
    If ``overwrites`` is False, an existing output is never replaced. Attempts of the same
    conversion have the same ``conversion_uid``.

    If the task is one of several outputs, ``label`` names it in messages. If ``optional`` is set,
    its failure does not fail the run. ``reported_sha256`` is what an earlier attempt has reported
    about the output, or empty.
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
    label: str = ""
    optional: bool = False
    reported_sha256: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all files of the output, that of the output itself first."""
        return output_files(self.conversion_type, self.output_file)

    @property
    def marks_output(self) -> bool:
        """Whether the output gets a mark that says which conversion has published it."""
        return bool(self.conversion_uid) and (bool(self.label) or not self.overwrites)


class FieldNames(NamedTuple):
    """What messages call the fields of an output."""

    conversion_type: str = "CONVERSION_TYPE"
    output_file: str = "OUTPUT_FILE"


class OutputFields(NamedTuple):
    """What to make: the fields of a Task that each of several outputs has for itself."""

    conversion_type: ConversionType
    output_file: str
    output_format: str
    options: Options


def read_output(
    conversion_type: str, output_file: str, values: Mapping[str, object], names: FieldNames
) -> OutputFields:
    """Check what to make. Raises ConversionError with InvalidOptions."""
    try:
        kind = ConversionType(conversion_type)
    except ValueError:
        known = ", ".join(ConversionType)
        raise invalid(
            f"{names.conversion_type} {conversion_type} is unknown; it must be one of {known}"
        ) from None
    try:
        options = parse(kind, values)
        given = (name for name, value in values.items() if value is not None)
        check_extensions(kind, given, output_file)
    except OptionError as error:
        raise invalid(str(error)) from error
    output_format = _output_format(kind, output_file, names)
    return OutputFields(kind, output_file, output_format, options)


def read_task(environment: Mapping[str, str]) -> Task:
    """Read the task from the environment. Raises ConversionError with InvalidOptions."""
    names = FieldNames()
    kind = _required(environment, names.conversion_type)
    values = _options(environment.get("CONVERSION_OPTIONS", ""))
    output = read_output(kind, _required(environment, names.output_file), values, names)
    return task_for(environment, output)


def task_for(environment: Mapping[str, str], output: OutputFields) -> Task:
    """The task to make ``output``. The environment has what holds for all outputs of a run."""
    return Task(
        id=environment.get("JOB_ID", ""),
        input_file=_required(environment, "INPUT_FILE"),
        **output._asdict(),
        timeout_seconds=number(environment, "TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS),
        stall_seconds=number(environment, "STALL_SECONDS", DEFAULT_STALL_SECONDS),
        max_output_bytes=_bytes(environment, "MAX_OUTPUT_BYTES", DEFAULT_MAX_OUTPUT_BYTES),
        overwrites=truth(environment, "OVERWRITE", default=True),
        conversion_uid=environment.get("CONVERSION_UID", ""),
        background=_background(environment.get("BACKGROUND", "")),
        damage=DamageLimits(
            number(environment, "MAX_DAMAGED_PERCENT", DEFAULT_MAX_DAMAGED_PERCENT),
            number(environment, "MAX_MISSING_SECONDS", DEFAULT_MAX_MISSING_SECONDS),
            _convert_anyway(environment.get("DAMAGED_INPUT", "")),
        ),
    )


def _output_format(conversion_type: ConversionType, output_file: str, names: FieldNames) -> str:
    formats = FORMATS[conversion_type]
    _, dot, extension = output_file.rpartition("/")[2].rpartition(".")
    if dot and extension.lower() in formats:
        return formats[extension.lower()]
    raise invalid(
        f"{names.output_file} of {conversion_type} must end in {extensions_of(conversion_type)}"
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise invalid(f"the environment variable {name} is missing")
    return value


def _options(text: str) -> Mapping[str, object]:
    if not text.strip():
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("CONVERSION_OPTIONS is not JSON") from None
    if not isinstance(values, dict):
        raise invalid("CONVERSION_OPTIONS must be a JSON object")
    return values


def number(environment: Mapping[str, str], name: str, default: int) -> float:
    """A variable that is a whole number. Raises ConversionError with InvalidOptions."""
    text = environment.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text) <= 10_000_000:
        return int(text)
    raise invalid(f"{name} must be a whole number, more than 0")


def _convert_anyway(text: str) -> bool:
    if text in ("", DamagedInput.FAIL):
        return False
    if text == DamagedInput.CONVERT:
        return True
    raise invalid(f"DAMAGED_INPUT must be {DamagedInput.FAIL} or {DamagedInput.CONVERT}")


def _bytes(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 63:
        return int(text)
    raise invalid(f"{name} must be a whole number of bytes, more than 0")


def truth(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A variable that is true, false or empty. Raises ConversionError with InvalidOptions."""
    text = environment.get(name, "")
    if not text:
        return default
    if text in ("true", "false"):
        return text == "true"
    raise invalid(f"{name} must be true or false")


def _background(text: str) -> str:
    if not text:
        return DEFAULT_BACKGROUND
    digits = text.removeprefix("#")
    try:
        channels = bytes.fromhex(digits)
    except ValueError:
        channels = b""
    if len(channels) != 3:
        raise invalid("BACKGROUND must be a colour as RRGGBB")
    return channels.hex().upper()


def invalid(message: str) -> ConversionError:
    """The ConversionError for a request that cannot be understood."""
    return ConversionError(ExitReason.INVALID_OPTIONS, message)
