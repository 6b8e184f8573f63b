"""The kind cluster of a test suite: creates it, fills its volume, and removes it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.support.commands import ROOT, TOOLS, hack, must
from tests.e2e.support.conversions import LONG_INPUT
from tests.e2e.support.probing import IMAGE

LIMIT: Final = 3
"""The default of CONVERTER_MAX_PARALLEL."""


def limit_tests(items: list[pytest.Item], folder: Path, seconds: int) -> None:
    """Limit the time of each test in a folder.

    The limit does not include fixtures: the first test would pay for creating the cluster.
    """
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.timeout(seconds, func_only=True))


@contextmanager
def kind_cluster(
    request: pytest.FixtureRequest, name: str, volume: Path, *options: str
) -> Iterator[None]:
    """A cluster with our images. It is removed at the end, unless `--keep-cluster` is given."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        hack("docker", limit=600)
        hack("cluster", "up", name, str(volume), *options, "--audit", limit=3600)
        hack("images", name, limit=3600)
    yield
    if request.session.testsfailed:
        hack("cluster", "logs", name, str(TOOLS / "logs" / f"kind-{name}"), limit=300)
    if not request.config.getoption("keep_cluster"):
        hack("cluster", "down", name, limit=300)
        hack("volume", "remove", str(volume), limit=300)


def fill_volume(volume: Path, repeats: int) -> None:
    """Copy the sample media to input/, and make a long video of the five-second sample.

    The long video is ``repeats`` copies of the sample, joined without encoding.
    """
    for path in (ROOT / "deploy/samples/media").iterdir():
        shutil.copy(path, volume / "input")
    must(
        *("docker", "run", "--rm", "--network=none", f"--volume={volume}:/workspace"),
        *("--entrypoint=ffmpeg", IMAGE, "-v", "error", "-y"),
        *("-stream_loop", str(repeats), "-i", "input/big-buck-bunny.mov"),
        *("-c", "copy", LONG_INPUT),
    )
