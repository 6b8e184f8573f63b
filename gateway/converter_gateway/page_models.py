"""Models of the responses that the live page uses, as those in ``responses``."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from converter_gateway.output_models import Model, OutputStatus
from converter_gateway.responses import RUNNING_EXAMPLE, JobStatus, examples

_PHASES: Final = {"Queued": 1, "Starting": 0, "Running": 1, "Succeeded": 9, "Failed": 0}
_SUMMARY: Final = RUNNING_EXAMPLE | {"queue": "default"}


class ConversionSummary(JobStatus):
    """A conversion in a list: as in status, without ``logs`` and ``plan``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    queue: str = Field(description="Name of its ConversionQueue.")
    retry: str | None = Field(None, description="The job_id of its retry. Absent without one.")


class ConversionPage(Model):
    """Some conversions, and how many there are."""

    model_config = examples(
        {
            "conversions": [_SUMMARY],
            "counts": _PHASES | {"Cancelled": 0},
            "continue": "Wy0xNzY3MzIzMDQxLjAsIjZmMWM5YTUyIl0",
        }
    )

    conversions: list[ConversionSummary]
    counts: dict[str, int] = Field(
        description="The number of conversions by phase that match type, queue and search, in the "
        "whole namespace and in every phase."
    )
    continue_: str | None = Field(
        None,
        alias="continue",
        description="Send it as continue, with the same other parameters, to get the next ones. "
        "Absent on the last page.",
    )


class AttemptStatus(Model):
    """One attempt of a conversion."""

    number: int = Field(ge=1, description="The first is 1.")
    started_at: str = Field(description="When its Job was created. RFC 3339, UTC.")
    ended_at: str | None = Field(None, description="When it ended. RFC 3339, UTC.")
    reason: str | None = Field(None, description="Why it ended, in one word.")
    message: str | None = Field(None, description="Why it ended.")


class ConversionDetails(ConversionSummary):
    """Everything about a conversion. ``outputs`` has one item also for a single output."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                _SUMMARY
                | {
                    "outputs": [
                        {
                            "conversion_type": "video_to_mp4",
                            "output_file": _SUMMARY["output_file"],
                            "state": "Pending",
                        }
                    ],
                    "attempts": [{"number": 1, "started_at": "2026-01-02T03:04:04Z"}],
                    "message": "the converter runs",
                    "speed": "2.31x",
                    "meaning": "The converter runs.",
                    "cure": "No action is needed.",
                }
            ]
        }
    )

    outputs: list[OutputStatus] = Field(
        description="Its outputs. Empty until the operator has read the profile."
    )
    attempts: list[AttemptStatus] = Field(description="The most recent attempts, oldest first.")
    message: str | None = Field(None, description="Why it is in this phase, in a sentence.")
    meaning: str | None = Field(None, description="What the reason means. `code` is marked so.")
    cure: str | None = Field(None, description="What to do about the reason.")
    priority: int | None = Field(None, description="spec.priority.")
    speed: str | None = Field(None, description="Seconds of media per second, such as 2.31x.")
    caller: str | None = Field(None, description="Who has created it through this API.")
    cancelling: bool | None = Field(None, description="True: somebody has asked to cancel it.")


class RetryStarted(Model):
    """The conversion that repeats another one."""

    model_config = examples(
        {
            "job_id": "song-retry-bbdad294",
            "status": "started",
            "message": "A new conversion job repeats it",
        }
    )

    job_id: str = Field(description="The name of the new ConversionJob.")
    status: Literal["started", "existing"] = Field(
        description="existing: it has been retried before, by this ConversionJob."
    )
    message: str = Field(description="The status in words.")


class Retried(Model):
    """One conversion that has a retry now."""

    job_id: str = Field(description="The conversion that has failed.")
    retry: str = Field(description="The job_id of its retry.")


class NotRetried(Model):
    """One conversion that could not be retried."""

    job_id: str = Field(description="The conversion that has failed.")
    error: str = Field(description="Why there is no retry.")


class FailedRetried(Model):
    """What has been retried."""

    model_config = examples(
        {
            "retried": [{"job_id": "song", "retry": "song-retry-bbdad294"}],
            "refused": [],
            "remaining": 0,
        }
    )

    retried: list[Retried]
    refused: list[NotRetried]
    remaining: int = Field(
        ge=0,
        description="How many others, behind these, have failed and have no retry.",
    )
    continue_: str | None = Field(
        None,
        alias="continue",
        description="Send it as continue to retry the others. Absent if there are none.",
    )


class NamespaceShare(Model):
    """One namespace in a queue. Fields without a value are left out."""

    name: str
    weight: int | None = Field(None, ge=1, description="Share of the slots. Default: 1.")
    max_parallel: int | None = Field(None, ge=0, description="Limit of this namespace.")
    queued: int | None = Field(None, ge=0, description="Those that wait only for a slot.")
    running: int | None = Field(None, ge=0, description="Slots in use.")
    blocked: int | None = Field(None, ge=0, description="Those that wait for something else.")


class QueueStatus(Model):
    """A ConversionQueue. Fields without a value are left out."""

    model_config = examples(
        {
            "name": "uploads",
            "max_parallel": 2,
            "stop_policy": "None",
            "queued": 4,
            "running": 2,
            "blocked": 0,
            "namespaces": [{"name": "my-network", "weight": 2, "queued": 4, "running": 2}],
        }
    )

    name: str
    stop_policy: Literal["None", "Hold", "HoldAndDrain"] = Field(
        description="None: conversions start. Hold: none starts. HoldAndDrain: those that run are "
        "stopped, too, and go back into the queue."
    )
    max_parallel: int | None = Field(None, ge=0, description="Limit over all namespaces.")
    light_reserved: int | None = Field(None, ge=0, description="Slots that videos may not take.")
    problem: str | None = Field(None, description="What in its spec has no effect.")
    queued: int | None = Field(None, ge=0, description="Those that wait only for a slot.")
    running: int | None = Field(None, ge=0, description="Slots in use.")
    blocked: int | None = Field(None, ge=0, description="Those that wait for something else.")
    namespaces: list[NamespaceShare] = Field(description="Shares and counts of namespaces.")


class QueueList(Model):
    """The ConversionQueues of the installation."""

    queues: list[QueueStatus]


class CallerRights(Model):
    """What the caller may do."""

    model_config = examples(
        {
            "auth": "token",
            "user": "system:serviceaccount:my-network:web",
            "namespaces": ["my-network"],
            "complete": True,
            "namespace": "my-network",
            "conversionjobs": ["get", "list", "watch", "create", "patch"],
            "conversionqueues": [],
        }
    )

    auth: Literal["token", "network"] = Field(description="GATEWAY_AUTH.")
    user: str | None = Field(None, description="The caller. Absent with GATEWAY_AUTH=network.")
    namespaces: list[str] = Field(
        description="Those that this replica knows and in which the caller may list conversionjobs."
    )
    complete: bool = Field(description="False: there are more than 200 namespaces to ask about.")
    namespace: str | None = Field(
        None,
        description="The namespace that conversionjobs is about: that of X-Namespace, or the "
        "caller's own, or the first one.",
    )
    conversionjobs: list[str] = Field(description="What the caller may do in this namespace.")
    conversionqueues: list[str] = Field(
        description="What the caller may do in the namespace of the operator."
    )
