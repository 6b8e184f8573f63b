"""The live page, opened by the plugin, in a browser: from submit to the finished conversion."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.component.browsing import browser, visiting
from tests.component.kubectl_plugin import Plugin, build
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions

# The width of the film, when some of it was played.
PLAYED = """video => new Promise((done) => {
  const look = () => video.currentTime > 0.2 && done(video.videoWidth);
  video.addEventListener("timeupdate", look);
  look();
})"""
ACCOUNT = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: page, namespace: {NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: page, namespace: {NAMESPACE}}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: my-network-converter-caller
subjects: [{{kind: ServiceAccount, name: page}}]
"""


@pytest.fixture
async def address(kubectl: Kubectl, tmp_path: Path) -> AsyncIterator[str]:
    """What `kubectl conversion ui` prints. It forwards the port as long as the test runs."""
    kubectl("apply", "-f", "-", text=ACCOUNT)
    built = await asyncio.to_thread(build, tmp_path / "plugin")
    plugin = Plugin(built, Path(kubectl.environment()["KUBECONFIG"]))
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "conversion", "ui", "--no-browser", "-n", NAMESPACE),
        env=plugin.environment(),
        stdout=asyncio.subprocess.PIPE,
        # A shell starts programs in the background with SIGINT ignored, and this is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 30)


async def _submit(page: Page, kind: str, output: str) -> str:
    """Submit a conversion on the page. Returns its name. Its details are open then."""
    await page.get_by_role("button", name="New conversion").click()
    await page.get_by_label("What to make").select_option(kind)
    await page.get_by_label("Input file").fill("input/big-buck-bunny.mov")
    await page.get_by_label("Output file").fill(output)
    await page.get_by_role("button", name="Start", exact=True).click()
    detail = page.locator("#detail")
    await expect(detail.locator(".path")).to_have_text(output)
    return await detail.locator("dt:text-is('Name') + dd").inner_text()


async def _download(page: Page) -> bytes:
    """The bytes that the browser saves."""
    async with page.expect_download() as started:
        await page.locator("#detail").get_by_role("button", name="Download", exact=True).click()
    return (await (await started.value).path()).read_bytes()


@pytest.mark.usefixtures("file_server")
async def test_from_submit_to_the_picture_the_film_and_their_files(
    address: str, kubectl: Kubectl, conversions: Conversions, run_folder: str, volume: Path
) -> None:
    url, _, rest = address.partition("/ui/#token=")
    token = rest.partition("&")[0]
    async with browser() as chrome, visiting(chrome, url, token=token) as page:
        await expect(page.locator("#live")).to_have_text("Live", timeout=30000)
        detail = page.locator("#detail")
        still = f"{run_folder}/page.jpg"
        conversions.adopt(
            kubectl.get("-n", NAMESPACE, "convjob", await _submit(page, "extract_thumbnail", still))
        )
        await expect(detail.locator(".badge")).to_have_text("Finished", timeout=120000)
        await expect(detail).to_contain_text(re.compile(r"KiB .* jpeg"))
        await expect(detail).to_contain_text("by system:serviceaccount:my-network:page")
        picture = detail.locator("img.preview")
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert await _download(page) == (volume / still).read_bytes()

        film = f"{run_folder}/page.mp4"
        conversions.adopt(
            kubectl.get("-n", NAMESPACE, "convjob", await _submit(page, "video_to_preview", film))
        )
        await expect(detail.locator(".badge")).to_have_text("Finished", timeout=120000)
        await detail.get_by_role("button", name="Play").click()
        player = detail.locator("video.preview")
        await expect(player).to_be_focused()
        assert await player.evaluate(PLAYED) > 0
        assert await _download(page) == (volume / film).read_bytes()
