"""An upload from beginning to end: content pipeline, conversions, signed callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.support.caller import BASE_URL, TOKEN_FILE, Caller
from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions
from tests.e2e.support.operator import NAMESPACE as OPERATORS
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.probing import probe_image, probe_media

SCRIPTS: Final = ROOT / "tests/e2e/scripts"
SECRET: Final = "correct horse battery staple"  # noqa: S105  the test's own
CALLBACKS: Final = "my-network-converter-callbacks"


@pytest.fixture
def receiver(kubectl: Kubectl, operator: OperatorInCluster) -> Iterator[str]:
    """The URL of a program that takes callbacks, to which the operator sends them."""
    program = (SCRIPTS / "receiver.py").read_text(encoding="utf-8")
    caller = Caller.start(kubectl, "receiver", NAMESPACE, program=program)
    url = caller.serve(8080)
    kubectl(
        "-n", OPERATORS, "create", "secret", "generic", CALLBACKS, f"--from-literal=secret={SECRET}"
    )
    before = operator.settings()
    hosts = {"CONVERTER_CALLBACK_HOSTS": urlsplit(url).netloc.partition(":")[0]}
    operator.patch_settings(hosts | {"CONVERTER_CALLBACK_URL": f"{url}/hook"})
    # A kubelet would bring the secret within a minute or so.
    operator.scale(0)
    operator.scale(1)
    yield url
    kubectl("-n", OPERATORS, "delete", "secret", CALLBACKS)
    operator.configure({name: before[name] for name in before if "CALLBACK" in name})
    caller.remove()


@pytest.fixture
def app(kubectl: Kubectl) -> Iterator[Caller]:
    """MY Network."""
    caller = Caller.start(kubectl, "my-network-upload", NAMESPACE, volume=True)
    caller.bind()
    yield caller
    caller.remove()


def test_an_upload(
    app: Caller, receiver: str, conversions: Conversions, kubectl: Kubectl, volume: Path
) -> None:
    script = (SCRIPTS / "upload.py").read_text(encoding="utf-8")
    told = app.ask(script, BASE_URL, TOKEN_FILE, receiver, SECRET)
    preview, thumbnail = told["first"]["conversions"]
    job = preview["job_id"]
    assert thumbnail["job_id"] == job
    assert [c["job_id"] for c in told["again"]["conversions"]] == [job, job]
    assert [ended["status"] for ended in told["ended"]] == ["completed"]
    assert told["content"]["status"] == "completed"
    assert told["other"]["status"] == "nothing_to_do"
    status = conversions.adopt(kubectl.get("-n", NAMESPACE, "convjob", job)).succeeded()
    data = told["events"][job]["data"]
    assert (data["status"], data["contentId"]) == ("completed", "4711")
    assert data["outputSize"] == status["outputSize"]
    entries = told["content"]["conversions"]
    for output, entry, sent in zip(status["outputs"], entries, data["outputs"], strict=True):
        assert output["state"] == "Succeeded"
        assert (entry["output_size"], sent["size"]) == (output["size"], output["size"])
        assert entry["output"]["sha256"] == sent["sha256"] == output["sha256"]
    assert told["forged"] == "refused"
    folder = "/opt/my-network/storage/4711"
    assert preview["output_file"] == f"{folder}/my.holiday_preview.mp4"
    assert thumbnail["output_file"] == f"{folder}/my.holiday_thumb.jpg"
    media = probe_media(volume, "storage/4711/my.holiday_preview.mp4")
    # The source is smaller than 720p, and nothing is ever enlarged.
    source = probe_media(volume, "storage/4711/my.holiday.mov")
    assert (media["videoCodec"], media["height"]) == ("h264", min(720, source["height"]))
    assert probe_image(volume, "storage/4711/my.holiday_thumb.jpg")["loader"] == "jpegload"
