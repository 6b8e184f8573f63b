"""What the plugin decides: types, retries, timelines, counts, and what kubectl's errors mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from conversion_operator.api.reasons import REASONS
from kubectl_conversion import counts, data, guess, model, options, progress
from kubectl_conversion.describe import describe, timeline
from kubectl_conversion.guess import Target, UsageError
from kubectl_conversion.kubectl import Failure, KubectlError, classify, parse, parse_all, path
from kubectl_conversion.model import Conversion, in_order
from kubectl_conversion.retry import RETRY_OF, retry_name, retry_of
from kubectl_conversion.text import width
from media_converter.contract import ConversionType

NOW = datetime(2026, 11, 28, 12, 10, tzinfo=UTC)


def conversion(name: str = "film", spec: Any = None, **status: Any) -> Conversion:
    body = {"conversionType": "video_to_mp4", "inputFile": "a.mov", "outputFile": "a.mp4"}
    return model.parse(
        {
            "apiVersion": data.api_version(),
            "kind": "ConversionJob",
            "metadata": {
                "name": name,
                "namespace": "media",
                "uid": f"uid-of-{name}",
                "creationTimestamp": "2026-11-28T12:00:00Z",
            },
            "spec": spec or body,
            "status": status,
        }
    )


@pytest.mark.parametrize(
    ("file", "word", "kind", "output"),
    [
        ("in/film.mov", "mp4", "video_to_mp4", "in/film.mp4"),
        ("in/film.mp4", "mp4", "video_to_mp4", "in/film-converted.mp4"),
        ("/film.mp4", ".MP4", "video_to_mp4", "/film-converted.mp4"),
        ("in/film.mov", "thumbnail", "extract_thumbnail", "in/film_thumb.jpg"),
        ("in/film.mov", "jpg", "extract_thumbnail", "in/film_thumb.jpg"),
        ("in/film.mov", "webp", "extract_thumbnail", "in/film_thumb.webp"),
        ("photo.PNG", "webp", "image_resize", "photo.webp"),
        ("song.flac", "mp3", "audio_to_mp3", "song.mp3"),
        ("song.flac", "png", "audio_waveform", "song_waveform.png"),
        ("song.wav", "ogg", "audio_convert", "song.ogg"),
        ("song.wav", "info", "media_info", "song_info.json"),
        ("film.mov", "json", "media_info", "film_info.json"),
        ("unknown", "json", "media_info", "unknown_info.json"),
        ("song.mp3", "json", "audio_waveform", "song_waveform.json"),
        ("film.mov", "storyboard", "video_storyboard", "film_storyboard.jpg"),
        ("a.b/noext", "audio_to_mp3", "audio_to_mp3", "a.b/noext.mp3"),
    ],
)
def test_the_type_follows_from_the_output(file: str, word: str, kind: str, output: str) -> None:
    assert guess.targets(file, [word], [], "") == [Target(kind, output)]


def test_the_type_follows_from_the_path_of_an_output() -> None:
    assert guess.targets("a.mov", [], ["out/x.jpg"], "") == [
        Target("extract_thumbnail", "out/x.jpg")
    ]
    with pytest.raises(UsageError, match="add --to"):
        guess.targets("unknown", [], ["x.jpg"], "")
    with pytest.raises(UsageError, match="extract_thumbnail"):
        guess.targets("unknown", ["jpg"], [], "")
    with pytest.raises(UsageError, match="one --output"):
        guess.targets("a.mov", ["mp4", "mp3"], ["x.mp4"], "")


def test_every_type_of_the_operator_has_extensions() -> None:
    assert set(data.load()["types"]) == set(ConversionType)
    for kind in ConversionType:
        assert guess.type_of(kind, "") == kind


def test_a_word_that_is_no_type_is_a_profile() -> None:
    assert guess.is_profile("web-video")
    assert not any(map(guess.is_profile, ("mp4", "thumbnail", "jpg", "media_info", ".mp3")))


def test_options_go_to_the_types_that_have_them() -> None:
    chosen = guess.read_options(["resolution=720p", "time=1=2"])
    assert guess.options_for("video_to_mp4", chosen) == {"resolution": "720p"}
    guess.check_options(["video_to_mp4", "extract_thumbnail"], chosen)
    with pytest.raises(UsageError, match="no option 'time'; it has "):
        guess.check_options(["video_to_mp4"], chosen)
    with pytest.raises(UsageError, match="NAME=VALUE"):
        guess.read_options(["quality"])


@pytest.mark.parametrize("file", ["Ünï cödé.mov", "x" * 300, "...", "A_b C.tar.gz"])
def test_generated_names_are_names(file: str) -> None:
    name = guess.object_name(file, "abcde")
    assert len(name) <= 63
    assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in name)
    assert name[0].isalnum()


def test_a_retry_has_the_spec_and_one_name() -> None:
    spec = {"inputFile": "a", "profile": "web", "cancel": True, "suspend": True, "priority": 5}
    old = conversion(spec=spec, phase="Cancelled")
    made = retry_of(old)
    assert made["spec"] == {"inputFile": "a", "profile": "web", "priority": 5}
    assert made["metadata"]["annotations"] == {RETRY_OF: "uid-of-film"}
    assert retry_of(old) == made
    again = model.parse(made | {"metadata": made["metadata"] | {"uid": "second"}})
    assert retry_name(again) != made["metadata"]["name"]
    assert retry_name(again).count("-retry-") == 1


def test_names_of_retries_are_cut() -> None:
    name = retry_name(conversion("a" * 238 + "." + "b" * 14))
    assert len(name) <= 253
    assert name.startswith("a" * 238 + "-retry-")


OUTPUTS = [
    {"conversionType": "extract_thumbnail", "outputFile": "a.jpg"},
    {"conversionType": "video_to_mp4", "outputFile": "a.mp4"},
    {"conversionType": "audio_to_mp3", "outputFile": "a.mp3", "optional": True},
]


@pytest.mark.parametrize(
    ("phase", "states", "made"),
    [
        ("Failed", ["Succeeded", "Failed", "Pending"], ["a.mp4", "a.mp3"]),
        ("Failed", ["Succeeded", "Failed", "Skipped"], ["a.mp4"]),
        ("Failed", [], ["a.jpg", "a.mp4", "a.mp3"]),
        ("Cancelled", ["Succeeded", "Succeeded", "Pending"], ["a.mp3"]),
        ("Succeeded", ["Succeeded", "Succeeded", "Failed"], ["a.jpg", "a.mp4", "a.mp3"]),
    ],
)
def test_a_retry_makes_the_outputs_that_do_not_exist(
    phase: str, states: list[str], made: list[str]
) -> None:
    spec = {"inputFile": "a.mov", "outputs": OUTPUTS}
    outputs = [{"state": state} for state in states]
    chosen = retry_of(conversion(spec=spec, phase=phase, outputs=outputs))["spec"]["outputs"]
    assert [each["outputFile"] for each in chosen] == made
    assert not all(each.get("optional") for each in chosen)


def test_what_runs_comes_first_then_the_queue_then_the_newest_end() -> None:
    found = [
        conversion("old", phase="Failed", completionTime="2026-11-28T12:01:00Z"),
        conversion("new", phase="Succeeded", completionTime="2026-11-28T12:02:00Z"),
        conversion("second", phase="Queued", queuePosition=2),
        conversion("first", phase="Queued", queuePosition=1),
        conversion("last", phase="Queued"),
        conversion("now", phase="Running"),
        conversion("unseen"),
    ]
    order = [each.name for each in in_order(found)]
    assert order == ["now", "first", "second", "last", "unseen", "new", "old"]


@pytest.mark.parametrize("junk", [None, 5, [], "x", {"phase": 3, "attempts": {"a": 1}}])
def test_a_strange_object_is_no_error(junk: Any) -> None:
    read = model.parse({"metadata": {"name": "x"}, "spec": junk, "status": junk})
    assert read.phase == "Pending"
    assert describe(read, NOW, 80)


def test_a_timeline_has_all_attempts_in_order() -> None:
    attempts = [
        {"number": 2, "reason": "OutOfMemory", "message": "killed",
         "startTime": "2026-11-28T12:02:00Z", "completionTime": "2026-11-28T12:04:30Z"},
        {"number": 3, "startTime": "2026-11-28T12:05:00Z"},
    ]  # fmt: skip
    running = conversion(phase="Running", reason="Running", attempts=attempts,
                         startTime="2026-11-28T12:05:10Z")  # fmt: skip
    assert [each.text for each in timeline(running)] == [
        "created",
        "attempts 1 to 1 are no longer in the status",
        "attempt 2: its Job was created",
        "attempt 2 ended: OutOfMemory: killed (after 2m30s)",
        "attempt 3: its Job was created",
        "its container has started",
    ]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_description_has_the_cure_and_fits(columns: int) -> None:
    failed = conversion(phase="Failed", reason="NodeLost", message="x\x1b[2J", nodeName="n1")
    lines = describe(failed, NOW, columns)
    text = " ".join(" ".join(lines).split())
    assert "create a new ConversionJob" in text
    assert "kubectl conversion retry film -n media" in text
    assert "\x1b" not in text
    assert max(map(width, lines)) <= columns


def test_cures_have_the_names_of_the_conversion() -> None:
    words = {"NAMESPACE": "media", "NAME": "film"}
    assert "kubectl -n media patch convjob film --type" in data.cure("Suspended", **words)
    evil = data.cure("Suspended", NAMESPACE="$(reboot)", NAME="film")
    assert "$(reboot)" not in evil
    assert "later release" in data.cure("NewReason")
    assert set(data.load()["reasons"]) == set(REASONS)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Running", "progress": {"percent": 45, "speed": "2.31x", "etaSeconds": 130}},
         "45% 2.31x 2m10s left"),
        ({"phase": "Running"}, "running"),
        ({"phase": "Queued", "reason": "WaitingForSlot", "queuePosition": 3}, "#3 WaitingForSlot"),
        ({"phase": "Succeeded", "durationSeconds": "2.500"}, "done in 2.500s"),
        ({"phase": "Succeeded", "durationSeconds": 2, "durationMilliseconds": 2350},
         "done in 2.350s"),
        ({"phase": "Succeeded", "durationSeconds": 0}, "done"),
        ({"phase": "Failed", "reason": "DiskFull", "completionTime": "2026-11-28T12:09:00Z"},
         "DiskFull, 60s ago"),
    ],
)  # fmt: skip
def test_a_state_in_a_few_words(status: Any, shown: str) -> None:
    assert progress.state(conversion(**status), NOW) == shown


@pytest.mark.parametrize(("percent", "filled"), [(0, 0), (50, 10), (100, 20), (300, 20), (-5, 0)])
def test_a_bar_has_its_width(percent: int, filled: int) -> None:
    assert progress.bar(percent, 20) == "━" * filled + "─" * (20 - filled)


def test_counts_by_type() -> None:
    found = [
        conversion("a", phase="Succeeded", durationSeconds=2, outputSize=10),
        conversion("b", phase="Succeeded", durationSeconds=4, outputSize=10),
        conversion("c", phase="Failed", reason="DiskFull"),
        conversion("d", phase="Queued", reason="WaitingForSlot"),
    ]
    (row,) = counts.by_type(found)
    assert row == counts.TypeStats("video_to_mp4", 1, 0, 2, 1, 0, 3.0, 20)
    assert counts.reasons(found, "Failed") == [("DiskFull", 1)]


def test_shares_of_others_come_from_the_queue() -> None:
    queue = {
        "metadata": {"name": "bulk"},
        "spec": {"maxParallel": 2, "namespaces": [{"name": "b", "maxParallel": 1, "weight": 3}]},
        "status": {"namespaces": [{"name": "b", "queued": 2, "running": 1, "blocked": 1}]},
    }
    empty = {"metadata": {"name": "idle"}}
    spec = {"inputFile": "x", "conversionType": "t", "outputFile": "y", "queue": "bulk"}
    mine = [conversion(spec=spec, phase="Running"), conversion("d", spec=spec, phase="Failed")]
    assert counts.shares(mine, [queue, empty]) == [
        counts.Share("bulk", "b", 1, 3, limit=1, weight=3),
        counts.Share("bulk", "media", 1, 0, limit=2),
        counts.Share("idle", "", 0, 0),
    ]


@pytest.mark.parametrize(
    ("output", "failure"),
    [
        ('Error from server (NotFound): conversionjobs.converter.mynetwork.io "x" not found',
         Failure.NOT_FOUND),
        ("Error from server (NotFound): the server could not find the requested resource",
         Failure.NO_RESOURCE),
        ('Error from server (Forbidden): pods is forbidden: User "x" cannot', Failure.FORBIDDEN),
        ('Error from server (Forbidden): pods "x" is forbidden: exceeded quota: small',
         Failure.REJECTED),
        ("Error from server (Forbidden): unable to create new content in namespace media because "
         "it is being terminated", Failure.REJECTED),
        ("error: You must be logged in to the server (Unauthorized)", Failure.UNAUTHORIZED),
        ("Unable to connect to the server: getting credentials: exec: executable aws failed",
         Failure.UNAUTHORIZED),
        ("Unable to connect to the server: dial tcp: lookup x: no such host", Failure.UNREACHABLE),
        ("The connection to the server 10.0.0.1:6443 was refused - did you specify",
         Failure.UNREACHABLE),
        ("The connection to the server localhost:8080 was refused", Failure.NO_CONTEXT),
        ("error: current-context must exist in order to minify", Failure.NO_CONTEXT),
        ("Error from server (Conflict): object was modified", Failure.CONFLICT),
        ("something new", Failure.OTHER),
        ("", Failure.OTHER),
    ],
)  # fmt: skip
def test_what_an_error_of_kubectl_means(output: str, failure: Failure) -> None:
    error = classify(f"Warning: old API\nE1128 13:00:00.0 1 memcache.go:265] noise\n{output}\n")
    assert error.failure is failure
    assert "Warning" not in error.message
    assert error.message


def test_an_answer_that_is_no_object_is_an_error() -> None:
    for output in ("", "null", "[]", "<html>\x1b"):
        with pytest.raises(KubectlError) as caught:
            parse(output)
        assert "\x1b" not in str(caught.value)
    with pytest.raises(KubectlError):
        parse_all('{"a": 1} oops')
    assert parse_all('{"a": 1}\n{"kind": "List", "items": [{"b": 2}]}\n') == [{"a": 1}, {"b": 2}]


def test_names_cannot_change_a_path() -> None:
    assert path("conversionjobs", "a/../b", "x?y") == (
        "/apis/converter.mynetwork.io/v1alpha1/namespaces/a%2F..%2Fb/conversionjobs/x%3Fy"
    )


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("5m", 300), ("1h", 3600), ("7", 7), ("0", None), ("", None)]
)
def test_timeouts(text: str, value: float | None) -> None:
    assert options.seconds(text) == value


def test_a_retry_has_labels_and_annotations_but_not_those_of_other_programs() -> None:
    old = conversion(phase="Failed")
    texts = {"batch": "7", "argocd.argoproj.io/x": "a", "backup.example.com/restored": "b"}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    raw = {**old.raw, "metadata": {**old.raw["metadata"], "labels": texts}}
    raw["metadata"]["annotations"] = {"note": "x", "argocd.argoproj.io/y": "a"} | applied
    made = retry_of(model.parse(raw), {"backup.example.com/restored"})["metadata"]
    assert made["labels"] == {"batch": "7"}
    assert made["annotations"] == {"note": "x", RETRY_OF: "uid-of-film"}


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ({"state": "Sent", "attempts": 2}, "callback Sent after 2 tries"),
        ({"state": "Sent", "attempts": 1}, "callback Sent after 1 try"),
        ({"state": "Pending"}, "callback Pending"),
    ],
)
def test_a_callback_in_the_timeline(notify: Any, said: str) -> None:
    # A time without a zone is read as UTC, and not compared with others as it is.
    ended = conversion(phase="Failed", notify=notify | {"lastAttemptTime": "2026-11-28T12:05:00"})
    assert said in [each.text for each in timeline(ended)]


def test_a_file_and_a_folder_for_one_output_are_refused() -> None:
    with pytest.raises(UsageError, match="--output-file or --output-folder"):
        guess.targets("a.mov", ["mp4"], ["x.mp4"], "out")
    with pytest.raises(UsageError, match="one --output-file for"):
        guess.targets("a.mov", ["mp4", "mp3"], ["x.mp4"], "")
