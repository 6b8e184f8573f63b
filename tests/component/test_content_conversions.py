"""Rules of the form of earlier releases: the content pipeline makes a ConversionJob per output."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.component.support import FakeApi
from tests.component.test_content import (
    AVI,
    BASE,
    FOLDER,
    JOBS,
    MOV,
    PNG,
    RULES,
    end,
    get,
    names,
    outputs,
    post,
    statuses,
    together,
)
from tests.component.test_gateway import gateway as any_gateway

EARLIER = RULES.replace("    outputs:", "    conversions:")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules of an earlier release."""
    return rules(tmp_path_factory.mktemp("rules"), "", "")


def rules(folder: Path, old: str, new: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(EARLIER.replace(old, new) if old else EARLIER, encoding="utf-8")
    return file


def gateway(api: FakeApi, file: Path) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return any_gateway(api, gateway_content_rules=file)


async def test_a_video_gets_a_preview_and_a_picture(api: FakeApi, file: Path) -> None:
    async with gateway(api, file) as client:
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


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_repeated_call_completes_what_another_began(
    api: FakeApi, file: Path, carried_out: bool
) -> None:
    async with gateway(api, file) as one, gateway(api, file) as two:
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


async def test_calls_at_the_same_time_give_the_same_conversions(api: FakeApi, file: Path) -> None:
    async with gateway(api, file) as one, gateway(api, file) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            calls = [post(client) for client in (one, two) for _ in range(5)]
            first, *others = await together(hold, *calls)
        assert all(names(other) == names(first) for other in others)
        assert len(api.objects("conversionjobs")) == 2


async def test_two_sources_with_one_output_keep_their_extensions_apart(
    api: FakeApi, file: Path
) -> None:
    async with gateway(api, file) as one, gateway(api, file) as two:
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


async def test_the_second_source_keeps_its_name_once_the_first_is_gone(
    api: FakeApi, file: Path
) -> None:
    async with gateway(api, file) as client:
        mov, avi = await post(client), await post(client, AVI)
        assert outputs(avi) == ["a.avi_preview.mp4", "a.avi_thumb.jpg"]
        for name in names(mov):
            api.delete("conversionjobs", name)
        assert await post(client, AVI) == avi
        # The limit: what is gone is forgotten.
        for name in names(avi):
            api.delete("conversionjobs", name)
        assert outputs(await post(client, AVI)) == outputs(mov)


async def test_an_uploaded_file_is_not_replaced(api: FakeApi, file: Path) -> None:
    async with gateway(api, file) as client:
        await post(client, AVI | {"file_path": f"{FOLDER}/a_preview.mp4"})
        assert outputs(await post(client)) == ["a.mov_preview.mp4", "a_thumb.jpg"]


async def test_a_retry_starts_the_failed_ones_once(api: FakeApi, file: Path) -> None:
    async with gateway(api, file) as one, gateway(api, file) as two:
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


async def test_cancelled_ones_are_started_again_when_that_is_asked_for(
    api: FakeApi, file: Path
) -> None:
    async with gateway(api, file) as client:
        preview, picture = names(await post(client))
        end(api, preview, "Failed")
        end(api, picture, "Cancelled")
        again = await post(client, MOV, "?retry=failed&retry=cancelled")
        assert statuses(again) == ("running", ["running", "running"])
        assert not {preview, picture} & {*names(again)}


async def test_a_changed_rule_makes_what_it_changes_anew(
    api: FakeApi, file: Path, tmp_path: Path
) -> None:
    async with gateway(api, file) as one:
        before = await post(one)
        changed = rules(tmp_path, "720p", "480p")
        async with gateway(api, changed) as two:
            after = await post(two)
            assert await post(two) == after
        assert outputs(after) == outputs(before)
        assert (names(after)[0] != names(before)[0], names(after)[1]) == (True, names(before)[1])
        options = api.get("conversionjobs", names(after)[0])["spec"]["options"]
        assert options["resolution"] == "480p"
        assert await get(one) == after


async def test_replicas_with_different_rules_both_get_theirs(
    api: FakeApi, file: Path, tmp_path: Path
) -> None:
    changed = rules(tmp_path, "300x300", "400x400")
    async with gateway(api, file) as one, gateway(api, changed) as two:
        with api.faults.hold(verb="create", **JOBS) as hold:
            made = await together(hold, post(one, PNG), post(two, PNG))
        assert names(made[0]) != names(made[1])
        sizes = [
            api.get("conversionjobs", name)["spec"]["options"]["size"]
            for answer in made
            for name in names(answer)
        ]
        assert sizes == ["300x300", "400x400"]
