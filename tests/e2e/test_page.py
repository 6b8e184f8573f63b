"""The live page, opened by the plugin, in a browser: from submit to the finished conversion."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.component.browsing import browser, visiting
from tests.component.kubectl_plugin import Plugin, build
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions

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


async def test_a_file_is_submitted_and_finishes_on_the_page(
    address: str, kubectl: Kubectl, conversions: Conversions, run_folder: str
) -> None:
    url, _, rest = address.partition("/ui/#token=")
    token = rest.partition("&")[0]
    async with browser() as chrome, visiting(chrome, url, token=token) as page:
        await expect(page.locator("#live")).to_have_text("Live", timeout=30000)
        await page.get_by_role("button", name="New conversion").click()
        await page.get_by_label("What to make").select_option("extract_thumbnail")
        await page.get_by_label("Input file").fill("input/big-buck-bunny.mov")
        await page.get_by_label("Output file").fill(f"{run_folder}/page.jpg")
        await page.get_by_role("button", name="Start").click()
        detail = page.locator("#detail")
        name = await detail.locator("dt:text-is('Name') + dd").inner_text()
        conversions.adopt(kubectl.get("-n", NAMESPACE, "convjob", name))
        await expect(detail.locator(".badge")).to_have_text("Finished", timeout=120000)
        await expect(detail).to_contain_text(re.compile(r"KiB .* jpeg"))
        await expect(detail).to_contain_text("by system:serviceaccount:my-network:page")
        # Without a file server, the page says so. With one, there is a preview.
        await expect(detail.get_by_text("file server").or_(detail.locator("img"))).to_be_visible()
