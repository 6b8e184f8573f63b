"""The live page when something goes wrong: lost answers, late ones, errors, and what is no more."""

from __future__ import annotations

import asyncio
import io
import re
import wave
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.component.browsing import OPERATOR, add, browser, change, grant, url_of, visiting
from tests.component.listening import serving
from tests.component.support import FakeApi
from tests.component.test_page import ATTEMPT, ENDED, FACTS, STARTED, row

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="chrome")
async def _chrome() -> AsyncIterator[Browser]:
    async with browser() as made:
        yield made


@pytest.fixture(name="replica")
async def _replica(api: FakeApi) -> AsyncIterator[httpx.AsyncClient]:
    grant(api)
    api.add_namespace(OPERATOR)
    async with serving(api, "gateway", gateway_auth="token", gateway_rate_burst=1000) as made:
        yield made


def tab(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=re.compile(f"^{name} [0-9]"))


async def test_retrying_all_stays_in_the_namespace_that_was_confirmed(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "one", "Failed", ENDED)
    add(api, "two", "Failed", ENDED)
    sent: list[str] = []
    async with visiting(chrome, url_of(replica)) as page:

        async def retried(route: Route) -> None:
            """The first hundred are retried, and somebody chooses another namespace meanwhile."""
            sent.append(route.request.headers["x-namespace"])
            await page.evaluate("location.hash = 'namespace=other'")
            await page.wait_for_function("sessionStorage['converter-namespace'] !== 'my-network'")
            await route.fulfill(
                json={"retried": [{}], "refused": [], "remaining": 4, "continue": "x"}
            )

        await page.route("**/converter/retry*", retried)
        await page.get_by_label("Search names and paths").fill("one")
        await tab(page, "Failed").click()
        await expect(page.locator(".window .row")).to_have_count(1)
        await page.get_by_role("button", name="Retry all that failed").click()
        await expect(page.locator("dialog")).to_contain_text(
            "2 have failed in namespace my-network"
        )
        await page.get_by_role("button", name="Retry them").click()
        await expect(page.locator("#problem")).to_contain_text("1 were retried in namespace my-net")
        assert sent == ["my-network"]


async def test_retrying_all_goes_on_behind_those_that_are_refused(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    """A call tries 100 of them. If it is refused all of them, the others have their turn."""
    add(api, "one", "Failed", ENDED)
    asked: list[str] = []
    refused = {"retried": [], "refused": [{"job_id": "one", "error": "no"}], "remaining": 2}
    async with visiting(chrome, url_of(replica)) as page:

        async def retried(route: Route) -> None:
            asked.append(route.request.url.rpartition("/")[2])
            last = {"retried": [{}, {}], "refused": [], "remaining": 1}
            answer = last if len(asked) == 2 else refused | {"continue": "a b"}
            await route.fulfill(json=answer)

        await page.route("**/converter/retry*", retried)
        await tab(page, "Failed").click()
        await page.get_by_role("button", name="Retry all that failed").click()
        await page.get_by_role("button", name="Retry them").click()
        await expect(page.locator("#problem")).to_contain_text("1 could not be retried: no")
        assert asked == ["retry", "retry?continue=a%20b"]


async def test_a_late_answer_does_not_mix_lists(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    for number in range(130):
        add(api, f"broken-{number:03}", "Failed", ENDED)
    for name in ("waits", "waits-too"):
        add(api, name)
    go = asyncio.Event()
    async with visiting(chrome, url_of(replica)) as page:

        async def late(route: Route) -> None:
            await go.wait()
            await route.continue_()

        await page.route(re.compile("continue="), late)
        await tab(page, "Failed").click()
        async with page.expect_request(re.compile("continue=")):
            await page.locator(".window .row").first.focus()
            await page.keyboard.press("End")
        await tab(page, "Waiting").click()
        await expect(page.locator(".window .row")).to_have_count(2)
        async with page.expect_response(re.compile("continue=")):
            go.set()
        await page.wait_for_timeout(200)
        await expect(page.locator(".window .row")).to_have_count(2)


async def test_rows_of_deleted_conversions_go(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    for number in range(250):
        add(api, f"film-{number:03}", "Succeeded", ENDED)
    add(api, "waits")
    add(api, "runs", "Running", STARTED)
    async with visiting(chrome, url_of(replica)) as page:
        await tab(page, "Finished").click()
        for _ in range(3):
            await page.locator(".window .row").first.focus()
            await page.keyboard.press("End")
            await page.wait_for_timeout(300)
        await page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
        last = page.locator(".window .row .name").last
        name = await last.inner_text()
        api.delete("conversionjobs", name)  # no event tells it: it had ended
        change(api, "runs", "Running", progress={"percent": 1}, **STARTED)
        await expect(row(page, name)).to_have_count(0)
        await expect(page.locator(".window .row").last).to_have_attribute("data-phase", "Succeeded")
        await page.get_by_label("Search names and paths").fill("waits")
        await tab(page, "All").click()
        await expect(row(page, "waits")).to_be_visible()
        await row(page, "waits").click()
        await expect(page.locator("#detail-title")).to_have_text("waits")
        api.delete("conversionjobs", "waits")
        await expect(row(page, "waits")).to_have_count(0)
        await expect(page.locator("#problem")).to_contain_text("waits no longer exists")
        await expect(page.locator("#detail")).to_be_hidden()


async def test_the_error_of_an_action_stays(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "long", "Running", STARTED)
    async with visiting(chrome, url_of(replica)) as page:
        await page.route(
            "**/cancel/*", lambda route: route.fulfill(status=409, json={"error": "no way"})
        )
        await row(page, "long").click()
        await page.locator("#cancel").click()
        await page.get_by_role("button", name="Cancel it").click()
        await expect(page.locator("#problem")).to_contain_text("no way")
        async with page.expect_response(re.compile(r"conversions\?")):
            change(api, "long", "Running", progress={"percent": 7}, **STARTED)
        await expect(row(page, "long")).to_contain_text("7%")
        await page.wait_for_timeout(100)
        await expect(page.locator("#problem")).to_contain_text("no way")
        await page.get_by_role("button", name="Dismiss").click()
        await expect(page.locator("#problem")).to_be_hidden()


async def test_an_output_that_cannot_be_read_says_so_itself(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "done", "Succeeded", {"output": FACTS, "outputSize": 7, **ENDED})
    async with visiting(chrome, url_of(replica)) as page:
        for code, words in ((503, "Try again"), (404, "The file is not there.")):

            async def refuse(code: int, route: Route) -> None:
                await route.fulfill(status=code, json={"error": "The file is not there."})

            await page.unroute_all()
            await page.route("**/outputs/**", partial(refuse, code))
            if code == 503:
                await row(page, "done").click()
            await page.get_by_role("button", name="Download").click()
            await expect(page.locator("#problem-0")).to_contain_text(words)
            await expect(page.locator("#detail")).not_to_contain_text("no file server")


async def test_an_open_log_stays_readable(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "long", "Running", {"attempts": [ATTEMPT], **STARTED})
    asked: list[str] = []
    async with visiting(chrome, url_of(replica)) as page:

        async def log(route: Route) -> None:
            asked.append(route.request.url)
            await route.fulfill(body="first line\nsecond line\n", content_type="text/plain")

        await page.route("**/logs/**", log)
        await row(page, "long").click()
        await page.locator("summary").click()
        await expect(page.locator("#log-text")).to_contain_text("second line")
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('#log-text'))")
        for percent in (11, 22, 33):
            known = {"progress": {"percent": percent}, "attempts": [ATTEMPT], **STARTED}
            change(api, "long", "Running", **known)
            await expect(page.locator("#detail")).to_contain_text(f"{percent}%")
        assert "second line" in await page.evaluate("getSelection().toString()")
        assert len(asked) == 1


async def test_an_open_log_reads_only_what_is_new(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "long", "Running", {"attempts": [ATTEMPT], **STARTED})
    content = "".join(f"line {number} é\n" for number in range(1000)).encode()[:-2]
    sent: list[int] = []
    async with visiting(chrome, url_of(replica)) as page:

        async def log(route: Route) -> None:
            wanted = route.request.headers.get("range", "bytes=0-")
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            code = 416 if first >= len(content) else 206 if first else 200
            body = content[first:] if code < 300 else b""
            sent.append(len(body))
            await route.fulfill(status=code, body=body, content_type="text/plain")

        await page.route("**/logs/**", log)
        await row(page, "long").click()
        text = page.locator("#log-text")

        async def read_again() -> None:
            if await page.locator("details#log").get_attribute("open") is not None:
                await page.locator("summary").click()
            async with page.expect_response("**/logs/**"):
                await page.locator("summary").click()

        await read_again()
        # The part ends within a character.
        assert content.endswith(b"\xc3")
        await expect(text).to_contain_text("line 998 é")
        content += "\xa9\nthe new line\n".encode("latin-1")
        await read_again()
        await expect(text).to_contain_text("line 999 é\nthe new line")
        assert (sent[0] > 10_000, len(sent), sent[1] < 600) == (True, 2, True)
        # The converter has replaced the log, first by a longer one, and then by a shorter one.
        for name in ("other", "third"):
            count = 2000 if name == "other" else 3
            content = "".join(f"{name} {number}\n" for number in range(count)).encode()
            await read_again()
            await expect(text).to_have_text(content.decode())


async def test_another_conversion_is_shown_from_its_beginning(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    for name in ("one", "two"):
        add(api, name, "Failed", {"message": "no file " * 2000, "attempts": [ATTEMPT], **ENDED})
    async with visiting(chrome, url_of(replica)) as page:
        detail = page.locator("#detail")
        await row(page, "one").click()
        await expect(detail.get_by_role("heading", level=2)).to_have_text("one")
        assert await detail.evaluate("e => ((e.scrollTop = 500), e.scrollTop)") > 100
        await row(page, "two").click()
        await expect(detail.get_by_role("heading", level=2)).to_have_text("two")
        assert await detail.evaluate("element => element.scrollTop") == 0


async def test_a_sound_is_loaded_when_somebody_plays_it(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    done = {"outputSize": 7, "output": {"sha256": "a" * 64, "container": "wav"}, **ENDED}
    add(api, "song", "Succeeded", done, conversionType="audio_convert", outputFile="out/a.wav")
    answers: list[asyncio.Event] = []
    async with visiting(chrome, url_of(replica)) as page:

        async def output(route: Route) -> None:
            answers.append(asyncio.Event())
            if len(answers) == 1:
                await answers[0].wait()
                await route.fulfill(status=503, json={"error": "busy"})
            else:
                await route.fulfill(body=sound.getvalue(), content_type="audio/wav")

        await page.route("**/outputs/**", output)
        await row(page, "song").click()
        play = page.locator("#play-0")
        await expect(play).to_have_text("Play")
        await play.click()
        await expect(play).to_have_text("Loading…")
        await play.click()
        answers[0].set()
        await expect(page.locator("#problem-0")).to_contain_text("does not answer")
        await play.click()
        await expect(page.locator("audio#play-0")).to_be_focused()
        await expect(page.locator("#problem-0")).to_be_empty()
        assert len(answers) == 2, "nothing is loaded before"


async def test_a_storyboard_has_its_webvtt_file_to_download(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    done = {"outputSize": 7, "output": {"sha256": "a" * 64, "container": "jpeg"}, **ENDED}
    board = {"conversionType": "video_storyboard", "outputFile": "out/a.board.jpg"}
    add(api, "board", "Succeeded", done, **board)
    async with visiting(chrome, url_of(replica)) as page:

        async def output(route: Route) -> None:
            vtt = route.request.url.endswith("/outputs/board/0/vtt")
            code = 200 if vtt else 503
            await route.fulfill(status=code, body="WEBVTT", content_type="text/vtt")

        await page.route("**/outputs/**", output)
        await row(page, "board").click()
        async with page.expect_download() as started:
            await page.get_by_role("button", name="Download WebVTT").click()
        made = await started.value
        assert made.suggested_filename == "a.board.vtt"
        assert (await made.path()).read_text() == "WEBVTT"


async def test_the_skip_link_does_not_restart_the_page(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "film")
    asked: list[Request] = []
    async with visiting(chrome, url_of(replica)) as page:
        await expect(row(page, "film")).to_be_visible()
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  not a function
        await page.locator(".skip").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#main")).to_be_focused()
        await page.wait_for_timeout(300)
        assert not [one.url for one in asked if one.url.endswith("/rights")]


async def test_sending_again_after_a_lost_answer_starts_one_conversion(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    async with visiting(chrome, url_of(replica)) as page:

        async def lost(route: Route) -> None:
            await route.fetch()
            await route.abort()

        await page.route("**/convert", lost, times=1)
        await page.get_by_role("button", name="New conversion").click()
        await page.get_by_label("Input file").fill("input/holiday.mov")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert").last).to_contain_text("does not answer")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#detail")).to_contain_text("Number 1 in queue default")
        assert len(api.objects("conversionjobs")) == 1


async def test_it_gives_up_until_somebody_reconnects(api: FakeApi, chrome: Browser) -> None:
    """Another program may own the port by then, and must not get the token."""
    grant(api)
    add(api, "film")
    asked: list[Request] = []
    async with serving(api, "gateway", gateway_auth="token") as first:
        url = url_of(first)
        visit = visiting(chrome, url)
        page = await visit.__aenter__()
        await expect(page.locator("#live")).to_have_text("Live")
    try:
        await expect(page.locator("#reconnect")).to_be_visible(timeout=60000)
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  not a function
        port = int(url.rsplit(":", 1)[1])
        async with serving(api, "gateway", gateway_auth="token", gateway_port=port):
            await page.wait_for_timeout(3000)
            assert not asked
            await page.get_by_role("button", name="Reconnect").click()
            await expect(page.locator("#live")).to_have_text("Live", timeout=30000)
            await expect(page.locator("#reconnect")).to_be_hidden()
            await expect(page.locator("#notice")).to_be_hidden()
            await visit.__aexit__(None, None, None)
    except BaseException:
        await visit.__aexit__(None, None, None)
        raise
