"""Conversions that name a ConversionProfile: what they wait for, and what the status keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.core.ended import keep_used
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import Block, Plan, ProfileAnswer, Snapshot
from conversion_operator.core.reconcile import decide
from conversion_operator.core.standing import Stage, find_standing, queue_key
from conversion_operator.core.unresolved import wants_profile
from tests.unit.operator.builders import (
    POLICY,
    T0,
    UID,
    at,
    children,
    ended,
    job,
    running,
)
from tests.unit.operator.test_profiles import profile

MISSING = Block(Reason.PROFILE_MISSING, "there is no ConversionProfile web")
WEB = profile("{dir}/{name}.jpg", "{dir}/{name}.png", priority=7, timeoutSeconds=60)


def named(
    status: ConversionJobStatus | dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> Conversion:
    """A ConversionJob that names the profile web, as it is stored."""
    stored = status.to_json() if isinstance(status, ConversionJobStatus) else status
    body = {
        "metadata": {
            "namespace": "my-network",
            "name": "a",
            "uid": UID,
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": "2026-01-01T12:00:00Z",
        }
        | (metadata or {}),
        "spec": {"inputFile": "input/a.gif", "profile": "web"} | spec,
        "status": stored,
    }
    return parse_conversion(body)


def plan(
    conversion: Conversion,
    answer: ProfileAnswer | None = None,
    policy: Policy = POLICY,
    **snapshot: Any,
) -> Plan:
    seen = children(*snapshot.pop("seen", ()))
    made = Snapshot(conversion, seen, snapshot.pop("now", T0), policy, profile=answer, **snapshot)
    return decide(made)


def resolved(answer: ConversionProfileSpec = WEB, **spec: Any) -> Conversion:
    """The conversion after its profile was resolved."""
    first = plan(named(**spec), answer).status
    assert first
    return named(first, **spec)


def outputs(conversion: Conversion) -> list[str]:
    assert conversion.spec
    return [output.output_file for output in conversion.spec.all_outputs()]


def test_it_waits_until_there_is_an_answer() -> None:
    waiting = named()
    assert waiting.has_unresolved_profile
    assert plan(waiting) == Plan()
    standing = find_standing(UID, waiting, children(), False, POLICY)
    assert standing.stage is Stage.FRESH
    assert standing.held
    assert not standing.writes


def test_it_waits_for_a_missing_profile_and_is_written_once() -> None:
    told = plan(named(), MISSING, position=4)
    assert told.status
    assert (told.status.phase, told.status.reason) == (Phase.QUEUED, "ProfileMissing")
    assert told.status.message == MISSING.message
    assert told.status.queue_position == 4
    assert told.status.resolved is None
    assert told.requeue_after is None
    assert plan(named(told.status), MISSING, position=4) == Plan()


def test_the_status_that_queues_it_has_what_the_profile_says() -> None:
    told = plan(named(), WEB).status
    assert told
    assert told.resolved
    assert (told.phase, told.reason) == (Phase.QUEUED, Reason.WAITING_FOR_SLOT)
    assert told.resolved.to_json() == WEB.to_json() | {
        "outputs": [
            {"conversionType": "image_resize", "outputFile": "input/a.jpg"},
            {"conversionType": "image_resize", "outputFile": "input/a.png"},
        ]
    }


def test_the_status_has_the_position_unless_the_profile_changes_it() -> None:
    for answer, position in ((profile("{name}.jpg"), 4), (WEB, None)):
        told = plan(named(), answer, position=4).status
        assert told
        assert told.queue_position == position
        assert told.resolved


def test_what_the_status_keeps_is_the_spec_from_then_on() -> None:
    ready = resolved()
    assert not ready.has_unresolved_profile
    assert outputs(ready) == ["input/a.jpg", "input/a.png"]
    standing = find_standing(UID, ready, children(), False, POLICY)
    assert standing.held is None
    assert standing.stage is Stage.FRESH
    # Whatever the profile says later, no decision asks.
    assert not wants_profile(ready, children(), POLICY)
    assert plan(ready, MISSING, position=1) == plan(ready, None, position=1)


@pytest.mark.parametrize(
    ("field", "of_profile", "own"),
    [
        ("priority", 7, 0),
        ("timeoutSeconds", 60, 5),
        ("ttlSecondsAfterFinished", 70, 0),
        ("queue", "bulk", "default"),
        (
            "resources",
            {"limits": {"memory": "1Gi"}, "requests": {"cpu": 1}},
            {"limits": {"cpu": 2}},
        ),
    ],
)
def test_a_field_of_the_conversion_goes_first(field: str, of_profile: Any, own: Any) -> None:
    answer = profile("{name}.jpg", **{field: of_profile})
    from_profile, from_spec = resolved(answer), resolved(answer, **{field: own})
    assert from_profile.spec
    assert from_spec.spec
    assert from_profile.spec.to_json()[field] == of_profile
    assert from_spec.spec.to_json()[field] == own
    if field == "queue":
        assert (from_profile.queue, from_spec.queue) == ("bulk", "default")
    if field == "ttlSecondsAfterFinished":
        assert (from_profile.ttl, from_spec.ttl) == (70, 0)
    if field == "priority":
        assert queue_key(from_profile) < queue_key(from_spec)


def test_without_defaults_the_profile_changes_no_other_field() -> None:
    ready = resolved(profile("{name}.jpg"))
    assert ready.spec
    assert ready.queue == "default"
    assert ready.spec.to_json().keys() == {"inputFile", "profile", "outputs"}


def test_an_invalid_profile_fails_the_conversion() -> None:
    told = plan(named(), profile("{name}.jpg", "/{name}.jpg")).status
    assert told
    assert (told.phase, told.reason) == (Phase.FAILED, Reason.PROFILE_INVALID)
    assert "outputs[0] and outputs[1] of ConversionProfile web" in told.message


@pytest.mark.parametrize("answer", [None, MISSING, WEB])
def test_a_cancelled_conversion_ends_without_its_profile(answer: ProfileAnswer | None) -> None:
    cancelled = named(cancel=True)
    assert not wants_profile(cancelled, children(), POLICY)
    told = plan(cancelled, answer).status
    assert told
    assert (told.phase, told.resolved) == (Phase.CANCELLED, None)
    deleting = named(metadata={"deletionTimestamp": "2026-01-01T12:00:01Z"})
    assert not wants_profile(deleting, children(), POLICY)
    stopped = plan(deleting, answer).status
    assert stopped
    assert stopped.phase is Phase.CANCELLED


def test_a_suspended_conversion_is_resolved_and_stays_suspended() -> None:
    told = plan(named(suspend=True), WEB).status
    assert told
    assert told.reason == Reason.SUSPENDED
    assert told.resolved
    waits = plan(named(suspend=True), MISSING).status
    assert waits
    assert waits.reason == Reason.PROFILE_MISSING


def test_the_queue_of_the_profile_holds_it() -> None:
    told = plan(named(), profile("{name}.jpg", queue="nowhere")).status
    assert told
    assert told.reason == Reason.QUEUE_MISSING
    assert "nowhere" in told.message


def test_the_settings_bound_what_a_profile_says() -> None:
    policy = replace(POLICY, max_priority=3)
    failed = plan(resolved(), policy=policy).status
    assert failed
    assert (failed.phase, failed.reason) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert "priority" in failed.message


def test_a_restored_conversion_without_a_status_does_not_ask() -> None:
    restored = named(metadata={"labels": {"velero.io/restore-name": "x"}})
    assert not wants_profile(restored, children(), POLICY)
    told = plan(restored, WEB, now=at(60)).status
    assert told
    assert (told.phase, told.reason) == (Phase.PENDING, Reason.RESTORED)


def test_a_spec_of_a_later_release_waits_for_it() -> None:
    later = named(colour="red")
    assert not wants_profile(later, children(), POLICY)
    told = plan(later, WEB).status
    assert told
    assert told.reason == Reason.UNSUPPORTED_FIELD


def test_every_later_status_keeps_it() -> None:
    first = resolved().status
    assert first
    begun = plan(named(first), seen=(job(), running()), now=at(20)).status
    assert begun
    assert begun.phase is Phase.RUNNING
    waits = plan(named(begun), seen=(job(), ended(137)), now=at(30)).status
    assert waits
    assert waits.phase is Phase.QUEUED
    assert waits.attempts
    for later in (begun, waits):
        assert later.resolved == first.resolved
    # Between two attempts, nobody asks again.
    assert not wants_profile(named(waits), children(), POLICY)
    gone = plan(named(waits, cancel=True), now=at(40)).status
    assert gone
    assert gone.phase is Phase.CANCELLED
    assert gone.resolved == first.resolved


def test_of_an_ended_conversion_it_is_not_kept_in_memory() -> None:
    failed = plan(named(resolved().status, cancel=True)).status
    assert failed
    assert failed.resolved
    used = keep_used(named(failed)).status
    assert used
    assert used.resolved is None


def test_a_result_that_cannot_be_read_leaves_the_conversion_alone() -> None:
    first = resolved().status
    assert first
    stored = first.to_json()
    stored["resolved"]["outputs"][0]["conversionType"] = "audio_to_opera"  # type: ignore[index]
    damaged = named(stored)
    assert "resolved.outputs" in damaged.status_error.replace("[", ".")
    assert not wants_profile(damaged, children(), POLICY)
    assert plan(damaged, WEB) == Plan()
    assert find_standing(UID, damaged, children(), False, POLICY).stage is Stage.RUNNING


def test_a_result_of_a_later_release_waits_for_it() -> None:
    first = resolved().status
    assert first
    stored = first.to_json()
    stored["resolved"]["maxRetries"] = 0  # type: ignore[index]
    later = named(stored)
    assert (
        later.unsupported == "status.resolved.maxRetries is a field that this release does not know"
    )
    told = plan(later, WEB).status
    assert told
    assert told.reason == Reason.UNSUPPORTED_FIELD
    assert told.to_json()["resolved"] == stored["resolved"]


def test_a_result_without_a_profile_in_the_spec_changes_nothing() -> None:
    first = resolved().status
    assert first
    body: dict[str, Any] = {
        "profile": None,
        "outputs": [{"conversionType": "image_resize", "outputFile": "b.jpg"}],
    }
    assert outputs(named(first, **body)) == ["b.jpg"]
