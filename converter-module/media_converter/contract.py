"""Defines what converter and operator agree on: conversion types, exit reasons and the report.

Both import this module, so each table exists once. It does no I/O.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

REPORT_MAX_BYTES: Final = 3072
"""Maximum size of a report. The kubelet keeps 4096 bytes per container and drops the rest."""

MAX_WARNINGS: Final = 4
MAX_WARNING_LENGTH: Final = 200
"""In characters."""

MAX_NAME_LENGTH: Final = 32
"""Of a codec or a container, in characters."""

_SHA256: Final = re.compile("[0-9a-f]{64}")
_INT64_MAX: Final = 2**63 - 1
_MAX_NUMBER: Final = 1e12

PROGRESS_KEY: Final = "progress"
"""The only key of a progress line on standard output. Log lines for people do not have it."""


class ConversionType(StrEnum):
    """The conversions, by the names that users write."""

    VIDEO_TO_MP4 = "video_to_mp4"
    AUDIO_TO_MP3 = "audio_to_mp3"
    IMAGE_RESIZE = "image_resize"
    EXTRACT_THUMBNAIL = "extract_thumbnail"
    AUDIO_CONVERT = "audio_convert"
    MEDIA_INFO = "media_info"
    AUDIO_WAVEFORM = "audio_waveform"


class DamagedInput(StrEnum):
    """What to do with an input of which a part cannot be decoded."""

    FAIL = "Fail"
    CONVERT = "Convert"


class ExitReason(StrEnum):
    """Why a run of the converter ended. Each run has exactly one of these reasons."""

    COMPLETED = "Completed"
    # The file or the request is at fault. Another run would end the same way.
    INPUT_NOT_FOUND = "InputNotFound"
    INPUT_EMPTY = "InputEmpty"
    INPUT_NOT_REGULAR = "InputNotRegular"
    PATH_NOT_ALLOWED = "PathNotAllowed"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    NO_VIDEO_STREAM = "NoVideoStream"
    NO_AUDIO_STREAM = "NoAudioStream"
    INPUT_TRUNCATED = "InputTruncated"
    INPUT_DAMAGED = "InputDamaged"
    INPUT_TOO_LARGE = "InputTooLarge"
    NOTHING_IN_RANGE = "NothingInRange"
    OUTPUT_IS_INPUT = "OutputIsInput"
    INVALID_OPTIONS = "InvalidOptions"
    NEEDS_MEMORY = "NeedsMemory"
    ENCRYPTED = "Encrypted"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    DECODER_CRASHED = "DecoderCrashed"
    OUTPUT_EXISTS = "OutputExists"
    # The environment is at fault. Another run may succeed.
    INPUT_UNREADABLE = "InputUnreadable"
    OUTPUT_NOT_WRITABLE = "OutputNotWritable"
    DISK_FULL = "DiskFull"
    INPUT_CHANGED = "InputChanged"
    OUT_OF_MEMORY = "OutOfMemory"
    STALLED = "Stalled"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    TERMINATED = "Terminated"
    IO_ERROR = "IOError"
    VERIFICATION_FAILED = "VerificationFailed"
    INTERNAL_ERROR = "InternalError"


# The interpreter uses 1 and 2. The container runtime and signals use 125 and up.
EXIT_CODES: Final = MappingProxyType(
    {
        ExitReason.COMPLETED: 0,
        ExitReason.INPUT_NOT_FOUND: 10,
        ExitReason.INPUT_EMPTY: 11,
        ExitReason.INPUT_NOT_REGULAR: 12,
        ExitReason.PATH_NOT_ALLOWED: 13,
        ExitReason.UNSUPPORTED_FORMAT: 14,
        ExitReason.NO_VIDEO_STREAM: 15,
        ExitReason.NO_AUDIO_STREAM: 16,
        ExitReason.INPUT_TRUNCATED: 17,
        ExitReason.INPUT_DAMAGED: 18,
        ExitReason.INPUT_TOO_LARGE: 19,
        ExitReason.NOTHING_IN_RANGE: 20,
        ExitReason.OUTPUT_IS_INPUT: 21,
        ExitReason.INVALID_OPTIONS: 22,
        ExitReason.NEEDS_MEMORY: 23,
        ExitReason.ENCRYPTED: 24,
        ExitReason.OUTPUT_TOO_LARGE: 30,
        ExitReason.DECODER_CRASHED: 31,
        ExitReason.OUTPUT_EXISTS: 32,
        ExitReason.INPUT_UNREADABLE: 40,
        ExitReason.OUTPUT_NOT_WRITABLE: 41,
        ExitReason.DISK_FULL: 42,
        ExitReason.INPUT_CHANGED: 43,
        ExitReason.OUT_OF_MEMORY: 44,
        ExitReason.STALLED: 45,
        ExitReason.DEADLINE_EXCEEDED: 46,
        ExitReason.TERMINATED: 47,
        ExitReason.IO_ERROR: 48,
        ExitReason.VERIFICATION_FAILED: 49,
        ExitReason.INTERNAL_ERROR: 50,
    }
)
REASON_BY_EXIT_CODE: Final = MappingProxyType({code: reason for reason, code in EXIT_CODES.items()})

INPUT_FAULTS: Final = frozenset(reason for reason, code in EXIT_CODES.items() if 10 <= code < 40)
"""Reasons that a retry cannot change, because the input or the request is at fault."""

NOT_RETRIED: Final = INPUT_FAULTS | {
    ExitReason.INPUT_UNREADABLE,
    ExitReason.OUTPUT_NOT_WRITABLE,
    ExitReason.VERIFICATION_FAILED,
}
"""Reasons that only a person can change. Permissions do not change by themselves, and from the same
input the same tools make the same output."""


class Output(NamedTuple):
    """Properties of the output file, probed after it was written.

    ``width`` and ``height`` are in pixels. Properties that the format does not have are None.
    """

    sha256: str
    container: str
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None


class Progress(NamedTuple):
    """The progress of a run. ``percent`` is 0 to 100; None if the duration is unknown.

    ``speed`` is seconds of media per second. ``eta_seconds`` is the estimated time to the end.
    """

    percent: int | None = None
    speed: float | None = None
    eta_seconds: int | None = None


class Report(NamedTuple):
    """The termination message of a run. Success requires ``final`` and the reason Completed.

    ``output_size`` is in bytes. ``warnings`` says, in sentences, what the output lacks of the
    input. ``landlock_abi`` is the version of the Landlock that confined the tools: 0 if the kernel
    has none, None if no tool was about to run. If the report of an ended run is not final, the run
    was killed. Then ``logs`` and ``progress`` are its last known state.
    """

    final: bool
    reason: ExitReason | None = None
    message: str = ""
    output_size: int | None = None
    output: Output | None = None
    progress: Progress = Progress()
    logs: str = ""
    warnings: tuple[str, ...] = ()
    landlock_abi: int | None = None


_OUTPUT_KEYS = (
    ("sha256", "sha256"),
    ("container", "container"),
    ("videoCodec", "video_codec"),
    ("audioCodec", "audio_codec"),
    ("width", "width"),
    ("height", "height"),
    ("durationSeconds", "duration_seconds"),
)
_PROGRESS_KEYS = (("percent", "percent"), ("speed", "speed"), ("etaSeconds", "eta_seconds"))


def _to_json(value: object, keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    pairs = ((key, getattr(value, name)) for key, name in keys)
    return {key: item for key, item in pairs if item is not None}


def dump_report(report: Report) -> bytes:
    """The report as one JSON object of at most REPORT_MAX_BYTES bytes of ASCII.

    Drops the middle of the log until the report fits: its start names the cause, its end says why
    the run failed.
    """
    message, logs = report.message, report.logs
    while True:
        body: dict[str, Any] = {
            "final": report.final,
            "reason": report.reason,
            "message": message,
            "outputSize": report.output_size,
            "output": _to_json(report.output, _OUTPUT_KEYS) if report.output else None,
            "progress": _to_json(report.progress, _PROGRESS_KEYS),
            "warnings": [text[:MAX_WARNING_LENGTH] for text in report.warnings[:MAX_WARNINGS]],
            "landlockABI": report.landlock_abi,
            "logs": logs,
        }
        text = json.dumps({k: v for k, v in body.items() if v not in (None, "", {}, [])})
        excess = len(text) - REPORT_MAX_BYTES
        if excess <= 0:
            return text.encode("ascii")
        # An escaped character takes up to twelve bytes. If the cut is too small, the loop repeats.
        cut = max(1, excess // 12)
        if logs:
            kept = max(0, len(logs) - cut)
            logs = logs[: kept // 2] + logs[len(logs) - (kept - kept // 2) :]
        else:
            message = message[: max(0, len(message) - cut)]


def parse_report(text: str) -> Report | None:
    """Parse a termination message or the last line of output. None if it is not a report.

    Never raises: the container may have been killed while it wrote the text, or the text may be
    the end of the log, which the kubelet uses as a fallback. Whoever may run a command in the pod
    can write it too. So values that no status can hold make it no report.
    """
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or not isinstance(body.get("final"), bool):
            return None
        output = body.get("output")
        progress = body.get("progress") or {}
        return Report(
            final=body["final"],
            reason=ExitReason(body["reason"]) if body.get("reason") else None,
            message=_string(body.get("message", "")),
            output_size=_whole(body.get("outputSize")),
            output=_parse_output(output) if output else None,
            progress=Progress(
                percent=_whole(progress.get("percent")),
                speed=_number(progress.get("speed")),
                eta_seconds=_whole(progress.get("etaSeconds")),
            ),
            logs=_string(body.get("logs", "")),
            warnings=_texts(body.get("warnings") or []),
            landlock_abi=_whole(body.get("landlockABI")),
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def dump_progress(progress: Progress) -> str:
    """A progress line for standard output, without the line break."""
    return json.dumps({PROGRESS_KEY: _to_json(progress, _PROGRESS_KEYS)}, separators=(",", ":"))


def parse_progress(line: str) -> Progress | None:
    """Parse one line of a container's log. None if it is not a progress line."""
    if not line.startswith('{"' + PROGRESS_KEY + '"'):
        return None
    try:
        body = json.loads(line)[PROGRESS_KEY]
        return Progress(
            percent=_whole(body.get("percent")),
            speed=_number(body.get("speed")),
            eta_seconds=_whole(body.get("etaSeconds")),
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _parse_output(body: dict[str, Any]) -> Output:
    if not _SHA256.fullmatch(body["sha256"]):
        raise ValueError(f"not a SHA-256: {body['sha256']!r}")
    return Output(
        sha256=body["sha256"],
        container=_name(body["container"]) or "",
        video_codec=_name(body.get("videoCodec")),
        audio_codec=_name(body.get("audioCodec")),
        width=_whole(body.get("width")),
        height=_whole(body.get("height")),
        duration_seconds=_number(body.get("durationSeconds")),
    )


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return tuple(_string(text)[:MAX_WARNING_LENGTH] for text in value[:MAX_WARNINGS])


def _string(value: object) -> str:
    """The value as text. JSON may have half a character, which UTF-8 cannot encode."""
    return str(value).encode(errors="replace").decode()


def _name(value: object) -> str | None:
    return None if value is None else _string(value)[:MAX_NAME_LENGTH]


def _whole(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INT64_MAX:
        raise ValueError(f"not a whole number of 64 bits: {value!r}")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number: {value!r}")
    number = float(value)
    if not 0 <= number <= _MAX_NUMBER:  # false for NaN
        raise ValueError(f"out of range: {value!r}")
    return number
