"""Renders the chart with Helm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import cache
from typing import Any

import yaml

from tests.unit.deploy.rendering import ROOT

CHART = ROOT / "charts/my-network-converter"
Object = dict[str, Any]


@cache
def helm() -> str:
    """The program. It is built once per machine."""
    done = subprocess.run(
        [ROOT / "hack/go-build", "helm"], check=True, stdout=subprocess.PIPE, text=True
    )
    return f"{done.stdout.strip()}/helm"


def run_helm(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The result of a command, whether it succeeded or not."""
    return subprocess.run(
        [helm(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def template(namespace: str, values: Object, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm template` with these values."""
    return run_helm(
        *("template", "converter", str(CHART), "--namespace", namespace, "--values", "-"),
        *arguments,
        stdin=yaml.safe_dump(values),
    )


def chart_objects(namespace: str, values: Object, *arguments: str) -> list[Object]:
    """The objects of the chart, without those of `helm test`."""
    return [item for item in _rendered(namespace, values, *arguments) if not _is_hook(item)]


def chart_hooks(namespace: str, values: Object) -> list[Object]:
    """The objects of `helm test`."""
    return [item for item in _rendered(namespace, values) if _is_hook(item)]


def _rendered(namespace: str, values: Object, *arguments: str) -> list[Object]:
    done = template(namespace, values, *arguments)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def _is_hook(item: Object) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def by_name(objects: Iterable[Object]) -> dict[tuple[str, str, str], Object]:
    """Kind, namespace and name → object. Each name exists once."""
    found: dict[tuple[str, str, str], Object] = {}
    for item in objects:
        metadata = item["metadata"]
        key = (item["kind"], metadata.get("namespace", ""), metadata["name"])
        assert key not in found, f"{key} exists twice"
        found[key] = item
    return found
