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
from conversion_operator.cluster.objects import ObjectList
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import naming
from converter_gateway.entries import overall_status
from converter_gateway.errors import ApiError
from converter_gateway.output_names import Source, split_name
from converter_gateway.owners import Owner, know, owner_of
from converter_gateway.pipeline import Content, NewJob, PlannedJob, choose_job, plan
from converter_gateway.records import record_of
from converter_gateway.rules import BUILT_IN_FILE, ContentRules, KeepExtension, parse_rules
from converter_gateway.store import Store
from media_converter.forbidden_paths import has_forbidden_character

TEXT = BUILT_IN_FILE.read_text(encoding="utf-8")
RULES = parse_rules(TEXT)
ALWAYS = RULES.model_copy(update={"keep_extension": KeepExtension.ALWAYS})
OTHER_SIZE = parse_rules(TEXT.replace("300x300", "400x400"))
# The form of earlier releases: a ConversionJob for each output.
APART = parse_rules(TEXT.replace("    outputs:", "    conversions:"))
PROFILE = parse_rules(
    "rules: [{name: video, contentTypes: [video], profile: web-video, queue: uploads}]"
)
MARK = "/a.png_" + naming.digest("9\0/a.png")[:16]


def content(path: str, content_type: str = "video", content_id: str = "7") -> Content:
    return Content(Source(content_id, path), content_type, path)


def planned_for(asked: Content, rules: ContentRules = RULES) -> PlannedJob:
    (planned,) = plan(asked, rules)
    return planned


def job(
    new: NewJob, phase: str = "", content_id: str = "7", status: Any = None, **meta: Any
) -> dict[str, Any]:
    """A ConversionJob of the pipeline, as the API server has it."""
    told = {"phase": phase, "reason": "R", "message": "m", "conditions": []} | (status or {})
    return {
        "metadata": {
            "name": new.name,
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "1",
            "annotations": {names.CONTENT_ID_ANNOTATION: content_id},
        }
        | meta,
        "spec": new.spec.to_json(),
    } | ({"status": told} if phase else {})


def owners(bodies: Iterable[dict[str, Any]]) -> list[Owner]:
    found = (owner_of(parse_conversion(body)) for body in bodies)
    return [owner for owner in found if owner]


def made(planned: PlannedJob, generation: int = 1, base: str = "") -> NewJob:
    """The ConversionJob with all outputs of a candidate, by default the first one."""
    candidate = next(
        one for one in planned.candidates if not base or base in (one.claim, *one.outputs)
    )
    found = zip(planned.recipe.outputs, candidate.outputs, strict=True)
    outputs = [recipe.output(path) for recipe, path in found]
    spec = planned.recipe.spec(planned.source.path, outputs)
    return NewJob(naming.content_name(candidate.claim, generation), spec)


def written(new: NewJob) -> list[str]:
    """The paths of the outputs."""
    return [output.output_file for output in new.spec.all_outputs()]


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
    for rules, jobs in ((RULES, [best] if best else []), (APART, [[one] for one in best])):
        planned = plan(content(path, content_type), rules)
        assert [[*one.candidates[0].outputs] for one in planned] == jobs


def paths(planned: PlannedJob, number: int = 0) -> list[str]:
    """The possible paths of one output."""
    return [candidate.outputs[number] for candidate in planned.candidates]


def test_what_is_fallen_back_to_keeps_the_extension_and_then_is_its_own() -> None:
    first = paths(planned_for(content("/s/a.mov")))
    assert first[:2] == ["/s/a_preview.mp4", "/s/a.mov_preview.mp4"]
    same = paths(planned_for(content("/s/a.mov", content_id="8")))
    assert same[:2] == first[:2]
    assert same[2] != first[2]
    assert paths(planned_for(content("/s/a.mov"), ALWAYS)) == first[1:]
    assert len(paths(planned_for(content("/s/a")))) == 2
    assert len(paths(planned_for(content("/s/a"), ALWAYS))) == 2


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
@given(CONTENTS, st.sampled_from([RULES, ALWAYS, APART]))
def test_outputs_are_possible_and_never_the_input(asked: Content, rules: ContentRules) -> None:
    planned = plan(asked, rules)
    assert planned == plan(asked, rules)
    outputs = [path for one in planned for possible in one.candidates for path in possible.outputs]
    assert len(set(outputs)) == len(outputs)
    for one in planned:
        assert one.candidates
        for candidate in one.candidates:
            for output, recipe in zip(candidate.outputs, one.recipe.outputs, strict=True):
                assert output != asked.source.path
                assert posixpath.dirname(output) == posixpath.dirname(asked.source.path)
                assert posixpath.normpath(output) == output
                assert len(posixpath.basename(output).encode()) <= 255
                assert output.endswith(recipe.suffix)
                assert recipe.output(output).output_file == output


@unhurried
@given(st.lists(CONTENTS, max_size=8), st.sampled_from([RULES, ALWAYS, APART]))
def test_different_sources_never_share_an_output(asked: list[Content], rules: ContentRules) -> None:
    jobs: dict[str, dict[str, Any]] = {}
    had: dict[tuple[Source, str], str] = {}
    for one in [*asked, *reversed(asked)]:
        for planned in plan(one, rules):
            found = owners(jobs.values())
            choice = choose_job(planned, know(found, {owner.source.path for owner in found}), ())
            if choice.new:
                body = job(choice.new, content_id=one.source.content_id)
                assert jobs.setdefault(choice.new.name, body) is body
            new = iter(written(choice.new) if choice.new else ())
            chosen = [kept.entry["output_file"] if kept else next(new) for kept in choice.outputs]
            for path, recipe in zip(chosen, planned.recipe.outputs, strict=True):
                assert had.setdefault((one.source, recipe.suffix), path) == path
    outputs: dict[str, Source] = {}
    for owner in owners(jobs.values()):
        for path in owner.outputs:
            assert outputs.setdefault(path, owner.source) == owner.source
    assert not outputs.keys() & {owner.source.path for owner in owners(jobs.values())}


def test_long_names_with_one_beginning_stay_different_and_whole() -> None:
    one, other = (paths(planned_for(content("/" + "é" * 125 + end + ".mov")))[0] for end in "ab")
    assert one != other
    assert len(one[1:].encode()) in (254, 255)
    assert one.encode().decode() == one
    assert one.startswith("/" + "é" * 100)


def test_a_folder_that_leaves_no_room_is_told() -> None:
    with pytest.raises(ApiError, match="file_path: too long"):
        plan(content("/" + "d" * 950 + "/a.mov"), RULES)
    assert plan(content("/" + "d" * 950 + "/a.mov", "text/plain"), RULES) == ()
    # The templates of a profile may name another folder.
    assert plan(content("/" + "d" * 950 + "/a.mov"), PROFILE)


# Who has an output

PICTURE = planned_for(content("/a.png", "image"))
FREE = made(PICTURE)
EARLIER = made(planned_for(content("/a.png", "image"), APART))


def chosen(
    planned: PlannedJob,
    *bodies: dict[str, Any],
    inputs: Iterable[str] = (),
    retry: Iterable[Phase] = (),
) -> tuple[list[str], str]:
    """The paths of all outputs, and the name of a new ConversionJob. No name: there is none."""
    choice = choose_job(planned, know(owners(bodies), set(inputs)), set(retry))
    new = iter(written(choice.new) if choice.new else ())
    outputs = [kept.entry["output_file"] if kept else next(new) for kept in choice.outputs]
    return outputs, choice.new.name if choice.new else ""


def name(claim: str, generation: int = 1) -> str:
    return naming.content_name(claim, generation)


@pytest.mark.parametrize("first", [FREE, EARLIER])
@pytest.mark.parametrize("phase", ["", "Queued", "Running", "Succeeded", "Failed", "Cancelled"])
def test_a_repeated_call_finds_what_there_is(phase: str, first: NewJob) -> None:
    assert chosen(PICTURE, job(first, phase)) == (["/a_thumb.jpg"], "")


@pytest.mark.parametrize("first", [FREE, EARLIER])
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
def test_a_retry_is_the_next_generation(
    phase: str, retry: list[Phase], again: bool, first: NewJob
) -> None:
    expected = (["/a_thumb.jpg"], name("/a", 2) if again else "")
    assert chosen(PICTURE, job(first, phase), retry=retry) == expected


def test_the_latest_generation_counts_and_ten_is_after_nine() -> None:
    nine, ten = job(made(PICTURE, 9), "Failed"), job(made(PICTURE, 10), "Running")
    assert chosen(PICTURE, ten, nine, retry=[Phase.FAILED])[1] == ""
    assert chosen(PICTURE, nine, retry=[Phase.FAILED])[1] == name("/a", 10)


def test_a_changed_rule_and_one_changed_back_are_new_generations() -> None:
    changed = planned_for(content("/a.png", "image"), OTHER_SIZE)
    first = job(FREE, "Succeeded")
    assert chosen(changed, first)[1] == name("/a", 2)
    second = job(made(changed, 2), "Running")
    assert chosen(changed, first, second)[1] == ""
    assert chosen(PICTURE, first, second)[1] == name("/a", 3)


def test_a_changed_priority_is_no_other_conversion() -> None:
    body = job(FREE)
    body["spec"] |= {"priority": 5, "ttlSecondsAfterFinished": 5, "queue": "q"}
    body["spec"]["outputs"][0]["optional"] = False
    assert chosen(PICTURE, body)[1] == ""


def test_one_that_is_being_deleted_does_not_count_as_there() -> None:
    body = job(FREE, deletionTimestamp="2026-01-02T03:04:05Z")
    assert chosen(PICTURE, body) == (["/a_thumb.jpg"], name("/a", 2))


def test_the_second_source_falls_back_and_finds_its_own_again() -> None:
    jpg = planned_for(content("/a.jpg", "image", "8"))
    first = job(FREE, "Failed")
    own = ["/a.jpg_thumb.jpg"]
    assert chosen(jpg, first, retry=[Phase.FAILED]) == (own, name("/a.jpg"))
    second = job(made(jpg, base="/a.jpg"), content_id="8")
    assert chosen(jpg, first, second) == (own, "")
    # Also when the better name is free by now.
    assert chosen(jpg, second) == (own, "")
    failed = job(made(jpg, base="/a.jpg"), "Failed", content_id="8")
    assert chosen(jpg, failed, retry=[Phase.FAILED]) == (own, name("/a.jpg", 2))


def test_the_same_file_under_another_content_id_has_outputs_of_its_own() -> None:
    eight, nine = (planned_for(content("/a.png", "image", each)) for each in "89")
    first = job(FREE)
    second = job(made(eight, base="/a.png"), content_id="8")
    assert chosen(eight, first) == (["/a.png_thumb.jpg"], name("/a.png"))
    assert chosen(nine, first, second) == ([MARK + "_thumb.jpg"], name(MARK))
    spec = eight.recipe.spec("/a.png", [eight.recipe.outputs[0].output(MARK + "_thumb.jpg")])
    third = job(NewJob(name("/a", 2), spec), content_id="8")
    with pytest.raises(ApiError, match="is the output of other content") as caught:
        chosen(nine, first, second, third)
    assert caught.value.code == 409


def test_an_uploaded_file_is_never_an_output() -> None:
    assert chosen(PICTURE, inputs=["/a_thumb.jpg"]) == (["/a.png_thumb.jpg"], name("/a.png"))
    assert chosen(PICTURE, job(FREE), inputs=["/a_thumb.jpg"])[1] == ""


@pytest.mark.parametrize("first", [FREE, EARLIER])
@pytest.mark.parametrize(
    "meta",
    [
        {"name": "mine"},
        {"name": name("/b_thumb.jpg")},
        {"name": name("/a_thumb.jpg") + "x"},
        {"name": name("/a", 0)},
        {"annotations": None},
    ],
)
def test_what_others_made_owns_no_output(meta: dict[str, Any], first: NewJob) -> None:
    assert owner_of(parse_conversion(job(first, **meta))) is None
    assert owner_of(parse_conversion(job(first))) is not None


def test_an_invalid_spec_and_a_dry_run_own_no_output() -> None:
    assert owner_of(parse_conversion(job(FREE) | {"spec": {}})) is None
    body = job(FREE)
    body["spec"]["dryRun"] = True
    assert owner_of(parse_conversion(body)) is None
    body["spec"]["dryRun"] = False
    assert owner_of(parse_conversion(body)) is not None


# Several outputs of one ConversionJob

FILM = planned_for(content("/a.mov"))
BOTH = ["/a_preview.mp4", "/a_thumb.jpg"]


def ended(phase: str, *states: str, **meta: Any) -> dict[str, Any]:
    """The ConversionJob of a film whose outputs have these states."""
    return job(made(FILM), phase, status={"outputs": [{"state": s} for s in states]}, **meta)


@pytest.mark.parametrize(
    ("phase", "states", "again"),
    [
        ("Failed", ["Failed", "Succeeded"], BOTH[:1]),
        ("Failed", ["Pending", "Failed"], BOTH),
        ("Failed", [], BOTH),
        ("Cancelled", ["Pending", "Succeeded"], BOTH[:1]),
        ("Running", ["Failed", "Succeeded"], []),
        ("Succeeded", ["Succeeded", "Failed"], BOTH[1:]),
        ("Succeeded", ["Succeeded", "Skipped"], []),
    ],
)
def test_a_retry_makes_only_what_is_missing(
    phase: str, states: list[str], again: list[str]
) -> None:
    body = ended(phase, *states)
    assert chosen(FILM, body) == (BOTH, "")
    known = know(owners([body]))
    new = choose_job(FILM, known, {Phase.FAILED, Phase.CANCELLED}).new
    assert (written(new) if new else []) == again
    assert new is None or new.name == name("/a", 2)


def test_a_conversion_that_makes_only_an_optional_output_needs_it() -> None:
    rules = parse_rules(
        TEXT.replace("suffix: _thumb.jpg", "suffix: _thumb.jpg\n        optional: true", 1)
    )
    film = planned_for(content("/a.mov"), rules)
    body = job(
        made(film), "Succeeded", status={"outputs": [{"state": "Succeeded"}, {"state": "Failed"}]}
    )
    new = choose_job(film, know(owners([body])), {Phase.FAILED}).new
    assert new
    assert new.spec.outputs
    (thumbnail,) = new.spec.outputs
    assert (thumbnail.output_file, thumbnail.optional) == ("/a_thumb.jpg", None)


def test_the_outputs_of_one_upload_have_one_base() -> None:
    """A picture has the thumbnail, so the film has neither of the preferred names."""
    first = job(FREE, content_id="8")
    own = ["/a.mov_preview.mp4", "/a.mov_thumb.jpg"]
    assert chosen(FILM, first) == (own, name("/a.mov"))


def test_outputs_that_do_not_clash_share_a_base_but_no_name() -> None:
    song = planned_for(content("/a.mp3", "audio"))
    assert chosen(PICTURE, job(made(song))) == (["/a_thumb.jpg"], name("/a", 2))


def test_what_earlier_releases_made_stays_and_only_the_rest_is_made() -> None:
    preview, picture = (made(one) for one in plan(content("/a.mov"), APART))
    assert (preview.name, picture.name) == (name(BOTH[0]), name(BOTH[1]))
    assert chosen(FILM, job(preview), job(picture, "Succeeded")) == (BOTH, "")
    assert chosen(FILM, job(preview)) == (BOTH, name("/a"))
    new = choose_job(FILM, know(owners([job(preview)])), ()).new
    assert new is not None
    assert written(new) == BOTH[1:]
    # The other way round, when the rules have the earlier form again.
    for number, planned in enumerate(plan(content("/a.mov"), APART)):
        assert chosen(planned, ended("Succeeded", "Succeeded", "Succeeded")) == ([BOTH[number]], "")
        failed = ended("Failed", "Failed", "Failed")
        again = chosen(planned, failed, retry=[Phase.FAILED])
        assert again == ([BOTH[number]], name(BOTH[number], 2))


def test_a_changed_output_alone_is_made_again() -> None:
    changed = planned_for(content("/a.mov"), parse_rules(TEXT.replace("720p", "480p")))
    new = choose_job(changed, know(owners([ended("Succeeded", "Succeeded", "Succeeded")])), ()).new
    assert new is not None
    assert (written(new), new.name) == (BOTH[:1], name("/a", 2))


# Profiles

WEB = planned_for(content("/a.mov"), PROFILE)
WEB_NAME = "7\0/a.mov"
RESOLVED: dict[str, Any] = {
    "resolved": {
        "outputs": [
            {"conversionType": "extract_thumbnail", "outputFile": "/a_thumb.jpg"},
            {"conversionType": "audio_to_mp3", "outputFile": "a.mp3"},
        ]
    }
}


def of_profile(phase: str = "", generation: int = 1, **status: Any) -> dict[str, Any]:
    new = NewJob(name(WEB_NAME, generation), WEB.recipe.spec("/a.mov"))
    return job(new, phase, status=status)


def test_a_profile_makes_one_conversion_with_the_queue_of_the_rule() -> None:
    new = choose_job(WEB, know([]), ()).new
    assert new is not None
    assert new.name == name(WEB_NAME)
    assert new.spec.to_json() == {
        "inputFile": "/a.mov",
        "profile": "web-video",
        "queue": "uploads",
    }


@pytest.mark.parametrize(
    ("phase", "status", "retry", "entries", "generation"),
    [
        ("", {}, [], 1, 0),
        ("Queued", RESOLVED, [], 2, 0),
        ("Failed", RESOLVED, [], 2, 0),
        ("Failed", RESOLVED, [Phase.FAILED], 1, 2),
        ("Failed", {}, [Phase.FAILED], 1, 2),
        ("Cancelled", RESOLVED, [Phase.FAILED], 2, 0),
        ("Succeeded", RESOLVED, [Phase.FAILED, Phase.CANCELLED], 2, 0),
    ],
)
def test_a_profile_is_used_once_and_again_for_a_retry(
    phase: str, status: dict[str, Any], retry: list[Phase], entries: int, generation: int
) -> None:
    choice = choose_job(WEB, know(owners([of_profile(phase, **status)])), retry)
    assert len(choice.outputs) == entries
    assert (choice.new.name if choice.new else "") == (
        name(WEB_NAME, generation) if generation else ""
    )


def test_another_profile_is_the_next_generation_of_all_for_the_source() -> None:
    body = of_profile("Succeeded", **RESOLVED)
    body["spec"]["profile"] = "other"
    new = choose_job(WEB, know(owners([body]), generation=4), ()).new
    assert new is not None
    assert new.name == name(WEB_NAME, 5)


def test_what_a_profile_makes_belongs_to_its_source() -> None:
    body = of_profile("Succeeded", **RESOLVED)
    assert [owner.outputs for owner in owners([body])] == [("/a_thumb.jpg", "/a.mp3")]
    assert chosen(PICTURE, body) == (["/a.png_thumb.jpg"], name("/a.png"))
    # The same source, with rules that list outputs again.
    assert chosen(FILM, body) == (BOTH, name("/a"))
    new = choose_job(FILM, know(owners([body])), ()).new
    assert new is not None
    assert written(new) == BOTH[:1]


def test_a_rule_may_say_when_it_starts_and_how_long_it_is_remembered() -> None:
    text = BUILT_IN_FILE.read_text(encoding="utf-8")
    of_rule = "{0}priority: -5\n{0}ttlSecondsAfterFinished: 9\n"
    of_image = "contentTypes: [image]\n"
    rule = text.replace(of_image, of_image + of_rule.format("    "))
    for rules in (
        rule.replace(of_image, of_image + "    queue: uploads\n"),
        text.replace("    outputs:", "    conversions:") + of_rule.format("        "),
    ):
        new = made(planned_for(content("/a.png", "image"), parse_rules(rules)))
        assert (new.spec.priority, new.spec.ttl_seconds_after_finished) == (-5, 9)
        assert new.spec.queue == ("uploads" if new.spec.outputs else None)


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
    entries: list[dict[str, Any]] = [{"status": each} for each in statuses]
    assert overall_status(entries, planned)[0] == status


@pytest.mark.parametrize(
    ("status", "overall"),
    [("failed", "completed"), ("skipped", "completed"), ("running", "running")],
)
def test_an_optional_output_fails_no_content(status: str, overall: str) -> None:
    entries: list[dict[str, Any]] = [
        {"status": "completed"},
        {"status": status, "optional": True},
    ]
    told = overall_status(entries, 2)
    assert told[0] == overall
    assert overall == "running" or told[1] == "1 of 2 conversions are complete"


async def test_the_store_knows_the_owner_of_every_output() -> None:
    for body in (ended("Running"), of_profile("Running", **RESOLVED)):
        conversion = parse_conversion(body)
        owner = owner_of(conversion)
        assert owner is not None
        store = Store()
        store.replace(ObjectList((record_of(conversion),), "9"))
        for path in owner.outputs:
            assert store.contents.writers(path) == {conversion.key.name}
        assert len(owner.outputs) == 2
        assert store.contents.claimants(owner.claim) == {conversion.key.name}
        store.replace(ObjectList((), "10"))
        assert not any(map(store.contents.writers, owner.outputs))
