"""The content pipeline over an API server in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from conversion_operator.gateway.rules import BUILT_IN
from tests.component.support import FakeApi
from tests.component.test_gateway import gateway

BASE = "/api/v1/content"
FOLDER = "/opt/my-network/storage/7"
VIDEO = {"content_id": "7", "content_type": "video/quicktime", "file_path": f"{FOLDER}/a.mov"}
OTHER = VIDEO | {"content_id": "8", "file_path": f"{FOLDER}/a.avi"}
TEXT = BUILT_IN.read_text(encoding="utf-8")


async def post(client: httpx.AsyncClient, query: str = "", **body: Any) -> dict[str, Any]:
    answer = await client.post(BASE + query, json=VIDEO | body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def names(answer: dict[str, Any]) -> list[str]:
    return [conversion["job_id"] for conversion in answer["conversions"]]


def outputs(answer: dict[str, Any]) -> list[str]:
    return [Path(conversion["output_file"]).name for conversion in answer["conversions"]]


def end(api: FakeApi, name: str, phase: str) -> None:
    def ended(obj: dict[str, Any]) -> None:
        told = {"phase": phase, "reason": "R", "message": "why", "conditions": []}
        obj["status"] = told

    api.mutate("conversionjobs", name, ended)


async def test_a_video_gets_a_preview_and_a_picture(api: FakeApi) -> None:
    async with gateway(api) as client:
        answer = await post(client, file_path=f"{FOLDER}/my.holiday.mov")
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
        assert (await client.get(f"{BASE}/7")).json() == answer
