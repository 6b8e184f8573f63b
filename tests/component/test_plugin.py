"""The kubectl plugin, built and run by kubectl, against the operator's API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.component.kubectl_plugin import Plugin, build, kubeconfig, server_of
from tests.component.running import running
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.scripts import succeed

pytestmark = pytest.mark.judged


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def plugin(api: FakeApi, built: Path, tmp_path: Path) -> Plugin:
    server, token = server_of(api)
    return Plugin(built, kubeconfig(tmp_path / "kubeconfig", server, token))


async def test_a_file_is_submitted_and_watched_to_its_end(
    api: FakeApi, cluster: FakeCluster, plugin: Plugin, tmp_path: Path
) -> None:
    cluster.default = succeed(size=12345)
    async with running(api, tmp_path / "operator"):
        done = await plugin.run(
            *("submit", "input/film.mov", "--to", "mp4", "--option", "resolution=720p", "--watch")
        )
    assert done.code == 0, done
    (job,) = api.objects("conversionjobs")
    assert job["spec"] == {
        "conversionType": "video_to_mp4",
        "inputFile": "input/film.mov",
        "outputFile": "input/film.mp4",
        "options": {"resolution": "720p"},
    }
    assert "created" in done.out
    assert "Succeeded" in done.out
