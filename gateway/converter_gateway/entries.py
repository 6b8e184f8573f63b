"""Turns the response about a ConversionJob of a content into one entry for each output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from converter_gateway.errors import ApiError
from converter_gateway.translate import ResponseBody

_PHASES: Final = {"completed": "Succeeded", "failed": "Failed", "cancelled": "Cancelled"}


def to_entries(job: ResponseBody) -> list[ResponseBody]:
    """The entries of a conversion. One with one output, or with an unread profile, is its entry."""
    if "outputs" not in job:
        return [job]
    return [_entry(job, item) for item in job["outputs"]]


def in_turn(
    known: Sequence[ResponseBody | None], made: Sequence[ResponseBody]
) -> list[ResponseBody]:
    """The entries of known outputs, and in place of each None one of a new ConversionJob.

    Another request may have created it before, and its profile may be resolved by now. Then it has
    more entries than None. Raises ApiError 503 if it has fewer: an API server with an older CRD
    drops the outputs.
    """
    wanted = sum(entry is None for entry in known)
    if len(made) < wanted:
        raise ApiError(
            503,
            f"the ConversionJob was stored with {len(made)} of {wanted} outputs: apply the CRDs of "
            "this release, then delete it and try again",
        )
    new = iter(made)
    return [next(new) if entry is None else entry for entry in known] + list(new)


def _entry(job: ResponseBody, item: ResponseBody) -> ResponseBody:
    """What the response says about one output. Other outputs may have ended differently."""
    status = _status(job["status"], item)
    phase = _PHASES.get(status, job["phase"])
    entry: ResponseBody = {
        "job_id": job["job_id"],
        "status": status,
        "conversion_type": item["conversion_type"],
        "start_time": job["start_time"],
        "created_at": job["created_at"],
        "input_file": job["input_file"],
        "output_file": item["output_file"],
        "phase": phase,
    }
    runs, failed = status == "running", status == "failed"
    optional: ResponseBody = {
        "optional": item.get("optional"),
        "progress": 100 if status == "completed" else job.get("progress"),
        "eta_seconds": job.get("eta_seconds") if runs else None,
        "duration_seconds": job.get("duration_seconds"),
        "reason": item.get("reason") or (job.get("reason") if phase == job["phase"] else None),
        "end_time": job.get("end_time"),
        "started_at": job.get("started_at"),
        "ended_at": job.get("ended_at"),
        "output_size": item.get("size"),
        "warnings": item.get("warnings"),
        "error": (item.get("message") or job.get("error")) if failed else None,
        "logs": job.get("logs") if failed else None,
    }
    entry |= {name: value for name, value in optional.items() if value is not None}
    estimates = ("estimated_start_at", "estimated_end_at")
    entry |= {name: job[name] for name in estimates if runs and name in job}
    named = ("conversion_type", "output_file", "optional")
    return entry | {"output": {name: item[name] for name in item if name not in named}}


def _status(job: str, item: ResponseBody) -> str:
    """The status of one output.

    While the conversion runs, an output that has failed may be made again.
    """
    if item["state"] == "Succeeded":
        return "completed"
    if job == "running":
        return "running"
    if item["state"] == "Skipped":
        return "skipped"
    return "failed" if item["state"] == "Failed" else job


def overall_status(entries: Sequence[ResponseBody], planned: int) -> tuple[str, str]:
    """The status of a content, and a message.

    ``planned`` is the number of outputs it needs. An optional output matters only while it may
    still be made.
    """
    total = len(entries)
    required = [e["status"] for e in entries if not e.get("optional")]
    if running := sum(entry["status"] == "running" for entry in entries):
        return "running", f"{running} of {total} conversions have not ended"
    if failed := required.count("failed"):
        return "failed", f"{failed} of {total} conversions failed; ?retry=failed starts them again"
    if total < planned:
        return "incomplete", f"{total} of {planned} conversions exist; POST it again to complete it"
    if cancelled := required.count("cancelled"):
        return "cancelled", f"{cancelled} of {total} conversions were cancelled"
    complete = sum(entry["status"] == "completed" for entry in entries)
    return "completed", f"{complete} of {total} conversions are complete"
