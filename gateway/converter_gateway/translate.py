"""From ConversionJobs to the answers callers know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from conversion_operator.api.status import Phase
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.core import admission
from conversion_operator.core.model import Conversion, Policy
from converter_gateway.naming import INPUT_ANNOTATION, OUTPUT_ANNOTATION

Answer = dict[str, Any]

_STATUSES: Final = {
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
NOT_FOUND: Final[Mapping[str, str]] = {"status": "not_found", "error": "Job not found"}


def positions(bodies: Iterable[Mapping[str, Any]], now: datetime) -> dict[str, int]:
    """Place in the queue by uid, 1 is next, of those that wait for a slot."""
    conversions = [parse_conversion(body) for body in bodies]
    queue = admission.build_queue(conversions, {}, admission.Obstacles(), now, Policy())
    return {uid: place for place, uid in enumerate(queue.order, 1)}


def finished(body: Mapping[str, Any]) -> bool:
    """True once the conversion has ended."""
    return phase_of(parse_conversion(body)).terminal


def phase_of(conversion: Conversion) -> Phase:
    """Queued as long as the operator has not said anything."""
    return conversion.status.phase if conversion.status else Phase.QUEUED


def to_answer(body: Mapping[str, Any], position: int | None, now: datetime | None = None) -> Answer:
    """The status of one conversion. Times are naive UTC in ISO format, sizes bytes.

    With ``now``, one that has not ended has the seconds since its start, too.
    """
    conversion = parse_conversion(body)
    phase, status = phase_of(conversion), conversion.status
    notes = body["metadata"].get("annotations") or {}
    spec = body.get("spec") or {}
    started = (status.start_time if status else None) or conversion.created
    answer: Answer = {
        "job_id": conversion.key.name,
        "status": _STATUSES.get(phase, "running"),
        "conversion_type": spec.get("conversionType"),
        "start_time": _time(started),
        "input_file": notes.get(INPUT_ANNOTATION, spec.get("inputFile")),
        "output_file": notes.get(OUTPUT_ANNOTATION, spec.get("outputFile")),
        "phase": str(phase),
    }
    progress = status.progress if status else None
    end = status.completion_time if status else None
    more: Answer = {
        "progress": 100 if phase is Phase.SUCCEEDED else progress and progress.percent,
        "eta_seconds": progress and progress.eta_seconds,
        "queue_position": position,
        "duration_seconds": _seconds(started, end or now),
    }
    if status:
        more |= {
            "reason": status.reason,
            "end_time": _time(end) if end else None,
            "output_size": status.output_size if phase is Phase.SUCCEEDED else None,
            "error": status.message if phase is Phase.FAILED else None,
            "logs": status.logs if phase is Phase.FAILED else None,
        }
    return answer | {name: value for name, value in more.items() if value is not None}


def statistics(bodies: Iterable[Mapping[str, Any]]) -> Answer:
    """Counts over the ConversionJobs that still exist; the rate, 0 to 1, is of those that ended."""
    all_of_them = [parse_conversion(body) for body in bodies]
    phases = [phase_of(conversion) for conversion in all_of_them]
    good, bad = phases.count(Phase.SUCCEEDED), phases.count(Phase.FAILED)
    times = [
        c.status.duration_seconds
        for c in all_of_them
        if c.status and c.status.phase is Phase.SUCCEEDED and c.status.duration_seconds is not None
    ]
    return {
        "active_jobs_count": sum(phase in (Phase.STARTING, Phase.RUNNING) for phase in phases),
        "queued_jobs_count": phases.count(Phase.QUEUED),
        "total_jobs": len(phases),
        "successful_jobs": good,
        "failed_jobs": bad,
        "success_rate": good / (good + bad) if good + bad else 0.0,
        "average_processing_time": sum(times) / len(times) if times else 0.0,
    }


def _seconds(start: datetime, end: datetime | None) -> float | None:
    return max(0.0, (end - start).total_seconds()) if end else None


def _time(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat()
