"""Checks for the end of a scenario. Each raises AssertionError with the violation it found.

``check_all`` holds for every scenario in which all conversions have finished. I1 to I5 are the
invariants of docs/reliability.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Set as AbstractSet
from typing import Final

import orjson

from media_converter.contract import ExitReason
from media_converter.report_json import parse_report
from tests.component.support import metadata, podstatus
from tests.component.support.api import FakeApi
from tests.component.support.errors import Obj
from tests.component.support.history import History, Life, peak
from tests.component.support.jobcontroller import finished
from tests.component.support.kinds import CONVERSIONJOBS, JOBS, PODS
from tests.component.support.schema import TERMINAL_PHASES

STATUS_MAX_BYTES: Final = 8192
LIST_STATUS_MAX_BYTES: Final = 12288


def check_one_live_pod_each(api: FakeApi, excluding: AbstractSet[str] = frozenset()) -> None:
    """At most one live pod per ConversionJob, at every moment (I1).

    ``excluding`` are UIDs of pods that were given up as lost with their node.
    """
    by_owner: dict[str, list[Life]] = defaultdict(list)
    for life in History(api.storage).pod_lives:
        if life.uid not in excluding:
            by_owner[life.owner or life.uid].append(life)
    for owner, lives in by_owner.items():
        most, rv = peak(lives)
        names = [life.name for life in lives if life.at(rv)]
        assert most <= 1, f"ConversionJob {owner} had {most} live pods at version {rv}: {names}"


def check_parallel_limit(
    api: FakeApi, limit: int, excluding: AbstractSet[str] = frozenset()
) -> None:
    """Never more live pods than ``limit``, and no Job created while all slots were held (I2)."""
    history = History(api.storage)
    lives = [life for life in history.pod_lives if life.uid not in excluding]
    most, rv = peak(lives)
    names = [life.name for life in lives if life.at(rv)]
    assert most <= limit, f"{most} live pods at version {rv}, the limit is {limit}: {names}"
    for job in history.jobs:
        held = history.slots_before(job.created)
        lost = sum(life.uid in excluding and life.at(job.created.rv) for life in history.pod_lives)
        assert held - lost < limit, (
            f"Job {job.name} was made at version {job.created.rv} by {job.created.actor} while "
            f"{held - lost} of {limit} slots were held"
        )


def check_one_job_per_attempt(api: FakeApi) -> None:
    """No attempt ever had a second Job, not even for a short time."""
    made = Counter((job.owner, job.attempt) for job in History(api.storage).jobs)
    twice = {key: count for key, count in made.items() if count > 1}
    assert not twice, f"Jobs made more than once by (owner, attempt): {twice}"


def check_all_finished(api: FakeApi) -> None:
    """Every ConversionJob has finished, with the conditions of its phase (I3)."""
    for job in api.objects(CONVERSIONJOBS):
        name, status = job["metadata"]["name"], job.get("status", {})
        phase = status.get("phase")
        assert phase in TERMINAL_PHASES, f"{name} is {phase}: {status.get('reason')}"
        done = podstatus.condition(status, "Finished")
        assert done is not None, f"{name} has no condition Finished"
        assert done["status"] == "True", f"{name} is {phase} but not Finished"
        good = podstatus.condition(status, "Succeeded")
        expected = "True" if phase == "Succeeded" else "False"
        assert good is not None, f"{name} has no condition Succeeded"
        assert good["status"] == expected, f"{name} is {phase}, Succeeded is {good['status']}"


def check_final(api: FakeApi) -> None:
    """The status of a finished ConversionJob never changed again.

    Except for its callback, and for the generation that it describes.
    """
    history = History(api.storage)
    for uid in {change.uid for change in history.of(CONVERSIONJOBS)}:
        statuses = [_unchanging(status) for status in history.statuses(uid)]
        ends = [i for i, s in enumerate(statuses) if s.get("phase") in TERMINAL_PHASES]
        later = [s for s in statuses[ends[0] + 1 :] if s != statuses[ends[0]]] if ends else []
        assert not later, f"ConversionJob {uid} was written after its end: {later}"


def _unchanging(status: Obj) -> Obj:
    return {k: v for k, v in status.items() if k not in ("notify", "observedGeneration")}


def check_no_leaks(api: FakeApi, *, jobs: int | None = None) -> None:
    """Nothing is left that will not be cleaned up (I4).

    There are no live pods, no unfinished Jobs, no Jobs without their ConversionJob, and no
    finalizers on ConversionJobs. ``jobs`` is how many finished Jobs may still exist as tombstones;
    None for any number.
    """
    owners = {job["metadata"]["uid"] for job in api.objects(CONVERSIONJOBS)}
    left: list[str] = []
    for pod in api.objects(PODS):
        if not podstatus.is_terminal(pod):
            left.append(f"live pod {pod['metadata']['name']}")
        if metadata.controller_of(pod) is None:
            left.append(f"ownerless pod {pod['metadata']['name']}")
    standing = api.objects(JOBS)
    for job in standing:
        owner = metadata.controller_of(job)
        if owner is None or owner["uid"] not in owners:
            left.append(f"ownerless Job {job['metadata']['name']}")
        if not finished(job):
            left.append(f"unfinished Job {job['metadata']['name']}")
    if jobs is not None and len(standing) > jobs:
        left.append(f"{len(standing)} Jobs")
    for conversion in api.objects(CONVERSIONJOBS):
        if conversion["metadata"].get("finalizers"):
            left.append(f"finalizer on ConversionJob {conversion['metadata']['name']}")
    assert not left, f"left over: {', '.join(left)}"


def check_outputs(api: FakeApi) -> None:
    """When a ConversionJob became Succeeded, one of its pods had written exactly this output (I5).

    The pod's termination message stands for the file: exit code 0, not OOMKilled, and a final
    report with the size and hash of the status.
    """
    history = History(api.storage)
    for change in history.of(CONVERSIONJOBS):
        status = change.new.obj.get("status") or {}
        before = (change.old.obj.get("status") or {}) if change.old else {}
        if status.get("phase") != "Succeeded" or before.get("phase") == "Succeeded":
            continue
        name = change.key[1]
        found = [o for o in _outputs(history, change.uid, change.rv) if o is not None]
        given = (status.get("outputSize"), (status.get("output") or {}).get("sha256"))
        assert given in found, f"{name} says {given}, its pods had made {found}"


def _outputs(history: History, uid: str, rv: int) -> list[tuple[int | None, str | None] | None]:
    pods = {life.uid for life in history.pod_lives if life.owner == uid}
    changes = [c for c in history.of(PODS) if c.uid in pods and c.rv < rv]
    return [_output(change.new.obj) for change in changes]


def _output(pod: Obj) -> tuple[int | None, str | None] | None:
    states = pod.get("status", {}).get("containerStatuses") or []
    ended = states[0]["state"].get("terminated") if states else None
    if not ended or ended["exitCode"] != 0 or ended["reason"] == "OOMKilled":
        return None
    made = parse_report(ended.get("message", ""))
    if made is None or not made.final or made.reason is not ExitReason.COMPLETED:
        return None
    return made.output_size, made.output.sha256 if made.output else None


def check_statuses(api: FakeApi) -> None:
    """Every status was at most 8 KiB of valid UTF-8, or 12 KiB with several outputs."""
    for change in History(api.storage).of(CONVERSIONJOBS):
        status = {**(change.new.obj.get("status") or {})}
        status.pop("resolved", None)
        most = LIST_STATUS_MAX_BYTES if status.keys() & {"outputs", "plan"} else STATUS_MAX_BYTES
        size = len(orjson.dumps(status))
        assert size <= most, f"status of {change.key[1]} has {size} bytes"


def check_writes(api: FakeApi, most: int = 6) -> None:
    """No conversion needed more than ``most`` write requests, not counting Events."""
    per_conversion = api.audit.writes_per_conversion(History(api.storage).owners)
    for uid, requests in per_conversion.items():
        listed = "\n".join(str(request) for request in requests)
        assert len(requests) <= most, f"{len(requests)} writes for {uid}, most {most}:\n{listed}"


def check_events(api: FakeApi, most: int = 6) -> None:
    """No conversion has more than ``most`` Events."""
    counted = Counter(
        event["involvedObject"]["uid"]
        for event in api.objects("events")
        if event["involvedObject"]["kind"] == CONVERSIONJOBS.kind
    )
    over = {uid: count for uid, count in counted.items() if count > most}
    assert not over, f"more than {most} Events: {over}"


def check_no_warnings(api: FakeApi) -> None:
    """The API server warned about no request, for example about a field that it does not know."""
    warned = [f"{request}: {request.warning}" for request in api.audit if request.warning]
    assert not warned, f"warnings: {warned}"


def check_all(api: FakeApi, limit: int, excluding: AbstractSet[str] = frozenset()) -> None:
    """The checks for every scenario in which all conversions have finished."""
    check_one_live_pod_each(api, excluding)
    check_parallel_limit(api, limit, excluding)
    check_one_job_per_attempt(api)
    check_all_finished(api)
    check_final(api)
    check_outputs(api)
    check_statuses(api)
    check_no_warnings(api)
