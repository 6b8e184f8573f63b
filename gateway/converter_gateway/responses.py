"""Models of the responses, for the OpenAPI document. Tests validate real responses with them.

The API does not build responses from the models: a missing field must not cause an error.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from converter_gateway.output_models import OUTPUT, TYPE, Model, OutputStatus, PlannedOutput

RUNNING_EXAMPLE: Final[dict[str, Any]] = {
    "job_id": "6f1c9a52-0c5e-5b0a-9a54-6c1f0f6a7d11",
    "status": "running",
    "conversion_type": "video_to_mp4",
    "start_time": "2026-01-02T03:04:05",
    "created_at": "2026-01-02T03:04:01Z",
    "input_file": "/opt/my-network/storage/videos/holiday.mov",
    "output_file": "/opt/my-network/shared/output/holiday.mp4",
    "phase": "Running",
    "progress": 42,
    "eta_seconds": 61,
    "estimated_start_at": None,
    "estimated_end_at": "2026-01-02T03:05:49Z",
    "reason": "Running",
    "started_at": "2026-01-02T03:04:05Z",
}
_ESTIMATES: Final = ("eta_seconds", "estimated_start_at", "estimated_end_at")
_COMPLETED: Final = {
    **{name: value for name, value in RUNNING_EXAMPLE.items() if name not in _ESTIMATES},
    "status": "completed",
    "phase": "Succeeded",
    "progress": 100,
    "reason": "Completed",
    "end_time": "2026-01-02T03:05:50",
    "ended_at": "2026-01-02T03:05:50Z",
    "duration_seconds": 104.913,
    "output_size": 18874368,
}
_FAILED: Final = {
    **{name: RUNNING_EXAMPLE[name] for name in list(RUNNING_EXAMPLE)[:7]},
    "status": "failed",
    "phase": "Failed",
    "reason": "InputNotFound",
    "end_time": "2026-01-02T03:04:07",
    "started_at": "2026-01-02T03:04:05Z",
    "ended_at": "2026-01-02T03:04:07Z",
    "duration_seconds": 1.84,
    "error": "The input file does not exist: videos/holiday.mov",
    "logs": "probing videos/holiday.mov\n",
}
_SEVERAL: Final = {
    "job_id": "0a4bd0b7-6a0c-5d4e-8b1f-0f4f5d2f6a10",
    "status": "running",
    "start_time": "2026-01-02T03:04:05",
    "created_at": "2026-01-02T03:04:01Z",
    "input_file": "/opt/my-network/storage/videos/holiday.mov",
    "phase": "Running",
    "progress": 42,
    "reason": "Running",
    "outputs": [
        {
            "conversion_type": "extract_thumbnail",
            "output_file": "/opt/my-network/shared/output/holiday.jpg",
            "state": "Pending",
        },
        {
            "conversion_type": "audio_to_mp3",
            "output_file": "/opt/my-network/shared/output/holiday.mp3",
            "optional": True,
            "state": "Pending",
        },
    ],
}
_DRY_RUN: Final = {
    **{name: _COMPLETED[name] for name in list(RUNNING_EXAMPLE)[:7]},
    "status": "completed",
    "phase": "Succeeded",
    "progress": 100,
    "reason": "Planned",
    "end_time": "2026-01-02T03:04:07",
    "started_at": "2026-01-02T03:04:05Z",
    "ended_at": "2026-01-02T03:04:07Z",
    "duration_seconds": 1.84,
    "dry_run": True,
    "plan": [
        {
            "conversion_type": "video_to_mp4",
            "output_file": "/opt/my-network/shared/output/holiday.mp4",
            "action": "Encode",
            "video_codec": "h264",
            "audio_codec": "aac",
            "width": 1280,
            "height": 720,
            "duration_seconds": 61.5,
            "memory": 402653184,
            "estimated_seconds": 88.0,
            "estimated_size": 18874368,
        }
    ],
}


def examples(*values: dict[str, Any]) -> ConfigDict:
    """The configuration of a model that documents these examples."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


class Error(Model):
    """An error."""

    model_config = examples({"error": "Missing required field: input_file"})

    error: str = Field(description="What is wrong. The message names the field or header.")
    code: str | None = Field(
        None,
        description="One word for programs, such as file_server_missing. Absent for most errors.",
    )


class JobStarted(Model):
    """The API has created the conversion. It may have to wait for a slot."""

    model_config = examples(
        {
            "job_id": RUNNING_EXAMPLE["job_id"],
            "status": "started",
            "message": "Conversion job started successfully",
        }
    )

    job_id: str = Field(description="The name of the ConversionJob, for other calls.")
    status: Literal["started"] = Field(description="Always started.")
    message: str = Field(description="The status in words.")


class Job(Model):
    """What JobStatus and ContentOutput have in common."""

    job_id: str = Field(description="The name of the ConversionJob.")
    conversion_type: str | None = Field(None, description=f"{TYPE} Absent with several outputs.")
    start_time: str = Field(
        description="When the converter started. While it has not started: when the conversion was "
        "created. UTC, ISO 8601 without a zone. Use created_at and started_at instead."
    )
    created_at: str = Field(description="When the conversion was created. RFC 3339, UTC.")
    started_at: str | None = Field(
        None, description="When the last attempt started. RFC 3339, UTC. Absent before the start."
    )
    ended_at: str | None = Field(
        None, description="When the conversion ended. RFC 3339, UTC. Absent until then."
    )
    input_file: str = Field(description="The caller's path of the input.")
    output_file: str | None = Field(None, description=f"{OUTPUT} Absent with several outputs.")
    profile: str | None = Field(
        None, description="The ConversionProfile that the request has named."
    )
    phase: Literal["Queued", "Starting", "Running", "Succeeded", "Failed", "Cancelled"] = Field(
        description="status.phase of the ConversionJob."
    )
    progress: int | None = Field(None, ge=0, le=100, description="Percent.")
    eta_seconds: int | None = Field(None, ge=0, description="Estimated seconds until the end.")
    estimated_start_at: str | None = Field(
        None,
        description="About when the conversion starts. RFC 3339, UTC. Null unless it waits for a "
        "slot, and before five conversions of its type have succeeded. Absent after the end.",
    )
    estimated_end_at: str | None = Field(
        None,
        description="About when the conversion ends. RFC 3339, UTC. Null if nobody knows, and if "
        "an estimated end has passed. Absent after the end.",
    )
    queue_position: int | None = Field(
        None,
        ge=1,
        description="The place within the namespace and queue: 1 is the first that waits. "
        "All namespaces share the slots, so conversions of other namespaces may start first. Not "
        "in events.",
    )
    duration_seconds: float | None = Field(
        None,
        ge=0,
        description="How long the last attempt ran, to the millisecond. In active: until now.",
    )
    reason: str | None = Field(None, description="The cause of the phase, in one word.")
    end_time: str | None = Field(None, description="Use ended_at. UTC, ISO 8601 without a zone.")
    output_size: int | None = Field(
        None, ge=0, description="Bytes of the output file, or of all outputs."
    )
    warnings: list[str] | None = Field(
        None, description="What the output lacks of the input, in sentences. Absent if complete."
    )
    error: str | None = Field(None, description="If failed: why, and what to do.")
    logs: str | None = Field(None, description="If failed: the last 2 KiB of the converter's log.")


class JobStatus(Job):
    """A conversion. Fields without a value are left out."""

    model_config = examples(RUNNING_EXAMPLE, _SEVERAL, _DRY_RUN)

    status: Literal["running", "completed", "failed", "cancelled"] = Field(
        description="running until the conversion ends, also while it waits for a slot."
    )
    outputs: list[OutputStatus] | None = Field(
        None,
        description="Several outputs, in the order of the request or the profile. Absent for one "
        "output, for a dry run, and until the operator has read the profile.",
    )
    dry_run: bool | None = Field(None, description="True: the conversion writes no file.")
    plan: list[PlannedOutput] | None = Field(
        None, description="What a dry run says about each output. Absent until it ends."
    )


class JobNotFound(Model):
    """The conversion does not exist, or was deleted after its time to live."""

    model_config = examples({"status": "not_found", "error": "Job not found"})

    status: Literal["not_found"] = Field(description="Always not_found.")
    error: str = Field(description="The status in words.")


class JobCancelled(Model):
    """The API has requested the cancellation. The conversion ends within seconds."""

    model_config = examples({"message": "Job cancelled successfully"})

    message: str = Field(description="The result in words.")


class ActiveJobs(Model):
    """All conversions that have not ended, including waiting ones."""

    model_config = examples({"active_jobs": [RUNNING_EXAMPLE], "total_active": 1})

    active_jobs: list[JobStatus] = Field(description="In no particular order.")
    total_active: int = Field(ge=0, description="The number of active_jobs.")


class WaitingJob(Model):
    """One conversion that waits for an attempt."""

    job_id: str
    queue: str = Field(description="The name of its ConversionQueue.")
    position: int = Field(
        ge=1, description="The place within the namespace and queue. 1 is the first."
    )
    reason: str | None = Field(
        None, description="Why it waits. See reasons.md. Absent until the operator has seen it."
    )
    not_before: str | None = Field(
        None,
        description="When its back-off ends, in UTC. Absent if there is none. The conversion may "
        "start later.",
    )
    estimated_start_at: str | None = Field(
        None,
        description="About when it starts. RFC 3339, UTC. Null if something other than a slot "
        "keeps it from starting, and before five conversions of its type have succeeded.",
    )
    estimated_end_at: str | None = Field(
        None,
        description="About when it ends. RFC 3339, UTC. Null if estimated_start_at is null.",
    )


class WaitingJobs(Model):
    """All conversions that wait for an attempt, whatever blocks them. The first one is first."""

    model_config = examples(
        {
            "queue": [
                {
                    "job_id": "6f1c9a52",
                    "queue": "default",
                    "position": 1,
                    "reason": "WaitingForSlot",
                    "estimated_start_at": "2026-01-02T03:05:49Z",
                    "estimated_end_at": "2026-01-02T03:08:10Z",
                },
                {
                    "job_id": "b0d2f7e1",
                    "queue": "default",
                    "position": 2,
                    "reason": "Retrying",
                    "not_before": "2026-01-02T03:04:35",
                    "estimated_start_at": None,
                    "estimated_end_at": None,
                },
            ],
            "total_waiting": 2,
        }
    )

    queue: list[WaitingJob]
    total_waiting: int = Field(ge=0, description="The number of conversions in queue.")


class Stats(Model):
    """Settings, and counts over the existing ConversionJobs of the namespace."""

    model_config = examples(
        {
            "max_parallel_jobs": 3,
            "docker_sock_path": None,
            "converter_image": "registry.example.com/my-converter:0.1.0",
            "supported_conversions": ["video_to_mp4", "audio_to_mp3"],
            "active_jobs_count": 2,
            "queued_jobs_count": 1,
            "total_jobs": 13,
            "successful_jobs": 9,
            "failed_jobs": 1,
            "success_rate": 0.9,
            "average_processing_time": 41.5,
        }
    )

    max_parallel_jobs: int = Field(ge=0, description="The operator's limit over all namespaces.")
    docker_sock_path: None = Field(description="Always null: there is no Docker socket.")
    converter_image: str = Field(description="The converter's image.")
    supported_conversions: list[str] = Field(description="Values of conversion_type.")
    active_jobs_count: int = Field(ge=0, description="Starting or running.")
    queued_jobs_count: int = Field(ge=0, description="Waiting to start.")
    total_jobs: int = Field(ge=0, description="All, in any phase.")
    successful_jobs: int = Field(ge=0, description="Completed.")
    failed_jobs: int = Field(ge=0, description="Failed. Cancelled conversions do not count.")
    success_rate: float = Field(ge=0, le=1, description="Completed / (completed + failed).")
    average_processing_time: float = Field(ge=0, description="Seconds, over completed ones.")


class HealthStatus(Model):
    """The API is healthy."""

    status: Literal["ok"] = Field(description="Always ok.")


_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
_ERRORS: Final[dict[int, str]] = {
    400: "A field, path, parameter or header is missing or wrong. Nothing was changed.",
    401: "The bearer token is missing or not valid for this API.",
    403: "The caller may not do this in the namespace.",
    413: "The body is too large.",
    429: "Too many requests or streams from one address.",
    503: "The Kubernetes API is not available, or too many requests are in progress. Try again.",
}
STARTING_FORBIDDEN: Final = (
    "The caller may not do this in the namespace, nobody serves the namespace, or a quota is used "
    "up."
)


def one_error(code: int, description: str) -> dict[int | str, dict[str, Any]]:
    """The error response of a route for one HTTP status code, and when it is sent."""
    response: dict[str, Any] = {"model": Error, "description": description}
    if code in (429, 503):
        response["headers"] = _RETRY_AFTER
    return {code: response}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Error responses that mean the same for every route, by HTTP status code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        responses |= one_error(code, _ERRORS[code])
    return responses


COMMON_ERRORS: Final = (400, 401, 403, 429, 503)
"""Errors that every route can have."""

EVENT_EXAMPLE: Final = """\
retry: 1800

: end of the current state
id: 4711

event: started
data: {"job_id":"6f1c9a52","status":"running","phase":"Running","progress":0}
id: 4720

: heartbeat
id: 4731

event: completed
data: {"job_id":"6f1c9a52","status":"completed","phase":"Succeeded","progress":100}
id: 4742

"""
