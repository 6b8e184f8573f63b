"""Fixtures of the image's tests. Without docker or the image they fail instead of skipping."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.converter.cases import AT_LEAST, COUNTED
from tests.converter.containers import (
    RESTRICTED,
    Agent,
    Image,
    build_tools,
    export_modules,
    inspect_image,
)
from tests.converter.harness import Converter, Workspace
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.pantry import Pantry, default_folder

IMAGE_NAME = os.environ.get("CONVERTER_IMAGE", "my-converter:latest")


@pytest.fixture(scope="session")
def tools_image() -> str:
    """The image that makes inputs and probes outputs."""
    return build_tools()


@pytest.fixture(scope="session")
def image(tools_image: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image under test."""
    modules = tmp_path_factory.mktemp("python") / "modules"
    return inspect_image(IMAGE_NAME, export_modules(tools_image, modules))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shared volume."""
    return Workspace(tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="session")
def tools(tools_image: str, workspace: Workspace) -> Iterator[Agent]:
    """A container with ffmpeg, libvips, exiftool and the encoders that make the inputs."""
    flags = ("--network=none", "--user=65532", f"--volume={workspace.root}:/workspace")
    with Agent(tools_image, (*flags, "--tmpfs=/tmp")) as agent:
        yield agent


@pytest.fixture(scope="session")
def kitchen(tools: Agent, workspace: Workspace, tools_image: str) -> Kitchen:
    return Kitchen(tools, workspace, Pantry(default_folder(), tools_image))


@pytest.fixture(scope="session")
def lab(tools: Agent, workspace: Workspace) -> Lab:
    return Lab(tools, workspace)


@pytest.fixture(scope="session")
def restricted(image: Image, workspace: Workspace) -> Iterator[Agent]:
    """A long-lived container of the image under test, as restricted as a conversion's pod."""
    with image.agent(*RESTRICTED, f"--volume={workspace.root}:/workspace") as agent:
        yield agent


@pytest.fixture(scope="session")
def converter(restricted: Agent, image: Image, workspace: Workspace) -> Converter:
    return Converter(restricted, workspace, image.entrypoint)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the number of cases from the process of pytest-xdist that counted them."""
    if "cases" in getattr(node, "workeroutput", {}):
        node.config.stash[COUNTED] = node.workeroutput["cases"]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the number of cases if this run counted them."""
    found = config.stash.get(COUNTED, None)
    if found is not None:
        terminalreporter.write_line(f"The converter suite has {found} cases (>= {AT_LEAST}).")
