"""The commands of docs/install.md that copy files to and from a volume, on the tests' cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import NAMESPACE
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.page_commands import carry_out
from tests.e2e.support.prometheus import load_image
from tests.e2e.support.readme import command_blocks

PAGE: Final = (ROOT / "docs/install.md").read_text(encoding="utf-8")
SECTION: Final = PAGE.split("\n## Your own files\n")[1].split("\n## ")[0]
# The first block copies a file to the folder of the demo. CI runs the demo with another folder.
BLOCKS: Final = command_blocks(SECTION)[1:]
IMAGE: Final = "debian:trixie-slim"
"""The image of the page. Nothing pulls images here."""


@pytest.fixture
def checkout(kubectl: Kubectl, operator: OperatorInCluster, tmp_path: Path) -> Iterator[Path]:
    """A folder like the reader's. What the page makes is removed afterwards."""
    load_image(kubectl, IMAGE)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    yield tmp_path
    kubectl("-n", NAMESPACE, "delete", "pod/files", "--ignore-not-found", "--now")
    kubectl("-n", NAMESPACE, "delete", "convjob/guitar-mp3", "--ignore-not-found")


def test_your_own_files_are_copied_converted_and_copied_back(
    checkout: Path, kubectl: Kubectl
) -> None:
    assert f"image: {IMAGE}" in SECTION
    script = "\n".join(block.script for block in BLOCKS)
    for word in ("exec files", "cp deploy/", "cp files:", "delete pod files"):
        assert word in script
    carry_out(script, checkout, kubectl.environment(), limit=300)
    copied = checkout / "guitar.mp3"
    status = kubectl.get("convjob", "guitar-mp3", "-n", NAMESPACE)["status"]
    assert copied.stat().st_size == status["outputSize"]
