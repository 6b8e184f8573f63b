"""Checks to be made at the end of any scenario. Each raises AssertionError with what it found.

``check_all`` makes those that hold for every scenario that has come to its end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

import orjson

from media_converter.contract import ExitReason, parse_report
from tests.component.support import metadata, podstatus
from tests.component.support.api import FakeApi
from tests.component.support.errors import Obj
from tests.component.support.history import History, Life, peak
from tests.component.support.kinds import CONVERSIONJOBS, JOBS, PODS
from tests.component.support.schema import TERMINAL_PHASES

STATUS_MAX_BYTES: Final = 8192


def check_i1(api: FakeApi, excluding: Collection[str] = ()) -> None:
    """At most one live pod per ConversionJob, at every moment.

    ``excluding`` are UIDs of pods that were given up as lost with their node.
    """
    by_owner: dict[str, list[Life]] = defaultdict(list)
    for life in History(api.store).pod_lives:
        if life.uid not in excluding:
            by_owner[life.owner or life.uid].append(life)
    for owner, lives in by_owner.items():
        most, rv = peak(lives)
        names = [life.name for life in lives if life.at(rv)]
        assert most <= 1, f"ConversionJob {owner} had {most} live pods at version {rv}: {names}"


def check_i2(api: FakeApi, limit: int, excluding: Collection[str] = ()) -> None:
    """Never more live pods than ``limit``, nor a Job made while all slots were held."""
    history = History(api.store)
    lives = [life for life in history.pod_lives if life.uid not in excluding]
    most, rv = peak(lives)
    names = [life.name for life in lives if life.at(rv)]
    assert most <= limit, f"{most} live pods at version {rv}, the limit is {limit}: {names}"
    for job in history.jobs:
        held = history.slots_before(job.made)
        lost = sum(life.uid in excluding and life.at(job.made.rv) for life in history.pod_lives)
        assert held - lost < limit, (
            f"Job {job.name} was made at version {job.made.rv} by {job.made.actor} while "
            f"{held - lost} of {limit} slots were held"
        )


def check_one_job_per_attempt(api: FakeApi) -> None:
    """No Job was ever made twice for the same attempt, however short it lived."""
    made = Counter((job.owner, job.attempt) for job in History(api.store).jobs)
    twice = {key: count for key, count in made.items() if count > 1}
    assert not twice, f"Jobs made more than once by (owner, attempt): {twice}"


def check_i3(api: FakeApi) -> None:
    """Every ConversionJob is Finished, with the conditions of its phase."""
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
    """What has once ended never changed again: neither its phase nor anything else in its status
    but what became of its callback."""
    history = History(api.store)
    for uid in {change.uid for change in history.of(CONVERSIONJOBS)}:
        statuses = [_without_callback(status) for status in history.statuses(uid)]
        ends = [i for i, s in enumerate(statuses) if s.get("phase") in TERMINAL_PHASES]
        later = [s for s in statuses[ends[0] + 1 :] if s != statuses[ends[0]]] if ends else []
        assert not later, f"ConversionJob {uid} was written after its end: {later}"


def _without_callback(status: Obj) -> Obj:
    return {key: value for key, value in status.items() if key != "notify"}


def check_no_leaks(api: FakeApi, *, jobs: int | None = None) -> None:
    """Nothing is left that nobody will take away (I4).

    No live pods, no unfinished Jobs, none without their ConversionJob, no finalizer on a
    ConversionJob. ``jobs`` is how many Jobs may still stand as tombstones; None for any number.
    """
    owners = {job["metadata"]["uid"] for job in api.objects(CONVERSIONJOBS)}
    left: list[str] = []
    for pod in api.objects(PODS):
        if not podstatus.is_terminal(pod):
            left.append(f"live pod {pod['metadata']['name']}")
        if metadata.controller_of(pod) is None:
            left.append(f"ownerless pod {pod['metadata']['name']}")
    history = History(api.store)
    unfinished = {life.uid for life in history.job_lives if life.end is None}
    standing = api.objects(JOBS)
    for job in standing:
        owner = metadata.controller_of(job)
        if owner is None or owner["uid"] not in owners:
            left.append(f"ownerless Job {job['metadata']['name']}")
        if job["metadata"]["uid"] in unfinished:
            left.append(f"unfinished Job {job['metadata']['name']}")
    if jobs is not None and len(standing) > jobs:
        left.append(f"{len(standing)} Jobs")
    for conversion in api.objects(CONVERSIONJOBS):
        if conversion["metadata"].get("finalizers"):
            left.append(f"finalizer on ConversionJob {conversion['metadata']['name']}")
    assert not left, f"left over: {', '.join(left)}"


def check_i5(api: FakeApi) -> None:
    """Whatever was Succeeded had, at that moment, a pod that ended well with that very output.

    The termination message stands for the file: exit code 0, not OOMKilled, a final report with
    the size and hash that the status gives.
    """
    history = History(api.store)
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
    """No status was ever larger than 8 KiB or anything but valid UTF-8."""
    for change in History(api.store).of(CONVERSIONJOBS):
        size = len(orjson.dumps(change.new.obj.get("status") or {}))
        assert size <= STATUS_MAX_BYTES, f"status of {change.key[1]} has {size} bytes"


def check_writes(api: FakeApi, most: int = 6) -> None:
    """No conversion took more write requests than that, Events not counted."""
    per_conversion = api.audit.writes_per_conversion(History(api.store).owners)
    for uid, requests in per_conversion.items():
        listed = "\n".join(str(request) for request in requests)
        assert len(requests) <= most, f"{len(requests)} writes for {uid}, most {most}:\n{listed}"


def check_events(api: FakeApi, most: int = 6) -> None:
    """No conversion has more Events than that, written by clients."""
    counted = Counter(
        event["involvedObject"]["uid"]
        for event in api.objects("events")
        if event["involvedObject"]["kind"] == CONVERSIONJOBS.kind
    )
    over = {uid: count for uid, count in counted.items() if count > most}
    assert not over, f"more than {most} Events: {over}"


def check_all(api: FakeApi, limit: int, excluding: Collection[str] = ()) -> None:
    """What holds at the end of every scenario in which every conversion has come to its end."""
    check_i1(api, excluding)
    check_i2(api, limit, excluding)
    check_one_job_per_attempt(api)
    check_i3(api)
    check_final(api)
    check_i5(api)
    check_statuses(api)
