"""The live page in a browser: what it shows, what it does, and that it stays fast."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import httpx2 as httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from conversion_operator.api.reasons import REASONS
from converter_gateway.ui_routes import CSP
from tests.component.browsing import (
    OPERATOR,
    PHONE,
    add,
    browser,
    change,
    grant,
    url_of,
    visiting,
)
from tests.component.listening import serving
from tests.component.support import FakeApi
from tests.component.test_gateway import BASE, gateway

pytestmark = pytest.mark.timeout(300)

VIEWER, EXPIRED = "viewer", "expired"
STARTED: Final = {"startTime": "2026-01-02T03:04:05Z"}
ENDED: Final = STARTED | {"completionTime": "2026-01-02T03:04:09Z", "durationMilliseconds": 4000}
ATTEMPT: Final = {"number": 1, **STARTED}
FACTS: Final = {"sha256": "a" * 64, "container": "mp4", "width": 1280, "height": 720}
QUEUE: Final = {
    "apiVersion": "converter.mynetwork.io/v1alpha1",
    "kind": "ConversionQueue",
    "metadata": {"name": "uploads", "namespace": OPERATOR},
    "spec": {"maxParallel": 2},
}


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as made:
        yield made


@pytest.fixture
async def replica(api: FakeApi) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that checks tokens. The page is opened with one that may do everything."""
    grant(api)
    api.add_namespace(OPERATOR)
    api.create(QUEUE)
    async with serving(api, "gateway", gateway_auth="token") as made:
        yield made


def row(page: Page, name: str) -> Any:
    return page.locator(".row", has=page.get_by_text(name, exact=True))


async def test_a_conversion_from_its_submission_to_its_end(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    async with visiting(chrome, url_of(replica)) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        assert "token" not in page.url, "it must not stay in the address"
        await page.get_by_role("button", name="New conversion").click()
        await page.get_by_label("Input file").fill("input/holiday.mov")
        await expect(page.get_by_label("Output file")).to_have_value("output/holiday.mp4")
        await page.get_by_label("Options, one in a line").fill("resolution=wrong")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert").last).to_contain_text("options.resolution")
        await page.get_by_label("Options, one in a line").fill("resolution=720p")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#detail")).to_contain_text("Number 1 in queue default")
        (job,) = api.objects("conversionjobs")
        assert job["spec"]["options"] == {"resolution": "720p"}
        name = job["metadata"]["name"]
        progress = {"percent": 42, "speed": "2.31x", "etaSeconds": 90}
        change(api, name, "Running", progress=progress, attempts=[ATTEMPT], **STARTED)
        await expect(page.locator("#detail")).to_contain_text(
            "42% · 2.31x speed · about 2 min left"
        )
        await expect(row(page, "holiday.mov")).to_contain_text("42%")
        change(
            api, name, "Succeeded", output=FACTS, outputSize=18874368, attempts=[ATTEMPT], **ENDED
        )
        await expect(page.locator("#detail")).to_contain_text("18 MiB · 1280\u00d7720 · mp4")
        await expect(page.locator("[aria-labelledby=group-finished]")).to_contain_text(name[:8])
        await expect(page.locator("#detail dl")).to_contain_text(name)
        await page.keyboard.press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()


async def test_a_failure_says_why_what_to_do_and_is_retried(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    for name in ("broken", "broken-too", "third"):
        add(
            *(api, name, "Failed"),
            {"reason": "InputNotFound", "message": "there is no file", "logs": "the end\n", **ENDED}
            | {"attempts": [{**ATTEMPT, **ENDED, "reason": "InputNotFound", "message": "none"}]},
        )
    async with visiting(chrome, url_of(replica)) as page:
        await row(page, "broken").click()
        detail = page.locator("#detail")
        await expect(detail).to_contain_text("there is no file")
        await expect(detail).to_contain_text(REASONS["InputNotFound"].meaning.split("`")[0])
        await expect(detail).to_contain_text("What to do")
        await expect(detail).to_contain_text("Attempt 1 ends InputNotFound: none")
        await detail.get_by_text("Log", exact=True).click()
        await expect(detail).to_contain_text("the end")
        await expect(detail).to_contain_text("This namespace has no file server")
        await detail.get_by_role("button", name="Retry").click()
        await expect(detail).to_contain_text("broken-retry-")
        await page.get_by_role("button", name=re.compile("^Failed")).click()
        await page.get_by_role("button", name="Retry all that failed").click()
        await page.get_by_role("button", name="Retry them").click()
        await api.until(lambda: len(api.objects("conversionjobs")) == 6)


async def test_a_conversion_is_cancelled_and_a_queue_held(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "long", "Running", {"attempts": [ATTEMPT], **STARTED})
    async with visiting(chrome, url_of(replica)) as page:
        await row(page, "long").click()
        await page.locator("#cancel").click()
        await page.get_by_role("button", name="Cancel it").click()
        await expect(page.locator("#detail")).to_contain_text("Being cancelled")
        assert api.get("conversionjobs", "long")["spec"]["cancel"] is True
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Queues").click()
        await page.get_by_role("button", name="Hold").click()
        await expect(page.locator(".queue")).to_contain_text("held")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".queue")).not_to_contain_text("held")


async def test_who_may_only_look_sees_no_buttons(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "broken", "Failed", ENDED)
    async with visiting(chrome, url_of(replica), token=VIEWER) as page:
        await row(page, "broken").click()
        await expect(page.locator("#detail-title")).to_have_text("broken")
        for name in ("#retry", "#submit", "#queues"):
            await expect(page.locator(name)).to_be_hidden()


async def test_without_a_valid_token_the_page_asks_for_one(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    add(api, "film")
    async with visiting(chrome, url_of(replica), token=EXPIRED) as page:
        await expect(page.locator("dialog")).to_contain_text("not valid, or it has expired")
        await page.get_by_label("Token", exact=True).fill("good")
        await page.get_by_role("button", name="Open").click()
        await expect(row(page, "film")).to_be_visible()


async def test_names_are_texts_and_control_characters_are_escapes(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    evil = "in/<img src=x onerror=alert(1)>.mov"
    message = "a\u202eb\x07c <b>d</b>"
    status = {"message": message, "logs": "x\x1b[31my\n<script>z</script>", "attempts": [ATTEMPT]}
    add(api, "evil", "Failed", ENDED | status, inputFile=evil)
    async with visiting(chrome, url_of(replica)) as page:
        await expect(row(page, "evil")).to_contain_text("a\\u202eb\\u0007c <b>d</b>")
        await row(page, "evil").click()
        await page.locator("summary").click()
        detail = page.locator("#detail")
        await expect(detail).to_contain_text(evil)
        await expect(detail.locator("pre")).to_have_text("x\\u001b[31my\n<script>z</script>")
        assert await detail.locator("img, script, .message *").count() == 0


async def test_it_survives_a_restart_of_the_api(api: FakeApi, chrome: Browser) -> None:
    """The new replica has the same port. The page goes on after the last event that it has seen."""
    grant(api)
    add(api, "film", "Running", {"progress": {"percent": 1}, **STARTED})
    async with serving(api, "gateway", gateway_auth="token") as first:
        url = url_of(first)
        visit = visiting(chrome, url)
        page = await visit.__aenter__()
        await expect(row(page, "film")).to_contain_text("1%")
        await expect(page.locator("#live")).to_have_text("Live")
    try:
        await expect(page.locator("#live")).to_have_text("Reconnecting…", timeout=20000)
        change(api, "film", "Running", progress={"percent": 77}, **STARTED)
        port = int(url.rsplit(":", 1)[1])
        async with serving(api, "gateway", gateway_auth="token", gateway_port=port):
            await expect(page.locator("#live")).to_have_text("Live", timeout=30000)
            await expect(row(page, "film")).to_contain_text("77%")
            change(api, "film", "Running", progress={"percent": 78}, **STARTED)
            await expect(row(page, "film")).to_contain_text("78%")
            await visit.__aexit__(None, None, None)
    except BaseException:
        await visit.__aexit__(None, None, None)
        raise


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_no_violations(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser, scheme: str, size: Any
) -> None:
    add(api, "film", "Running", {"progress": {"percent": 42}, "attempts": [ATTEMPT], **STARTED})
    add(api, "waits")
    add(api, "broken", "Failed", {"logs": "the end", "attempts": [ATTEMPT], **ENDED})
    add(api, "done", "Succeeded", {"output": FACTS, "outputSize": 7, **ENDED})
    add(api, "stopped", "Cancelled", ENDED)
    context = {"color_scheme": scheme} | ({"viewport": size} if size else {})
    # The test brings axe into the page, whose policy forbids all scripts but its own.
    async with visiting(chrome, url_of(replica), bypass_csp=True, **context) as page:

        async def check(where: str) -> None:
            found = await Axe().run(page)
            assert not found.response["violations"], f"{where}: {found.generate_report()}"

        await expect(row(page, "done")).to_be_visible()
        await check("overview")
        await row(page, "broken").click()
        await page.locator("summary").click()
        await expect(page.locator("pre")).to_be_visible()
        await check("detail")
        await page.locator("#close").click()
        await page.get_by_role("button", name=re.compile("^All 5")).click()
        await expect(page.locator(".window .row")).to_have_count(5)
        await check("list")
        for name in ("New conversion", "Queues"):
            await page.get_by_role("button", name=name).click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            await page.wait_for_timeout(100)
            await check(name)
            await page.keyboard.press("Escape")
        width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "nothing is wider than the window"


async def test_the_keyboard_reaches_everything(
    api: FakeApi, replica: httpx.AsyncClient, chrome: Browser
) -> None:
    for number in range(30):
        add(api, f"film-{number:02}")
    async with visiting(chrome, url_of(replica)) as page:
        await page.get_by_role("button", name=re.compile("^Waiting")).click()
        await expect(page.locator(".window .row").first).to_be_visible()
        await page.locator(".window .row").first.focus()
        focused = "document.activeElement.querySelector('.name')?.textContent"
        assert await page.evaluate(focused) == "film-00"
        await page.keyboard.press("ArrowDown")
        assert await page.evaluate(focused) == "film-01"
        await page.keyboard.press("End")
        assert await page.evaluate(focused) == "film-29"
        await page.keyboard.press("Enter")
        await expect(page.locator("#detail-title")).to_be_focused()
        await page.keyboard.press("Escape")
        assert await page.evaluate(focused) == "film-29", "focus goes back to where it was"
        await page.keyboard.press("/")
        await expect(page.get_by_label("Search names and paths")).to_be_focused()
        await page.keyboard.type("film-17")
        await expect(page.locator(".window .row")).to_have_count(1)


MANY: Final = 5000
SCROLL: Final = """() => {
  document.querySelector(".scroller").scrollTop += 1200;
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


class Measured(NamedTuple):
    """Milliseconds, bytes, and rows in the document."""

    first_view: float
    frame: float
    heap: float
    rows: int


async def measure(page: Page) -> Measured:
    """Open the page again, and scroll through all conversions that have finished.

    ``frame`` is the CPU time that the page needs for the longest of the frames: other programs on
    the machine must not fail the test.
    """
    begun = time.perf_counter()
    await page.reload()
    await page.locator(".overview .row").first.wait_for()
    first_view = (time.perf_counter() - begun) * 1000
    await page.get_by_role("button", name=re.compile("^Finished")).click()
    await page.locator(".window .row").first.wait_for()
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def spent() -> float:
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        (seconds,) = (each["value"] for each in metrics if each["name"] == "TaskDuration")
        return float(seconds) * 1000

    longest, before = 0.0, await spent()
    for _ in range(120):
        await page.evaluate(SCROLL)
        after = await spent()
        longest, before = max(longest, after - before), after
    rows = await page.locator(".window li").count()
    await page.evaluate("gc()")
    heap = await page.evaluate("performance.memory.usedJSHeapSize")
    return Measured(first_view, longest, heap, rows)


async def test_5000_conversions_are_fast_and_small(api: FakeApi, chrome: Browser) -> None:
    grant(api)
    for number in range(MANY):
        add(api, f"conversion-{number:05}", "Succeeded", {"outputSize": 7, **ENDED})
    async with (
        serving(api, "gateway", gateway_auth="token", gateway_rate_burst=1000) as replica,
        visiting(chrome, url_of(replica)) as page,
    ):
        await expect(page.locator(".overview .row").first).to_be_visible(timeout=30000)
        measured = [await measure(page)]
        if measured[0].first_view > 1000:  # a busy machine may delay one view
            measured.append(await measure(page))
        print("\n".join(map(str, measured)))
        best = measured[-1]
        assert best.first_view <= 1000
        assert best.frame <= 100
        assert best.heap <= 64 * 2**20
        assert best.rows < 60


async def test_the_files_of_the_page(api: FakeApi) -> None:
    async with gateway(api) as client:
        shell = await client.get("/ui/")
        assert shell.headers["content-security-policy"] == CSP
        assert "unsafe" not in CSP
        for name, value in (
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-type", "text/html; charset=utf-8"),
        ):
            assert shell.headers[name] == value
        inline = re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", shell.text)
        assert not inline
        linked = re.findall(r'(?:src|href)="([^"#]+)"', shell.text)
        assert linked
        assert not any("//" in name for name in linked)
        module = (await client.get("/ui/page.js")).text
        imported = re.findall(r'from "\./([a-z]+\.js)"', module)
        for name in {*linked, *imported, "data.json"}:
            answer = await client.get(f"/ui/{name}")
            assert answer.status_code == 200, name
            assert answer.headers["x-content-type-options"] == "nosniff"
            again = await client.get(
                f"/ui/{name}", headers={"If-None-Match": answer.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")
            for danger in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "document.write",
            ):
                assert danger not in answer.text
        redirect = await client.get("/ui")
        assert redirect.headers["location"].endswith("ui/")
        for name in ("..%2fapp.py", "app.py", "index.html", "%2e%2e/settings.py"):
            assert (await client.get(f"/ui/{name}")).status_code == 404
        api_answer = await client.get(f"{BASE}/stats")
        assert "content-security-policy" not in api_answer.headers


@pytest.mark.parametrize(
    ("site", "code"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_a_page_of_another_site_may_not_call_the_api(
    api: FakeApi, site: str, code: int
) -> None:
    async with gateway(api) as client:
        answer = await client.get(f"{BASE}/stats", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == code
        # A link to the page is not a call.
        assert (await client.get("/ui/", headers={"Sec-Fetch-Site": site})).status_code == 200
