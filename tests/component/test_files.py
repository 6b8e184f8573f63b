"""Logs and output files: the HTTP API, and the file server of a namespace, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn

from converter_gateway import file_client
from converter_gateway.file_server import app as file_app
from converter_gateway.file_server.app import FileServer
from converter_gateway.file_server.beneath import open_file, open_root
from converter_gateway.file_signature import (
    EXPIRES,
    FILE_PATH,
    PROOF,
    SIGNATURE,
    FileRequest,
    read_secret,
    sign,
)
from tests.component.listening import app_of, serving, until_in_progress
from tests.component.support import FakeApi
from tests.component.support.tools import conversion_job

BASE = "/api/v1/converter"
SECRET = "0123456789abcdef" * 2
NAMESPACE = "my-network"
CONTENT = b"0123456789" * 20_000
MADE = {
    "phase": "Succeeded",
    "reason": "Completed",
    "message": "",
    "conditions": [],
    "outputSize": len(CONTENT),
    "output": {"sha256": "a" * 64, "container": "mp4"},
    "logs": "the end of the log\n",
    "attempts": [
        {"number": number, "startTime": "2026-01-02T03:04:05Z", "reason": "Completed"}
        for number in (1, 2)
    ],
}


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume with an output. The API and the file server have the same secret."""
    return make_volume(tmp_path, monkeypatch)


def make_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the fixture ``volume`` is."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret").write_text(SECRET)
    monkeypatch.setattr(file_client, "SECRET_FOLDER", tmp_path / "secrets")
    folder = tmp_path / "volume"
    (folder / "output").mkdir(parents=True)
    (folder / "output" / "a.mp4").write_bytes(CONTENT)
    return folder


@asynccontextmanager
async def file_server(
    volume: Path, namespace: str = NAMESPACE, secrets: Path | None = None, served: str = ""
) -> AsyncIterator[str]:
    """A file server. Yields its URL."""
    root = open_root(str(volume))
    folder = secrets or volume.parent / "secrets"
    app = FileServer(root, namespace, lambda: read_secret(folder, namespace), served)
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
        os.close(root)


@asynccontextmanager
async def api_with_files(
    api: FakeApi, volume: Path, token: str | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    known = {"converter_volume_folder": ""}
    async with (
        file_server(volume) as url,
        serving(api, token, **(known | {"gateway_file_server": url} | settings)) as client,
    ):
        try:
            yield client
        finally:
            await app_of(client).state.files.close()


def create(api: FakeApi, name: str = "a", status: Any = MADE, **spec: Any) -> str:
    """Create a ConversionJob, and return its uid."""
    api.create(conversion_job(name, **spec))
    api.mutate("conversionjobs", name, lambda obj: obj.update(status=dict(status)))
    return str(api.get("conversionjobs", name)["metadata"]["uid"])


def put_log(volume: Path, uid: str, attempt: int, text: str) -> Path:
    file = volume / ".conversion-logs" / uid / f"{attempt}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


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


@pytest.mark.parametrize("why", ["no secret", "no address", "no such host"])
async def test_without_a_file_server(
    api: FakeApi, volume: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    create(api)
    address = "" if why == "no address" else "http://nothing.invalid:8001"
    if why == "no secret":
        (volume.parent / "secrets" / "secret").unlink()
    async with serving(api, gateway_file_server=address, converter_volume_folder="") as client:
        for path in ("logs/a", "outputs/a/0"):
            answer = await client.get(f"{BASE}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "file_server_missing"), path
        await app_of(client).state.files.close()


async def test_a_file_server_that_does_not_respond(api: FakeApi, volume: Path) -> None:
    create(api)
    closed = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    async with serving(api, gateway_file_server=address, converter_volume_folder="") as client:
        answer = await client.get(f"{BASE}/outputs/a/0")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "does not respond" in answer.json()["error"]
        await app_of(client).state.files.close()


@pytest.mark.parametrize("other", ["secret", "namespace"])
async def test_a_file_server_of_others_is_not_believed(
    api: FakeApi, volume: Path, other: str
) -> None:
    create(api)
    secrets = volume.parent / "others"
    secrets.mkdir()
    (secrets / "secret").write_text("f" * 32 if other == "secret" else SECRET)
    namespace = "another" if other == "namespace" else NAMESPACE
    async with (
        file_server(volume, namespace, secrets) as url,
        serving(api, gateway_file_server=url, converter_volume_folder="") as client,
    ):
        answer = await client.get(f"{BASE}/outputs/a/0")
        assert answer.status_code == 503
        assert "same secret" in answer.json()["error"]
        await app_of(client).state.files.close()


@pytest.mark.parametrize(
    ("setting", "served", "status"),
    [
        ("/tenants/{namespace}/", f"tenants/{NAMESPACE}", 200),
        # The file server sees the whole volume, or too little.
        ("tenants/{namespace}", "", 503),
        ("", f"tenants/{NAMESPACE}", 503),
        (None, "", 503),
    ],
)
async def test_a_file_server_with_another_folder_is_not_believed(
    api: FakeApi, volume: Path, setting: str | None, served: str, status: int
) -> None:
    create(api)
    async with (
        file_server(volume, served=served) as url,
        serving(api, gateway_file_server=url, converter_volume_folder=setting) as client,
    ):
        answer = await client.get(f"{BASE}/outputs/a/0")
        assert answer.status_code == status
        if status == 503:
            assert "CONVERTER_VOLUME_FOLDER" in answer.json()["error"]
        await app_of(client).state.files.close()


async def test_an_answer_without_a_proof_is_not_passed_on(api: FakeApi, volume: Path) -> None:
    create(api)

    async def stranger(scope: Any, _: Any, send: Any) -> None:
        headers = [(b"x-file-size", b"7"), (b"content-length", b"7"), (PROOF.encode(), b"0" * 64)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"strange"})

    config = uvicorn.Config(stranger, http="h11", ws="none", lifespan="off", log_config=None)
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server._serve([listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(api, gateway_file_server=url, converter_volume_folder="") as client:
        answer = await client.get(f"{BASE}/outputs/a/0")
        assert (answer.status_code, b"strange" in answer.content) == (503, False)
        await app_of(client).state.files.close()
    server.should_exit = True
    await task
    listener.close()


@asynccontextmanager
async def trickling() -> AsyncIterator[str]:
    """Something at the address of a file server that sends its headers byte by byte, for ever."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_headers_that_never_end_hold_no_download(
    api: FakeApi, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_client, "_HEADER_SECONDS", 0.5)
    monkeypatch.setattr(file_client, "_MAX_WAITING", 1)
    create(api)
    async with (
        trickling() as url,
        serving(api, gateway_file_server=url, converter_volume_folder="") as client,
    ):
        answers = await asyncio.wait_for(
            asyncio.gather(*(client.get(f"{BASE}/outputs/a/0") for _ in range(2))), 15
        )
        errors = sorted(answer.json()["error"] for answer in answers)
        assert [answer.status_code for answer in answers] == [503, 503]
        assert "does not respond" in errors[0]
        assert "has not answered other requests yet" in errors[1]
        assert not app_of(client).state.files._waiting
        await app_of(client).state.files.close()


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


async def test_a_part_of_the_volume_that_does_not_respond_blocks_nothing_else(
    api: FakeApi, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = create(api)
    put_log(volume, uid, 2, "on the volume\n")
    blocked, opened = threading.Event(), open_file

    def block(root: int, path: str) -> Any:
        if path.endswith("a.mp4"):
            blocked.wait()
        return opened(root, path)

    monkeypatch.setattr(file_app, "open_file", block)
    monkeypatch.setattr(file_app, "_OPEN_SECONDS", 0.5)
    try:
        async with api_with_files(api, volume) as client:
            # More than the default executor of asyncio has threads.
            for _ in range(6):
                asked = [client.get(f"{BASE}/outputs/a/0") for _ in range(8)]
                codes = [answer.status_code for answer in await asyncio.gather(*asked)]
                assert codes == [503] * 8
            assert (await client.get(f"{BASE}/logs/a")).text == "on the volume\n"
    finally:
        blocked.set()


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


def signed(path: str, byte_range: str = "", **change: Any) -> dict[str, str]:
    request = FileRequest(NAMESPACE, "", path, byte_range, int(time.time()) + 20)._replace(**change)
    headers = {EXPIRES: str(request.expires), SIGNATURE: sign(SECRET.encode(), request)}
    return headers | ({"Range": byte_range} if byte_range else {})


async def test_the_file_server_refuses_what_is_not_signed_for_it(volume: Path) -> None:
    path = "output/a.mp4"
    async with file_server(volume) as url, httpx.AsyncClient(base_url=url) as client:

        async def get(headers: dict[str, str], asked: str = path) -> int:
            return (
                await client.get(FILE_PATH, params={"path": asked}, headers=headers)
            ).status_code

        assert await get(signed(path)) == 200
        assert await get(signed(path, "bytes=0-1")) == 206
        assert await get({}) == 403
        assert await get(signed(path) | {SIGNATURE: "0" * 64}) == 403
        assert await get(signed(path), "output/b.mp4") == 403
        assert await get(signed(path) | {"Range": "bytes=0-1"}) == 403
        assert await get(signed(path, expires=int(time.time()) - 1)) == 403
        assert await get(signed(path, expires=int(time.time()) + 3600)) == 403
        assert await get(signed(path, namespace="another")) == 403
        assert await get(signed(path) | {EXPIRES: "soon"}) == 403
        for bad in ("../secrets/secret", "/", "output", "output/../../secrets/secret", "a\0"):
            assert await get(signed(bad), bad) == 404, bad
        two = await client.get(f"{FILE_PATH}?path={path}&path=x", headers=signed(path))
        assert two.status_code == 403
        assert (await client.post(FILE_PATH, headers=signed(path))).status_code == 403
        assert (await client.get("/other")).status_code == 403
        assert (await client.get("/healthz")).status_code == 200


async def test_without_a_secret_the_file_server_serves_nothing(volume: Path) -> None:
    empty = volume.parent / "empty"
    empty.mkdir()
    async with (
        file_server(volume, secrets=empty) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answer = await client.get(
            FILE_PATH, params={"path": "output/a.mp4"}, headers=signed("output/a.mp4")
        )
        assert answer.status_code == 403
