"""A volume with files, its file server, and an HTTP API that reads them, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn

from converter_gateway import file_client
from converter_gateway.file_server.app import FileServer
from converter_gateway.file_server.beneath import open_root
from converter_gateway.file_signature import (
    read_secret,
)
from tests.component.listening import app_of, serving
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


def make_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume with an output. The HTTP API and the file server have the same secret."""
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
