"""Where the version of the Git tags is shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from conversion_operator.api.version import version
from conversion_operator.controller.metrics import Metrics
from tests.unit.deploy.rendering import ROOT

PATHS = ("operator", "gateway", "converter-module")


@pytest.mark.parametrize("program", ["conversion_operator", "converter_gateway", "media_converter"])
def test_every_program_prints_its_version(program: str) -> None:
    entry = ("-m", "media_converter.main") if program == "media_converter" else ("-m", program)
    if program == "media_converter":
        entry = ("-c", "from media_converter.main import main; main()")
    done = subprocess.run(
        [sys.executable, *entry, "--version"],
        env={
            "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in PATHS),
            "MY_CONVERTER_VERSION": "1.2.3",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1.2.3\n"


def test_the_version_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_CONVERTER_VERSION", "1.2.3")
    registry = CollectorRegistry()
    Metrics(registry)
    assert 'converter_build_info{version="1.2.3"} 1.0' in generate_latest(registry).decode()


def test_without_an_image_and_a_package_there_is_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_CONVERTER_VERSION", raising=False)
    assert re.match(r"\d+\.", version())


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "converter-module/Dockerfile"])
def test_the_images_have_the_version(dockerfile: str) -> None:
    last_stage = (ROOT / dockerfile).read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert "ARG VERSION=0.0.0 REVISION=unknown\n" in last_stage
    assert "ENV MY_CONVERTER_VERSION=${VERSION}\n" in last_stage
    for label in ("version", "revision", "title", "licenses"):
        assert f"org.opencontainers.image.{label}=" in last_stage
    script = (ROOT / "hack/images").read_text(encoding="utf-8")
    assert 'version_args=(--build-arg "VERSION=$version"' in script
    assert '"${version_args[@]}"' in script


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(("v1.2.3",), r"1\.2\.3"), ((), r"0\.1\.dev1\+g[0-9a-f]+")],
    ids=["with a tag", "without tags"],
)
def test_a_clone_has_the_version_of_its_tags(
    tmp_path: Path, tags: tuple[str, ...], expected: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in (
        ("init", "--quiet"),
        ("add", "."),
        (*author, "commit", "--quiet", "--message=a"),
        *(("tag", tag) for tag in tags),
    ):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "setuptools_scm", "--root", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(expected, done.stdout.strip())
