"""Logs and output files over HTTP, after the pod of the conversion was deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.support.caller import BASE_URL, TOKEN_FILE, Caller
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions

FILES: Final = "my-network-converter-files"

# GETs of paths with a token: for each the status, some headers, and what a program needs to know
# about the body.
GET: Final = """
import hashlib, json, sys, httpx2
base, token, *paths = sys.argv[1:]
headers = {"Authorization": "Bearer " + open(token).read()}
found = []
for path in paths:
    answer = httpx2.get(base + path, headers=headers, timeout=30)
    text = answer.text if answer.headers["content-type"].startswith(("text", "app")) else ""
    found.append({"code": answer.status_code, "type": answer.headers["content-type"], "text": text,
                  "sha256": hashlib.sha256(answer.content).hexdigest(),
                  "etag": answer.headers.get("etag"),
                  "source": answer.headers.get("x-log-source")})
print(json.dumps(found))
"""
# Whether a connection to a host and a port opens.
CONNECT: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print("true")
except OSError:
    print("false")
"""


@pytest.fixture(scope="module")
def app(kubectl: Kubectl, file_server: str) -> Iterator[Caller]:
    """A caller."""
    caller = Caller.start(kubectl, "files-app", NAMESPACE)
    caller.bind()
    yield caller
    caller.remove()


def test_a_log_and_an_output_are_read_after_the_pod_is_deleted(
    app: Caller, conversions: Conversions, kubectl: Kubectl, volume: Path
) -> None:
    made = conversions.make("stored-log")
    status = made.succeeded()
    stored = volume / ".conversion-logs" / made.uid / "1.log"
    assert stored.read_text().splitlines()[-1].endswith(" Completed")
    kubectl("-n", NAMESPACE, "delete", "job", status["jobName"], "--wait=true", limit=60)
    made.until(lambda _: made.no_pod_lives(), "no pod is left")
    base = f"{BASE_URL}/api/v1/converter"
    paths = (f"/logs/{made.name}", f"/outputs/{made.name}/0", f"/outputs/{made.name}/1")
    log, output, none = app.ask(GET, base, TOKEN_FILE, *paths)
    assert (log["code"], log["source"], log["text"]) == (200, "volume", stored.read_text())
    assert log["type"] == "text/plain; charset=utf-8"
    digest = hashlib.sha256(made.output.read_bytes()).hexdigest()
    assert (output["code"], output["sha256"], output["type"]) == (200, digest, "image/webp")
    assert output["etag"] == f'"{status["output"]["sha256"]}"' == f'"{digest}"'
    assert none["code"] == 404


def test_a_failed_conversion_has_a_log_of_each_attempt(
    app: Caller, conversions: Conversions
) -> None:
    made = conversions.make("no-input", inputFile="input/nothing.jpg")
    made.until_phase("Failed")
    base = f"{BASE_URL}/api/v1/converter"
    log, output = app.ask(
        GET, base, TOKEN_FILE, f"/logs/{made.name}?attempt=1", f"/outputs/{made.name}/0"
    )
    assert log["code"] == 200
    assert "InputNotFound: there is no file" in log["text"]
    assert output["code"] == 404
    assert "output_missing" in output["text"]


def test_only_the_api_reaches_the_file_server(app: Caller) -> None:
    assert app.ask(CONNECT, f"{FILES}.{NAMESPACE}.svc", "8001") is False


def test_the_file_server_sees_only_the_folder_that_it_says(
    app: Caller, kubectl: Kubectl, run_folder: str, volume: Path
) -> None:
    (volume / run_folder).mkdir(parents=True, exist_ok=True)
    (volume / run_folder / "mine.txt").write_text("mine")
    here = ("-n", NAMESPACE)
    deployment = f"deployment/{FILES}"

    def files_of(folder: str) -> list[str]:
        kubectl(*here, "set", "env", deployment, f"FILES_FOLDER={folder}")
        kubectl(*here, "rollout", "status", deployment, "--timeout=120s", limit=130)
        script = "import os; print(*sorted(os.listdir('/files')))"
        return kubectl(*here, "exec", deployment, "--", "python3", "-c", script).split()

    try:
        assert "mine.txt" in files_of(run_folder)
        assert "input" not in files_of(run_folder)
    finally:
        assert "input" in files_of(".")
