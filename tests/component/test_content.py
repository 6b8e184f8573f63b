"""The content pipeline over an API server in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from converter_gateway.content_routes import ContentStatus
from converter_gateway.rules import BUILT_IN_FILE, RulesError
from tests.component.support import FakeApi
from tests.component.support.fault_types import Hold
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


def end(api: FakeApi, name: str, phase: str) -> None:
    why = {"phase": phase, "reason": "R", "message": "why", "conditions": []}
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


async def test_a_video_gets_a_preview_and_a_picture(api: FakeApi) -> None:
    async with gateway(api) as client:
        answer = await post(client, MOV | {"file_path": f"{FOLDER}/my.holiday.mov"})
        assert (answer["content_id"], answer["status"]) == ("7", "running")
        preview, picture = (api.get("conversionjobs", name) for name in names(answer))
        assert preview["spec"] == {
            "conversionType": "video_to_mp4",
            "inputFile": "/storage/7/my.holiday.mov",
            "outputFile": "/storage/7/my.holiday_preview.mp4",
            "options": {"quality": "medium", "resolution": "720p"},
        }
        assert picture["spec"]["outputFile"] == "/storage/7/my.holiday_thumb.jpg"
        told = answer["conversions"][0]
        assert (told["input_file"], told["output_file"], told["status"]) == (
            f"{FOLDER}/my.holiday.mov",
            f"{FOLDER}/my.holiday_preview.mp4",
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
        (name,) = names(answer)
        made = api.get("conversionjobs", name)["spec"]
        assert (made["conversionType"], made["options"]) == (kind, options)
        assert outputs(answer) == [output]


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
async def test_a_repeated_call_completes_what_another_began(
    api: FakeApi, carried_out: bool
) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.status(
            500, carried_out=carried_out, verb="create", skip=1, times=1, **JOBS
        ):
            broken = await one.post(BASE, json=MOV)
        assert (broken.status_code, "retry-after" in broken.headers) == (503, True)
        (first, *_) = before = names(await get(one))
        assert len(before) == 1 + carried_out
        end(api, first, "Succeeded")
        if not carried_out:
            assert statuses(await get(one)) == ("incomplete", ["completed"])
        whole = await post(two)
        assert statuses(whole) == ("running", ["completed", "running"])
        assert (names(whole)[0], len(api.objects("conversionjobs"))) == (first, 2)
        assert await post(one) == whole


async def test_calls_at_the_same_time_give_the_same_conversions(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            calls = [post(client) for client in (one, two) for _ in range(5)]
            first, *others = await together(hold, *calls)
        assert all(names(other) == names(first) for other in others)
        assert len(api.objects("conversionjobs")) == 2


async def test_one_file_by_two_of_its_paths_is_converted_once(api: FakeApi) -> None:
    elsewhere = [
        MOV | {"file_path": f"{p}storage/7/a.mov"} for p in ("", "/opt/my-network/shared/")
    ]
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            calls = [post(one), *(post(two, body) for body in elsewhere)]
            first, *others = await together(hold, *calls)
        assert all(names(other) == names(first) for other in others)
        assert len(api.objects("conversionjobs")) == 2


# Sources whose outputs would be one file


async def test_two_sources_with_one_output_keep_their_extensions_apart(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            mov, avi = await together(hold, post(one), post(two, AVI))
        possible = [
            ["a_preview.mp4", "a.mov_preview.mp4", "a.avi_preview.mp4"],
            ["a_thumb.jpg", "a.mov_thumb.jpg", "a.avi_thumb.jpg"],
        ]
        # Who comes first has the plain name, of each output.
        for (plain, of_mov, of_avi), *got in zip(possible, outputs(mov), outputs(avi), strict=True):
            assert got in ([plain, of_avi], [of_mov, plain])
        assert await post(one, AVI) == avi
        assert await post(two) == mov
        assert len(api.objects("conversionjobs")) == 4


async def test_the_second_source_keeps_its_name_once_the_first_is_gone(api: FakeApi) -> None:
    async with gateway(api) as client:
        mov, avi = await post(client), await post(client, AVI)
        assert outputs(avi) == ["a.avi_preview.mp4", "a.avi_thumb.jpg"]
        for name in names(mov):
            api.delete("conversionjobs", name)
        assert await post(client, AVI) == avi
        # The limit: what is gone is forgotten.
        for name in names(avi):
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
        assert outputs(await post(client)) == ["a.mov_preview.mp4", "a_thumb.jpg"]


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


async def test_a_retry_starts_the_failed_ones_once(api: FakeApi) -> None:
    async with gateway(api) as one, gateway(api) as two:
        preview, picture = names(await post(one))
        end(api, preview, "Failed")
        end(api, picture, "Cancelled")
        assert statuses(await post(one)) == ("failed", ["failed", "cancelled"])
        with api.faults.hold(verb="create", **JOBS) as hold:
            retries = [post(client, MOV, "?retry=failed") for client in (one, two) for _ in "ab"]
            first, *others = await together(hold, *retries)
        assert statuses(first) == ("running", ["running", "cancelled"])
        assert names(first)[0] != preview
        assert names(first)[1] == picture
        assert all(names(other) == names(first) for other in others)
        assert names(await post(one, MOV, "?retry=failed")) == names(first)
        assert len(api.objects("conversionjobs")) == 3
        assert api.get("conversionjobs", preview)["status"]["phase"] == "Failed"
        assert names(await get(two)) == names(first)


async def test_cancelled_ones_are_started_again_when_that_is_asked_for(api: FakeApi) -> None:
    async with gateway(api) as client:
        preview, picture = names(await post(client))
        end(api, preview, "Failed")
        end(api, picture, "Cancelled")
        again = await post(client, MOV, "?retry=failed&retry=cancelled")
        assert statuses(again) == ("running", ["running", "running"])
        assert not {preview, picture} & {*names(again)}


async def test_a_changed_rule_makes_what_it_changes_anew(api: FakeApi, tmp_path: Path) -> None:
    async with gateway(api) as one:
        before = await post(one)
        file = rules(tmp_path, "720p", "480p")
        async with gateway(api, gateway_content_rules=file) as two:
            after = await post(two)
            assert await post(two) == after
        assert outputs(after) == outputs(before)
        assert (names(after)[0] != names(before)[0], names(after)[1]) == (True, names(before)[1])
        options = api.get("conversionjobs", names(after)[0])["spec"]["options"]
        assert options["resolution"] == "480p"
        assert await get(one) == after


async def test_replicas_with_different_rules_both_get_theirs(api: FakeApi, tmp_path: Path) -> None:
    file = rules(tmp_path, "300x300", "400x400")
    async with gateway(api) as one, gateway(api, gateway_content_rules=file) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            made = await together(hold, post(one, PNG), post(two, PNG))
        assert names(made[0]) != names(made[1])
        sizes = [
            api.get("conversionjobs", name)["spec"]["options"]["size"]
            for answer in made
            for name in names(answer)
        ]
        assert sizes == ["300x300", "400x400"]


async def test_wrong_rules_are_told_at_the_start(api: FakeApi, tmp_path: Path) -> None:
    file = rules(tmp_path, "720p", "721p")
    with pytest.raises(RulesError, match="rule video: "):
        async with gateway(api, gateway_content_rules=file):
            pass
