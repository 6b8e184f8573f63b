"""Lists, retries, queues, logs and files: what the client sends, and what it makes of answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mynetwork_converter import AsyncClient, Client, ConverterError
from tests.unit.client.test_client import Answer, client

BASE = "/api/v1/converter"
CONTENT = b"0123456789" * 1000


def found(content: bytes = CONTENT, made: bytes = CONTENT) -> httpx2.Response:
    """The answer of the API to a download."""
    return httpx2.Response(
        200, content=content, headers={"ETag": f'"{hashlib.sha256(made).hexdigest()}"'}
    )


async def call_all(answer: Answer, folder: Path, asynchronous: bool) -> dict[str, Any]:
    """What each call returns."""
    transport, url = httpx2.MockTransport(answer), "http://converter"
    if not asynchronous:
        with Client(url, transport=transport) as one:
            one.download_output("a/b", folder / "file", index=2)
            return {
                "page": one.get_conversions(
                    phases=["Failed", "Succeeded"],
                    conversion_type="audio_to_mp3",
                    queue="q",
                    search="a&b",
                    limit=2,
                    after="t=",
                ),
                "all": [each["job_id"] for each in one.all_conversions(phases=["Failed"])],
                "one": one.get_conversion("a/b"),
                "retry": one.retry_job("a/b"),
                "failed": one.retry_failed(limit=3, after="t"),
                "queues": one.get_queues(),
                "hold": one.hold_queue("q"),
                "drain": one.hold_queue("q", drain=True),
                "resume": one.resume_queue("q"),
                "log": one.get_log("a/b", attempt=2),
                "vtt": one.get_vtt("a/b", index=1),
            }
    async with AsyncClient(url, transport=transport) as other:
        await other.download_output("a/b", folder / "file", index=2)
        return {
            "page": await other.get_conversions(
                phases=["Failed", "Succeeded"],
                conversion_type="audio_to_mp3",
                queue="q",
                search="a&b",
                limit=2,
                after="t=",
            ),
            "all": [each["job_id"] async for each in other.all_conversions(phases=["Failed"])],
            "one": await other.get_conversion("a/b"),
            "retry": await other.retry_job("a/b"),
            "failed": await other.retry_failed(limit=3, after="t"),
            "queues": await other.get_queues(),
            "hold": await other.hold_queue("q"),
            "drain": await other.hold_queue("q", drain=True),
            "resume": await other.resume_queue("q"),
            "log": await other.get_log("a/b", attempt=2),
            "vtt": await other.get_vtt("a/b", index=1),
        }


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_each_call_has_its_request_and_returns_its_answer(
    asynchronous: bool, tmp_path: Path
) -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode().removeprefix(BASE)
        seen.append((request.method, path))
        if path.startswith("/conversions?phase=Failed&limit=200"):
            if "continue=more" in path:
                return httpx2.Response(200, json={"conversions": [{"job_id": "c"}], "counts": {}})
            page = {"conversions": [{"job_id": "a"}, {"job_id": "b"}], "counts": {}}
            return httpx2.Response(200, json=page | {"continue": "more"})
        if path.startswith(("/logs/", "/outputs/")):
            return found(b"text", b"text")
        return httpx2.Response(200, json={"asked": path, "queues": [{"name": "q"}]})

    told = await call_all(answer, tmp_path, asynchronous)
    assert seen == [
        ("GET", "/outputs/a%2Fb/2"),
        (
            "GET",
            "/conversions?phase=Failed&phase=Succeeded&type=audio_to_mp3&queue=q&search=a%26b"
            "&limit=2&continue=t%3D",
        ),
        ("GET", "/conversions?phase=Failed&limit=200"),
        ("GET", "/conversions?phase=Failed&limit=200&continue=more"),
        ("GET", "/conversions/a%2Fb"),
        ("POST", "/retry/a%2Fb"),
        ("POST", "/retry?limit=3&continue=t"),
        ("GET", "/queues"),
        ("POST", "/queues/q/hold"),
        ("POST", "/queues/q/hold?drain=true"),
        ("POST", "/queues/q/resume"),
        ("GET", "/logs/a%2Fb?attempt=2"),
        ("GET", "/outputs/a%2Fb/1/vtt"),
    ]
    assert (tmp_path / "file").read_bytes() == b"text"
    assert told["all"] == ["a", "b", "c"]
    assert told["queues"] == [{"name": "q"}]
    assert (told["log"], told["vtt"]) == ("text", "text")
    assert told["drain"]["asked"] == "/queues/q/hold?drain=true"


def download(answer: Answer, target: Path, asynchronous: bool, tries: int = 1) -> None:
    if not asynchronous:
        with client(answer, tries) as converter:
            converter.download_output("a", target)
        return

    async def run() -> None:
        transport = httpx2.MockTransport(answer)
        async with AsyncClient("http://converter", tries=tries, transport=transport) as converter:
            await converter.download_output("a", target)

    asyncio.run(run())


def test_two_downloads_to_one_file_do_not_mix(tmp_path: Path) -> None:
    """The second one begins and ends while the first one is open."""
    target, others = tmp_path / "a.mp4", CONTENT[::-1]

    def chunks() -> Iterator[bytes]:
        yield CONTENT[:5000]
        download(lambda _: found(others, others), target, False)
        assert target.read_bytes() == others
        yield CONTENT[5000:]

    etag = {"ETag": found().headers["ETag"]}
    download(lambda _: httpx2.Response(200, content=chunks(), headers=etag), target, False)
    assert target.read_bytes() == CONTENT
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_is_left_of_a_download_that_failed(asynchronous: bool, tmp_path: Path) -> None:
    with pytest.raises(ConverterError, match="another SHA-256"):
        download(lambda _: found(CONTENT[:-1]), tmp_path / "a.mp4", asynchronous)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_file_that_is_not_the_right_one_replaces_nothing(
    asynchronous: bool, tmp_path: Path
) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")
    with pytest.raises(ConverterError, match="another SHA-256"):
        download(lambda _: found(CONTENT[:-1]), target, asynchronous)
    assert target.read_bytes() == b"old"
    missing = {"error": "no file server", "code": "file_server_missing"}
    with pytest.raises(ConverterError, match="no file server") as told:
        download(lambda _: httpx2.Response(404, json=missing), target, asynchronous)
    assert (told.value.code, told.value.reason) == (404, "file_server_missing")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_download_that_breaks_begins_again(asynchronous: bool, tmp_path: Path) -> None:
    tries: list[int] = []

    def answer(_: httpx2.Request) -> httpx2.Response:
        tries.append(1)
        if len(tries) == 1:
            raise httpx2.ReadError("broken")
        if len(tries) == 2:
            return httpx2.Response(503, json={"error": "busy"})
        return found()

    download(answer, tmp_path / "a.mp4", asynchronous, tries=3)
    assert (tmp_path / "a.mp4").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_of_a_log_has_the_words_of_the_api() -> None:
    missing = {"error": "there is no log of attempt 3", "code": "log_missing"}
    with (
        client(lambda _: httpx2.Response(404, json=missing)) as converter,
        pytest.raises(ConverterError, match="no log of attempt 3") as told,
    ):
        converter.get_log("a", attempt=3)
    assert told.value.reason == "log_missing"
