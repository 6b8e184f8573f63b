"""The live page in Debian's Chromium, over a replica of the HTTP API in the test's own process."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx
from playwright.async_api import Browser, Page, async_playwright

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import conversion_job

ROOT: Final = Path(__file__).parents[2]
DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 844}
TOKEN: Final = "good"  # noqa: S105
OPERATOR: Final = "my-network-converter"
EVERYTHING: Final = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


@cache
def chromium() -> str:
    """The path of the browser. Installs it on Debian."""
    done = subprocess.run(
        [ROOT / "hack/browser"], check=True, capture_output=True, text=True, timeout=600
    )
    return done.stdout.strip().splitlines()[-1]


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser without a profile. As root, it has no sandbox of its own."""
    path = await asyncio.to_thread(chromium)
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--js-flags=--expose-gc"]
        )
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def visiting(
    browser_: Browser, url: str, token: str = TOKEN, **context: Any
) -> AsyncIterator[Page]:
    """The page in a tab of its own. Fails if the page logs an error, or asks another server."""
    problems: list[str] = []
    made = await browser_.new_context(**({"viewport": DESKTOP} | context))
    page = await made.new_page()

    def asked(address: str) -> None:
        if not address.startswith((url, "blob:")):
            problems.append(f"asked {address}")

    page.on("request", lambda request: asked(request.url))
    page.on("pageerror", lambda error: problems.append(f"{error}"))
    page.on(
        "console",
        lambda message: (
            problems.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    try:
        await page.goto(f"{url}/ui/#token={token}&namespace={NAMESPACE}")
        yield page
        assert not problems, problems
    finally:
        await made.close()


def grant(api: FakeApi) -> None:
    """Tokens of the API, of somebody who may do everything, and of somebody who may only look."""
    api.access.grant("gateway", "system:serviceaccount:ops:gateway", EVERYTHING)
    audience = (OPERATOR,)
    api.access.grant(TOKEN, "system:serviceaccount:my-network:web", EVERYTHING, None, audience)
    look = [
        {
            "apiGroups": ["converter.mynetwork.io"],
            "resources": ["conversionjobs"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    api.access.grant("viewer", "system:serviceaccount:my-network:eve", look, NAMESPACE, audience)


def add(api: FakeApi, name: str, phase: str = "", status: Any = None, **spec: Any) -> None:
    """A ConversionJob in a phase."""
    api.create(conversion_job(name, **spec))
    if phase:
        change(api, name, phase, **(status or {}))


def change(api: FakeApi, name: str, phase: str, **status: Any) -> None:
    """Write the status of a ConversionJob."""
    reasons = {"Queued": "WaitingForSlot", "Succeeded": "Completed", "Failed": "InputCorrupt"}
    full = {
        "phase": phase,
        "reason": reasons.get(phase, phase),
        "message": f"It is {phase}.",
        "conditions": [],
    } | status
    api.mutate("conversionjobs", name, partial(dict.update, status=full))


def url_of(client: httpx.AsyncClient) -> str:
    """The address of a replica of :func:`tests.component.listening.serving`."""
    return str(client.base_url).rstrip("/")
