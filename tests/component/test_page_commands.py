"""The commands of docs/install.md and docs/operations.md work on a real API server.

Nothing runs pods here. So what waits for pods, or looks into one, is left out: see ``needs_pods``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.component.test_chart_install import INSTALLATION, Machine, server
from tests.unit.deploy.charts import CHART, helm
from tests.unit.deploy.rendering import ROOT
from tests.unit.deploy.test_operator_pages import COMMANDS, PAGES, Command

__all__ = ["server"]  # the fixture
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NAMESPACE: Final = "my-network"
_CHART_FILE: Final = re.compile(r"my-network-converter-(\d+\.\d+\.\d+)\.tgz")
VERSIONS: Final = sorted({v for page in PAGES.values() for v in _CHART_FILE.findall(page)})
"""The releases whose charts the pages name."""
# What the reader's cluster has.
CLASS: Final[dict[str, Any]] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "shared-files"},
    "provisioner": "example.com/files",
    "allowVolumeExpansion": True,
}
RESTORED: Final[dict[str, Any]] = {
    "apiVersion": "converter.mynetwork.io/v1alpha1",
    "kind": "ConversionJob",
    "metadata": {
        "name": "bunny-480p",
        "namespace": NAMESPACE,
        "labels": {"velero.io/restore-name": "restore"},
    },
    "spec": {
        "conversionType": "video_to_mp4",
        "inputFile": "input/a.mov",
        "outputFile": "output/a.mp4",
    },
}


TAKE_OVER: Final = ("--take-ownership", "--force-conflicts")
"""install.md names these flags for a CRD that kubectl has applied. Upgrades need neither."""


def needs_pods(command: Command) -> bool:
    """Whether it waits for pods, or looks into one. ``make faults`` runs some of these."""
    return bool({"test", "rollout", "wait", "exec", "cp"} & set(command.words[:4]))


def stage(command: Command) -> int:
    """The pages show three ways to install. Here the manifests of a release come first.

    Then come the overlay, Helm, which takes over the objects, and at last what uninstalls.
    """
    words = command.words
    if ("create" in words and "namespace" in words) or {INSTALLATION, "label"} <= set(words):
        return 0
    if "dist/install.yaml" in words:
        return 1
    if "uninstall" in words or ("delete" in words and "pod" not in words):
        return 5
    if "patch" in words:
        return 4  # a claim cannot become smaller again
    return 3 if words[0] == "helm" else 2


def of_pages() -> list[Command]:
    """Each command once, in the order of the pages."""
    found: dict[tuple[Any, ...], Command] = {}
    for command in COMMANDS:
        runs = command.words[0] in ("helm", "kubectl") and not needs_pods(command)
        if runs and command.page in ("install", "operations"):
            found.setdefault((command.words, command.body), command)
    return list(found.values())


class Reader:
    """Runs commands as the pages show them, in a folder like the reader's."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self._folder = folder
        folder.mkdir()
        for name in ("deploy", "crds"):
            (folder / name).symlink_to(ROOT / name)
        tools = folder / "bin"
        tools.mkdir()
        for program in (helm(), str(ROOT / ".tools/bin/kubectl")):
            (tools / Path(program).name).symlink_to(program)
        self._environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(folder),
        }
        for version in VERSIONS:
            dist = ("--version", version, "--app-version", version, "--destination", "dist")
            self("helm", "package", str(CHART), *dist)
        crds = "---\n".join(file.read_text("utf-8") for file in sorted((ROOT / "crds").iterdir()))
        objects = self("kubectl", "kustomize", "deploy/overlays/storage-class")
        # Not its claim: see hack/release.
        kept = [o for o in yaml.safe_load_all(objects) if o["kind"] != "PersistentVolumeClaim"]
        manifests = f"{crds}---\n{yaml.safe_dump_all(kept)}"
        (folder / "dist/install.yaml").write_text(manifests, encoding="utf-8")

    def carry_out(self, command: Command) -> str:
        """Run it without waiting for pods, and for what only a controller ends."""
        if command.values:
            (self._folder / "values.yaml").write_text(command.values, encoding="utf-8")
        words = [word for word in command.words if word != "--wait"]
        if words[0] == "kubectl" and "delete" in words:
            # Helm has removed the objects of the overlay before.
            words += ["--wait=false", "--ignore-not-found"]
        if words[:2] == ["helm", "install"]:
            words += TAKE_OVER
        return self(*words, text=command.body)

    def __call__(self, *words: str, text: str = "") -> str:
        done = subprocess.run(
            words,
            cwd=self._folder,
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


def act_as_controllers(machine: Machine) -> None:
    """Bind the claims, and count what is in the quotas."""
    for kind, change in (("persistentvolumeclaims", bound), ("resourcequotas", counted)):
        listed = machine.kubectl("get", kind, "--all-namespaces", "-o", "json")
        for item in json.loads(listed)["items"]:
            patch = ("--subresource=status", "--type=merge", "-p", json.dumps(change(item)))
            where = ("-n", item["metadata"]["namespace"])
            machine.kubectl("patch", kind, item["metadata"]["name"], *where, *patch)


def bound(claim: dict[str, Any]) -> dict[str, Any]:
    capacity = claim["spec"]["resources"]["requests"]
    return {"status": {"phase": "Bound", "capacity": capacity}}


def counted(quota: dict[str, Any]) -> dict[str, Any]:
    hard = quota["spec"]["hard"]
    return {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}


def test_the_commands_of_the_pages_work(server: Machine, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "reader", tmp_path / "kubeconfig")
    commands = of_pages()
    assert len(commands) > 35
    assert "--take-ownership --force-conflicts" in PAGES["install"]
    server.kubectl("create", "-f", "-", text=json.dumps(CLASS))
    server.kubectl("create", "namespace", "team-b")
    for command in sorted(commands, key=stage):
        if "velero.io/restore-name-" in command.words:
            server.kubectl("create", "-f", "-", text=json.dumps(RESTORED))
        if command.words[1] == "uninstall":
            managers = {crd["metadata"]["labels"][MANAGED_BY] for crd in server.crds()}
            assert managers == {"Helm"}
        reader.carry_out(command)
        if "-k" in command.words and "apply" in command.words:
            act_as_controllers(server)
    assert [crd for crd in server.crds() if "deletionTimestamp" not in crd["metadata"]] == []
