"""Reads what a run must do from its environment variables: one conversion, or several outputs."""

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from media_converter.contract import MAX_OUTPUTS
from media_converter.errors import ConversionError
from media_converter.files.log_folder import LogName
from media_converter.forbidden_paths import NO_FORBIDDEN_CHARACTERS, has_forbidden_character
from media_converter.options import MAX_SIDE
from media_converter.task import (
    DEFAULT_LOG_RETENTION_SECONDS,
    FieldNames,
    Task,
    invalid,
    number,
    read_output,
    read_task,
    task_for,
    truth,
)
from media_converter.typed_options import ImageOptions

_NAMES: Final = FieldNames("conversionType", "outputFile")
_KEYS: Final = ("conversionType", "outputFile", "options", "optional", "sha256")
_SHA256: Final = re.compile("[0-9a-f]{64}")
_MAX_PATH_IN_LABEL: Final = 100


class Request(NamedTuple):
    """What a run must do. ``is_list`` says that it is several outputs, with one task for each.

    If ``dry_run`` is set, the run only plans.
    """

    tasks: tuple[Task, ...]
    is_list: bool = False
    dry_run: bool = False


class LogRequest(NamedTuple):
    """Which log a run keeps on the volume, and how long logs are kept there, in seconds."""

    name: LogName
    retention_seconds: float


def read_log_request(environment: Mapping[str, str]) -> LogRequest | None:
    """Read which log the run keeps. None: none. Raises ConversionError with InvalidOptions.

    A dry run keeps none, because it writes no file.
    """
    text = environment.get("LOG_NAME", "")
    if not text or truth(environment, "DRY_RUN", default=False):
        return None
    name = LogName.parse(text)
    if name is None:
        raise invalid("LOG_NAME must be the uid of a conversion, a slash and a number")
    seconds = number(environment, "LOG_RETENTION_SECONDS", DEFAULT_LOG_RETENTION_SECONDS)
    return LogRequest(name, seconds)


def read_request(environment: Mapping[str, str]) -> Request:
    """Read the request. Raises ConversionError with InvalidOptions."""
    dry_run = truth(environment, "DRY_RUN", default=False)
    text = environment.get("OUTPUTS", "")
    if not text:
        return Request((read_task(environment),), dry_run=dry_run)
    tasks = tuple(_task(environment, *item) for item in enumerate(_items(text)))
    _check_paths(tasks)
    if all(task.optional for task in tasks):
        raise invalid("all outputs are optional; at least one must not be")
    if not tasks[0].conversion_uid:
        raise invalid("the environment variable CONVERSION_UID is missing; OUTPUTS needs it")
    return Request(tasks, is_list=True, dry_run=dry_run)


def output_paths(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The paths of all outputs, which need not be valid. Raises ConversionError."""
    text = environment.get("OUTPUTS", "")
    if not text:
        return (environment.get("OUTPUT_FILE", ""),)
    return tuple(_text(item, "outputFile", f"outputs[{i}]") for i, item in enumerate(_items(text)))


def name_output(task: Task, error: ConversionError) -> ConversionError:
    """The same error, but its message names the output, if it is one of several."""
    if not task.label:
        return error
    return ConversionError(error.reason, f"{task.label}: {error.message}")


def _items(text: str) -> list[dict[str, Any]]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("OUTPUTS is not JSON") from None
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_OUTPUTS:
        raise invalid(f"OUTPUTS must be a JSON array of 1 to {MAX_OUTPUTS} objects")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise invalid(f"outputs[{index}] must be a JSON object")
    return items


def _task(environment: Mapping[str, str], index: int, item: Mapping[str, Any]) -> Task:
    label = f"outputs[{index}]"
    unknown = next((key for key in item if key not in _KEYS), None)
    if unknown is not None:
        raise invalid(f"{label} has the unknown field {unknown!r:.50}; it may have {_in_words()}")
    path = _text(item, "outputFile", label)
    kind = _text(item, "conversionType", label)
    if has_forbidden_character(path):
        raise invalid(f"{label}: outputFile {NO_FORBIDDEN_CHARACTERS}")
    label = f"{label} ({_short(path)})"
    options, optional, sha256 = (item.get(key) for key in _KEYS[2:])
    if not isinstance(options, dict | None):
        raise invalid(f"{label}: options must be a JSON object")
    if not isinstance(optional, bool | None):
        raise invalid(f"{label}: optional must be true or false")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise invalid(f"{label}: sha256 must be 64 digits of hexadecimal, in lower case")
    try:
        output = read_output(kind, path, options or {}, _NAMES)
    except ConversionError as error:
        raise invalid(f"{label}: {error.message}") from error
    if isinstance(output.options, ImageOptions) and (options or {}).get("size") is None:
        # Without a size, one of several outputs keeps the size of the input.
        whole = output.options._replace(width=MAX_SIDE, height=MAX_SIDE)
        output = output._replace(options=whole)
    task = task_for(environment, output)
    return task._replace(label=label, optional=bool(optional), reported_sha256=sha256 or "")


def _text(item: Mapping[str, Any], key: str, label: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"{label} needs the field {key}, which must be text")
    return value


def _check_paths(tasks: tuple[Task, ...]) -> None:
    """Raise ConversionError if two outputs have the same path, or one is a folder of another."""
    for index, task in enumerate(tasks):
        for earlier in tasks[:index]:
            for path, other in itertools.product(_files(task), _files(earlier)):
                if path == other:
                    what = "path" if path == _files(task)[0] else ".vtt file"
                    raise invalid(f"{task.label} has the same {what} as {earlier.label}")
                shorter = min(len(path), len(other))
                if path[:shorter] == other[:shorter]:
                    raise invalid(
                        f"{task.label} and {earlier.label}: the file of one is a folder of the "
                        "other"
                    )


def _files(task: Task) -> list[tuple[str, ...]]:
    """The components of the paths of all files of an output."""
    return [tuple(part for part in path.split("/") if part) for path in task.files]


def _short(path: str) -> str:
    return path if len(path) <= _MAX_PATH_IN_LABEL else f"…{path[1 - _MAX_PATH_IN_LABEL :]}"


def _in_words() -> str:
    return ", ".join(_KEYS[:-1]) + f" and {_KEYS[-1]}"
