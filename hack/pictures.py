"""Makes docs/pictures: the live page and the kubectl plugin, with conversions that are made up.

    make pictures

The page runs in Debian's Chromium, over a replica of the HTTP API and the API server of the
component tests. The plugin runs in a pseudo-terminal over the same API server. Look at the pictures
before you commit them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser

from hack.cast_svg import Recording, draw, parse_cast
from tests.component.browsing import OPERATOR, PHONE, add, browser, grant, url_of, visiting
from tests.component.kubectl_plugin import Plugin, build, kubeconfig
from tests.component.listening import serving
from tests.component.support import FakeApi

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs/pictures"
COLUMNS: Final = 96
_LINES: Final = 24
_ROWS: Final = 40
_TYPING_SECONDS: Final = 0.04
_READING_SECONDS: Final = 3.0
_LONGEST_SECONDS: Final = 1.0
"""A slow machine would make the recording long."""
DESKTOP: Final = {"width": 1200, "height": 760}
FACTS: Final = {
    "sha256": "a" * 64,
    "container": "mp4",
    "videoCodec": "h264",
    "audioCodec": "aac",
    "width": 1280,
    "height": 720,
    "durationSeconds": "61.500",
}


def ago(seconds: float) -> str:
    return f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def ran(started: float, seconds: float, **status: Any) -> dict[str, Any]:
    """The status of a conversion that ran, and has ended."""
    times = {"startTime": ago(started), "completionTime": ago(started - seconds)}
    attempt = {"number": 1, **times, "reason": status.get("reason", "Completed")}
    milliseconds = {"durationMilliseconds": round(seconds * 1000)}
    return times | milliseconds | {"attempts": [attempt]} | status


def fill(api: FakeApi) -> None:
    """The conversions of an ordinary afternoon."""
    running = {"attempts": [{"number": 1, "startTime": ago(130)}], "startTime": ago(128)}
    add(
        *(api, "holiday-1080p", "Running"),
        running | {"progress": {"percent": 64, "speed": "2.31x", "etaSeconds": 72}},
        inputFile="videos/2026/holiday.mov",
    )
    add(
        *(api, "concert-preview", "Running"),
        running | {"progress": {"percent": 12, "speed": "0.84x", "etaSeconds": 640}},
        conversionType="video_to_preview",
        inputFile="videos/2026/concert.mkv",
    )
    for number in range(4711, 4718):
        waits = {"queuePosition": number - 4710, "message": "all 3 slots are in use"}
        add(api, f"upload-{number}", "Queued", waits, inputFile=f"uploads/{number}/clip.mov")
    message = (
        "there is no file /input/interview.mov; the path starts at the root of the shared volume"
    )
    failed = ran(300, 0.9, reason="InputNotFound", message=message, logs="probing the input\n")
    add(api, "interview", "Failed", failed, inputFile="input/interview.mov")
    made = {"outputSize": 18874368, "output": FACTS}
    for number, name in enumerate(("bunny-480p", "lecture-12", "lecture-11", "trailer")):
        add(api, name, "Succeeded", ran(600 + 200 * number, 84.3, **made))
    picture = {"outputSize": 50123, "output": FACTS | {"container": "jpeg", "videoCodec": "mjpeg"}}
    kind = {"conversionType": "extract_thumbnail", "outputFile": "output/poster.jpg"}
    add(api, "poster", "Succeeded", ran(420, 1.4, **picture), **kind)


def date(api: FakeApi) -> None:
    """Let the conversions be older than what happened to them."""
    for number, job in enumerate(api.objects("conversionjobs")):
        started = job["status"].get("startTime")
        made = ago(200 - number)
        if started:
            at = datetime.fromisoformat(started) - timedelta(seconds=40 + number)
            made = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        meta = {"creationTimestamp": made}
        change = partial(_date, meta)
        api.mutate("conversionjobs", job["metadata"]["name"], change)


def _date(meta: dict[str, str], obj: dict[str, Any]) -> None:
    obj["metadata"] |= meta


async def page(chrome: Browser, url: str) -> None:
    for name, context in (
        ("page", {"viewport": DESKTOP}),
        ("page-dark", {"viewport": DESKTOP, "color_scheme": "dark"}),
        ("page-phone", {"viewport": PHONE}),
    ):
        async with visiting(chrome, url, **context) as tab:
            await tab.locator(".overview .row").first.wait_for()
            if name != "page-phone":
                await tab.locator(".row", has_text="interview").click()
                await tab.locator("#detail h2").wait_for()
                await tab.locator("main").hover(position={"x": 4, "y": 4})
            await tab.wait_for_timeout(500)
            await tab.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


async def terminal(plugin: Plugin) -> None:
    """Several commands and what they print: a recording, an animated SVG and a still one.

    The commands are typed at a steady pace. A pause for reading follows what each one prints.
    """
    now, events = 0.5, []
    for arguments in (("list",), ("describe", "interview"), ("retry", "interview"), ("list",)):
        for letter in f"$ kubectl conversion {' '.join(arguments)}":
            now += _TYPING_SECONDS
            events.append((now, f"\x1b[1m{letter}\x1b[0m"))
        began = time.monotonic()
        done = await plugin.in_terminal(*arguments, columns=COLUMNS)
        now += min(_LONGEST_SECONDS, time.monotonic() - began)
        lines = done.out.replace("\r\n", "\n").rstrip("\n").split("\n")
        events.append((now, "\n" + "\n".join(lines[:_LINES]) + "\n\n"))
        now += _READING_SECONDS
    recording = Recording(COLUMNS, _ROWS, tuple(events))
    (FOLDER / "plugin.cast").write_text(recording.dump(), encoding="utf-8")
    recorded = parse_cast(recording.dump())
    for name, moves in (("plugin.svg", True), ("plugin-still.svg", False)):
        svg = draw(recorded, "kubectl conversion", moves=moves)
        (FOLDER / name).write_text(svg, encoding="utf-8")


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    api = FakeApi()
    await api.start()
    try:
        fill(api)
        date(api)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            built = await asyncio.to_thread(build, folder / "plugin")
            await terminal(Plugin(built, kubeconfig(folder / "kubeconfig", api.url)))
        grant(api)
        api.add_namespace(OPERATOR)
        async with serving(api, "gateway", gateway_auth="token") as replica, browser() as chrome:
            await page(chrome, url_of(replica))
    finally:
        await api.stop()
    for picture in sorted(FOLDER.iterdir()):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main())
