"""Turns conversions into the responses of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.status import Phase, format_time
from conversion_operator.cluster.conversions import Conversion
from converter_gateway import outputs

ResponseBody = dict[str, Any]

_STATUSES: Final = {
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
NOT_FOUND: Final[Mapping[str, str]] = {"status": "not_found", "error": "Job not found"}


def phase_of(conversion: Conversion) -> Phase:
    """The phase of a conversion. Queued if it has not begun.

    A conversion whose status cannot be read has begun, so it does not wait in the queue.
    """
    if conversion.status is None:
        return Phase.RUNNING if conversion.status_error else Phase.QUEUED
    return conversion.status.phase


def started_at(conversion: Conversion) -> datetime:
    """When the last attempt started. The creation time if there is none."""
    status = conversion.status
    return (status.start_time if status else None) or conversion.created


def to_response(
    conversion: Conversion, position: int | None = None, now: datetime | None = None
) -> ResponseBody:
    """The response about one conversion. Sizes are in bytes.

    The times whose names end in ``_time`` are naive UTC in ISO format, for callers that the service
    had before. Those that end in ``_at`` are in the format of RFC 3339.

    ``position`` is its position in the queue. ``now`` adds ``duration_seconds`` to an unfinished
    conversion: the seconds from its start to ``now``.
    """
    phase, status = phase_of(conversion), conversion.status
    annotations = conversion.annotations
    started = started_at(conversion)
    response: ResponseBody = {
        "job_id": conversion.key.name,
        "status": _STATUSES.get(phase, "running"),
        "conversion_type": conversion.conversion_type,
        "start_time": time_text(started),
        "created_at": format_time(conversion.created),
        "input_file": annotations.get(names.CALLER_INPUT_ANNOTATION, conversion.input_file),
        "output_file": annotations.get(names.CALLER_OUTPUT_ANNOTATION, conversion.output_file),
        "phase": str(phase),
    }
    if conversion.has_output_list:
        del response["conversion_type"], response["output_file"]
    progress = status.progress if status else None
    end = status.completion_time if status else None
    optional: ResponseBody = {
        "progress": 100 if phase is Phase.SUCCEEDED else progress and progress.percent,
        "eta_seconds": progress and progress.eta_seconds,
        "queue_position": position,
        "duration_seconds": _duration(conversion, None if phase.terminal else now),
        "started_at": format_time(status.start_time) if status and status.start_time else None,
        "ended_at": format_time(end) if end else None,
    }
    if status:
        optional |= {
            "reason": status.reason,
            "end_time": time_text(end) if end else None,
            "output_size": status.output_size if phase is Phase.SUCCEEDED else None,
            "warnings": status.output.warnings if status.output else None,
            "error": status.message if phase is Phase.FAILED else None,
            "logs": status.logs if phase is Phase.FAILED else None,
        }
    optional |= _several(conversion)
    return response | {name: value for name, value in optional.items() if value is not None}


def _several(conversion: Conversion) -> ResponseBody:
    """The fields that a conversion with one output does not have. None: left out."""
    spec = conversion.spec
    dry_run = conversion.dry_run
    listed = outputs.to_items(conversion) if conversion.has_output_list and not dry_run else None
    return {
        "profile": spec.profile if spec else None,
        # An empty list: the profile is not resolved.
        "outputs": listed or None,
        "dry_run": dry_run or None,
        "plan": outputs.to_plan(conversion) if dry_run else None,
    }


def statistics(
    phases: Mapping[Phase, int], succeeded_seconds: float, succeeded_timed: int
) -> ResponseBody:
    """The counts of stats. ``success_rate`` is from 0 to 1, times are in seconds.

    ``phases`` has the number of conversions by phase. ``succeeded_seconds`` is how long the
    ``succeeded_timed`` conversions ran together that have succeeded and say how long they ran.
    """
    succeeded, failed = phases.get(Phase.SUCCEEDED, 0), phases.get(Phase.FAILED, 0)
    return {
        "active_jobs_count": phases.get(Phase.STARTING, 0) + phases.get(Phase.RUNNING, 0),
        "queued_jobs_count": phases.get(Phase.QUEUED, 0),
        "total_jobs": sum(phases.values()),
        "successful_jobs": succeeded,
        "failed_jobs": failed,
        "success_rate": succeeded / (succeeded + failed) if succeeded + failed else 0.0,
        "average_processing_time": succeeded_seconds / succeeded_timed if succeeded_timed else 0.0,
    }


def _duration(conversion: Conversion, now: datetime | None) -> float | None:
    """How long the last attempt ran, or has run until ``now``, in seconds.

    None for a conversion that ended before it started.
    """
    status = conversion.status
    if status and status.duration_milliseconds is not None:
        return status.duration_milliseconds / 1000
    end = (status.completion_time if status else None) or now
    if status and status.phase.terminal and status.start_time is None:
        return None
    return max(0.0, (end - started_at(conversion)).total_seconds()) if end else None


def time_text(value: datetime) -> str:
    """A time as all responses have it: naive UTC in ISO format."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat()
