"""Paths, names, bodies and answers of the HTTP API, which need no cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.objects import ObjectList
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import caller_paths
from converter_gateway.entries import in_turn
from converter_gateway.errors import ApiError
from converter_gateway.naming import conversion_name
from converter_gateway.paths import (
    MAX_MAPPINGS_LENGTH,
    PathRejected,
    parse_mappings,
    to_volume,
)
from converter_gateway.records import record_of
from converter_gateway.requests import parse_convert
from converter_gateway.store import Store
from converter_gateway.translate import statistics, to_response
from tests.unit.gateway.positions import queue_positions

MAPPINGS = parse_mappings("/opt/my-network/shared=/,/opt/my-network/shared/deep=/d/")
GOOD = {
    "input_file": "/opt/my-network/shared/in/a.mov",
    "output_file": "out/a.mp4",
    "conversion_type": "video_to_mp4",
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/opt/my-network/shared/in/a.mov", "/in/a.mov"),
        ("/opt/my-network/shared/deep/a.mov", "/d/a.mov"),
        ("/opt/my-network/shared/deeper/a.mov", "/deeper/a.mov"),
        ("in/a.mov", "in/a.mov"),
    ],
)
def test_paths_under_a_prefix_are_taken_to_the_volume(given: str, expected: str) -> None:
    assert to_volume(given, MAPPINGS) == expected


@pytest.mark.parametrize(
    "given",
    [
        "/etc/passwd",
        "/opt/my-network/shared",
        "/opt/my-network/sharedx/a",
        "/opt/my-network/shared/../x",
        "../a",
        "a/./b",
    ],
)
def test_other_paths_are_rejected(given: str) -> None:
    with pytest.raises(PathRejected):
        to_volume(given, MAPPINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_file": None}, "Missing required field: input_file"),
        ({"output_file": ""}, "Missing required field: output_file"),
        ({"conversion_type": None}, "Missing required field: conversion_type"),
        ({"conversion_type": "x"}, "conversion_type: "),
        ({"input_file": 3}, "input_file: "),
        ({"input_file": "a//b"}, "input_file: "),
        ({"output_file": "/etc/a.mp4"}, "output_file: "),
        ({"options": {"resolution": "9p"}}, "options.resolution: "),
        ({"options": []}, None),
        ({"options": {}}, None),
        ({"options": None}, None),
        ({"options": [1]}, "options: "),
        ({"options": False}, "options: "),
        ({"options": ""}, "options: "),
        ({"options": 0}, "options: "),
        ({"options": {"start": True}}, "options.start: must be seconds"),
        ({"more": 1}, "unknown field: more"),
        ({"callback_url": "ftp://a/b"}, "callback_url: must begin with"),
        ({"callback_url": "http://me:word@a/b"}, "callback_url: must not hold"),
        ({"callback_url": "http://a/ b"}, "callback_url: "),
        ({"callback_url": 5}, "callback_url: "),
        ({"output_file": "a.avi"}, "output_file: must end in .mp4"),
        ({"input_file": "/opt/my-network/shared/out/a.mp4"}, "output_file: must not be"),
        ({"options": {"bitrate": "128k"}}, "options.bitrate: belongs to audio_to_mp3"),
        ({"options": {"quality": 80}}, "options.quality: must be low"),
        ({"options": {"start": "+5"}}, "options.start: must be seconds"),
        ({"options": {"duration": "00:00:00.0"}}, "options.duration: must be seconds"),
        ({"options": {"duratoin": 5}}, "options.duratoin: there is no such option"),
        ({"options": {"columns": 2}}, "options.columns: belongs to video_storyboard"),
        (
            {
                "conversion_type": "image_resize",
                "output_file": "a.png",
                "options": {"size": "1x16385"},
            },
            "options.size: must be WIDTHxHEIGHT",
        ),
    ],
)
def test_bad_bodies_name_the_field(change: dict[str, Any], message: str | None) -> None:
    raw = orjson.dumps(GOOD | change)
    if message is None:
        assert parse_convert(raw, MAPPINGS).spec.options is None
        return
    with pytest.raises(ApiError) as caught:
        parse_convert(raw, MAPPINGS)
    assert caught.value.code == 400
    assert caught.value.message.startswith(message)


OUTPUT = {"output_file": "out/a.mp4", "conversion_type": "video_to_mp4"}
SOUND = {"output_file": "/opt/my-network/shared/deep/a.mp3", "conversion_type": "audio_to_mp3"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("a.mp4", "outputs: must be a list of 1 to 8 outputs"),
        ([OUTPUT, "a.mp4"], "outputs[1]: must be an object"),
        ([OUTPUT, {}], "Missing required field: outputs[1].output_file"),
        ([SOUND, {"output_file": "a"}], "Missing required field: outputs[1].conversion_type"),
        ([OUTPUT, SOUND | {"more": 1}], "unknown field: outputs[1].more"),
        ([OUTPUT, SOUND | {"output_file": 3}], "outputs[1].output_file: must be a string"),
        ([OUTPUT, SOUND | {"output_file": "/x/a.mp3"}], "outputs[1].output_file: must be relative"),
        ([OUTPUT, SOUND | {"output_file": "a//a.mp3"}], "outputs[1].output_file: must be the path"),
        ([OUTPUT, SOUND | {"output_file": "a.ogg"}], "outputs[1].output_file: must end in .mp3"),
        ([SOUND, OUTPUT | {"conversion_type": "x"}], "outputs[1].conversion_type: must be video_"),
        ([SOUND, OUTPUT | {"options": [1]}], "outputs[1].options: must be an object"),
        (
            [SOUND, OUTPUT | {"options": {"quality": 8}}],
            "outputs[1].options.quality: must be low, medium or high",
        ),
        (
            [OUTPUT | {"options": {"bitrate": "128k"}}],
            "outputs[0].options.bitrate: belongs to audio_to_mp3 and audio_convert only",
        ),
        ([OUTPUT | {"options": {"columns": 3}}], "outputs[0].options.columns: belongs to"),
        ([OUTPUT | {"options": {"x": 3}}], "outputs[0].options.x: there is no such option"),
        ([SOUND, OUTPUT | {"optional": 1}], "outputs[1].optional: must be true or false"),
        (
            [SOUND, OUTPUT, SOUND | {"output_file": "/opt/my-network/shared/d/a.mp3"}],
            "outputs[2].output_file: must not be that of outputs[0]",
        ),
        ([OUTPUT | {"optional": True}] * 1, "outputs: at least one must not be optional"),
    ],
)
def test_a_bad_output_is_named(outputs: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_convert(orjson.dumps({"input_file": "a.mov", "outputs": outputs}), MAPPINGS)
    assert (caught.value.code, caught.value.message[: len(message)]) == (400, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": [OUTPUT]}, "output_file: does not go together with outputs. Send outputs, or"),
        ({"profile": "web"}, "output_file: does not go together with profile. Send outputs, or"),
        ({"queue": "a.b"}, "queue: must be the name of a ConversionQueue"),
        ({"queue": ["a"]}, "queue: must be the name of a ConversionQueue"),
        ({"dry_run": "yes"}, "dry_run: must be true or false"),
    ],
)
def test_a_request_has_one_form(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_convert(orjson.dumps(GOOD | change), MAPPINGS)
    assert (caught.value.code, caught.value.message[: len(message)]) == (400, message)


def test_a_profile_has_a_name() -> None:
    for profile in ("", None):
        with pytest.raises(ApiError, match="Missing required field: profile"):
            parse_convert(orjson.dumps({"input_file": "a", "profile": profile}), MAPPINGS)
    with pytest.raises(ApiError, match="profile: must be the name of a ConversionProfile"):
        parse_convert(orjson.dumps({"input_file": "a", "profile": "A"}), MAPPINGS)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/opt/my-network/shared/in/a.mov", ["/opt/my-network/shared/in/b", "x/a", "/a/y"]),
        ("/opt/my-network/shared/deep/a.mov", ["/opt/my-network/shared/deep/b", "x/a", "/a/y"]),
        ("in/a.mov", ["in/b", "x/a", "a/y"]),
    ],
)
def test_outputs_beside_a_file_are_named_like_it(path: str, named: list[str]) -> None:
    paths = caller_paths.beside(path, MAPPINGS)
    beside = to_volume(path, MAPPINGS).replace("a.mov", "b")
    other = named[2] if not path.startswith("/") else "/opt/my-network/shared/a/y"
    told = [paths.name(0, each) for each in (beside, "x/a", "/a/y")]
    assert told == [*named[:2], other]
    assert caller_paths.parse(paths.to_text()) == paths


def test_each_output_keeps_its_own_folder() -> None:
    mappings = parse_mappings("/a=/x,/b=/x,/c=/")
    asked = ["/a/1", "/b/1", "/c/x/1", "x/1"]
    paths = caller_paths.of_outputs(asked, mappings)
    on_volume = [to_volume(path, mappings) for path in asked]
    assert [paths.name(n, path) for n, path in enumerate(on_volume)] == asked
    assert caller_paths.parse(paths.to_text()) == paths


@pytest.mark.parametrize(
    "text", ["", "x", "3", "[]", "[[],[0]]", '[[["/a"]],[]]', "[[[1,2]],[]]", '[[["a","b"]],[-1]]']
)
def test_a_changed_annotation_means_nothing(text: str) -> None:
    assert caller_paths.parse(text).name(0, "/a") == "/a"


@pytest.mark.parametrize("sign", ["p", "é", "😀", "\x01"])
def test_the_mapped_folders_fit_into_an_annotation(sign: str) -> None:
    entries = [f"/{sign * 60}{number}=/{sign * 20}{number}" for number in range(250)]
    most = MAX_MAPPINGS_LENGTH
    fitting = [entry for n, entry in enumerate(entries) if len(",".join(entries[: n + 1])) <= most]
    assert len(fitting) > 150
    mappings = parse_mappings(",".join(fitting))
    text = caller_paths.beside(fitting[0].partition("=")[0] + "/a", mappings).to_text()
    assert len(text.encode()) < 262_144 // 2, "there are other annotations"
    with pytest.raises(ValueError, match="at most 16384 characters"):
        parse_mappings(",".join(entries))


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    raw = orjson.dumps(GOOD | {"options": {"start": 90.0}})
    options = parse_convert(raw, MAPPINGS).spec.options
    assert options is not None
    assert orjson.dumps(options.start) == b"90"


def test_a_callback_url_becomes_notify() -> None:
    url = "http://media-hooks.my-network.svc:8080/conversions"
    spec = parse_convert(orjson.dumps(GOOD | {"callback_url": url}), MAPPINGS).spec
    assert spec.notify is not None
    assert spec.notify.url == url
    assert parse_convert(orjson.dumps(GOOD), MAPPINGS).spec.notify is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b'"\\ud800"'])
def test_what_is_no_object_is_rejected(raw: bytes) -> None:
    with pytest.raises(ApiError):
        parse_convert(raw, MAPPINGS)


def test_names_follow_the_key_and_the_namespace() -> None:
    assert conversion_name("a", "k") == conversion_name("a", "k")
    others = {conversion_name("b", "k"), conversion_name("a", "l"), conversion_name("a", None)}
    assert len({conversion_name("a", "k")} | others) == 4


def _conversion(name: str, second: int, **status: Any) -> Conversion:
    meta = {
        "name": name,
        "namespace": "n",
        "uid": name,
        "resourceVersion": "1",
        "creationTimestamp": f"2026-01-02T03:04:{second:02}Z",
    }
    spec = {"conversionType": "video_to_mp4", "inputFile": name, "outputFile": name + ".mp4"}
    base = {"conditions": [], "reason": "R", "message": "why"}
    stored = {"status": base | status} if status else {}
    return parse_conversion({"metadata": meta, "spec": spec} | stored)


def test_a_waiting_job_is_running_with_its_place() -> None:
    first, second = _conversion("a", 1), _conversion("b", 2)
    places = queue_positions([second, first])
    assert places == {"a": 1, "b": 2}
    answer = to_response(second, places["b"])
    assert (answer["status"], answer["phase"], answer["queue_position"]) == ("running", "Queued", 2)
    assert answer["start_time"] == "2026-01-02T03:04:02"
    assert answer["created_at"] == "2026-01-02T03:04:02Z"
    assert not {"started_at", "ended_at"} & set(answer)


def test_a_refused_pod_takes_no_place_away() -> None:
    """The API does not watch pods, so it does not know whether pods are still refused."""
    refused = {
        "number": 1,
        "reason": "PodRejected",
        "startTime": "2026-01-02T03:04:01Z",
        "completionTime": "2026-01-02T03:04:05Z",
    }
    first = _conversion("a", 1, phase="Queued", attempts=[refused])
    places = queue_positions([first, _conversion("b", 2)])
    assert places == {"a": 1, "b": 2}


def test_one_under_way_has_the_seconds_so_far_where_they_are_asked_for() -> None:
    running = _conversion("a", 1, phase="Running", startTime="2026-01-02T03:04:11Z")
    now = datetime(2026, 1, 2, 3, 4, 31, tzinfo=UTC)
    assert to_response(running, None, now)["duration_seconds"] == 20
    assert "duration_seconds" not in to_response(running, None)


def test_an_invalid_spec_is_answered_as_it_is() -> None:
    meta = {"name": "a", "namespace": "n", "uid": "a", "resourceVersion": "1"}
    spec = {"conversionType": "video_to_gif", "inputFile": "a.mov"}
    answer = to_response(parse_conversion({"metadata": meta, "spec": spec}))
    assert (answer["conversion_type"], answer["input_file"]) == ("video_to_gif", "a.mov")


def test_somebody_elses_status_breaks_no_response() -> None:
    """Whoever may write statuses may write too few outputs, or too many."""
    meta = {"name": "a", "namespace": "n", "uid": "a", "resourceVersion": "1"}
    spec = {
        "inputFile": "a",
        "outputs": [{"conversionType": "audio_to_mp3", "outputFile": "b.mp3"}],
    }
    told = {"phase": "Failed", "reason": "R", "message": "m", "conditions": []}
    for states, expected in (([], "Pending"), (["Failed", "Succeeded"], "Failed")):
        status = told | {"outputs": [{"state": state} for state in states]}
        body = {"metadata": meta, "spec": spec, "status": status}
        (output,) = to_response(parse_conversion(body))["outputs"]
        assert output["state"] == expected
    plan = told | {"plan": [{"action": "Copy"}] * 2}
    body = {"metadata": meta, "spec": spec | {"dryRun": True}, "status": plan}
    assert len(to_response(parse_conversion(body))["plan"]) == 1


def test_a_failure_tells_why() -> None:
    times = {"startTime": "2026-01-02T03:04:11Z", "completionTime": "2026-01-02T03:04:31Z"}
    ended = _conversion("a", 1, phase="Failed", logs="tail", **times)
    answer = to_response(ended, None)
    assert (answer["status"], answer["error"], answer["logs"]) == ("failed", "why", "tail")
    assert (answer["end_time"], answer["duration_seconds"]) == ("2026-01-02T03:04:31", 20)
    assert answer["ended_at"] == "2026-01-02T03:04:31Z"


def test_waiting_is_no_run_time() -> None:
    ended = _conversion("a", 1, phase="Cancelled", completionTime="2026-01-02T08:04:31Z")
    assert not {"started_at", "duration_seconds"} & set(to_response(ended))


def test_the_run_time_is_the_one_that_the_converter_measured() -> None:
    """Releases before this one wrote whole seconds only."""
    times = {"startTime": "2026-01-02T03:04:11Z", "completionTime": "2026-01-02T03:04:31Z"}
    ended = _conversion("a", 1, phase="Succeeded", durationMilliseconds=19_751, **times)
    answer = to_response(ended)
    assert (answer["started_at"], answer["duration_seconds"]) == ("2026-01-02T03:04:11Z", 19.751)
    assert record_of(ended).seconds == 19.751
    before = _conversion("a", 1, phase="Succeeded", durationSeconds=20, **times)
    assert (to_response(before)["duration_seconds"], record_of(before).seconds) == (20, 20)


def test_an_end_of_a_later_release_is_told_without_its_time() -> None:
    ended = _conversion("a", 1, phase="Failed", outputSize="large")
    answer = to_response(ended, None, datetime(2026, 1, 2, 3, 4, 31, tzinfo=UTC))
    assert (answer["status"], answer["error"], answer["reason"]) == ("failed", "why", "R")
    assert not {"end_time", "duration_seconds"} & set(answer)


def test_what_an_output_lacks_is_told() -> None:
    output = {"sha256": "a" * 64, "container": "mp4", "warnings": ["3 frames are missing."]}
    told = to_response(_conversion("a", 1, phase="Succeeded", output=output), None)
    assert told["warnings"] == ["3 frames are missing."]
    complete = {name: value for name, value in output.items() if name != "warnings"}
    assert "warnings" not in to_response(
        _conversion("a", 1, phase="Succeeded", output=complete), None
    )


async def test_statistics_count_what_there_is() -> None:
    conversions = [
        _conversion("a", 1),
        _conversion("b", 1, phase="Running"),
        _conversion("c", 1, phase="Failed"),
        _conversion("d", 1, phase="Succeeded", durationSeconds=4),
    ]
    store = Store()
    store.replace(ObjectList(tuple(map(record_of, conversions)), "9"))
    told = statistics(store.phases, store.succeeded_seconds, store.succeeded_timed)
    assert (told["queued_jobs_count"], told["active_jobs_count"], told["total_jobs"]) == (1, 1, 4)
    assert (told["success_rate"], told["average_processing_time"]) == (0.5, 4.0)


@pytest.mark.parametrize("overwrite", [True, False])
def test_whether_an_output_may_be_replaced(overwrite: bool) -> None:
    body = {"input_file": "a", "output_file": "b.mp4", "conversion_type": "video_to_mp4"}
    given = parse_convert(orjson.dumps(body | {"overwrite": overwrite}), ())
    assert given.spec.overwrite is overwrite
    assert parse_convert(orjson.dumps(body), ()).spec.overwrite is None
    wrong: Any
    for wrong in ("false", 0, []):
        with pytest.raises(ApiError, match="overwrite: must be true or false"):
            parse_convert(orjson.dumps(body | {"overwrite": wrong}), ())


def test_new_entries_come_in_the_place_of_those_that_are_made() -> None:
    old, one, two, three = ({"job_id": name} for name in ("old", "one", "two", "three"))
    assert in_turn([None, old, None], [one, two]) == [one, old, two]
    # A profile that was resolved meanwhile has more outputs.
    assert in_turn([None], [one, two, three]) == [one, two, three]
    assert in_turn([old], []) == [old]


def test_outputs_that_the_api_server_has_dropped_are_told() -> None:
    with pytest.raises(ApiError, match="apply the CRDs") as refused:
        in_turn([None, None], [{"job_id": "pruned"}])
    assert refused.value.code == 503
