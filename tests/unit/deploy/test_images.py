"""What the lock files install into the images."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.unit.deploy.rendering import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "client/pyproject.toml").read_text("utf-8"))[
    "project"
]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def packages(requirements: list[str]) -> set[str]:
    return {re.split("[<>=!~\\[ ;]", line)[0] for line in requirements}


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE))


@pytest.mark.parametrize(("image", "other"), [("operator", "gateway"), ("gateway", "operator")])
def test_an_image_has_its_own_packages_and_not_those_of_the_other(image: str, other: str) -> None:
    lock = locked(f"{image}/requirements.lock")
    assert packages(PROJECT["dependencies"] + EXTRAS[image]) <= set(lock)
    # The Kubernetes client brings certifi into both, and FastAPI the API of OpenTelemetry.
    both = {"certifi", "opentelemetry-api"}
    assert packages(EXTRAS[other] + CLIENT["dependencies"]) & set(lock) <= both


@pytest.mark.parametrize("part", ["operator", "gateway", "client"])
def test_the_tests_run_with_the_versions_of_the_other_lock_files(part: str) -> None:
    assert locked(f"{part}/requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_the_lock_file_of_the_client_has_its_dependencies() -> None:
    assert packages(CLIENT["dependencies"]) <= set(locked("client/requirements.lock"))
