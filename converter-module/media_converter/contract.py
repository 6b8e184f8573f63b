"""Defines what converter and operator agree on: conversion types, exit reasons and the report.

Both import this module, so each table exists once. :mod:`media_converter.report_json` turns a
report into JSON and back. Neither does I/O.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

REPORT_MAX_BYTES: Final = 4096
"""Maximum size of a report. The kubelet keeps this much per container and drops the rest."""

MAX_OUTPUTS: Final = 8
"""The most outputs of one conversion."""

MAX_OUTPUT_MESSAGE_LENGTH: Final = 256
"""Of the message of one of several outputs, in characters."""

MAX_WARNINGS: Final = 4
MAX_WARNING_LENGTH: Final = 200
"""In characters."""

MAX_NAME_LENGTH: Final = 32
"""Of a codec or a container, in characters."""


class ConversionType(StrEnum):
    """The conversions, by the names that users write."""

    VIDEO_TO_MP4 = "video_to_mp4"
    VIDEO_TO_WEBM = "video_to_webm"
    AUDIO_TO_MP3 = "audio_to_mp3"
    IMAGE_RESIZE = "image_resize"
    EXTRACT_THUMBNAIL = "extract_thumbnail"
    AUDIO_CONVERT = "audio_convert"
    MEDIA_INFO = "media_info"
    AUDIO_WAVEFORM = "audio_waveform"
    VIDEO_STORYBOARD = "video_storyboard"
    VIDEO_TO_PREVIEW = "video_to_preview"


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


class OutputState(StrEnum):
    """What has become of one of several outputs. Skipped: it does not apply to the input."""

    PENDING = "Pending"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class OutputResult(NamedTuple):
    """What a run has done about one of several outputs.

    ``size`` is in bytes. It and ``output`` are set if the output has succeeded, ``reason`` and
    ``message`` if it has failed or was skipped.
    """

    state: OutputState = OutputState.PENDING
    size: int | None = None
    output: Output | None = None
    warnings: tuple[str, ...] = ()
    reason: ExitReason | None = None
    message: str = ""


class Action(StrEnum):
    """What a run would do for an output. Copy: only the container changes."""

    ENCODE = "Encode"
    COPY = "Copy"
    CONVERT = "Convert"
    SKIP = "Skip"


class PlannedOutput(NamedTuple):
    """What a dry run says about an output. Sizes are in bytes, ``width`` and ``height`` in pixels.

    ``estimated_seconds`` is the time that one CPU needs. ``reason`` and ``message`` say why an
    output would be skipped.
    """

    action: Action
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    memory: int | None = None
    estimated_seconds: float | None = None
    estimated_size: int | None = None
    reason: ExitReason | None = None
    message: str = ""


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
    input. A run of several outputs has ``outputs``, in the order of the task, and no ``output``;
    ``output_size`` is then their sum. A dry run has ``plan``. ``run_milliseconds`` is how long
    the program of a final report ran. ``landlock_abi`` is the version of
    the Landlock that confined the tools: 0 if the kernel has none, None if no tool was about to
    run. If the report of an ended run is not final, the run was killed. Then ``logs``,
    ``progress`` and ``outputs`` are its last known state.
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
    outputs: tuple[OutputResult, ...] = ()
    plan: tuple[PlannedOutput, ...] = ()
    run_milliseconds: int | None = None
