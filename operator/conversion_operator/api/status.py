"""``status`` of a ConversionJob. Only the operator writes it. It has at most 8 KiB, and
12 KiB with several outputs, without status.resolved.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, PlainSerializer, StringConstraints

from conversion_operator.api.api_model import ApiModel
from conversion_operator.api.spec import MAX_TIMEOUT_SECONDS, OutputSpec, Resources
from media_converter.contract import (
    MAX_NAME_LENGTH,
    MAX_OUTPUT_MESSAGE_LENGTH,
    MAX_OUTPUTS,
    MAX_WARNING_LENGTH,
    MAX_WARNINGS,
    Action,
    OutputState,
)

LOGS_MAX_BYTES: Final = 2048
MESSAGE_MAX_BYTES: Final = 1024
REASON_MAX_LENGTH: Final = 64
ATTEMPTS_KEPT: Final = 5
CONDITIONS_KEPT: Final = 8
NOTIFY_MESSAGE_MAX_BYTES: Final = 200


def format_time(value: datetime) -> str:
    """A time as metav1.Time: RFC 3339 in UTC, in whole seconds."""
    # Several times as fast as strftime. Each status has several times.
    return value.isoformat(timespec="seconds")[:19] + "Z"


ReasonText = Annotated[str, StringConstraints(max_length=REASON_MAX_LENGTH)]
Message = Annotated[str, StringConstraints(max_length=MESSAGE_MAX_BYTES)]
ObjectName = Annotated[str, StringConstraints(max_length=253)]
ObjectUid = Annotated[str, StringConstraints(max_length=64)]
Codec = Annotated[str, StringConstraints(max_length=MAX_NAME_LENGTH)]
DisplayText = Annotated[str, StringConstraints(max_length=16)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[str, StringConstraints(max_length=20, pattern=r"^[0-9]+\.[0-9]{3}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Warnings = Annotated[
    list[Annotated[str, StringConstraints(max_length=MAX_WARNING_LENGTH)]],
    Field(max_length=MAX_WARNINGS),
]
Time = Annotated[datetime, PlainSerializer(format_time, when_used="json")]


class Phase(StrEnum):
    """Where a conversion stands, in one word for people. Programs read the conditions.

    PENDING is the default of the CRD. A conversion with this phase has not begun.
    """

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def terminal(self) -> bool:
        """True for the three phases that never change again."""
        return self in _TERMINAL


# A tuple: the hash of a member is a call of Python code, its comparison is not.
_TERMINAL: Final = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


class StatusModel(ApiModel):
    """A part of the status.

    A later release may have written it, so unknown fields are kept: the next write has them too.
    """

    model_config = ConfigDict(extra="allow")


class Condition(StatusModel):
    """A condition of the conversion."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """Type of the condition: Reconciling, Stalled, Succeeded or Finished."""
    status: Literal["True", "False", "Unknown"]
    """Status of the condition: True, False or Unknown."""
    reason: ReasonText
    """Reason of the condition, as in status.reason."""
    message: Message
    """Beginning of status.message."""
    last_transition_time: Time
    """When the status of the condition last changed."""


class Progress(StatusModel):
    """Progress of the running attempt."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Progress in percent. Absent while the length is unknown."""
    speed: Annotated[str, StringConstraints(max_length=16)] | None = None
    """Seconds of media converted per second, for example 2.31x."""
    eta_seconds: Count | None = None
    """Estimated time until the attempt ends, in seconds, when the progress was written."""
    estimated_end_time: Time | None = None
    """About when the attempt ends, as estimated when the progress was written."""


class Attempt(StatusModel):
    """One attempt: one Job."""

    number: Annotated[int, Field(ge=1)]
    """Number of the attempt. The first is 1."""
    reason: ReasonText | None = None
    """Why the attempt ended, as in status.reason. Absent until it ends."""
    message: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Why the attempt ended, in a sentence."""
    start_time: Time
    """When the Job was created."""
    completion_time: Time | None = None
    """When the attempt ended."""
    job_uid: Annotated[ObjectUid | None, Field(alias="jobUID")] = None
    """Uid of the Job that the operator created for the attempt. No other Job counts."""
    pod_uid: Annotated[ObjectUid | None, Field(alias="podUID")] = None
    """Uid of the pod whose result counts. Absent until the operator has seen the pod."""


class Retries(StatusModel):
    """Number of attempts that ended without success, by cause."""

    failures: Count = 0
    """Failed attempts. They count against spec.maxRetries."""
    disruptions: Count = 0
    """Attempts that the cluster ended, for example by an eviction. At most 10 are retried."""
    not_started: Count = 0
    """Consecutive attempts whose container did not start."""
    unschedulable: Count | None = None
    """Consecutive attempts whose pod found no node, so that another conversion got the slot."""
    out_of_memory: Count = 0
    """Attempts that ran out of memory. At most one is retried."""


class OutputFacts(StatusModel):
    """Facts about the output file, read from the file after it was written."""

    sha256: Sha256
    """SHA-256 of the file, in hexadecimal."""
    container: Codec
    """Format of the file, for example mp4."""
    video_codec: Codec | None = None
    """Codec of the video or image."""
    audio_codec: Codec | None = None
    """Codec of the audio."""
    width: Count | None = None
    """Displayed width in pixels."""
    height: Count | None = None
    """Displayed height in pixels."""
    duration_seconds: Seconds | None = None
    """Duration in seconds, with three decimals."""
    warnings: Warnings | None = None
    """What the output lacks of the input, in sentences: parts that are damaged or that the
    converter cannot decode. Absent if the output is complete.
    """


OutputMessage = Annotated[str, StringConstraints(max_length=MAX_OUTPUT_MESSAGE_LENGTH)]


class OutputStatus(StatusModel):
    """What has become of one of several outputs. The facts are read from the written file."""

    state: OutputState
    """State of the output. Pending: not made yet. Succeeded: the file is complete. Failed: reason
    says why. Skipped: an optional output whose conversionType does not apply to the input.
    """
    size: Count | None = None
    """Size of the file in bytes."""
    sha256: Sha256 | None = None
    """SHA-256 of the file, in hexadecimal."""
    container: Codec | None = None
    """Format of the file, for example mp4."""
    video_codec: Codec | None = None
    """Codec of the video or image."""
    audio_codec: Codec | None = None
    """Codec of the audio."""
    width: Count | None = None
    """Displayed width in pixels."""
    height: Count | None = None
    """Displayed height in pixels."""
    duration_seconds: Seconds | None = None
    """Duration in seconds, with three decimals."""
    warnings: Warnings | None = None
    """What the output lacks of the input, in sentences."""
    reason: ReasonText | None = None
    """Why the output has failed or was skipped. docs/reasons.md lists all reasons."""
    message: OutputMessage | None = None
    """Why the output has failed or was skipped, in a sentence."""


class PlannedOutput(StatusModel):
    """What a dry run says about one output."""

    action: Action
    """What the converter would do. Encode: encode video or audio. Copy: change the container only.
    Convert: make an image, a document or a drawing. Skip: leave out an optional output that does
    not apply to the input.
    """
    video_codec: Codec | None = None
    """Codec of the video or image."""
    audio_codec: Codec | None = None
    """Codec of the audio."""
    width: Count | None = None
    """Displayed width in pixels."""
    height: Count | None = None
    """Displayed height in pixels."""
    duration_seconds: Seconds | None = None
    """Duration in seconds, with three decimals."""
    memory: Count | None = None
    """Memory that the conversion needs, in bytes."""
    estimated_seconds: Seconds | None = None
    """Estimated run time on one CPU, in seconds."""
    estimated_size: Count | None = None
    """Estimated size of the output, in bytes."""
    reason: ReasonText | None = None
    """Why the output would be left out."""
    message: OutputMessage | None = None
    """Why the output would be left out, in a sentence."""


class ResolvedProfile(StatusModel):
    """What the ConversionProfile said when the operator read it."""

    outputs: Annotated[list[OutputSpec], Field(min_length=1, max_length=MAX_OUTPUTS)]
    """The outputs, with their paths."""
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    """Priority in the queue, unless spec.priority is set."""
    queue: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Name of the ConversionQueue, unless spec.queue is set."""
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    """Longest time that an attempt may run, unless spec.timeoutSeconds is set."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None
    """How long to keep the ConversionJob after its end, unless the spec says so."""
    resources: Resources | None = None
    """Requests and limits of the container, unless spec.resources is set."""


class NotifyState(StrEnum):
    """State of a callback."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    GAVE_UP = "GaveUp"


class Notification(StatusModel):
    """State of the callback. The only part of the status that changes after the conversion ends."""

    state: NotifyState
    """State of the callback. Pending: not delivered yet. Delivered: the receiver accepted it.
    GaveUp: the operator does not send it again.
    """
    attempts: Count
    """How many times the operator tried to send the callback."""
    last_attempt_time: Time | None = None
    """When the operator last tried to send it."""
    next_attempt_time: Time | None = None
    """When the operator tries next. Absent before the first try and after the last."""
    message: Annotated[str, StringConstraints(max_length=NOTIFY_MESSAGE_MAX_BYTES)] | None = None
    """Why the callback is not delivered."""


class Display(StatusModel):
    """Values with units, for people. kubectl prints columns as they are stored."""

    progress: DisplayText | None = None
    """Progress of the attempt, such as 45%."""
    size: DisplayText | None = None
    """Size of the output, such as 696Ki. With several outputs, the sum."""
    duration: DisplayText | None = None
    """How long the last attempt ran, such as 2.35s or 1h5m."""


class ConversionJobStatus(StatusModel):
    """State and outcome of the conversion. Only the operator writes it."""

    phase: Phase
    """Phase of the conversion, for people: Pending, Queued, Starting, Running, Succeeded, Failed or
    Cancelled. Pending: no operator has seen the conversion yet, or it was restored from a backup
    without its status. Running may follow up to 10 s after the start, so a short conversion may go
    from Queued to its end. Programs wait for the condition Finished.
    """
    observed_generation: Count | None = None
    """The metadata.generation that this status describes."""
    conditions: Annotated[list[Condition], Field(max_length=CONDITIONS_KEPT)]
    """Finished is True when the conversion has ended, with or without success. Succeeded is Unknown
    until then. Reconciling exists, and is True, until the conversion ends. Stalled, as in kstatus,
    exists, and is True, if the conversion has failed for any reason. It is not the reason Stalled.
    """
    reason: ReasonText
    """Why the conversion is in this phase. docs/reasons.md lists all reasons and what to do."""
    message: Message
    """Why the conversion is in this phase, in a sentence."""
    arrival: Count | None = None
    """The metadata.resourceVersion with which the operator first saw the ConversionJob. Of two that
    were created in the same second, the one with the lower arrival was created first.
    """
    queue_position: Count | None = None
    """Place in the queue of the namespace when the status was last written. The first has 1."""
    progress: Progress | None = None
    """Progress of the running attempt."""
    attempts: Annotated[list[Attempt], Field(max_length=ATTEMPTS_KEPT)] | None = None
    """The most recent attempts, oldest first."""
    retries: Retries | None = None
    """Number of attempts that ended without success, by cause."""
    job_name: ObjectName | None = None
    """Name of the Job of the last attempt."""
    pod_name: ObjectName | None = None
    """Name of the pod of the last attempt."""
    node_name: ObjectName | None = None
    """Name of the node of the last attempt."""
    start_time: Time | None = None
    """When the container of the last attempt started."""
    completion_time: Time | None = None
    """When the conversion ended."""
    duration_seconds: Count | None = None
    """How long the last attempt ran, in whole seconds."""
    duration_milliseconds: Count | None = None
    """How long the last attempt ran, in milliseconds. If the converter did not say it, this is
    durationSeconds in milliseconds.
    """
    output_size: Count | None = None
    """Size of the output file in bytes. With several outputs, the sum."""
    output: OutputFacts | None = None
    """Facts about the output file, if spec.outputs and spec.profile are not set."""
    outputs: Annotated[list[OutputStatus], Field(max_length=MAX_OUTPUTS)] | None = None
    """What has become of several outputs, in the order of the spec. Absent until an attempt ends.
    """
    plan: Annotated[list[PlannedOutput], Field(max_length=MAX_OUTPUTS)] | None = None
    """What a dry run says about each output, in the order of the spec."""
    resolved: ResolvedProfile | None = None
    """What the profile said when the operator first saw the conversion. It never changes."""
    logs: Annotated[str, StringConstraints(max_length=LOGS_MAX_BYTES)] | None = None
    """The end of the converter's log, at most 2 KiB."""
    display: Display | None = None
    """Some of these values with units, for the columns that kubectl prints."""
    notify: Notification | None = None
    """State of the callback. Absent until the conversion ends, and if there is no callback."""
