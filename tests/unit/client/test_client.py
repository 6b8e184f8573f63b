from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mynetwork_converter import AsyncClient, Client, ConverterError, Output
from mynetwork_converter.protocol import retry_delay

OUTPUTS: list[Output] = [
    {"conversion_type": "extract_thumbnail", "output_file": "b.jpg", "options": {"time": 1}},
    {"conversion_type": "audio_to_mp3", "output_file": "b.mp3", "optional": True},
]

Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer, tries: int = 1, token_file: Path | None = None) -> Client:
    transport = httpx2.MockTransport(answer)
    return Client("http://converter", tries=tries, token_file=token_file, transport=transport)


@pytest.mark.parametrize(
    ("attempt", "response", "pause"),
    [
        (1, httpx2.Response(200), None),
        (1, httpx2.Response(404), None),
        (1, httpx2.Response(500), None),
        (1, None, 0.5),
        (3, None, 2.0),
        (30, None, 10.0),
        (1, httpx2.Response(503), 0.5),
        (1, httpx2.Response(429, headers={"Retry-After": "3"}), 3.0),
        (1, httpx2.Response(503, headers={"Retry-After": "99999"}), 10.0),
        (1, httpx2.Response(503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 0.5),
    ],
)
def test_when_to_ask_again(
    attempt: int, response: httpx2.Response | None, pause: float | None
) -> None:
    assert retry_delay(attempt, response) == pause


def test_a_try_that_is_repeated_has_the_key_of_the_first() -> None:
    keys = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) == 1:
            raise httpx2.ReadError("the answer was lost")
        return httpx2.Response(200, json={"job_id": "j", "status": "started"})

    with client(answer, tries=2) as converter:
        assert converter.convert_file("in/a.mov", "out/a.mp4", "video_to_mp4") == "j"
        assert converter.convert_file("in/a.mov", "out/a.mp4", "video_to_mp4") == "j"
    assert keys[0] == keys[1] != keys[2]


def test_tries_are_bounded_and_the_last_failure_is_told() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("nobody there")

    with client(refuse) as converter, pytest.raises(ConverterError, match="nobody there") as told:
        converter.get_stats()
    assert told.value.code == 0


def test_errors_have_the_words_of_the_api() -> None:
    message = "Missing required field: input_file"
    with (
        client(lambda _: httpx2.Response(400, json={"error": message})) as converter,
        pytest.raises(ConverterError, match=message) as told,
    ):
        converter.convert_file("", "b", "video_to_mp4")
    assert told.value.code == 400


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'"x"'])
def test_an_answer_that_is_no_object_is_an_error(content: bytes) -> None:
    with (
        client(lambda _: httpx2.Response(200, content=content)) as converter,
        pytest.raises(ConverterError, match="no JSON object"),
    ):
        converter.get_stats()


def test_cancel_says_whether_there_was_anything_to_cancel() -> None:
    with client(lambda _: httpx2.Response(200, json={"message": "done"})) as converter:
        assert converter.cancel_job("j")
    with client(lambda _: httpx2.Response(404, json={"error": "no"})) as converter:
        assert not converter.cancel_job("j")


def test_a_job_id_stays_one_part_of_the_path() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.raw_path == b"/api/v1/converter/status/a%2F..%2Fb%3Fc?wait=60.0"
        return httpx2.Response(200, json={"status": "not_found"})

    with client(answer) as converter:
        assert converter.get_job_status("a/../b?c", wait=500)["status"] == "not_found"


def test_an_upload_is_submitted_and_found_again() -> None:
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.raw_path.decode(), request.content))
        return httpx2.Response(200, json={"content_id": "a/7", "status": "nothing_to_do"})

    with client(answer) as converter:
        assert converter.submit_content("a/7", "video", "s/a.mov")["status"] == "nothing_to_do"
        converter.submit_content(7, "video", "s/a.mov", retry_failed=True)
        assert converter.get_content("a/7")["content_id"] == "a/7"
        converter.get_content(7)
    body = {"content_id": "a/7", "content_type": "video", "file_path": "s/a.mov"}
    assert [(path, json.loads(content or b"null")) for path, content in seen] == [
        ("/api/v1/content", body),
        ("/api/v1/content?retry=failed", body | {"content_id": 7}),
        ("/api/v1/content/a%2F7", None),
        ("/api/v1/content/7", None),
    ]


def test_the_token_is_read_anew_for_every_call(tmp_path: Path) -> None:
    token, seen = tmp_path / "token", []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["authorization"])
        return httpx2.Response(200, json={"active_jobs": [], "total_active": 0})

    with client(answer, token_file=token) as converter:
        for value in ("old\n", "new\n"):
            token.write_text(value)
            assert converter.get_active_jobs() == []
    assert seen == ["Bearer old", "Bearer new"]


async def test_the_asynchronous_one_makes_the_same_requests() -> None:
    seen: list[tuple[str, str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.content else None
        seen.append((request.method, str(request.url), body))
        return httpx2.Response(200, json={"job_id": "j", "active_jobs": [], "message": "m"})

    transport = httpx2.MockTransport(answer)
    with Client("http://converter", transport=transport) as one:
        one.convert_file("a", "b", "image_resize", {"size": "1x1"}, callback_url="http://h/c")
        one.get_job_status("j", wait=1)
        one.cancel_job("j")
        one.get_active_jobs()
        one.get_stats()
        one.submit_content("7", "video", "a", retry_failed=True)
        one.get_content("7")
        one.convert("a", outputs=OUTPUTS, dry_run=True, overwrite=False)
        one.convert("a", profile="web", queue="q", idempotency_key="k")
    async with AsyncClient("http://converter", transport=transport) as other:
        await other.convert_file(
            "a", "b", "image_resize", {"size": "1x1"}, callback_url="http://h/c"
        )
        await other.get_job_status("j", wait=1)
        await other.cancel_job("j")
        await other.get_active_jobs()
        await other.get_stats()
        await other.submit_content("7", "video", "a", retry_failed=True)
        await other.get_content("7")
        await other.convert("a", outputs=OUTPUTS, dry_run=True, overwrite=False)
        await other.convert("a", profile="web", queue="q", idempotency_key="k")
    assert len(seen) == 18
    assert seen[:9] == seen[9:]
    assert seen[0][2] == {
        "input_file": "a",
        "output_file": "b",
        "conversion_type": "image_resize",
        "options": {"size": "1x1"},
        "callback_url": "http://h/c",
    }
    of_outputs = {"input_file": "a", "outputs": OUTPUTS, "dry_run": True, "overwrite": False}
    assert [body for _, _, body in seen[7:9]] == [
        of_outputs,
        {"input_file": "a", "profile": "web", "queue": "q"},
    ]


def test_several_outputs_have_one_form() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("nothing is sent")

    with client(refuse) as converter:
        for wrong in ({}, {"outputs": OUTPUTS, "profile": "web"}):
            with pytest.raises(ValueError, match="either outputs or profile"):
                converter.convert("a", **wrong)  # type: ignore[arg-type]


def test_a_conversion_of_one_output_may_be_a_dry_run_in_a_queue() -> None:
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(json.loads(request.content))
        return httpx2.Response(200, json={"job_id": "j"})

    with client(answer) as converter:
        converter.convert_file("a", "b", "image_resize", queue="q", dry_run=True, overwrite=True)
    assert (seen[0]["queue"], seen[0]["dry_run"], seen[0]["overwrite"]) == ("q", True, True)
