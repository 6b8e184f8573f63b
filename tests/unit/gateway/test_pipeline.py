"""From content and rules to conversions, their outputs and who has them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_operator.api import names
from conversion_operator.api.status import Phase
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import naming
from converter_gateway.errors import ApiError
from converter_gateway.pipeline import (
    Choice,
    Content,
    OutputOwner,
    PlannedConversion,
    Source,
    choose_output,
    latest_owners,
    overall_status,
    owner_of,
    plan,
    split_name,
)
from converter_gateway.rules import BUILT_IN_FILE, ContentRules, KeepExtension, parse_rules
from media_converter.options import has_forbidden_character

RULES = parse_rules(BUILT_IN_FILE.read_text(encoding="utf-8"))
ALWAYS = RULES.model_copy(update={"keep_extension": KeepExtension.ALWAYS})
OTHER_SIZE = parse_rules(BUILT_IN_FILE.read_text(encoding="utf-8").replace("300x300", "400x400"))


def content(path: str, content_type: str = "video", content_id: str = "7") -> Content:
    return Content(Source(content_id, path), content_type, path)


def job(planned: PlannedConversion, choice: Choice, phase: str = "", **meta: Any) -> dict[str, Any]:
    """The ConversionJob that a choice makes, as the API server has it."""
    spec = planned.recipe.spec(planned.source.path, choice.output)
    told = {"phase": phase, "reason": "R", "message": "m", "conditions": []}
    return {
        "metadata": {
            "name": naming.content_name(choice.output, choice.generation),
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "1",
            "annotations": {names.CONTENT_ID_ANNOTATION: planned.source.content_id},
        }
        | meta,
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    } | ({"status": told} if phase else {})


def owners(bodies: Iterable[dict[str, Any]]) -> list[OutputOwner]:
    found = (owner_of(parse_conversion(body)) for body in bodies)
    return [owner for owner in found if owner]


# What a content's outputs are called


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        ("my.holiday.mov", "my.holiday", "mov"),
        ("a.mov", "a", "mov"),
        ("a", "a", ""),
        (".hidden", ".hidden", ""),
        (".hidden.mov", ".hidden", "mov"),
        ("..mov", "..mov", ""),
        ("a.", "a.", ""),
        ("a.mov.", "a.mov.", ""),
        ("a..mov", "a.", "mov"),
        ("...", "...", ""),
        ("日本.動画", "日本", "動画"),
        ("in 1.5 hours", "in 1", "5 hours"),
    ],
)
def test_only_the_last_suffix_is_taken_off(name: str, stem: str, extension: str) -> None:
    assert split_name(name) == (stem, extension)


@pytest.mark.parametrize(
    ("path", "content_type", "best"),
    [
        (
            "/in.d/my.holiday.mov",
            "video/mp4",
            ["/in.d/my.holiday_preview.mp4", "/in.d/my.holiday_thumb.jpg"],
        ),
        ("/a.wav", "audio", ["/a_preview.mp3"]),
        ("/s/a.png", "image/png", ["/s/a_thumb.jpg"]),
        ("/s/.hidden", "image/png", ["/s/.hidden_thumb.jpg"]),
        ("/s/a.pdf", "application/pdf", []),
        ("/s/a_preview.mp4", "video", ["/s/a_preview_preview.mp4", "/s/a_preview_thumb.jpg"]),
    ],
)
def test_the_outputs_lie_beside_the_file(path: str, content_type: str, best: list[str]) -> None:
    assert [planned.outputs[0] for planned in plan(content(path, content_type), RULES)] == best


def test_what_is_fallen_back_to_keeps_the_extension_and_then_is_its_own() -> None:
    first, _ = plan(content("/s/a.mov"), RULES)
    assert first.outputs[:2] == ("/s/a_preview.mp4", "/s/a.mov_preview.mp4")
    same, _ = plan(content("/s/a.mov", content_id="8"), RULES)
    assert same.outputs[:2] == first.outputs[:2]
    assert same.outputs[2] != first.outputs[2]
    always, _ = plan(content("/s/a.mov"), ALWAYS)
    assert always.outputs == first.outputs[1:]
    bare, _ = plan(content("/s/a"), RULES)
    assert len(bare.outputs) == 2


LETTERS = st.sampled_from("a.é日😀_-") | st.characters(
    codec="utf-8", exclude_characters="/"
).filter(lambda letter: not has_forbidden_character(letter))
SHORT = st.text(LETTERS, min_size=1, max_size=12)
LONG = st.builds(lambda head, times, tail: head * times + tail, SHORT, st.integers(1, 130), SHORT)
NAMES = st.builds("{}{}".format, SHORT | LONG, st.sampled_from(["", ".mov", ".mp4", "."])).filter(
    lambda name: name not in (".", "..")
)
FOLDERS = st.sampled_from(["/", "/s", "/a.b/c", "/" + "d" * 850, "/" + "é" * 430])
CONTENTS = st.builds(
    content,
    st.builds(posixpath.join, FOLDERS, NAMES),
    st.sampled_from(["video/mp4", "audio", "image"]),
    st.sampled_from(["7", "8"]),
).filter(lambda asked: len(asked.source.path) <= 1024)


# A machine that is busy makes an example slow, which is no fault of ours.
unhurried = settings(deadline=None)


@unhurried
@given(CONTENTS, st.sampled_from([RULES, ALWAYS]))
def test_outputs_are_possible_and_never_the_input(asked: Content, rules: ContentRules) -> None:
    planned = plan(asked, rules)
    assert planned == plan(asked, rules)
    outputs = [output for one in planned for output in one.outputs]
    assert len(set(outputs)) == len(outputs)
    assert all(one.outputs for one in planned)
    for one in planned:
        for output in one.outputs:
            assert output != asked.source.path
            assert posixpath.dirname(output) == posixpath.dirname(asked.source.path)
            assert posixpath.normpath(output) == output
            assert len(posixpath.basename(output).encode()) <= 255
            assert output.endswith(one.recipe.suffix)
            assert one.recipe.spec(asked.source.path, output).output_file == output


@unhurried
@given(st.lists(CONTENTS, max_size=8), st.sampled_from([RULES, ALWAYS]))
def test_different_sources_never_share_an_output(asked: list[Content], rules: ContentRules) -> None:
    jobs: dict[str, dict[str, Any]] = {}
    had: dict[tuple[Source, str], str] = {}
    for one in [*asked, *reversed(asked)]:
        for planned in plan(one, rules):
            found = owners(jobs.values())
            inputs = {owner.source.path for owner in found}
            choice = choose_output(planned, latest_owners(found), inputs, ())
            before = had.setdefault((one.source, planned.recipe.suffix), choice.output)
            assert choice.output == before
            body = job(planned, choice)
            assert jobs.setdefault(body["metadata"]["name"], body) == body
    outputs = {owner.output: owner.source for owner in owners(jobs.values())}
    assert not outputs.keys() & {owner.source.path for owner in owners(jobs.values())}
    for owner in owners(jobs.values()):
        assert outputs[owner.output] == owner.source


def test_long_names_with_one_beginning_stay_different_and_whole() -> None:
    one, other = (
        plan(content("/" + "é" * 125 + end + ".mov"), RULES)[0].outputs[0] for end in "ab"
    )
    assert one != other
    assert len(one[1:].encode()) in (254, 255)
    assert one.encode().decode() == one
    assert one.startswith("/" + "é" * 100)


def test_a_folder_that_leaves_no_room_is_told() -> None:
    with pytest.raises(ApiError, match="file_path: too long"):
        plan(content("/" + "d" * 950 + "/a.mov"), RULES)
    assert plan(content("/" + "d" * 950 + "/a.mov", "text/plain"), RULES) == ()


# Who has an output

PICTURE = plan(content("/a.png", "image"), RULES)[0]
FREE = Choice("/a_thumb.jpg", 1)


def chosen(
    planned: PlannedConversion,
    *bodies: dict[str, Any],
    inputs: Iterable[str] = (),
    retry: Iterable[Phase] = (),
) -> tuple[str, int, bool]:
    choice = choose_output(planned, latest_owners(owners(bodies)), set(inputs), set(retry))
    return choice.output, choice.generation, choice.owner is not None


@pytest.mark.parametrize("phase", ["", "Queued", "Running", "Succeeded", "Failed", "Cancelled"])
def test_a_repeated_call_finds_what_there_is(phase: str) -> None:
    assert chosen(PICTURE, job(PICTURE, FREE, phase)) == ("/a_thumb.jpg", 1, True)


@pytest.mark.parametrize(
    ("phase", "retry", "again"),
    [
        ("Failed", [Phase.FAILED], True),
        ("Cancelled", [Phase.FAILED], False),
        ("Cancelled", [Phase.FAILED, Phase.CANCELLED], True),
        ("Failed", [Phase.CANCELLED], False),
        ("Running", [Phase.FAILED, Phase.CANCELLED], False),
        ("Succeeded", [Phase.FAILED, Phase.CANCELLED], False),
        ("", [Phase.FAILED, Phase.CANCELLED], False),
    ],
)
def test_a_retry_is_the_next_generation(phase: str, retry: list[Phase], again: bool) -> None:
    expected = ("/a_thumb.jpg", 2, False) if again else ("/a_thumb.jpg", 1, True)
    assert chosen(PICTURE, job(PICTURE, FREE, phase), retry=retry) == expected


def test_the_latest_generation_counts_and_ten_is_after_nine() -> None:
    nine = job(PICTURE, Choice("/a_thumb.jpg", 9), "Failed")
    ten = job(PICTURE, Choice("/a_thumb.jpg", 10), "Running")
    assert chosen(PICTURE, ten, nine, retry=[Phase.FAILED]) == ("/a_thumb.jpg", 10, True)
    assert chosen(PICTURE, nine, retry=[Phase.FAILED]) == ("/a_thumb.jpg", 10, False)


def test_a_changed_rule_and_one_changed_back_are_new_generations() -> None:
    changed = plan(content("/a.png", "image"), OTHER_SIZE)[0]
    first = job(PICTURE, FREE, "Succeeded")
    assert chosen(changed, first) == ("/a_thumb.jpg", 2, False)
    second = job(changed, Choice("/a_thumb.jpg", 2), "Running")
    assert chosen(changed, first, second) == ("/a_thumb.jpg", 2, True)
    assert chosen(PICTURE, first, second) == ("/a_thumb.jpg", 3, False)


def test_a_changed_priority_is_no_other_conversion() -> None:
    body = job(PICTURE, FREE)
    body["spec"] |= {"priority": 5, "ttlSecondsAfterFinished": 5}
    assert chosen(PICTURE, body) == ("/a_thumb.jpg", 1, True)


def test_one_that_is_being_deleted_does_not_count_as_there() -> None:
    body = job(PICTURE, FREE, deletionTimestamp="2026-01-02T03:04:05Z")
    assert chosen(PICTURE, body) == ("/a_thumb.jpg", 2, False)


def test_the_second_source_falls_back_and_finds_its_own_again() -> None:
    jpg = plan(content("/a.jpg", "image", "8"), RULES)[0]
    first = job(PICTURE, FREE, "Failed")
    assert chosen(jpg, first, retry=[Phase.FAILED]) == ("/a.jpg_thumb.jpg", 1, False)
    second = job(jpg, Choice("/a.jpg_thumb.jpg", 1))
    assert chosen(jpg, first, second) == ("/a.jpg_thumb.jpg", 1, True)
    # Also when the better name is free by now.
    assert chosen(jpg, second) == ("/a.jpg_thumb.jpg", 1, True)


def test_the_same_file_under_another_content_id_has_outputs_of_its_own() -> None:
    eight = plan(content("/a.png", "image", "8"), RULES)[0]
    nine = plan(content("/a.png", "image", "9"), RULES)[0]
    first = job(PICTURE, FREE)
    second = job(eight, Choice("/a.png_thumb.jpg", 1))
    assert chosen(eight, first) == ("/a.png_thumb.jpg", 1, False)
    assert chosen(nine, first, second) == (nine.outputs[2], 1, False)
    third = job(eight, Choice(nine.outputs[2], 1))
    with pytest.raises(ApiError, match="is the output of other content") as caught:
        chosen(nine, first, second, third)
    assert caught.value.code == 409


def test_an_uploaded_file_is_never_an_output() -> None:
    assert chosen(PICTURE, inputs=["/a_thumb.jpg"]) == ("/a.png_thumb.jpg", 1, False)
    assert chosen(PICTURE, job(PICTURE, FREE), inputs=["/a_thumb.jpg"])[2]


@pytest.mark.parametrize(
    "meta",
    [
        {"name": "mine"},
        {"name": naming.content_name("/b_thumb.jpg", 1)},
        {"name": naming.content_name("/a_thumb.jpg", 1) + "x"},
        {"name": naming.content_name("/a_thumb.jpg", 0)},
        {"annotations": None},
    ],
)
def test_what_others_made_owns_no_output(meta: dict[str, Any]) -> None:
    assert owner_of(parse_conversion(job(PICTURE, FREE, **meta))) is None
    assert owner_of(parse_conversion(job(PICTURE, FREE))) is not None


def test_an_invalid_spec_owns_no_output() -> None:
    assert owner_of(parse_conversion(job(PICTURE, FREE) | {"spec": {}})) is None


def test_a_rule_may_say_when_it_starts_and_how_long_it_is_remembered() -> None:
    text = BUILT_IN_FILE.read_text(encoding="utf-8")
    more = "options: {size: 300x300, quality: 80}"
    rules = parse_rules(
        text.replace(more, f"{more}\n        priority: -5\n        ttlSecondsAfterFinished: 9")
    )
    (planned,) = plan(content("/a.png", "image"), rules)
    spec = planned.recipe.spec("/a.png", "/a_thumb.jpg")
    assert (spec.priority, spec.ttl_seconds_after_finished) == (-5, 9)


@pytest.mark.parametrize(
    ("statuses", "planned", "status"),
    [
        (["completed", "running"], 2, "running"),
        (["failed", "running"], 2, "running"),
        (["completed", "failed"], 2, "failed"),
        (["failed"], 2, "failed"),
        (["cancelled", "failed"], 2, "failed"),
        (["completed"], 2, "incomplete"),
        (["completed", "cancelled"], 2, "cancelled"),
        (["completed", "completed"], 2, "completed"),
        (["completed", "completed"], 0, "completed"),
    ],
)
def test_the_state_of_a_content(statuses: list[str], planned: int, status: str) -> None:
    assert overall_status(statuses, planned)[0] == status
