"""Several outputs, profiles and dry runs over HTTP, with an API server in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2 as httpx
import pytest

from conversion_operator.api.names import CALLER_PREFIXES_ANNOTATION
from conversion_operator.cluster.conversions import ConversionClient
from converter_gateway.app import create_app
from converter_gateway.settings import GatewaySettings
from mynetwork_converter import AsyncClient, ConverterError, Output
from tests.component.support import FakeApi
from tests.component.support.api import crd_of_this_release
from tests.component.support.tools import configuration
from tests.component.test_gateway import BASE, BODY, gateway
from tests.component.test_openapi import validator

SHARED, STORAGE = "/opt/my-network/shared", "/opt/my-network/storage"
THUMBNAIL = {
    "conversion_type": "extract_thumbnail",
    "output_file": f"{STORAGE}/a.jpg",
    "options": {"size": "64x64"},
}
SOUND = {"conversion_type": "audio_to_mp3", "output_file": "out/a.mp3", "optional": True}
FILM = {"conversion_type": "video_to_mp4", "output_file": f"{SHARED}/a.mp4", "options": []}
SEVERAL = {"input_file": f"{SHARED}/in/a.mov", "outputs": [THUMBNAIL, SOUND, FILM]}
PROFILE = {"input_file": f"{STORAGE}/a.mov", "profile": "web-video", "queue": "uploads"}
FACTS = {
    "state": "Succeeded",
    "size": 10,
    "sha256": "a" * 64,
    "container": "jpeg",
    "width": 64,
    "height": 36,
    "durationSeconds": "1.500",
    "warnings": ["No audio."],
}

Answer = dict[str, Any]


def end(api: FakeApi, name: str, phase: str, **status: Any) -> None:
    told = {"phase": phase, "reason": "R", "message": "why", "conditions": []} | status
    api.mutate("conversionjobs", name, lambda obj: obj.update(status=told))


async def start(client: httpx.AsyncClient, body: Answer, key: str = "") -> str:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await client.post(f"{BASE}/convert", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


async def told(client: httpx.AsyncClient, job: str) -> Answer:
    answer: Answer = (await client.get(f"{BASE}/status/{job}")).json()
    validator("JobStatus").validate(answer)
    return answer


async def test_several_outputs_are_one_conversion_with_the_callers_paths(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = await start(client, SEVERAL | {"queue": "uploads", "overwrite": False})
        assert api.get("conversionjobs", job)["spec"] == {
            "inputFile": "/in/a.mov",
            "outputs": [
                {
                    "conversionType": "extract_thumbnail",
                    "outputFile": "/storage/a.jpg",
                    "options": {"size": "64x64"},
                },
                {"conversionType": "audio_to_mp3", "outputFile": "out/a.mp3", "optional": True},
                {"conversionType": "video_to_mp4", "outputFile": "/a.mp4"},
            ],
            "queue": "uploads",
            "overwrite": False,
        }
        waiting = await told(client, job)
        assert waiting["outputs"] == [
            {
                "conversion_type": "extract_thumbnail",
                "output_file": f"{STORAGE}/a.jpg",
                "state": "Pending",
            },
            {
                "conversion_type": "audio_to_mp3",
                "output_file": "out/a.mp3",
                "optional": True,
                "state": "Pending",
            },
            {
                "conversion_type": "video_to_mp4",
                "output_file": f"{SHARED}/a.mp4",
                "state": "Pending",
            },
        ]
        assert not {"output_file", "conversion_type", "plan", "dry_run"} & waiting.keys()
        assert waiting["input_file"] == SEVERAL["input_file"]
        failed = {"state": "Failed", "reason": "NoAudio", "message": "no audio"}
        end(api, job, "Failed", outputs=[FACTS, failed])
        ended = await told(client, job)
        assert [output["state"] for output in ended["outputs"]] == [
            "Succeeded",
            "Failed",
            "Pending",
        ]
        picture, sound, _ = ended["outputs"]
        assert (picture["size"], picture["sha256"], picture["duration_seconds"]) == (
            10,
            "a" * 64,
            1.5,
        )
        assert (picture["container"], picture["width"], picture["height"]) == ("jpeg", 64, 36)
        assert picture["warnings"] == ["No audio."]
        assert (sound["reason"], sound["message"]) == ("NoAudio", "no audio")
        assert ended["error"] == "why"


async def test_events_and_lists_have_the_outputs(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = await start(client, SEVERAL)
        end(api, job, "Running", outputs=[FACTS])
        active = (await client.get(f"{BASE}/active")).json()
        validator("ActiveJobs").validate(active)
        assert active["active_jobs"][0]["outputs"][0]["size"] == 10
        stream = (await client.get(f"{BASE}/events?job_id={job}")).text
        assert f'"output_file":"{STORAGE}/a.jpg","state":"Succeeded","size":10' in stream


async def test_a_profile_is_named_and_its_outputs_are_told_when_it_is_read(api: FakeApi) -> None:
    async with gateway(api) as client:
        job = await start(client, PROFILE)
        assert api.get("conversionjobs", job)["spec"] == {
            "inputFile": "/storage/a.mov",
            "profile": "web-video",
            "queue": "uploads",
        }
        before = await told(client, job)
        assert (before["profile"], "outputs" in before) == ("web-video", False)
        resolved = [
            {"conversionType": "extract_thumbnail", "outputFile": "/storage/a_thumb.jpg"},
            {"conversionType": "audio_to_mp3", "outputFile": "/web/a.mp3", "optional": True},
        ]
        end(api, job, "Succeeded", outputs=[FACTS, FACTS], resolved={"outputs": resolved})
        after = await told(client, job)
        assert [output["output_file"] for output in after["outputs"]] == [
            f"{STORAGE}/a_thumb.jpg",
            f"{SHARED}/web/a.mp3",
        ]
        assert after["outputs"][1]["optional"] is True


@pytest.mark.parametrize("body", [BODY, SEVERAL])
async def test_a_dry_run_has_a_plan(api: FakeApi, body: Answer) -> None:
    async with gateway(api) as client:
        job = await start(client, body | {"dry_run": True})
        assert api.get("conversionjobs", job)["spec"]["dryRun"] is True
        before = await told(client, job)
        assert (before["dry_run"], {"plan", "outputs"} & before.keys()) == (True, set())
        plan = {
            "action": "Encode",
            "videoCodec": "h264",
            "memory": 5,
            "estimatedSeconds": "2.500",
            "estimatedSize": 7,
        }
        skip = {"action": "Skip", "reason": "NoAudio", "message": "no audio"}
        count = len(body.get("outputs", [body]))
        end(api, job, "Succeeded", plan=[plan, skip, plan][:count])
        after = await told(client, job)
        assert len(after["plan"]) == count
        first = after["plan"][0]
        asked = body.get("outputs", [body])[0]
        assert (first["output_file"], first["conversion_type"]) == (
            asked["output_file"],
            asked["conversion_type"],
        )
        assert (first["action"], first["estimated_seconds"], first["estimated_size"]) == (
            "Encode",
            2.5,
            7,
        )
        assert count == 1 or after["plan"][1]["reason"] == "NoAudio"


@pytest.mark.parametrize("body", [SEVERAL, PROFILE, BODY | {"dry_run": True}])
async def test_one_key_is_one_conversion(api: FakeApi, body: Answer) -> None:
    changes: list[Answer] = [
        {"queue": "other"},
        {"dry_run": not body.get("dry_run")},
        {"input_file": f"{SHARED}/in/b.mov"},
    ]
    if "outputs" in body:
        changes += [
            {"outputs": body["outputs"][:2]},
            {"outputs": body["outputs"][::-1]},
            # The same file by another of its paths.
            {"outputs": [THUMBNAIL | {"output_file": f"{SHARED}/storage/a.jpg"}, SOUND, FILM]},
        ]
    if "profile" in body:
        changes.append({"profile": "other"})
    async with gateway(api) as one, gateway(api) as two:
        jobs = await asyncio.gather(*(start(each, body, "k") for each in (one, two, one)))
        assert len({*jobs}) == 1
        assert len(api.objects("conversionjobs")) == 1
        for change in changes:
            answer = await two.post(
                f"{BASE}/convert", json=body | change, headers={"Idempotency-Key": "k"}
            )
            assert answer.status_code == 409, change
        assert len(api.objects("conversionjobs")) == 1


async def test_more_mapped_folders_make_no_other_request(api: FakeApi) -> None:
    """They change how outputs of a profile are named, which nobody has asked for."""
    paths = f"{SHARED}=/,{STORAGE}=/storage"
    async with (
        gateway(api, gateway_paths=paths) as one,
        gateway(api, gateway_paths=paths + ",/mnt/web=/web") as two,
    ):
        for body in (PROFILE, SEVERAL):
            key = str(len(body))
            assert await start(one, body, key) == await start(two, body, key)


async def test_the_paths_of_eight_outputs_take_little_room(api: FakeApi) -> None:
    outputs = [
        {
            "conversion_type": "audio_to_mp3",
            "output_file": f"{STORAGE}/{n}/{'é' * 900}.mp3",
        }
        for n in range(8)
    ]
    async with gateway(api) as client:
        job = await start(client, {"input_file": "a.mov", "outputs": outputs})
        annotations = api.get("conversionjobs", job)["metadata"]["annotations"]
        assert len(annotations[CALLER_PREFIXES_ANNOTATION]) < 100
        names = [output["output_file"] for output in (await told(client, job))["outputs"]]
        assert names == [output["output_file"] for output in outputs]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": []}, "outputs: must be a list of 1 to 8 outputs"),
        ({"outputs": None}, "outputs: must be a list of 1 to 8 outputs"),
        ({"outputs": [FILM] * 9}, "outputs: must be a list of 1 to 8 outputs"),
        ({"output_file": "a.mp4"}, "output_file: does not go together with outputs"),
        ({"profile": "web"}, "profile: does not go together with outputs"),
        (
            {"outputs": [FILM, THUMBNAIL | {"options": {"quality": 0}}]},
            "outputs[1].options.quality: must be an integer from 1 to 100",
        ),
        (
            {"outputs": [FILM, FILM | {"output_file": "a.mp4"}]},
            "outputs[1].output_file: must not be that of outputs[0]",
        ),
        ({"outputs": [SOUND]}, "outputs: at least one must not be optional"),
        (
            {"outputs": [FILM | {"output_file": "in/a.mp4"}], "input_file": "/in/a.mp4"},
            "input_file: must be relative or below",
        ),
        (
            {"outputs": [FILM | {"output_file": "in/a.mp4"}], "input_file": f"{SHARED}/in/a.mp4"},
            "outputs[0].output_file: must not be the input_file",
        ),
    ],
)
async def test_a_bad_request_reaches_no_api_server(
    api: FakeApi, change: Answer, message: str
) -> None:
    async with gateway(api) as client:
        answer = await client.post(f"{BASE}/convert", json=SEVERAL | change)
        assert (answer.status_code, answer.json()["error"][: len(message)]) == (400, message)
        assert not [one for one in api.audit.requests if one.verb == "create"]


async def test_the_python_client_starts_every_form(api: FakeApi) -> None:
    cluster = ConversionClient(configuration(api.url), "gateway")
    transport = httpx.ASGITransport(create_app(cluster, GatewaySettings(gateway_auth="network")))
    outputs: list[Output] = [
        {"conversion_type": "extract_thumbnail", "output_file": "a.jpg"},
        {"conversion_type": "audio_to_mp3", "output_file": "a.mp3", "optional": True},
    ]
    try:
        async with AsyncClient("http://127.0.0.1", transport=transport) as converter:
            several = await converter.convert("a.mov", outputs=outputs, queue="q", dry_run=True)
            assert api.get("conversionjobs", several)["spec"]["queue"] == "q"
            job = await converter.get_job_status(several)
            assert job["status"] == "running"
            assert job.get("dry_run")
            profile = await converter.convert("a.mov", profile="web", overwrite=False)
            assert api.get("conversionjobs", profile)["spec"]["overwrite"] is False
            single = await converter.convert_file("a", "b.mp3", "audio_to_mp3", dry_run=True)
            assert api.get("conversionjobs", single)["spec"]["dryRun"] is True
            outputs[1]["output_file"] = "a.wav"
            with pytest.raises(ConverterError, match=r"outputs\[1\]\.output_file: must end in"):
                await converter.convert("a.mov", outputs=outputs)
    finally:
        await cluster.close()


async def test_a_dry_run_under_an_older_crd_is_refused(api: FakeApi) -> None:
    """The API server would drop the field, and the conversion would write its output."""
    crd = crd_of_this_release()
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del root["properties"]["spec"]["properties"]["dryRun"]
    rules = root["properties"]["spec"]["x-kubernetes-validations"]
    rules[:] = [rule for rule in rules if "dryRun" not in rule["rule"]]
    await api.use_crd(crd)
    async with gateway(api) as client:
        answer = await client.post(f"{BASE}/convert", json=BODY | {"dry_run": True})
        assert answer.status_code == 503
        assert "the CRD in the cluster is older" in answer.text
        assert api.objects("conversionjobs") == []
        assert (await client.post(f"{BASE}/convert", json=BODY)).status_code == 200
