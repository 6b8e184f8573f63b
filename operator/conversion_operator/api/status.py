"""``status`` of a ConversionJob, written by the operator alone and at most 8 KiB as a whole."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from conversion_operator.api.spec import ApiModel

LOGS_MAX_BYTES: Final = 2048
MESSAGE_MAX_BYTES: Final = 1024
ATTEMPTS_KEPT: Final = 5
NOTIFY_MESSAGE_MAX_BYTES: Final = 200

ReasonText = Annotated[str, StringConstraints(max_length=64)]
Message = Annotated[str, StringConstraints(max_length=MESSAGE_MAX_BYTES)]
ObjectName = Annotated[str, StringConstraints(max_length=253)]
Codec = Annotated[str, StringConstraints(max_length=32)]
Count = Annotated[int, Field(ge=0)]


class Phase(StrEnum):
    """Where a conversion stands, in one word for people. Programs read the conditions."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def terminal(self) -> bool:
        """True for the three phases that never change again."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


class Condition(ApiModel):
    """A condition as in the Kubernetes API conventions."""

    type: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="Succeeded or Finished."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: ReasonText = Field(description="The reason in one word, as in status.reason.")
    message: Message = Field(description="The reason in a sentence.")
    last_transition_time: datetime = Field(description="When the status of it last changed.")


class Progress(ApiModel):
    """How far the running attempt is."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="0 to 100; absent while the length is unknown."
    )
    speed: Annotated[str, StringConstraints(max_length=16)] | None = Field(
        None, description="Seconds of media per second, for instance 2.31x."
    )
    eta_seconds: Count | None = Field(None, description="Estimated seconds to the end.")


class Attempt(ApiModel):
    """One try: one Job. Only the last few are kept."""

    number: Annotated[int, Field(ge=1)] = Field(description="1 for the first attempt.")
    reason: ReasonText | None = Field(None, description="How it ended; absent while under way.")
    message: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description="How it ended, in a sentence."
    )
    start_time: datetime = Field(description="When its Job was created.")
    completion_time: datetime | None = Field(None, description="When it ended.")


class Retries(ApiModel):
    """How often attempts ended, by what the end counts as."""

    failures: Count = Field(0, description="Failures, counted against spec.maxRetries.")
    disruptions: Count = Field(0, description="Evictions, lost nodes and the like; free.")
    not_started: Count = Field(0, description="Attempts whose container never started.")
    out_of_memory: Count = Field(0, description="Ends for lack of memory; the first is free.")


class OutputFacts(ApiModel):
    """What the output file is, probed after it was written."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the file."
    )
    container: Codec = Field(description="File format, for instance mp4.")
    video_codec: Codec | None = Field(None, description="Video or picture codec.")
    audio_codec: Codec | None = Field(None, description="Audio codec.")
    width: Count | None = Field(None, description="Displayed width in pixels.")
    height: Count | None = Field(None, description="Displayed height in pixels.")
    duration_seconds: (
        Annotated[str, StringConstraints(max_length=20, pattern=r"^[0-9]+\.[0-9]{3}$")] | None
    ) = Field(None, description="Length in seconds, as a decimal with milliseconds.")


class NotifyState(StrEnum):
    """Where a callback stands."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    GAVE_UP = "GaveUp"


class Notification(ApiModel):
    """What became of the callback. It may change after the end; the rest of the status may not."""

    state: NotifyState = Field(
        description="Pending until the receiver has it (Delivered) or it is given up (GaveUp)."
    )
    attempts: Count = Field(description="How often it was sent, or tried to.")
    last_attempt_time: datetime | None = Field(None, description="When it was last tried.")
    next_attempt_time: datetime | None = Field(
        None, description="When it is tried next; absent before the first time and at the end."
    )
    message: Annotated[str, StringConstraints(max_length=NOTIFY_MESSAGE_MAX_BYTES)] | None = Field(
        None, description="What stands in the way, in a sentence."
    )

    def to_json(self) -> dict[str, object]:
        """As it is stored, see ConversionJobStatus."""
        return _whole_seconds(self.model_dump(mode="python", by_alias=True, exclude_none=True))


class ConversionJobStatus(ApiModel):
    """What became of the conversion."""

    phase: Phase = Field(
        description="Queued, Starting, Running, Succeeded, Failed or Cancelled. For people; "
        "programs wait for the condition Finished."
    )
    observed_generation: Count | None = Field(
        None, description="The metadata.generation this status is about."
    )
    conditions: Annotated[list[Condition], Field(max_length=4)] = Field(
        description="Succeeded (Unknown until the end) and Finished (True on every end)."
    )
    reason: ReasonText = Field(description="Why it stands there, from the list in docs/reasons.md.")
    message: Message = Field(description="Why it stands there, and what to do, in a sentence.")
    queue_position: Count | None = Field(
        None, description="Place in the queue when last written; 1 is next."
    )
    progress: Progress | None = Field(None, description="How far the running attempt is.")
    attempts: Annotated[list[Attempt], Field(max_length=ATTEMPTS_KEPT)] | None = Field(
        None, description="The last few attempts, oldest first."
    )
    retries: Retries | None = Field(None, description="How often attempts ended without success.")
    job_name: ObjectName | None = Field(None, description="The Job of the last attempt.")
    pod_name: ObjectName | None = Field(None, description="The pod of the last attempt.")
    node_name: ObjectName | None = Field(None, description="The node of the last attempt.")
    start_time: datetime | None = Field(
        None, description="When the converter of the last attempt started to run."
    )
    completion_time: datetime | None = Field(None, description="When the conversion ended.")
    duration_seconds: Count | None = Field(
        None, description="Running time of the last attempt in whole seconds."
    )
    output_size: Count | None = Field(None, description="Size of the output file in bytes.")
    output: OutputFacts | None = Field(None, description="Facts about the output file.")
    logs: Annotated[str, StringConstraints(max_length=LOGS_MAX_BYTES)] | None = Field(
        None, description="The end of what the converter wrote, at most 2 KiB."
    )
    notify: Notification | None = Field(
        None, description="What became of the callback; absent where none is wanted."
    )

    def to_json(self) -> dict[str, object]:
        """The status as the API server stores it: camelCase, times in whole seconds and Z."""
        return _whole_seconds(self.model_dump(mode="python", by_alias=True, exclude_none=True))


def format_time(value: datetime) -> str:
    """A metav1.Time: RFC 3339 in UTC with whole seconds."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole_seconds(value: dict[str, object]) -> dict[str, object]:
    def convert(item: object) -> object:
        if isinstance(item, datetime):
            return format_time(item)
        if isinstance(item, dict):
            return {key: convert(child) for key, child in item.items()}
        if isinstance(item, list):
            return [convert(child) for child in item]
        return str(item) if isinstance(item, StrEnum) else item

    return {key: convert(child) for key, child in value.items()}
