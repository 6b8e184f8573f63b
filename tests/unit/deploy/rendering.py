"""Renders the overlays with `kubectl kustomize`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
SAMPLES = DEPLOY / "samples"
OVERLAYS = ("kind", "storage-class")
OPERATOR = "my-network-converter-operator"
GATEWAY = "my-network-converter-gateway"


@cache
def render(overlay: str) -> tuple[dict[str, Any], ...]:
    """The objects of an overlay of deploy/overlays, or of a folder given by its path."""
    kubectl = shutil.which("kubectl", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
    if kubectl is None:
        raise FileNotFoundError("kubectl is missing; `make tools` installs it")
    done = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / "overlays" / overlay)],
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of one kind."""
    return [item for item in objects if item["kind"] == kind]


def find(overlay: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    """The one object of that kind and name."""
    (found,) = (
        item
        for item in of_kind(render(overlay), kind)
        if item["metadata"]["name"] == name
        and (namespace is None or item["metadata"].get("namespace") == namespace)
    )
    return found


def samples() -> list[dict[str, Any]]:
    """The manifests of deploy/samples."""
    return [
        document
        for path in sorted(SAMPLES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts that must exist."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def all_namespaces(folder: Path) -> Path:
    """A copy of the overlay for storage classes, with the component for all namespaces."""
    deploy = folder / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("samples"))
    overlay = deploy / "overlays/storage-class"
    last = "components:\n  - ../../installation\n"
    edit(overlay / "kustomization.yaml", (last, f"{last}  - ../../cluster-wide\n"))
    return overlay
