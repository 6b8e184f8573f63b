"""Logs and output files over the HTTP API."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2 as httpx
import pytest

from converter_gateway.file_server import app as file_app
from tests.component.listening import until_in_progress
from tests.component.support import FakeApi
from tests.component.volume_files import (
    BASE,
    CONTENT,
    MADE,
    NAMESPACE,
    SECRET,
    api_with_files,
    create,
    put_log,
)


async def test_an_output_is_downloaded(api: FakeApi, volume: Path) -> None:
    create(api)
    async with api_with_files(api, volume) as client:
        whole = await client.get(f"{BASE}/outputs/a/0")
        assert (whole.status_code, whole.content) == (200, CONTENT)
        assert {
            name: whole.headers[name] for name in ("content-type", "etag", "content-length")
        } == {
            "content-type": "video/mp4",
            "etag": f'"{"a" * 64}"',
            "content-length": str(len(CONTENT)),
        }
        assert whole.headers["x-content-type-options"] == "nosniff"
        assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert whole.headers["content-disposition"].startswith('inline; filename="a.mp4"')
        part = await client.get(f"{BASE}/outputs/a/0", headers={"Range": "bytes=5-14"})
        assert (part.status_code, part.content) == (206, CONTENT[5:15])
        assert part.headers["content-range"] == f"bytes 5-14/{len(CONTENT)}"
        beyond = await client.get(
            f"{BASE}/outputs/a/0", headers={"Range": f"bytes={len(CONTENT)}-"}
        )
        assert (beyond.status_code, beyond.content) == (416, b"")
        assert beyond.headers["content-range"] == f"bytes */{len(CONTENT)}"
        other = {"Range": "bytes=5-14", "If-Range": '"b"'}
        assert (await client.get(f"{BASE}/outputs/a/0", headers=other)).status_code == 200
        odd = {"Range": "bytes=0-1,5-6"}
        assert (await client.get(f"{BASE}/outputs/a/0", headers=odd)).status_code == 200


async def test_any_name_reaches_the_file_server_unchanged(api: FakeApi, volume: Path) -> None:
    name = "output/a +%2F&;=#?é \N{GRINNING FACE}.mp4"
    (volume / name).write_bytes(CONTENT)
    create(api, outputFile=name)
    async with api_with_files(api, volume) as client:
        assert (await client.get(f"{BASE}/outputs/a/0")).content == CONTENT


async def test_the_log_of_each_attempt(api: FakeApi, volume: Path) -> None:
    uid = create(api)
    for attempt in (1, 2):
        put_log(volume, uid, attempt, f"attempt {attempt}: <script> é\n")
    async with api_with_files(api, volume) as client:
        last = await client.get(f"{BASE}/logs/a")
        assert (last.status_code, last.text) == (200, "attempt 2: <script> é\n")
        assert last.headers["content-type"] == "text/plain; charset=utf-8"
        assert last.headers["x-content-type-options"] == "nosniff"
        assert last.headers["x-log-source"] == "volume"
        first = await client.get(f"{BASE}/logs/a?attempt=1")
        assert first.text == "attempt 1: <script> é\n"
        for text in ("0", "x", "1000000", "1/../2", "-1"):
            bad = await client.get(f"{BASE}/logs/a?attempt={text}")
            assert bad.status_code == 400, text


async def test_without_a_stored_log_there_is_the_end_of_the_last(
    api: FakeApi, volume: Path
) -> None:
    create(api)
    async with api_with_files(api, volume) as client:
        last = await client.get(f"{BASE}/logs/a")
        assert last.text.endswith("]\nthe end of the log\n")
        assert last.headers["x-log-source"] == "status"
        first = await client.get(f"{BASE}/logs/a?attempt=1")
        assert (first.status_code, first.json()["code"]) == (404, "log_missing")


async def test_the_log_of_a_conversion_that_runs(api: FakeApi, volume: Path) -> None:
    running = {**MADE, "phase": "Running", "output": None, "outputSize": None}
    uid = create(api, status={k: v for k, v in running.items() if v is not None})
    file = put_log(volume, uid, 2, "one\n")
    async with api_with_files(api, volume) as client:
        assert (await client.get(f"{BASE}/logs/a")).text == "one\n"
        with file.open("a") as log:
            log.write("two\n")
        assert (await client.get(f"{BASE}/logs/a")).text == "one\ntwo\n"
        made = await client.get(f"{BASE}/outputs/a/0")
        assert (made.status_code, made.json()["code"]) == (404, "output_missing")


async def test_what_is_new_in_a_log_is_read_alone(api: FakeApi, volume: Path) -> None:
    uid = create(api)
    file = put_log(volume, uid, 2, "one\n")
    async with api_with_files(api, volume) as client:

        async def get(first: int) -> httpx.Response:
            return await client.get(f"{BASE}/logs/a", headers={"Range": f"bytes={first}-"})

        assert (await get(4)).status_code == 416
        with file.open("a") as log:
            log.write("two\n")
        part = await get(4)
        assert (part.status_code, part.text, part.headers["x-log-source"]) == (
            206,
            "two\n",
            "volume",
        )
        assert part.headers["content-range"] == "bytes 4-7/8"
        file.unlink()
        part = await get(4)
        assert (part.status_code, part.headers["x-log-source"]) == (200, "status")


BOARD = {
    "conversionType": "video_storyboard",
    "outputFile": "output/board.x.jpg",
}


async def test_the_webvtt_file_of_a_storyboard(api: FakeApi, volume: Path) -> None:
    create(api, "board", {**MADE, "output": {"sha256": "a" * 64, "container": "jpeg"}}, **BOARD)
    create(api, "film")
    running = {"phase": "Running", "reason": "Running", "message": "", "conditions": []}
    create(api, "runs", running, **BOARD)
    for name in ("board.x.vtt", "a.vtt"):
        (volume / "output" / name).write_text("WEBVTT\n\né\n")
    image = volume / "output" / "board.x.jpg"
    image.write_bytes(CONTENT)
    async with api_with_files(api, volume) as client:
        found = await client.get(f"{BASE}/outputs/board/0/vtt")
        assert (found.status_code, found.text) == (200, "WEBVTT\n\né\n")
        assert found.headers["content-type"] == "text/vtt; charset=utf-8"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-disposition"].startswith('attachment; filename="board.x.vtt"')
        assert "etag" not in found.headers
        part = await client.get(f"{BASE}/outputs/board/0/vtt", headers={"Range": "bytes=0-5"})
        assert (part.status_code, part.text) == (206, "WEBVTT")
        for path in ("film/0", "runs/0", "board/1", "nobody/0"):
            answer = await client.get(f"{BASE}/outputs/{path}/vtt")
            assert answer.status_code == 404, path
        image.write_bytes(CONTENT + b"another storyboard")
        answer = await client.get(f"{BASE}/outputs/board/0/vtt")
        assert (answer.status_code, answer.json()["code"]) == (409, "output_changed")
        image.unlink()
        answer = await client.get(f"{BASE}/outputs/board/0/vtt")
        assert (answer.status_code, answer.json()["code"]) == (404, "output_missing")
        image.write_bytes(CONTENT)
        (volume / "output" / "board.x.vtt").unlink()
        answer = await client.get(f"{BASE}/outputs/board/0/vtt")
        assert (answer.status_code, answer.json()["code"]) == (404, "output_missing")


async def test_what_the_file_server_may_not_read(
    api: FakeApi, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = create(api)
    put_log(volume, uid, 2, "on the volume\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_app, "open_file", refuse)
    async with api_with_files(api, volume) as client:
        output = await client.get(f"{BASE}/outputs/a/0")
        assert (output.status_code, output.json()["code"]) == (409, "file_not_readable")
        log = await client.get(f"{BASE}/logs/a")
        assert (log.status_code, log.headers["x-log-source"]) == (200, "status")


async def test_a_replaced_file_is_not_sent(api: FakeApi, volume: Path) -> None:
    create(api)
    async with api_with_files(api, volume) as client:
        (volume / "output" / "a.mp4").write_bytes(CONTENT + b"x")
        changed = await client.get(f"{BASE}/outputs/a/0")
        assert (changed.status_code, changed.json()["code"]) == (409, "output_changed")
        # The size of a file that the caller may not have is not told.
        assert str(len(CONTENT) + 1) not in changed.text
        (volume / "output" / "a.mp4").unlink()
        for target in (volume / "b.mp4", volume.parent / "secrets" / "secret"):
            (volume / "output" / "a.mp4").symlink_to(target)
            missing = await client.get(f"{BASE}/outputs/a/0")
            assert (missing.status_code, missing.json()["code"]) == (404, "output_missing")
            (volume / "output" / "a.mp4").unlink()


async def test_a_log_that_is_a_link_is_not_sent(api: FakeApi, volume: Path) -> None:
    uid = create(api)
    file = put_log(volume, uid, 2, "")
    file.unlink()
    file.symlink_to(volume.parent / "secrets" / "secret")
    async with api_with_files(api, volume) as client:
        answer = await client.get(f"{BASE}/logs/a")
        assert answer.headers["x-log-source"] == "status"
        assert SECRET not in answer.text


async def test_only_numbers_and_names_come_from_a_request(api: FakeApi, volume: Path) -> None:
    create(api)
    async with api_with_files(api, volume) as client:
        for path in ("outputs/a/8", "outputs/a/-1", "outputs/a/x", "outputs/a/0%00"):
            assert (await client.get(f"{BASE}/{path}")).status_code == 400, path
        for path in (
            *("outputs/b/0", "logs/b", "logs/..%2f..%2fsecret", "outputs/a/7"),
            # These would ask the API server for a list.
            *("outputs/%3Flimit=1/0", "logs/%3F", "logs/a%23", "logs/%2e%2e%3F"),
        ):
            assert (await client.get(f"{BASE}/{path}")).status_code == 404, path


async def test_a_caller_needs_the_right_to_read_the_conversion(api: FakeApi, volume: Path) -> None:
    create(api)
    async with api_with_files(api, volume, gateway_auth="token") as client:
        for path in ("logs/a", "outputs/a/0", "outputs/a/0/vtt"):
            assert (await client.get(f"{BASE}/{path}")).status_code == 401
            strange = {"Authorization": "Bearer no", "X-Namespace": NAMESPACE}
            assert (await client.get(f"{BASE}/{path}", headers=strange)).status_code == 401


async def test_the_rights_are_those_in_the_namespace_of_the_conversion(
    api: FakeApi, volume: Path
) -> None:
    create(api)
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", everything)
    reading = [
        {
            "apiGroups": ["converter.mynetwork.io"],
            "resources": ["conversionjobs"],
            "verbs": ["get"],
        }
    ]
    for token, namespace in (("mine", NAMESPACE), ("theirs", "another")):
        caller = f"system:serviceaccount:{namespace}:caller"
        api.access.grant(token, caller, reading, namespace, ("my-network-converter",))
    async with api_with_files(api, volume, "gateway", gateway_auth="token") as client:

        async def get(token: str, namespace: str) -> int:
            headers = {"Authorization": f"Bearer {token}", "X-Namespace": namespace}
            return (await client.get(f"{BASE}/outputs/a/0", headers=headers)).status_code

        assert await get("mine", NAMESPACE) == 200
        assert await get("theirs", NAMESPACE) == 403
        assert await get("mine", "another") == 403
        assert await get("theirs", "another") == 404
        assert await get("mine", "my-network.evil") == 400


async def test_a_namespace_that_nobody_serves_is_not_asked(api: FakeApi, volume: Path) -> None:
    create(api)
    async with api_with_files(api, volume, watch_namespaces="another") as client:
        assert (await client.get(f"{BASE}/outputs/a/0")).status_code == 403


async def test_the_number_of_downloads_is_limited(api: FakeApi, volume: Path) -> None:
    # Sparse, and too large to be sent while the test waits.
    large = volume / "output" / "a.mp4"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    create(api, status={**MADE, "outputSize": 1 << 40})
    async with api_with_files(api, volume, gateway_max_downloads=1) as client:
        async with client.stream("GET", f"{BASE}/outputs/a/0") as first:
            assert first.status_code == 200
            await until_in_progress(client, "downloads", 1)
            refused = await client.get(f"{BASE}/logs/a")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        # The caller has disconnected, so the download ends.
        await until_in_progress(client, "downloads", 0)


async def test_a_file_that_becomes_shorter_is_not_taken_for_complete(
    api: FakeApi, volume: Path
) -> None:
    large = volume / "output" / "a.mp4"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    create(api, status={**MADE, "outputSize": 64 << 20})
    async with api_with_files(api, volume) as client:

        async def download() -> None:
            async with client.stream("GET", f"{BASE}/outputs/a/0") as response:
                async for _ in response.aiter_bytes():
                    os.truncate(large, 1000)

        with pytest.raises(httpx.HTTPError):
            await download()
