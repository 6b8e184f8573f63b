"""What is kept of a conversion that has ended: all that a decision uses, and little else."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus, NotifyState
from conversion_operator.cluster.parsing import parse_conversion, parse_used
from conversion_operator.core.attempts import last_recorded_attempt
from conversion_operator.core.children import Children, Suspension
from conversion_operator.core.ended import keep_used
from conversion_operator.core.manifest import build_job
from conversion_operator.core.model import Conversion
from conversion_operator.core.reconcile import decide
from conversion_operator.core.standing import find_standing
from conversion_operator.core.sweep import SWEEP_ATTEMPT, may_want_sweep
from tests.unit.operator.builders import (
    POLICY,
    UID,
    at,
    children,
    conversion,
    ended,
    job,
    running,
    snapshot,
    status,
    step,
    succeeded,
)
from tests.unit.operator.test_callback_policy import noted

MOST_BYTES = 4_000
"""The most that one ended conversion may take. 50 000 of them then take less than 200 MiB."""


def done(**changes: Any) -> Conversion:
    return step(conversion(**changes), children(job(), succeeded()), 12)[1]


def killed() -> Conversion:
    return step(conversion(maxRetries=0), children(job(), ended(137, "OOMKilled")), 12)[1]


def test_before_the_end_everything_is_kept() -> None:
    for subject in (conversion(), step(conversion(), children(job(), running()), 5)[1]):
        assert keep_used(subject) is subject


@pytest.mark.parametrize(
    "parts",
    [
        Children(),
        children(job()),
        children(job(finished="Complete"), succeeded()),
        children(job(2)),
        children(running()),
        children(replace(job(), suspension=Suspension(active=True))),
        children(replace(job(), attempt=SWEEP_ATTEMPT)),
    ],
)
@pytest.mark.parametrize("seconds", [12, 200, 4000, 100_000])
@pytest.mark.parametrize(
    "subject",
    [
        done(),
        done(ttlSecondsAfterFinished=0),
        done(ttlSecondsAfterFinished=1_000_000),
        replace(done(), generation=2),
        replace(done(), unsupported="spec.new"),
        replace(done(), deleting=True),
        replace(done(), deleting=True, orphans_dependents=True),
        replace(done(), cancel=True),
        replace(killed(), labels=frozenset(POLICY.restore_labels)),
        killed(),
        noted(state=NotifyState.PENDING),
        noted(state=NotifyState.DELIVERED),
    ],
)
def test_it_is_decided_as_before(subject: Conversion, parts: Children, seconds: float) -> None:
    kept = keep_used(subject)
    before, after = (decide(snapshot(each, parts, now=seconds)) for each in (subject, kept))
    assert before == after
    assert may_want_sweep(subject, parts) == may_want_sweep(kept, parts)
    standings = [find_standing(UID, each, parts, False, POLICY) for each in (subject, kept)]
    assert standings[0] == standings[1]


def test_the_attempts_still_say_which_job_and_pod_were_theirs() -> None:
    before, after = (last_recorded_attempt(each.status) for each in (done(), keep_used(done())))
    assert before
    assert after
    assert (before.job_uid, before.pod_uid) == (after.job_uid, after.pod_uid) != (None, None)


def test_a_sweep_can_still_be_built() -> None:
    subjects = killed(), keep_used(killed())
    sweeps = [build_job(each, SWEEP_ATTEMPT, POLICY, False, "m") for each in subjects]
    assert sweeps[0] == sweeps[1]


def test_while_its_callback_is_owed_everything_is_kept() -> None:
    owed = noted(state=NotifyState.PENDING)
    assert keep_used(owed) is owed
    assert keep_used(noted(state=NotifyState.DELIVERED)).spec is None


@pytest.mark.parametrize("subject", [done(), killed()])
def test_who_waits_for_its_output_learns_its_end(subject: Conversion) -> None:
    kept = keep_used(subject)
    assert (kept.input_path, kept.output_paths) == ("/input/a.mov", ("/output/a.mp4",))
    assert (kept.created, kept.arrival) == (subject.created, subject.arrival)
    before, after = status(subject), status(kept)
    assert (before.phase, before.reason) == (after.phase, after.reason)
    ends = [
        [c.last_transition_time for c in each.conditions if c.type == names.CONDITION_FINISHED]
        for each in (before, after)
    ]
    assert ends[0] == ends[1] == [at(12)]


def stored(number: int) -> dict[str, Any]:
    """An ended ConversionJob as the API server sends it, with texts of its own."""
    ended_status: ConversionJobStatus = status(done()).model_copy(
        update={"logs": f"line {number}\n" * 100, "message": f"message {number}" * 20}
    )
    meta = {
        "namespace": "my-network",
        "name": f"done-{number:05}",
        "uid": f"00000000-0000-0000-0000-{number:012}",
        "resourceVersion": str(number + 1000),
        "creationTimestamp": "2026-01-01T12:00:00Z",
        "labels": {"app": "media"},
        "managedFields": [{"manager": "my-network-converter.a", "subresource": "status"}],
        "annotations": {"example.com/note": "x" * 1000},
    }
    files = {"inputFile": f"input/{number}.mov", "outputFile": f"output/{number}.mp4"}
    spec = {"conversionType": "video_to_mp4"} | files
    body = {"metadata": meta, "spec": spec, "status": ended_status.to_json()}
    return dict(json.loads(json.dumps(body)))


def test_one_that_has_ended_takes_little_memory() -> None:
    # So many that the caches, which take about 190 KB in all, count for little.
    number = 1500
    parse_used(stored(number))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [parse_used(stored(each)) for each in range(number)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == number
    assert (after - before) / number < MOST_BYTES


def test_the_http_api_reads_everything() -> None:
    assert status(parse_conversion(stored(1))).logs
