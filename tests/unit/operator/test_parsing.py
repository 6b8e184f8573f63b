"""Parsing of API objects, including malformed ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from conversion_operator.api import names
from conversion_operator.cluster import pages
from conversion_operator.cluster.fields import parse_time
from conversion_operator.cluster.objects import Resource, WatchEvent
from conversion_operator.cluster.parse_children import parse_job, parse_pod
from conversion_operator.cluster.parsing import (
    PARSERS,
    parse_conversion,
    parse_event,
    parse_event_time,
    parse_lease,
    parse_list,
)
from conversion_operator.controller.settings import Settings
from conversion_operator.core.children import CONVERSION_KIND, Controller
from conversion_operator.core.identity import Evidence
from conversion_operator.core.manifest import CONTAINER, build_job
from conversion_operator.core.model import IMAGE_MAX_LENGTH
from tests.unit.operator.builders import (
    KEY,
    POLICY,
    T0,
    UID,
    at,
    children,
    conversion,
    job,
    step,
    succeeded,
)

META = {
    "namespace": "my-network",
    "name": "a",
    "uid": UID,
    "resourceVersion": "7",
    "creationTimestamp": "2026-01-01T12:00:00Z",
}
SPEC = {"conversionType": "image_resize", "inputFile": "a.png", "outputFile": "b.jpg"}


def body(**changes: Any) -> dict[str, Any]:
    return {"metadata": META, "spec": SPEC} | changes


def test_a_conversion() -> None:
    parsed = parse_conversion(body())
    assert parsed.spec
    assert (parsed.key.name, parsed.version, parsed.created) == ("a", 7, T0)
    assert (parsed.input_path, parsed.output_paths) == ("/a.png", ("/b.jpg",))
    assert not parsed.finished


LISTED = {
    "inputFile": "a.mov",
    "outputs": [
        {"conversionType": "extract_thumbnail", "outputFile": "b.jpg"},
        {"conversionType": "video_to_mp4", "outputFile": "/b.mp4"},
    ],
}


def test_several_outputs() -> None:
    parsed = parse_conversion(body(spec=LISTED))
    assert parsed.spec
    assert parsed.output_paths == ("/b.jpg", "/b.mp4")
    assert parsed.output_types == ("extract_thumbnail", "video_to_mp4")
    assert (parsed.conversion_type, parsed.output_file) == ("", "")
    assert parsed.has_output_list
    dry = parse_conversion(body(spec=LISTED | {"dryRun": True}))
    assert (dry.output_paths, dry.output_types, dry.dry_run) == ((), parsed.output_types, True)


@pytest.mark.parametrize("changes", [{"conversionType": "video_to_gif"}, {"fps": 25}])
def test_outputs_of_a_later_release_keep_their_paths_busy(changes: dict[str, Any]) -> None:
    later = [LISTED["outputs"][0], {**LISTED["outputs"][1], **changes}]  # type: ignore[dict-item]
    parsed = parse_conversion(body(spec=LISTED | {"outputs": later}))
    assert parsed.unsupported.startswith("spec.outputs[1].")
    assert parsed.output_paths == ("/b.jpg", "/b.mp4")
    assert len(parsed.output_types) == 2
    dry = parse_conversion(body(spec=LISTED | {"outputs": later, "dryRun": True}))
    assert dry.output_paths == ()


@pytest.mark.parametrize("outputs", ["x", [None], [{"outputFile": 7}], [{}] * 9, {"a": 1}])
def test_outputs_that_are_none(outputs: Any) -> None:
    parsed = parse_conversion(body(spec={"inputFile": "a.mov", "outputs": outputs}))
    assert parsed.spec is None
    assert "outputs" in parsed.spec_error + parsed.unsupported
    assert parsed.output_paths in ((), ("/7",))


def test_a_stored_status_is_parsed_back() -> None:
    done = step(conversion(), children(job(), succeeded()), 12)[1].status
    assert done
    parsed = parse_conversion(body(status=done.to_json()))
    assert parsed.status == done
    assert parsed.finished


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (None, "spec"),
        ({}, "inputFile"),
        ({"inputFile": "a.png"}, "the CRD in the cluster may be older"),
        ({"inputFile": "a.png", "conversionType": "image_resize"}, "set exactly one of these"),
        (SPEC | {"inputFile": 7}, "inputFile"),
        (SPEC | {"inputFile": ""}, "inputFile"),
        (SPEC | {"priority": "high"}, "priority"),
    ],
)
def test_an_invalid_spec_says_why(spec: Any, word: str) -> None:
    parsed = parse_conversion(body(spec=spec))
    assert word in parsed.spec_error
    assert parsed.unsupported == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"surprise": 1}, "spec.surprise"),
        ({"options": {"surprise": 1}}, "spec.options.surprise"),
        ({"conversionType": "video_to_gif"}, "video_to_gif"),
        ({"damagedInput": "Ask"}, "Ask"),
        ({"surprise": 1, "priority": "high"}, "spec.surprise"),
        ({"options": {"size": "0x0"}}, "size"),
        ({"priority": 1_000_000}, "spec.priority"),
        ({"inputFile": "x" * 5000}, "spec.inputFile"),
    ],
)
def test_what_a_later_release_may_know_is_unsupported(changes: Any, word: str) -> None:
    assert word in parse_conversion(body(spec=SPEC | changes)).unsupported


@pytest.mark.parametrize(
    "changes",
    [{"surprise": 1}, {"options": {"size": "1x1", "surprise": 1}}, {"damagedInput": "Ask"}],
)
def test_the_rest_of_a_spec_is_read(changes: Any) -> None:
    spec = SPEC | {"cancel": True, "priority": 7} | changes
    parsed = parse_conversion(body(spec=spec))
    assert parsed.spec
    assert (parsed.spec.priority, parsed.cancel_requested) == (7, True)
    assert parsed.output_paths == ("/b.jpg",)


def test_an_orphan_finalizer_says_nothing_before_the_deletion() -> None:
    """Whoever creates the object can give it this finalizer."""
    finalizers = {"finalizers": ["orphan"]}
    assert not parse_conversion(body(metadata=META | finalizers)).orphans_dependents
    deleting = finalizers | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert parse_conversion(body(metadata=META | deleting)).orphans_dependents


@pytest.mark.parametrize(("notify", "has"), [({}, False), ({"notify": {"uri": "x"}}, True)])
def test_a_callback_that_cannot_be_read_is_known(notify: Any, has: bool) -> None:
    assert parse_conversion(body(spec=SPEC | notify)).has_notify is has


def test_paths_are_known_although_the_spec_cannot_be_read() -> None:
    parsed = parse_conversion(body(spec=SPEC | {"conversionType": "video_to_gif"}))
    assert (parsed.spec, parsed.output_paths) == (None, ("/b.jpg",))


def test_cancel_is_read_from_a_spec_that_is_not_valid() -> None:
    parsed = parse_conversion(body(spec={"conversionType": "video_to_gif", "cancel": True}))
    assert (parsed.spec, parsed.cancel_requested) == (None, True)


@pytest.mark.parametrize(
    "stored",
    [
        {"phase": "Sleeping"},
        {"conditions": "none"},
        {"x": {}},
        {"phase": "Running", "outputSize": "large"},
        {"phase": ["Failed"]},
        "Failed",
    ],
)
def test_a_status_that_cannot_be_read_says_why(stored: Any) -> None:
    parsed = parse_conversion(body(status=stored))
    assert parsed.status is None
    assert "status" in parsed.status_error


@pytest.mark.parametrize(
    "stored",
    [None, {}, {"phase": "Pending", "conditions": [], "reason": "Pending", "message": "m"}],
)
def test_a_conversion_that_has_not_begun(stored: Any) -> None:
    parsed = parse_conversion(body(status=stored))
    assert (parsed.status, parsed.status_error) == (None, "")


def finished_status() -> dict[str, Any]:
    done = step(conversion(), children(job(), succeeded()), 12)[1].status
    assert done
    return done.to_json()


@pytest.mark.parametrize("place", ["status", "conditions", "attempts", "output"])
def test_unknown_fields_of_a_stored_status_are_kept(place: str) -> None:
    stored = finished_status()
    part: Any = stored if place == "status" else stored[place]
    (part[0] if isinstance(part, list) else part)["ofALaterRelease"] = {"a": [1]}
    parsed = parse_conversion(body(status=stored))
    assert parsed.finished
    assert parsed.status
    assert parsed.status.to_json() == stored


def test_longer_texts_and_lists_of_a_later_release_are_cut() -> None:
    stored = finished_status()
    attempts = [stored["attempts"][0] | {"number": number} for number in range(1, 9)]
    stored |= {"message": "x" * 5000, "attempts": attempts}
    parsed = parse_conversion(body(status=stored))
    assert parsed.status
    assert parsed.status_error == ""
    assert len(parsed.status.message) == 1024
    assert [attempt.number for attempt in parsed.status.attempts or ()] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "changes",
    [
        {"outputSize": "large"},
        {"conditions": "none"},
        {"attempts": [{"number": "first"}]},
        {"completionTime": "yesterday"},
        {"notify": {"state": "Postponed", "attempts": 1}},
    ],
)
def test_a_conversion_that_has_ended_stays_ended_if_its_status_is_not_valid(changes: Any) -> None:
    parsed = parse_conversion(body(status=finished_status() | changes))
    assert parsed.finished
    assert parsed.status
    assert parsed.status.to_json() == {
        "phase": "Succeeded",
        "observedGeneration": 1,
        "conditions": [],
        "reason": "Completed",
        "message": "converted",
    }


def test_of_a_status_that_is_not_valid_only_a_bounded_part_is_kept() -> None:
    long = {"phase": "Failed", "reason": "x" * 9000, "message": "x" * 9000}
    parsed = parse_conversion(body(status=long)).status
    assert parsed
    assert (len(parsed.reason), len(parsed.message)) == (64, 1024)
    odd = {"phase": "Cancelled", "reason": ["x"], "message": 7}
    parsed = parse_conversion(body(status=odd)).status
    assert parsed
    assert (parsed.phase, parsed.reason, parsed.message) == ("Cancelled", "", "")


def test_a_job_of_ours() -> None:
    made = build_job(conversion(), 3, POLICY, False, "m")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    parsed = parse_job(made)
    assert (parsed.conversion_uid, parsed.attempt, parsed.mark) == (UID, 3, "m")
    assert parsed.controller == Controller(CONVERSION_KIND, UID)
    assert parsed.live
    assert parsed.image == POLICY.image


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("uid", "another"),
        ("controller", False),
        ("kind", "CronJob"),
        ("apiVersion", "example.com/v1"),
    ],
)
def test_another_controller_is_told_apart(change: str, value: Any) -> None:
    made = build_job(conversion(), 1, POLICY, False, "m")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    made["metadata"]["ownerReferences"][0][change] = value
    assert parse_job(made).controller != Controller(CONVERSION_KIND, UID)


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_finished_job(kind: str) -> None:
    made = build_job(conversion(), 1, POLICY, False, "m")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    made["status"] = {
        "conditions": [
            {"type": "FailureTarget", "status": "True"},
            {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T12:00:05Z"},
        ]
    }
    parsed = parse_job(made)
    assert (parsed.finished, parsed.finished_at, parsed.live) == (kind, at(5), False)


@pytest.mark.parametrize(
    ("status", "has_no_pod"),
    [
        (None, False),
        ({"startTime": "t", "ready": 0, "uncountedTerminatedPods": {}}, True),
        ({"startTime": "t", "active": 1}, False),
        ({"startTime": "t", "terminating": 1}, False),
        ({"startTime": "t", "succeeded": 1}, False),
        ({"startTime": "t", "uncountedTerminatedPods": {"failed": ["uid"]}}, False),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, False),
    ],
)
def test_a_job_without_a_pod(status: Any, has_no_pod: bool) -> None:
    made = build_job(conversion(), 1, POLICY, False, "m")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    assert parse_job(made | {"status": status}).has_no_pod is has_no_pod


def test_a_pod_whose_volumes_are_mounted() -> None:
    scheduled = {"type": "PodScheduled", "lastTransitionTime": "2026-01-01T12:00:05Z"}
    ready = {"type": "PodReadyToStartContainers"}
    for word, parsed_as in (("True", (at(5), True)), ("False", (None, False))):
        conditions = [scheduled | {"status": word}, ready | {"status": word}]
        parsed = parse_pod({"metadata": META, "status": {"conditions": conditions}})
        assert (parsed.scheduled_at, parsed.has_sandbox) == parsed_as


def test_a_pod_without_a_status() -> None:
    parsed = parse_pod({"metadata": META})
    assert (parsed.phase, parsed.live, parsed.attempt) == ("Pending", True, 0)


def test_a_container_that_never_ran_has_no_times() -> None:
    parsed = parse_pod(
        {
            "metadata": META,
            "status": {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        "name": CONTAINER,
                        "state": {
                            "terminated": {
                                "exitCode": 128,
                                "reason": "StartError",
                                "startedAt": "1970-01-01T00:00:00Z",
                                "finishedAt": "2026-01-01T12:00:05Z",
                            }
                        },
                    }
                ],
            },
        }
    )
    assert parsed.terminated
    assert (parsed.terminated.started_at, parsed.terminated.finished_at) == (None, at(5))


def test_a_container_that_somebody_has_added_is_not_read() -> None:
    """A service mesh may add its container in the first place."""
    end = {"terminated": {"exitCode": 0}}
    running = {"running": {"startedAt": "2026-01-01T12:00:05Z"}}
    statuses = [{"name": "a-proxy", "state": end}, {"name": CONTAINER, "state": running}]
    parsed = parse_pod({"metadata": META, "status": {"containerStatuses": statuses}})
    assert (parsed.terminated, parsed.running_since) == (None, at(5))
    made = build_job(conversion(), 1, POLICY, False, "m")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    made["spec"]["template"]["spec"]["containers"].insert(0, {"name": "a-proxy", "image": "x"})
    assert parse_job(made).image == POLICY.image


@pytest.mark.parametrize("resource", list(Resource))
def test_only_the_identity_must_be_present(resource: Resource) -> None:
    identity = {key: META[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    assert PARSERS[resource]({"metadata": identity})
    assert PARSERS[resource]({"metadata": identity, "spec": None, "status": None})


def test_an_object_that_cannot_be_parsed_does_not_stop_a_list_or_a_watch() -> None:
    odd = {"metadata": {"name": "odd", "labels": "none"}}
    answer = {"metadata": {"resourceVersion": "9"}, "items": [odd, body()]}
    objects = parse_list(parse_conversion, answer)
    assert ([item.key.name for item in objects.items], objects.version) == (["a"], "9")
    event = parse_event(parse_conversion, WatchEvent("MODIFIED", "10", odd))
    assert (event.version, event.object) == ("10", None)


def test_a_list_uses_known_values_of_the_same_version_again() -> None:
    known = parse_conversion(body())
    answer = {"metadata": {"resourceVersion": "9"}, "items": [body()]}
    same = parse_list(parse_conversion, answer, {known.key.uid: known}.get)
    assert same.items[0] is known
    older = replace(known, version=known.version - 1)
    newer = parse_list(parse_conversion, answer, {known.key.uid: older}.get)
    assert newer.items == (known,)


def test_a_known_object_that_cannot_be_parsed_any_more_still_exists() -> None:
    known = parse_conversion(body())
    odd = {"metadata": {"uid": known.key.uid, "resourceVersion": "99", "annotations": "none"}}
    answer = {"metadata": {"resourceVersion": "99"}, "items": [odd]}
    assert parse_list(parse_conversion, answer, {known.key.uid: known}.get).items == (known,)


def test_a_lease_without_a_spec() -> None:
    lease = parse_lease({"metadata": {"resourceVersion": "3"}})
    assert (lease.holder, lease.version, lease.admissions) == ("", "3", {})


def test_times() -> None:
    assert parse_time("2026-01-01T12:00:05.000000Z") == at(5)
    assert parse_time(None) is None


def test_of_metadata_and_texts_only_a_bounded_part_is_kept() -> None:
    annotations = {"example.com/note": "x" * 9000, names.GROUP + "/mine": "x" * 9000}
    annotations[names.CALLER_INPUT_ANNOTATION] = "y" * 9000
    managed = [{"manager": "x" * 9000}]
    labels = {f"example.com/{number}": "x" * 63 for number in range(100)}
    meta = META | {"annotations": annotations, "managedFields": managed, "labels": labels}
    parsed = parse_conversion(body(metadata=meta, spec={"inputFile": "z" * 9000}))
    assert parsed.annotations == {names.CALLER_INPUT_ANNOTATION: "y" * 4096}
    assert parsed.input_file == "z" * 4096
    assert parsed.input_path == "/" + "z" * 4096
    assert len(repr(parsed)) < 15_000


def test_of_the_texts_of_a_pod_only_a_bounded_part_is_kept() -> None:
    long = "x" * 9000
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    state = {"waiting": {"reason": long, "message": long}}
    status = {
        "reason": long,
        "message": long,
        "conditions": [scheduled | {"message": long}],
        "containerStatuses": [{"state": state}],
    }
    ended = {"containerStatuses": [{"state": {"terminated": {"reason": long, "message": long}}}]}
    assert len(repr(parse_pod({"metadata": META, "status": status}))) < 6 * 4096
    assert len(repr(parse_pod({"metadata": META, "status": ended}))) < 3 * 4096


def with_long_texts(kind: str = "x" * 9000) -> dict[str, Any]:
    """A Job whose creator chose the longest texts."""
    made: dict[str, Any] = build_job(conversion(), 1, POLICY, False, "m" * 9000)
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    made["metadata"]["ownerReferences"][0] |= {"kind": kind, "uid": "x" * 9000}
    made["metadata"]["annotations"][names.IMAGE_ANNOTATION] = "x" * 9000
    failed = {"type": "Failed", "status": "True", "reason": "x" * 9000}
    made["status"] = {"conditions": [failed]}
    return made


def test_the_image_is_the_one_that_the_operator_set() -> None:
    """Admission may replace it in the Job, for example with the name of a mirror."""
    made = build_job(conversion(), 1, POLICY, False, "mark")
    made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example.com/c@sha256:00"
    assert parse_job(made).image == POLICY.image
    del made["metadata"]["annotations"][names.IMAGE_ANNOTATION]
    assert parse_job(made).image == "mirror.example.com/c@sha256:00", "a Job of a former release"


def test_of_the_texts_of_a_job_only_a_bounded_part_is_kept() -> None:
    parsed = parse_job(with_long_texts())
    assert parsed.controller
    assert (len(parsed.mark), len(parsed.image), len(parsed.failure)) == (65, 512, 64)
    assert (len(parsed.controller.kind), len(parsed.controller.uid)) == (64, 64)
    assert len(repr(parsed)) < 2000
    known = parse_job(with_long_texts(CONVERSION_KIND)).controller
    assert known
    assert (known.kind, len(known.uid)) == (CONVERSION_KIND, 64)


def test_a_mark_that_is_too_long_is_not_valid() -> None:
    evidence = Evidence("my-network", UID, key=KEY)
    for extra, valid in (("", True), ("0", False), ("0" * 9000, False)):
        made = build_job(conversion(), 1, POLICY, False, KEY.mark("my-network", UID, 1) + extra)
        made["metadata"] |= {"uid": "j", "resourceVersion": "9"}
        assert evidence.has_mark(parse_job(made)) is valid


def test_an_image_of_which_only_a_part_would_be_kept_is_rejected() -> None:
    longest = "x" * IMAGE_MAX_LENGTH
    assert Settings(converter_image=longest).converter_image == longest
    with pytest.raises(ValidationError, match="converter_image"):
        Settings(converter_image=longest + "x")


@pytest.mark.parametrize(
    ("limit", "page_bytes", "larger"),
    [(100, 0, 200), (400, 0, 500), (500, 0, 500), (100, pages.PAGE_MAX_BYTES // 2, 100)],
)
def test_pages_of_small_objects_become_larger(limit: int, page_bytes: int, larger: int) -> None:
    assert pages.larger_limit(limit, page_bytes) == larger


def test_pages_that_were_too_large_become_smaller_down_to_one_object() -> None:
    assert [pages.smaller_limit(limit) for limit in (500, 100, 3, 1)] == [125, 25, 1, 1]


@pytest.mark.parametrize(
    ("fields", "second"),
    [
        ({"lastTimestamp": "2026-01-01T12:00:05Z", "eventTime": None}, 5),
        ({"lastTimestamp": None, "eventTime": "2026-01-01T12:00:06.000001Z"}, 6),
        (
            {
                "eventTime": "2026-01-01T12:00:06.000001Z",
                "series": {"lastObservedTime": "2026-01-01T12:00:09.000001Z"},
            },
            9,
        ),
        ({"firstTimestamp": "2026-01-01T12:00:07Z"}, 7),
        ({"lastTimestamp": None}, 1),
    ],
)
def test_the_time_of_an_event(fields: dict[str, Any], second: int) -> None:
    body = {"metadata": {"creationTimestamp": "2026-01-01T12:00:01Z"}} | fields
    assert parse_event_time(body).second == second
