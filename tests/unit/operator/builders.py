"""Builders of ordinary values. A test names only what is special about its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from conversion_operator.api.spec import ConversionJobSpec, normal_path
from conversion_operator.api.status import Attempt, ConversionJobStatus, Retries
from conversion_operator.core.children import (
    CONVERSION_KIND,
    JOB_KIND,
    Children,
    Controller,
    Job,
    Pod,
    Terminated,
)
from conversion_operator.core.identity import KEY_BYTES, MarkKey
from conversion_operator.core.manifest import attempt_job_name
from conversion_operator.core.model import Conversion, Key, Policy
from conversion_operator.core.plan import Plan, Snapshot
from conversion_operator.core.reconcile import decide
from media_converter.contract import EXIT_CODES, ExitReason, Output, Progress, Report
from media_converter.report_json import dump_report

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
POLICY = Policy()
KEY = MarkKey(b"k" * KEY_BYTES)
NONE = Children()
UID = "0b3f0d52-7d1c-4a8e-9d0a-000000000001"


def at(seconds: float) -> datetime:
    """T0 plus so many seconds."""
    return T0 + timedelta(seconds=seconds)


def spec(**changes: Any) -> ConversionJobSpec:
    values = {
        "conversionType": "video_to_mp4",
        "inputFile": "input/a.mov",
        "outputFile": "output/a.mp4",
    }
    return ConversionJobSpec.model_validate(values | changes)


def conversion(
    uid: str = UID,
    *,
    created: datetime = T0,
    status: ConversionJobStatus | None = None,
    namespace: str = "my-network",
    **changes: Any,
) -> Conversion:
    made = spec(**changes)
    return Conversion(
        key=Key(namespace, f"c-{uid[-4:]}", uid),
        version=1,
        generation=1,
        created=created,
        deleting=False,
        spec=made,
        status=status,
        conversion_type=made.conversion_type or "",
        output_types=tuple(each.conversion_type for each in made.all_outputs()),
        input_path=normal_path(made.input_file),
        output_paths=(
            ()
            if made.dry_run
            else tuple(path for each in made.all_outputs() for path in each.paths())
        ),
        dry_run=bool(made.dry_run),
        ttl=made.ttl_seconds_after_finished,
    )


def job(attempt: int = 1, uid: str = UID, **changes: Any) -> Job:
    base = Job(
        namespace="my-network",
        name=attempt_job_name(uid, attempt),
        uid=f"job-{uid}-{attempt}",
        version=1,
        conversion_uid=uid,
        attempt=attempt,
        created=T0,
        controller=Controller(CONVERSION_KIND, uid),
        mark=KEY.mark("my-network", uid, attempt),
        managed=True,
        finished=None,
        finished_at=None,
        failure="",
        image=POLICY.image,
    )
    return replace(base, **changes)


def pod(attempt: int = 1, uid: str = UID, **changes: Any) -> Pod:
    base = Pod(
        namespace="my-network",
        name=f"{attempt_job_name(uid, attempt)}-x",
        uid=f"pod-{uid}-{attempt}",
        version=1,
        conversion_uid=uid,
        job_name=attempt_job_name(uid, attempt),
        attempt=attempt,
        created=T0,
        controller=Controller(JOB_KIND, f"job-{uid}-{attempt}"),
        mark=KEY.mark("my-network", uid, attempt),
        managed=True,
        phase="Pending",
        node="node-1",
    )
    return replace(base, **changes)


def running(attempt: int = 1, since: float = 1, **changes: Any) -> Pod:
    return pod(attempt, phase="Running", running_since=at(since), **changes)


def ended(
    exit_code: int, reason: str = "", message: str = "", attempt: int = 1, **changes: Any
) -> Pod:
    end = Terminated(exit_code, reason, message, at(1), at(11))
    phase = "Succeeded" if exit_code == 0 else "Failed"
    return replace(pod(attempt, phase=phase, terminated=end), **changes)


def good_report(**changes: Any) -> str:
    report = Report(
        final=True,
        reason=ExitReason.COMPLETED,
        message="converted",
        output_size=1234,
        output=Output("a" * 64, "mp4", "h264", "aac", 1280, 720, 5.28),
        progress=Progress(100),
        logs="all is well",
    )
    return dump_report(report._replace(**changes)).decode()


def bad_report(reason: ExitReason, message: str = "because") -> str:
    return dump_report(Report(final=True, reason=reason, message=message, logs="tail")).decode()


def succeeded(attempt: int = 1, report: str | None = None, **changes: Any) -> Pod:
    return ended(0, "Completed", report or good_report(), attempt, **changes)


def children(*parts: Job | Pod) -> Children:
    return Children(
        tuple(part for part in parts if isinstance(part, Job)),
        tuple(part for part in parts if isinstance(part, Pod)),
    )


def snapshot(
    subject: Conversion, parts: Children | None = None, now: float = 5, **changes: Any
) -> Snapshot:
    base = Snapshot(subject, parts or Children(), at(now), POLICY)
    return replace(base, **changes)


def step(
    subject: Conversion, parts: Children, now: float = 5, **changes: Any
) -> tuple[Plan, Conversion]:
    """Decide once. Returns the plan, and the conversion with the status it would then have."""
    plan = decide(snapshot(subject, parts, now, **changes))
    return plan, replace(subject, status=plan.status or subject.status)


def retries(subject: Conversion) -> Retries:
    assert subject.status is not None
    return subject.status.retries or Retries()


def status(subject: Conversion) -> ConversionJobStatus:
    assert subject.status is not None
    return subject.status


def queued(**changes: Any) -> Conversion:
    return step(conversion(**changes), NONE, position=4)[1]


def is_running() -> Conversion:
    return step(conversion(), children(job(), running()))[1]


def failed_once(reason: ExitReason = ExitReason.DISK_FULL) -> Conversion:
    end = ended(EXIT_CODES[reason], "Error", bad_report(reason))
    return step(is_running(), children(job(), end), 12)[1]


def attempts_of(subject: Conversion) -> list[Attempt]:
    return status(subject).attempts or []
