"""`kubectl conversion logs` after the pod was deleted: through the real HTTP API and file server.

A program stands for kubectl for `port-forward`: it names the port where the test's API listens.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.component.kubectl_plugin import Plugin, kubeconfig, server_of, with_stand_in
from tests.component.support import FakeApi
from tests.component.test_plugin_ui import HOME, installed
from tests.component.volume_files import (
    MADE,
    api_with_files,
    create,
    make_volume,
    put_log,
)

STAND_IN = """\
#!/usr/bin/env python3
import json, os, sys, time
from pathlib import Path
args = sys.argv[1:]
if args[0] == "port-forward":
    port = Path(__file__).with_name("port")
    if not port.exists():
        sys.exit('Error from server (NotFound): services "my-network-converter-gateway" not found')
    print(f"Forwarding from 127.0.0.1:{port.read_text()} -> 8000", flush=True)
    time.sleep(60)
else:
    os.execv(os.environ["REAL_KUBECTL"], ["kubectl", *args])
"""


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in the tests of files."""
    return make_volume(tmp_path, monkeypatch)


@pytest.fixture
def plugin(api: FakeApi, tmp_path: Path) -> Plugin:
    server, token = server_of(api)
    return with_stand_in(tmp_path, kubeconfig(tmp_path / "kubeconfig", server, token), STAND_IN)


async def test_the_stored_log_of_each_attempt(api: FakeApi, plugin: Plugin, volume: Path) -> None:
    installed(api, GATEWAY_AUTH="network")
    uid = create(api)
    for attempt in (1, 2):
        put_log(volume, uid, attempt, f"attempt {attempt} \x1b[2J\n")
    words = ("--operator-namespace", HOME)
    async with api_with_files(api, volume) as client:
        (plugin.folder / "port").write_text(str(client.base_url.port))
        last = await plugin.run("logs", "a", *words)
        assert (last.code, last.out) == (0, "attempt 2 \\x1b[2J\n"), last
        first = await plugin.run("logs", "a", "--attempt", "1", *words)
        assert (first.code, first.out) == (0, "attempt 1 \\x1b[2J\n"), first
        put_log(volume, uid, 2, "").unlink()
        without = await plugin.run("logs", "a", *words)
        assert (without.code, without.out) == (0, "the end of the log\n"), without
        assert "The stored log cannot be read: the volume does not have it" in without.err


async def test_without_the_api_the_end_is_in_the_status(api: FakeApi, plugin: Plugin) -> None:
    installed(api, GATEWAY_AUTH="network")
    create(api, status=json.loads(json.dumps(MADE)))
    done = await plugin.run("logs", "a", "--operator-namespace", HOME)
    assert (done.code, done.out) == (0, "the end of the log\n"), done
    assert "The stored log cannot be read" in done.err
    assert "not found" in done.err
