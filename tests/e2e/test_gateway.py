"""The HTTP API as its callers use it: from inside the cluster, with tokens and without."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import pytest

from conversion_operator.api import names
from tests.e2e.support.caller import BASE_URL, TOKEN_FILE, Caller
from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions
from tests.e2e.support.readme import Block, python_blocks
from tests.e2e.support.watches import Watches, runs

DEPLOYMENT: Final = ("-n", "my-network-converter", "rollout")
GATEWAY: Final = "deployment/my-network-converter-gateway"
LABEL: Final = "app.kubernetes.io/name=my-network-converter-gateway"
ELSEWHERE: Final = "my-network-elsewhere"
LISTEN: Final = (ROOT / "tests/e2e/scripts/listen.py").read_text(encoding="utf-8")
TODAY: Final = (ROOT / "tests/e2e/scripts/today.py").read_text(encoding="utf-8")

GUIDE: Final = python_blocks((ROOT / "docs/migrating.md").read_text(encoding="utf-8"))

# One GET with a token from a file, or without; prints the status code, or 0 if nobody answers.
ASK: Final = """
import sys, httpx2
url, *rest = sys.argv[1:]
headers = {"Authorization": "Bearer " + open(rest[0]).read()} if rest else {}
headers |= {"X-Namespace": rest[1]} if len(rest) > 1 else {}
try:
    print(httpx2.get(url, headers=headers, timeout=5).status_code)
except httpx2.TransportError:
    print(0)
"""
ACTIVE: Final = f"{BASE_URL}/api/v1/converter/active"


@pytest.fixture(scope="module")
def app(kubectl: Kubectl) -> Iterator[Caller]:
    """MY Network: its account may make conversions in its namespace, and it has the volume."""
    kubectl(*DEPLOYMENT, "status", GATEWAY, "--timeout=120s", limit=130)
    caller = Caller.start(kubectl, "my-network-app", NAMESPACE, volume=True)
    caller.bind()
    yield caller
    caller.remove()


@pytest.fixture(scope="module")
def stranger(kubectl: Kubectl) -> Iterator[Caller]:
    """A pod of another namespace, whose account has no rights at all."""
    kubectl("create", "namespace", ELSEWHERE)
    yield Caller.start(kubectl, "stranger", ELSEWHERE)
    kubectl("delete", "namespace", ELSEWHERE, "--wait=false")


@pytest.fixture
def without_tokens(kubectl: Kubectl) -> Iterator[None]:
    """The API lets one namespace in, and looks at no token."""
    _install(kubectl, "overlay-network")
    yield
    _install(kubectl, "overlay")


def _install(kubectl: Kubectl, overlay: str) -> None:
    kubectl("apply", "-k", str(ROOT / "tests/e2e" / overlay))
    _replace(kubectl)


def _replace(kubectl: Kubectl) -> None:
    """Replace every replica, one after the other, and wait until the old ones are gone.

    Before that, the rollout is complete, but the old replicas still serve for their drain time.
    """
    before = kubectl("-n", "my-network-converter", "get", "pods", "-l", LABEL, "-o", "name").split()
    kubectl(*DEPLOYMENT, "restart", GATEWAY)
    kubectl(*DEPLOYMENT, "status", GATEWAY, "--timeout=120s", limit=130)
    kubectl.wait("delete", "-n", "my-network-converter", *before, seconds=60)


def _is_as_today(answers: Any, conversions: Conversions, kubectl: Kubectl) -> None:
    """What MY Network relies on in the answers to its requests."""
    missing = {"error": "Missing required field: input_file"}
    assert answers["missing"] == {"code": 400, "json": missing}
    for name, started in answers["started"].items():
        assert (started["code"], started["json"]["status"]) == (200, "started"), started
        job, ended = started["json"]["job_id"], answers["ended"][name]["json"]
        body = kubectl.get("-n", NAMESPACE, "convjob", job)
        size = conversions.adopt(body).succeeded()["outputSize"]
        assert (ended["job_id"], ended["status"], ended["output_size"]) == (job, "completed", size)
        assert ended["input_file"].startswith("/opt/my-network/shared/input/")
        assert ended["output_file"].startswith("/opt/my-network/storage/")
        start = datetime.fromisoformat(ended["start_time"])
        end = datetime.fromisoformat(ended["end_time"])
        assert start.tzinfo is None
        # The two times are whole seconds. The converter measures the duration.
        assert abs(ended["duration_seconds"] - (end - start).total_seconds()) <= 2
    active = answers["active"]["json"]
    assert active["total_active"] == len(active["active_jobs"]) >= 1
    jobs = {started["json"]["job_id"] for started in answers["started"].values()}
    assert {job["job_id"] for job in active["active_jobs"]} <= jobs
    stats = answers["stats"]["json"]
    assert (stats["max_parallel_jobs"], stats["docker_sock_path"]) == (3, None)
    assert stats["converter_image"] == "my-converter:latest"
    assert answers["unknown"]["json"] == {"status": "not_found", "error": "Job not found"}
    assert answers["too_late"] == {
        "code": 404,
        "json": {"error": "Failed to cancel job or job not found"},
    }
    assert answers["cancel"] == {"code": 200, "json": {"message": "Job cancelled successfully"}}
    cancelled = answers["cancelled"]["json"]
    assert cancelled["status"] == "cancelled"
    conversions.adopt(kubectl.get("-n", NAMESPACE, "convjob", cancelled["job_id"]))


def test_the_requests_of_today_with_a_token(
    app: Caller, conversions: Conversions, kubectl: Kubectl
) -> None:
    answers = app.ask(TODAY, BASE_URL, TOKEN_FILE)
    _is_as_today(answers, conversions, kubectl)
    for started in answers["started"].values():
        job = ("-n", NAMESPACE, "convjob", started["json"]["job_id"])
        caller = kubectl.get(*job)["metadata"]["annotations"][names.CALLER_ANNOTATION]
        assert caller == f"system:serviceaccount:{NAMESPACE}:my-network-app"
        # Not even an administrator can change it.
        for change in (f"{names.CALLER_ANNOTATION}=me", f"{names.CALLER_ANNOTATION}-"):
            done = kubectl.attempt("annotate", "--overwrite", *job, change)
            assert "Only the HTTP API sets or changes" in done.err
        kubectl("annotate", *job, "note=mine")


@pytest.mark.parametrize("block", GUIDE, ids=lambda block: f"line {block.line}")
def test_the_programs_of_the_guide_work(block: Block, app: Caller, kubectl: Kubectl) -> None:
    printed = app.run(block.script, CONVERTER_URL=BASE_URL, CONVERTER_TOKEN_FILE=TOKEN_FILE)
    assert "completed" in printed
    kubectl("-n", NAMESPACE, "delete", "convjob", "--all", limit=120)


def test_events_go_on_while_every_replica_is_replaced(
    app: Caller, conversions: Conversions, kubectl: Kubectl, watches: Watches
) -> None:
    with ThreadPoolExecutor() as threads:
        listening = threads.submit(app.ask, LISTEN, BASE_URL, TOKEN_FILE)
        pods = watches.pods.current
        watches.until(lambda: any(runs(pod) for pod in tuple(pods.values())), "it runs", 60)
        _replace(kubectl)
        told = listening.result()
    conversions.adopt(kubectl.get("-n", NAMESPACE, "convjob", told["job"])).succeeded()
    kinds = [kind for kind, _ in told["heard"]]
    assert kinds.count("started") == kinds.count("completed") == 1
    assert kinds[-1] == "completed"
    assert "reset" not in kinds, "an id of one replica was no good at another"
    assert kinds.count("progress") >= 3
    ids = [int(identifier) for _, identifier in told["heard"] if identifier]
    assert ids == sorted(set(ids))
    assert told["later"] == told["expected"] != []
    for name in ("past", "future", "garbage"):
        assert told["anew"][name] == ["reset", "completed"], name


def test_nobody_else_is_let_in(app: Caller, stranger: Caller) -> None:
    other_audience = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    assert app.ask(ASK, ACTIVE, TOKEN_FILE) == 200
    assert app.ask(ASK, ACTIVE) == 401
    assert app.ask(ASK, ACTIVE, other_audience) == 401
    assert app.ask(ASK, ACTIVE, TOKEN_FILE, "my-network-second") == 403
    assert stranger.ask(ASK, ACTIVE, TOKEN_FILE) == 403
    assert stranger.ask(ASK, ACTIVE, TOKEN_FILE, NAMESPACE) == 403


def test_the_requests_of_today_without_a_token(
    without_tokens: None, app: Caller, stranger: Caller, conversions: Conversions, kubectl: Kubectl
) -> None:
    _is_as_today(app.ask(TODAY, BASE_URL), conversions, kubectl)
    # Not even a token opens a connection from elsewhere.
    assert stranger.ask(ASK, ACTIVE, TOKEN_FILE, NAMESPACE) == 0
    assert stranger.ask(ASK, f"{BASE_URL}/healthz") == 0
