"""What the client takes and returns, as types for type checkers. No code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["running", "completed", "failed", "cancelled"]
Phase = Literal["Queued", "Starting", "Running", "Succeeded", "Failed", "Cancelled"]
Retry = Literal["failed", "cancelled"]
OutputState = Literal["Pending", "Succeeded", "Failed", "Skipped"]
Action = Literal["Encode", "Copy", "Convert", "Skip"]


class Output(TypedDict):
    """One output to make."""

    conversion_type: str
    output_file: str
    options: NotRequired[Mapping[str, Any]]
    optional: NotRequired[bool]


class OutputFacts(TypedDict):
    """What has become of an output. Sizes are in bytes, ``width`` and ``height`` in pixels."""

    state: OutputState
    size: NotRequired[int]
    sha256: NotRequired[str]
    container: NotRequired[str]
    video_codec: NotRequired[str]
    audio_codec: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]
    duration_seconds: NotRequired[float]
    warnings: NotRequired[list[str]]
    reason: NotRequired[str]
    message: NotRequired[str]


class OutputStatus(OutputFacts):
    """One of several outputs of a conversion."""

    conversion_type: str
    output_file: str
    optional: NotRequired[bool]


class PlannedOutput(TypedDict):
    """What a dry run says about one output. Sizes are in bytes, times in seconds."""

    conversion_type: str
    output_file: str
    optional: NotRequired[bool]
    action: Action
    video_codec: NotRequired[str]
    audio_codec: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]
    duration_seconds: NotRequired[float]
    memory: NotRequired[int]
    estimated_seconds: NotRequired[float]
    estimated_size: NotRequired[int]
    reason: NotRequired[str]
    message: NotRequired[str]


class _Job(TypedDict):
    """What JobStatus and ContentOutput have in common."""

    job_id: str
    conversion_type: NotRequired[str]
    start_time: str
    created_at: str
    started_at: NotRequired[str]
    ended_at: NotRequired[str]
    input_file: str
    output_file: NotRequired[str]
    profile: NotRequired[str]
    phase: Phase
    progress: NotRequired[int]
    eta_seconds: NotRequired[int]
    estimated_start_at: NotRequired[str | None]
    estimated_end_at: NotRequired[str | None]
    queue_position: NotRequired[int]
    duration_seconds: NotRequired[float]
    reason: NotRequired[str]
    end_time: NotRequired[str]
    output_size: NotRequired[int]
    warnings: NotRequired[list[str]]
    error: NotRequired[str]
    logs: NotRequired[str]


class _JobStatus(_Job):
    """What JobStatus and ConversionDetails have in common."""

    status: Status
    dry_run: NotRequired[bool]
    plan: NotRequired[list[PlannedOutput]]


class JobStatus(_JobStatus):
    """A conversion. Sizes are in bytes.

    The times whose names end in ``_at`` are in the format of RFC 3339. ``start_time`` and
    ``end_time`` are naive UTC in ISO format, and ``start_time`` is the creation until the start.

    The API leaves out a field that has no value, such as ``output_size`` before the end. A
    conversion with several outputs has ``outputs`` instead of ``conversion_type`` and
    ``output_file``.
    """

    outputs: NotRequired[list[OutputStatus]]


class ContentOutput(_Job):
    """One output of an upload, with the conversion that makes it.

    ``output`` is what has become of the file. Several outputs can have one ``job_id``.
    """

    status: Literal["running", "completed", "failed", "cancelled", "skipped"]
    optional: NotRequired[bool]
    output: NotRequired[OutputFacts]


class JobNotFound(TypedDict):
    """No ConversionJob has this job id."""

    status: Literal["not_found"]
    error: str


class ContentStatus(TypedDict):
    """The outputs of an upload. With the status not_found, only ``error`` is present."""

    content_id: str
    status: Literal[
        "running", "completed", "failed", "cancelled", "incomplete", "nothing_to_do", "not_found"
    ]
    message: NotRequired[str]
    conversions: NotRequired[list[ContentOutput]]
    error: NotRequired[str]


class QueuedJob(TypedDict):
    """A conversion that waits. ``not_before`` is when its back-off ends, in ISO 8601."""

    job_id: str
    queue: str
    position: int
    reason: NotRequired[str]
    not_before: NotRequired[str]


class Stats(TypedDict):
    """Settings, and counts over the existing ConversionJobs. ``success_rate`` is 0 to 1."""

    max_parallel_jobs: int
    docker_sock_path: None
    converter_image: str
    supported_conversions: list[str]
    active_jobs_count: int
    queued_jobs_count: int
    total_jobs: int
    successful_jobs: int
    failed_jobs: int
    success_rate: float
    average_processing_time: float


class ConversionSummary(JobStatus):
    """A conversion in a list. ``retry`` is the job id of its retry. It never has ``logs``."""

    queue: str
    retry: NotRequired[str]


# A class cannot have a field with the name of a keyword.
_Continued = TypedDict("_Continued", {"continue": NotRequired[str]})


class ConversionPage(_Continued):
    """Some conversions.

    ``counts`` has the number of conversions in each phase that match the filters, on all pages.
    ``continue`` is absent on the last page.
    """

    conversions: list[ConversionSummary]
    counts: dict[str, int]


class AttemptStatus(TypedDict):
    """One attempt of a conversion, from 1. Times are in the format of RFC 3339."""

    number: int
    started_at: str
    ended_at: NotRequired[str]
    reason: NotRequired[str]
    message: NotRequired[str]


class ConversionDetails(_JobStatus):
    """Everything about a conversion. ``outputs`` has one item also for a single output.

    ``meaning`` and ``cure`` explain ``reason``. ``speed`` is like ``2.31x``. ``caller`` has created
    it through the API.
    """

    outputs: list[OutputStatus]
    attempts: list[AttemptStatus]
    queue: str
    retry: NotRequired[str]
    message: NotRequired[str]
    meaning: NotRequired[str]
    cure: NotRequired[str]
    priority: NotRequired[int]
    speed: NotRequired[str]
    caller: NotRequired[str]
    cancelling: NotRequired[bool]


class RetryStarted(TypedDict):
    """The conversion that repeats another one. ``existing``: an earlier call has started it."""

    job_id: str
    status: Literal["started", "existing"]
    message: str


class Retried(TypedDict):
    """A conversion that has failed, and the job id of its retry."""

    job_id: str
    retry: str


class NotRetried(TypedDict):
    """A conversion that has failed, and why it could not be retried."""

    job_id: str
    error: str


class FailedRetried(_Continued):
    """What has been retried. ``remaining`` others have failed and have no retry yet.

    ``continue`` is absent if there are none.
    """

    retried: list[Retried]
    refused: list[NotRetried]
    remaining: int


class NamespaceShare(TypedDict):
    """One namespace in a queue. ``blocked`` ones wait for something else than a slot."""

    name: str
    weight: NotRequired[int]
    max_parallel: NotRequired[int]
    queued: NotRequired[int]
    running: NotRequired[int]
    blocked: NotRequired[int]


class QueueStatus(TypedDict):
    """A ConversionQueue. ``problem`` says what in its spec has no effect."""

    name: str
    stop_policy: Literal["None", "Hold", "HoldAndDrain"]
    max_parallel: NotRequired[int]
    light_reserved: NotRequired[int]
    problem: NotRequired[str]
    queued: NotRequired[int]
    running: NotRequired[int]
    blocked: NotRequired[int]
    namespaces: list[NamespaceShare]


class Settings(TypedDict, total=False):
    """The arguments that all conversions can have, whatever their outputs.

    - ``idempotency_key``: the same key returns the same job id. Default: a random key.
    - ``callback_url``: the operator calls it when the conversion ends. Verify the call with
      :mod:`mynetwork_converter.callbacks`.
    - ``overwrite``: if False, the conversion fails if an output exists. Default: True.
    - ``queue``: the name of a ConversionQueue.
    - ``dry_run``: if True, the conversion writes nothing, and its status has a ``plan``.
    """

    idempotency_key: str | None
    callback_url: str | None
    overwrite: bool | None
    queue: str | None
    dry_run: bool | None
