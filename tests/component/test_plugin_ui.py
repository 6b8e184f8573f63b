"""`kubectl conversion ui` forwards a port, again and again, and passes a token in the fragment.

A program stands for kubectl where the API server in this process has nothing to forward to: it
answers `port-forward` and the request for a token. Everything else goes to kubectl.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.component.kubectl_plugin import Plugin, kubeconfig, server_of, with_stand_in
from tests.component.support import FakeApi

HOME = "my-network-converter"
STAND_IN = """\
#!/usr/bin/env python3
import json, os, sys, time
from pathlib import Path
here, args = Path(__file__).parent, sys.argv[1:]
log = here / "calls"
if args[0] == "port-forward":
    with log.open("a") as file: file.write(json.dumps(args) + "\\n")
    target = [arg for arg in args if arg.endswith(":http")][0]
    port = target.removesuffix(":http") or "40123"
    print(f"Forwarding from 127.0.0.1:{port} -> 8000", flush=True)
    if len(log.read_text().splitlines()) < 3:
        sys.exit("error: lost connection to pod")
    time.sleep(60)
elif args[:2] == ["create", "--raw"] and args[2].endswith("/token"):
    request = json.load(sys.stdin)
    if "/serviceaccounts/nobody/" in args[2]:
        sys.exit('Error from server (NotFound): serviceaccounts "nobody" not found')
    (here / "request").write_text(json.dumps([args[2], request]))
    print(json.dumps({"kind": "TokenRequest", "status": {"token": "a.b+c/d"}}))
else:
    os.execv(os.environ["REAL_KUBECTL"], ["kubectl", *args])
"""


@pytest.fixture
def plugin(api: FakeApi, tmp_path: Path) -> Plugin:
    server, token = server_of(api)
    return with_stand_in(tmp_path, kubeconfig(tmp_path / "kubeconfig", server, token), STAND_IN)


def installed(api: FakeApi, **settings: str) -> None:
    api.add_namespace(HOME)
    api.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "my-network-converter-gateway", "namespace": HOME},
            "data": settings,
        }
    )


async def opened(plugin: Plugin, *arguments: str, calls: int = 1) -> tuple[str, list[list[str]]]:
    """The address that it prints, and the calls of kubectl, when there are so many."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "conversion", "ui", "--no-browser", "--operator-namespace", HOME, *arguments),
        env=plugin.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    log = plugin.folder / "calls"
    try:
        assert process.stdout is not None
        address = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        async with asyncio.timeout(60):
            while len(log.read_text("utf-8").splitlines()) < calls:  # noqa: ASYNC110  no event
                await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return address, [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def fragment(address: str) -> dict[str, Any]:
    return parse_qs(urlsplit(address).fragment, strict_parsing=True)


async def test_the_token_is_in_the_fragment_and_the_port_stays(
    api: FakeApi, plugin: Plugin
) -> None:
    installed(api, GATEWAY_AUTH="token", GATEWAY_AUDIENCE="own")
    address, calls = await opened(plugin, "--account", "web", "--minutes", "10", calls=3)
    assert re.match(r"http://127\.0\.0\.1:[0-9]+/ui/#", address)
    assert fragment(address) == {"token": ["a.b+c/d"], "namespace": ["my-network"]}
    assert [call[-1] for call in calls] == [":http"] * 3, "the plugin holds the port of the page"
    assert calls[0][1:3] == ["--address", "127.0.0.1"]
    path, request = json.loads((plugin.folder / "request").read_text("utf-8"))
    assert path == "/api/v1/namespaces/my-network/serviceaccounts/web/token"
    assert request["spec"] == {"audiences": ["own"], "expirationSeconds": 600}


async def test_without_tokens_there_is_none(api: FakeApi, plugin: Plugin) -> None:
    installed(api, GATEWAY_AUTH="network")
    address, _ = await opened(plugin, "--port", "8123")
    assert address.startswith("http://127.0.0.1:8123/ui/#")
    assert fragment(address) == {"namespace": ["my-network"]}
    assert not (plugin.folder / "request").exists()


async def test_an_account_that_is_missing_is_named_with_its_cure(
    api: FakeApi, plugin: Plugin
) -> None:
    installed(api)
    done = await plugin.run("ui", "--account", "nobody", "--operator-namespace", HOME)
    assert done.code != 0
    assert "there is no service account nobody in namespace my-network" in done.err
    assert f"--clusterrole={HOME}-caller --serviceaccount=my-network:nobody" in done.err
