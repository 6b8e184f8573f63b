"""A client that is generated from the OpenAPI document makes every call of it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.listening import serving
from tests.component.support import NAMESPACE, FakeApi

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
PACKAGE = "generated_converter_client"
CALLER = f"system:serviceaccount:{NAMESPACE}:web"
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
OPERATOR = "my-network-converter"
QUEUE = {
    "apiVersion": "converter.mynetwork.io/v1alpha1",
    "kind": "ConversionQueue",
    "metadata": {"name": "bulk", "namespace": OPERATOR},
    "spec": {},
}
FILE = "/opt/my-network/storage/a.mov"


class Generated:
    """The generated package, and the operations that were called."""

    def __init__(self, url: str) -> None:
        client = importlib.import_module(f"{PACKAGE}.client")
        self.models = importlib.import_module(f"{PACKAGE}.models")
        self._client = client.AuthenticatedClient(base_url=url, token="caller")  # noqa: S106
        self.called: set[str] = set()

    async def call(self, group: str, operation: str, *arguments: Any, **named: Any) -> Any:
        """The parsed body of a response with the code 200."""
        return await self.fail(200, group, operation, *arguments, **named)

    async def fail(
        self, code: int, group: str, operation: str, *arguments: Any, **named: Any
    ) -> Any:
        """The parsed body of a response with another code."""
        name = f"{group}_{operation}"
        module = importlib.import_module(f"{PACKAGE}.api.{group}.{name}")
        response = await module.asyncio_detailed(*arguments, client=self._client, **named)
        assert response.status_code == code, response.content
        self.called.add(name)
        return response.parsed

    async def close(self) -> None:
        await self._client.get_async_httpx_client().aclose()


@pytest.fixture(scope="module", autouse=True)
def _generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.yaml"
    config.write_text("post_hooks: []\nliteral_enums: true\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--path", DOCUMENT, "--config", config, "--meta", "none"),
            *("--output-path", folder / PACKAGE),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


async def _call_for_the_page(client: Generated, api: FakeApi) -> None:
    """What the live page calls."""
    rights = await client.call("converter", "caller_rights")
    assert (rights.user, rights.namespaces) == (CALLER, [NAMESPACE])
    page = await client.call("converter", "conversions", phase=["Queued"], search="A.MOV")
    (one, *_) = page.conversions
    assert (page.counts["Queued"], one.queue) == (len(page.conversions), "default")
    details = await client.call("converter", "conversion", one.job_id)
    assert (details.input_file, details.attempts) == (FILE, [])
    api.mutate("conversionjobs", one.job_id, _fail)
    retry = await client.call("converter", "retry", one.job_id)
    assert (retry.status, "-retry-" in retry.job_id) == ("started", True)
    assert (await client.call("converter", "retry_failed", limit=5)).remaining == 0
    (bulk,) = (await client.call("converter", "list_queues")).queues
    held = await client.call("converter", "hold_queue", bulk.name, drain=True)
    resumed = await client.call("converter", "resume_queue", bulk.name)
    assert (held.stop_policy, resumed.stop_policy) == ("HoldAndDrain", "None")


def _fail(obj: dict[str, Any]) -> None:
    obj["status"] = {"phase": "Failed", "reason": "R", "message": "m", "conditions": []}


async def test_a_generated_client_makes_every_call(api: FakeApi) -> None:
    api.add_namespace(OPERATOR)
    api.create(QUEUE)
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    api.access.grant("caller", CALLER, EVERYTHING, NAMESPACE, (OPERATOR,))
    api.access.grant("caller", CALLER, EVERYTHING, OPERATOR)
    async with serving(api, "gateway", gateway_auth="token", gateway_stream_seconds=0.3) as replica:
        client = Generated(str(replica.base_url))
        models = client.models
        try:
            started = await client.call(
                *("converter", "convert"),
                body=models.VideoToMp4Request.from_dict(
                    {
                        "input_file": FILE,
                        "output_file": "/opt/my-network/storage/a.mp4",
                        "conversion_type": "video_to_mp4",
                        "options": {"resolution": 480, "start": 1.5},
                    }
                ),
                idempotency_key="k",
            )
            assert isinstance(started, models.JobStarted)
            job = await client.call("converter", "status", started.job_id)
            assert isinstance(job, models.JobStatus)
            assert (job.phase, job.input_file) == ("Queued", FILE)
            several = await client.call(
                *("converter", "convert"),
                body=models.OutputsRequest.from_dict(
                    {
                        "input_file": FILE,
                        "queue": "uploads",
                        "outputs": [
                            {"conversion_type": "extract_thumbnail", "output_file": "a.jpg"},
                            {
                                "conversion_type": "audio_to_mp3",
                                "output_file": "a.mp3",
                                "options": {"duration": 30},
                                "optional": True,
                            },
                        ],
                    }
                ),
            )
            job = await client.call("converter", "status", several.job_id)
            assert [one.output_file for one in job.outputs] == ["a.jpg", "a.mp3"]
            assert [one.state for one in job.outputs] == ["Pending", "Pending"]
            planned = await client.call(
                *("converter", "convert"),
                body=models.ProfileRequest(input_file=FILE, profile="web", dry_run=True),
            )
            job = await client.call("converter", "status", planned.job_id)
            assert (job.profile, job.dry_run) == ("web", True)
            for other in (several, planned):
                await client.call("converter", "cancel", other.job_id)
                api.delete("conversionjobs", other.job_id)
            unknown = await client.call("converter", "status", "unknown")
            assert isinstance(unknown, models.JobNotFound)
            active = await client.call("converter", "active")
            assert [one.job_id for one in active.active_jobs] == [started.job_id]
            queue = await client.call("converter", "queue")
            assert [(one.job_id, one.position) for one in queue.queue] == [(started.job_id, 1)]
            stats = await client.call("converter", "stats")
            assert (stats.total_jobs, stats.docker_sock_path) == (1, None)
            stream = await client.call("converter", "events", job_id=started.job_id)
            assert f'"job_id":"{started.job_id}"' in stream
            for operation, *index in (("logs",), ("outputs", 0), ("vtt", 0)):
                missing = await client.fail(404, "files", operation, started.job_id, *index)
                assert isinstance(missing, models.Error)
                assert missing.code in ("log_missing", "output_missing")
            body = models.ContentRequest(content_id=7, content_type="video", file_path=FILE)
            content = await client.call("content", "submit_content", body=body, retry=["failed"])
            found = await client.call("content", "get_content", "7")
            assert len(content.conversions) == len(found.conversions) == 2
            cancelled = await client.call("converter", "cancel", started.job_id)
            assert isinstance(cancelled, models.JobCancelled)
            await _call_for_the_page(client, api)
            for check in ("healthy", "ready"):
                assert (await client.call("health", check)).status == "ok"
        finally:
            await client.close()
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    operations = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    assert client.called == operations
