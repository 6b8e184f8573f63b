"""Which file servers the HTTP API believes, and which requests a file server answers."""

from __future__ import annotations

import asyncio
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
from converter_gateway.file_server.beneath import open_file
from converter_gateway.file_signature import (
    EXPIRES,
    FILE_PATH,
    PROOF,
    SIGNATURE,
    FileRequest,
    sign,
)
from tests.component.listening import app_of, serving
from tests.component.support import FakeApi
from tests.component.volume_files import (
    BASE,
    NAMESPACE,
    SECRET,
    api_with_files,
    create,
    file_server,
    put_log,
)


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
