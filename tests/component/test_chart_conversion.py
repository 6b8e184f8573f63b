"""The program of `helm test` against the API server, with the whole operator."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.component.running import running
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.scripts import Script, fail, succeed

PROGRAM = Path(__file__).parents[2] / "charts/my-network-converter/files/conversion_test.py"


async def run(api: FakeApi, volume: Path, folder: str = "output") -> tuple[int | None, str]:
    """The exit code and the output of the program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM.read_text(encoding="utf-8"),
        env={
            "API_SERVER": api.url,
            "NAMESPACE": "my-network",
            "NAME": "helm-test-1",
            "VOLUME": str(volume),
            "VOLUME_FOLDER": "/tenants/{namespace}",
            "FOLDER": folder,
            "TIMEOUT_SECONDS": "30",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, printed.decode()


class Case(NamedTuple):
    """What the converter does, the size of the file on the volume, and how the program ends."""

    script: Script
    size: int | None
    code: int
    words: str


CASES = {
    "succeeded": Case(
        succeed(size=1024), 1024, 0, "the conversion has succeeded, and its file is on the volume"
    ),
    "another file": Case(
        succeed(size=1024), 1000, 1, "this pod sees no such file at output/helm-test-1.webp"
    ),
    "no file": Case(
        succeed(size=1024), None, 1, "this pod sees no such file at output/helm-test-1.webp"
    ),
    "failed": Case(fail("InputDamaged"), 1024, 1, "failed: the conversion is Failed"),
}


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the volume that the program uses."""
    made = tmp_path / "tenants/my-network/output"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_the_result(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, folder: Path, case: Case
) -> None:
    cluster.default = case.script
    if case.size is not None:
        (folder / "helm-test-1.webp").write_bytes(b"x" * case.size)
    async with running(api, tmp_path):
        ended, printed = await run(api, tmp_path)
        assert (ended, case.words in printed) == (case.code, True), printed
        assert api.find("conversionjobs", "helm-test-1") is None
    assert left_in(folder) == []


async def test_a_quota_that_is_not_counted_yet_is_waited_for(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, folder: Path
) -> None:
    cluster.default = succeed(size=1024)
    (folder / "helm-test-1.webp").write_bytes(b"x" * 1024)
    message = "status unknown for quota: my-network-converter"
    async with running(api, tmp_path):
        with api.faults.status(
            403, message=message, times=1, verb="create", resource="conversionjobs"
        ):
            ended, printed = await run(api, tmp_path)
    assert (ended, "until Kubernetes has counted" in printed) == (0, True), printed


async def test_other_refusals_are_told_in_the_words_of_the_server(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, folder: Path
) -> None:
    with api.faults.status(403, message="no such right", verb="create", resource="conversionjobs"):
        ended, printed = await run(api, tmp_path)
    assert (ended, "no such right" in printed) == (1, True), printed
    assert left_in(folder) == []


async def test_a_folder_that_cannot_be_written_to_is_named(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, folder: Path
) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    ended, printed = await run(api, tmp_path, "output/file")
    assert ended == 1
    assert f"cannot write to {folder}/file" in printed
    assert "set the value test.folder" in printed
