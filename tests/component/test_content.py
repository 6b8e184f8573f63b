"""The content pipeline over an API server in this process."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from converter_gateway.content_routes import ContentStatus
from converter_gateway.rules import BUILT_IN_FILE, RulesError
from tests.component.support import FakeApi
from tests.component.support.fault_types import Hold
from tests.component.support.tools import conversion_job
from tests.component.test_gateway import gateway

BASE = "/api/v1/content"
FOLDER = "/opt/my-network/storage/7"
MOV = {"content_id": "7", "content_type": "video/quicktime", "file_path": f"{FOLDER}/a.mov"}
AVI = {"content_id": "8", "content_type": "video/x-msvideo", "file_path": f"{FOLDER}/a.avi"}
PNG = {"content_id": "9", "content_type": "image/png", "file_path": f"{FOLDER}/a.png"}
JOBS: dict[str, Any] = {"resource": "conversionjobs"}
RULES = BUILT_IN_FILE.read_text(encoding="utf-8")

Answer = dict[str, Any]


def checked(answer: httpx.Response) -> Answer:
    """An answer that is what the OpenAPI page says."""
    told: Answer = answer.json()
    ContentStatus.model_validate(told)
    return told


async def post(client: httpx.AsyncClient, body: Answer = MOV, query: str = "") -> Answer:
    answer = await client.post(BASE + query, json=body)
    assert answer.status_code == 200, answer.text
    return checked(answer)


async def get(client: httpx.AsyncClient, content_id: str = "7") -> Answer:
    answer = await client.get(f"{BASE}/{content_id}")
    assert answer.status_code == 200, answer.text
    return checked(answer)


def names(answer: Answer) -> list[str]:
    return [conversion["job_id"] for conversion in answer["conversions"]]


def outputs(answer: Answer) -> list[str]:
    return [Path(conversion["output_file"]).name for conversion in answer["conversions"]]


def statuses(answer: Answer) -> tuple[str, list[str]]:
    return answer["status"], [conversion["status"] for conversion in answer["conversions"]]


def end(api: FakeApi, name: str, phase: str, **status: Any) -> None:
    why = {"phase": phase, "reason": "R", "message": "why", "conditions": []} | status
    api.mutate("conversionjobs", name, lambda obj: obj.update(status=why))


def rules(folder: Path, old: str, new: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(RULES.replace(old, new), encoding="utf-8")
    return file


async def together(hold: Hold, *calls: Any) -> list[Answer]:
    """The answers of calls whose first creates reach the API server at the same time."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await hold.wait_hit(len(tasks))
    hold.release()
    answers: list[Answer] = await asyncio.gather(*tasks)
    return answers


# What a call starts


def made(api: FakeApi, answer: Answer) -> list[Answer]:
    """The specs of the conversions in an answer, each once."""
    return [api.get("conversionjobs", name)["spec"] for name in dict.fromkeys(names(answer))]


PAGE = """
rules:
  - name: video
    contentTypes: [video]
    outputs:
      - {conversionType: extract_thumbnail, suffix: _thumb.jpg, options: {time: 25%}}
      - {conversionType: video_to_preview, suffix: _preview.webp, options: {duration: 4}}
      - {conversionType: video_storyboard, suffix: _board.jpg, options: {interval: 5}}
      - {conversionType: media_info, suffix: _info.json}
"""


async def test_a_rule_makes_what_a_page_needs_from_one_conversion(
    api: FakeApi, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(PAGE, encoding="utf-8")
    async with gateway(api, gateway_content_rules=file) as client:
        answer = await post(client)
        (spec,) = made(api, answer)
        assert [(each["conversionType"], each["outputFile"]) for each in spec["outputs"]] == [
            ("extract_thumbnail", "/storage/7/a_thumb.jpg"),
            ("video_to_preview", "/storage/7/a_preview.webp"),
            ("video_storyboard", "/storage/7/a_board.jpg"),
            ("media_info", "/storage/7/a_info.json"),
        ]
        assert spec["outputs"][0]["options"] == {"time": "25%"}
        assert outputs(answer) == ["a_thumb.jpg", "a_preview.webp", "a_board.jpg", "a_info.json"]
        assert await post(client) == answer


async def test_an_upload_is_never_the_second_file_of_an_output(
    api: FakeApi, tmp_path: Path
) -> None:
    """Somebody has uploaded subtitles with the name that the WebVTT file would have."""
    file = tmp_path / "rules.yaml"
    file.write_text(PAGE.replace("[video]", "[video, text]"), encoding="utf-8")
    vtt = {"content_id": "6", "content_type": "text/vtt", "file_path": f"{FOLDER}/a_board.vtt"}
    async with gateway(api, gateway_content_rules=file) as client:
        await post(client, vtt)
        assert outputs(await post(client))[2] == "a.mov_board.jpg"


async def test_a_video_gets_a_preview_and_a_picture_from_one_conversion(api: FakeApi) -> None:
    async with gateway(api) as client:
        answer = await post(client, MOV | {"file_path": f"{FOLDER}/my.holiday.mov"})
        assert (answer["content_id"], answer["status"]) == ("7", "running")
        assert made(api, answer) == [
            {
                "inputFile": "/storage/7/my.holiday.mov",
                "outputs": [
                    {
                        "conversionType": "video_to_mp4",
                        "outputFile": "/storage/7/my.holiday_preview.mp4",
                        "options": {"quality": "medium", "resolution": "720p"},
                    },
                    {
                        "conversionType": "extract_thumbnail",
                        "outputFile": "/storage/7/my.holiday_thumb.jpg",
                    },
                ],
            }
        ]
        for told, suffix in zip(answer["conversions"], ("preview.mp4", "thumb.jpg"), strict=True):
            assert (told["input_file"], told["output_file"], told["status"]) == (
                f"{FOLDER}/my.holiday.mov",
                f"{FOLDER}/my.holiday_{suffix}",
                "running",
            )
        assert await get(client) == answer


@pytest.mark.parametrize(
    ("content_type", "output", "kind", "options"),
    [
        ("audio/flac", "a_preview.mp3", "audio_to_mp3", {"bitrate": "128k", "duration": 30}),
        ("image", "a_thumb.jpg", "image_resize", {"size": "300x300", "quality": 80}),
    ],
)
async def test_sounds_and_pictures_get_one_output(
    api: FakeApi, content_type: str, output: str, kind: str, options: Answer
) -> None:
    async with gateway(api) as client:
        answer = await post(client, MOV | {"content_type": content_type})
        (spec,) = made(api, answer)
        (only,) = spec["outputs"]
        assert (only["conversionType"], only["options"]) == (kind, options)
        assert outputs(answer) == [output]


async def test_a_relative_path_is_told_as_it_was_sent(api: FakeApi) -> None:
    async with gateway(api) as client:
        answer = await post(client, MOV | {"file_path": "storage/7/a.mov"})
        told = [conversion["output_file"] for conversion in answer["conversions"]]
        assert told == ["storage/7/a_preview.mp4", "storage/7/a_thumb.jpg"]


@pytest.mark.parametrize("content_id", ["7", "a/b ü", "x" * 256])
async def test_the_conversions_of_a_content_can_be_selected(api: FakeApi, content_id: str) -> None:
    """As docs/api.md says."""
    async with gateway(api) as client:
        answer = await post(client, MOV | {"content_id": content_id})
        await post(client, AVI)
        label = hashlib.sha256(content_id.encode()).hexdigest()[:40]
        found = [
            job["metadata"]["name"]
            for job in api.objects("conversionjobs")
            if job["metadata"]["labels"]["converter.mynetwork.io/content"] == label
        ]
        assert found == [*dict.fromkeys(names(answer))]


async def test_nothing_to_do_is_said_and_done(api: FakeApi) -> None:
    async with gateway(api) as client:
        answer = await post(client, MOV | {"content_type": "application/pdf"})
        assert answer == {
            "content_id": "7",
            "status": "nothing_to_do",
            "message": "nothing to do for application/pdf",
            "conversions": [],
        }
        assert not api.objects("conversionjobs")


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_call_whose_answer_was_lost_can_be_repeated(
    api: FakeApi, carried_out: bool
) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.status(500, carried_out=carried_out, verb="create", times=1, **JOBS):
            broken = await one.post(BASE, json=MOV)
        assert (broken.status_code, "retry-after" in broken.headers) == (503, True)
        assert len(api.objects("conversionjobs")) == carried_out
        whole = await post(two)
        assert statuses(whole) == ("running", ["running", "running"])
        assert len(api.objects("conversionjobs")) == 1
        assert await post(one) == whole


async def test_calls_at_the_same_time_give_the_same_conversions(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            calls = [post(client) for client in (one, two) for _ in range(5)]
            first, *others = await together(hold, *calls)
        assert all(names(other) == names(first) for other in others)
        assert len(api.objects("conversionjobs")) == 1


async def test_one_file_by_two_of_its_paths_is_converted_once(api: FakeApi) -> None:
    elsewhere = [
        MOV | {"file_path": f"{p}storage/7/a.mov"} for p in ("", "/opt/my-network/shared/")
    ]
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            calls = [post(one), *(post(two, body) for body in elsewhere)]
            first, *others = await together(hold, *calls)
        assert all(names(other) == names(first) for other in others)
        assert len(api.objects("conversionjobs")) == 1


# Sources whose outputs would be one file


@pytest.mark.parametrize("other", [AVI, PNG | {"content_id": "8"}])
async def test_two_sources_with_one_output_keep_their_extensions_apart(
    api: FakeApi, other: Answer
) -> None:
    """Also if only one of the outputs is the same: a film and a picture have a thumbnail."""
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            mov, second = await together(hold, post(one), post(two, other))
        # Who comes first has the plain names, and the other one has none of them.
        extension = Path(other["file_path"]).suffix
        suffixes = ["_preview.mp4", "_thumb.jpg"]
        of_other = suffixes[-len(outputs(second)) :]
        assert (outputs(mov), outputs(second)) in (
            (["a" + end for end in suffixes], [f"a{extension}{end}" for end in of_other]),
            (["a.mov" + end for end in suffixes], ["a" + end for end in of_other]),
        )
        assert await post(one, other) == second
        assert await post(two) == mov
        assert len(api.objects("conversionjobs")) == 2


async def test_two_sources_without_a_common_output_have_plain_names(api: FakeApi) -> None:
    song = MOV | {"content_type": "audio", "file_path": f"{FOLDER}/a.flac"}
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            first, second = await together(hold, post(one, song), post(two, PNG))
        assert (outputs(first), outputs(second)) == (["a_preview.mp3"], ["a_thumb.jpg"])
        assert {*names(first)} & {*names(second)} == set()
        assert await post(two, song) == first
        assert await post(one, PNG) == second


async def test_the_second_source_keeps_its_name_once_the_first_is_gone(api: FakeApi) -> None:
    async with gateway(api) as client:
        mov, avi = await post(client), await post(client, AVI)
        assert outputs(avi) == ["a.avi_preview.mp4", "a.avi_thumb.jpg"]
        for name in {*names(mov)}:
            api.delete("conversionjobs", name)
        assert await post(client, AVI) == avi
        # The limit: what is gone is forgotten.
        for name in {*names(avi)}:
            api.delete("conversionjobs", name)
        assert outputs(await post(client, AVI)) == outputs(mov)


async def test_rules_that_keep_every_extension_forget_nothing(api: FakeApi, tmp_path: Path) -> None:
    file = rules(tmp_path, "keepExtension: WhenTaken", "keepExtension: Always")
    async with gateway(api, gateway_content_rules=file) as client:
        assert outputs(await post(client)) == ["a.mov_preview.mp4", "a.mov_thumb.jpg"]
        assert outputs(await post(client, AVI)) == ["a.avi_preview.mp4", "a.avi_thumb.jpg"]


async def test_an_uploaded_file_is_not_replaced(api: FakeApi) -> None:
    async with gateway(api) as client:
        await post(client, AVI | {"file_path": f"{FOLDER}/a_preview.mp4"})
        assert outputs(await post(client)) == ["a.mov_preview.mp4", "a.mov_thumb.jpg"]


async def test_one_that_is_gone_while_it_is_looked_at_is_made_anew(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with (
            api.faults.hold(verb="create", **JOBS) as creates,
            api.faults.hold(verb="get", **JOBS) as looks,
        ):
            calls = [asyncio.ensure_future(post(client, PNG)) for client in (one, two)]
            await creates.wait_hit(2)
            creates.release()
            await looks.wait_hit()
            (made,) = api.objects("conversionjobs")
            api.delete("conversionjobs", made["metadata"]["name"])
            looks.release()
            winner, loser = await asyncio.gather(*calls)
        assert names(winner) == names(loser)
        assert len(api.objects("conversionjobs")) == 1


# Again


async def test_a_retry_makes_the_failed_output_once(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        (job, _) = names(await post(one))
        made_it = {"state": "Succeeded", "size": 5}
        failed = {"state": "Failed", "reason": "NoPicture", "message": "it is black"}
        end(api, job, "Failed", outputs=[made_it, failed])
        before = await post(one)
        assert statuses(before) == ("failed", ["completed", "failed"])
        assert before["conversions"][0]["output_size"] == 5
        assert before["conversions"][1]["error"] == "it is black"
        with api.faults.hold(verb="create", **JOBS) as hold:
            retries = [post(client, MOV, "?retry=failed") for client in (one, two) for _ in "ab"]
            first, *others = await together(hold, *retries)
        assert statuses(first) == ("running", ["completed", "running"])
        assert names(first)[0] == job != names(first)[1]
        (again,) = api.get("conversionjobs", names(first)[1])["spec"]["outputs"]
        assert again["outputFile"] == "/storage/7/a_thumb.jpg"
        assert all(names(other) == names(first) for other in others)
        assert names(await post(one, MOV, "?retry=failed")) == names(first)
        assert len(api.objects("conversionjobs")) == 2
        assert api.get("conversionjobs", job)["status"]["phase"] == "Failed"
        assert await get(two) == await post(one)


async def test_a_cancelled_one_is_started_again_when_that_is_asked_for(api: FakeApi) -> None:
    async with gateway(api) as client:
        (job, _) = names(await post(client))
        end(api, job, "Cancelled")
        assert names(await post(client, MOV, "?retry=failed")) == [job, job]
        again = await post(client, MOV, "?retry=failed&retry=cancelled")
        assert statuses(again) == ("running", ["running", "running"])
        assert len({*names(again)} - {job}) == 1


async def test_a_changed_rule_makes_what_it_changes_anew(api: FakeApi, tmp_path: Path) -> None:
    async with gateway(api) as one:
        before = await post(one)
        file = rules(tmp_path, "720p", "480p")
        async with gateway(api, gateway_content_rules=file) as two:
            after = await post(two)
            assert await post(two) == after
        assert outputs(after) == outputs(before)
        assert (names(after)[0] != names(before)[0], names(after)[1]) == (True, names(before)[1])
        (changed,) = api.get("conversionjobs", names(after)[0])["spec"]["outputs"]
        assert changed["options"]["resolution"] == "480p"
        assert await get(one) == after


async def test_replicas_with_different_rules_both_get_theirs(api: FakeApi, tmp_path: Path) -> None:
    file = rules(tmp_path, "300x300", "400x400")
    async with gateway(api) as one, gateway(api, gateway_content_rules=file) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            both = await together(hold, post(one, PNG), post(two, PNG))
        assert names(both[0]) != names(both[1])
        found = [spec["outputs"][0]["options"] for answer in both for spec in made(api, answer)]
        assert [options["size"] for options in found] == ["300x300", "400x400"]


async def test_what_earlier_releases_made_is_still_there(api: FakeApi, tmp_path: Path) -> None:
    """After an upgrade, nothing is converted again."""
    file = rules(tmp_path, "    outputs:", "    conversions:")
    async with gateway(api, gateway_content_rules=file) as earlier:
        before = await post(earlier)
        assert len({*names(before)}) == 2
    async with gateway(api) as client:
        assert await post(client) == before
        assert await get(client) == before
        preview, picture = names(before)
        end(api, preview, "Succeeded")
        end(api, picture, "Failed")
        after = await post(client, MOV, "?retry=failed")
        assert statuses(after) == ("running", ["completed", "running"])
        assert names(after)[0] == preview
        (spec,) = (api.get("conversionjobs", names(after)[1])["spec"],)
        assert [output["outputFile"] for output in spec["outputs"]] == ["/storage/7/a_thumb.jpg"]
        assert await get(client) == after


# Profiles, and what is no output


async def test_a_profile_makes_all_outputs(api: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules: [{name: video, contentTypes: [video], profile: web-video, queue: uploads}]"
    )
    async with gateway(api, gateway_content_rules=file) as one, gateway(api) as two:
        started = await post(one)
        (job,) = names(started)
        assert made(api, started) == [
            {"inputFile": "/storage/7/a.mov", "profile": "web-video", "queue": "uploads"}
        ]
        assert statuses(started) == ("running", ["running"])
        assert "output_file" not in started["conversions"][0]
        assert await get(one) == await post(one) == started
        resolved = [
            {"conversionType": "extract_thumbnail", "outputFile": "/storage/7/a_thumb.jpg"},
            {"conversionType": "video_to_mp4", "outputFile": "/web/a.mp4", "optional": True},
        ]
        failed = {"state": "Failed", "reason": "R", "message": "m"}
        done = [{"state": "Succeeded", "size": 3}, failed]
        end(api, job, "Succeeded", resolved={"outputs": resolved}, outputs=done)
        told = await post(one)
        assert statuses(told) == ("completed", ["completed", "failed"])
        assert [one["output_file"] for one in told["conversions"]] == [
            f"{FOLDER}/a_thumb.jpg",
            "/opt/my-network/shared/web/a.mp4",
        ]
        assert await get(one) == told
        # Others find that the outputs are taken.
        assert outputs(await post(two, PNG)) == ["a.png_thumb.jpg"]
        end(api, job, "Failed", resolved={"outputs": resolved}, outputs=done)
        again = await post(one, MOV, "?retry=failed")
        assert names(again) != [job]
        assert await get(one) == again


async def test_a_dry_run_takes_no_output(api: FakeApi) -> None:
    async with gateway(api) as client:
        (name,) = names(await post(client, PNG))
        planned = api.get("conversionjobs", name)
        api.delete("conversionjobs", name)
        kept = {key: planned["metadata"][key] for key in ("namespace", "labels", "annotations")}
        planned["metadata"] = kept | {"name": name.removesuffix("1") + "2"}
        planned["spec"]["dryRun"] = True
        api.create(planned)
        assert (await get(client, "9"))["status"] == "not_found"
        assert names(await post(client, PNG)) == [name]


async def test_a_name_that_somebody_else_has_taken_is_told(api: FakeApi) -> None:
    async with gateway(api) as client:
        (name,) = names(await post(client, PNG))
        api.delete("conversionjobs", name)
        api.create(conversion_job(name))
        answer = await client.post(BASE, json=PNG)
        assert (answer.status_code, name in answer.json()["error"]) == (409, True)


async def test_wrong_rules_are_told_at_the_start(api: FakeApi, tmp_path: Path) -> None:
    file = rules(tmp_path, "720p", "721p")
    with pytest.raises(RulesError, match="rule video: "):
        async with gateway(api, gateway_content_rules=file):
            pass
