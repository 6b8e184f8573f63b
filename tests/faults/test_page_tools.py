"""The commands of the pages that need cosign and Velero, which only these tests build."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.support.commands import ROOT, Kubectl, Result, must, run
from tests.e2e.support.readme import command_blocks

IMAGE: Final = "my-converter:latest"
ON_THE_PAGE: Final = "registry.example.com/media/my-converter"
VELERO: Final = "velero"
BACKUP: Final = "nightly"


def build(module: str) -> Path:
    """Build the tools of a Go module, and return their folder."""
    return Path(must(str(ROOT / "hack/go-build"), module, limit=400).strip())


def commands(page: str, program: str) -> list[list[str]]:
    """The commands of a page in docs/ that run a program, in order."""
    blocks = command_blocks((ROOT / "docs" / page).read_text(encoding="utf-8"))
    lines = (line for block in blocks for line in block.script.splitlines())
    return [words for line in lines if (words := shlex.split(line)) and words[0] == program]


def attempt(words: list[str], folder: Path) -> Result:
    """Run a command of the page in a folder, with an empty password for the key."""
    path = f"PATH={build('cosign')}{os.pathsep}{os.environ['PATH']}"
    return run("env", "-C", str(folder), path, "COSIGN_PASSWORD=", *words, limit=120)


@contextmanager
def registry(crane: Path) -> Iterator[str]:
    """An empty registry on loopback, in memory. Gives its host and port."""
    command = [str(crane), "registry", "serve", "--address", "127.0.0.1:0"]
    # Nobody reads the rest of the log: that of one image fits into the pipe.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            port = re.search(r"serving on port (\d+)", process.stderr.readline())
            assert port, "the registry does not start"
            yield f"127.0.0.1:{port[1]}"
        finally:
            process.terminate()


@pytest.fixture
def pushed() -> Iterator[tuple[str, str]]:
    """The converter's image in a registry: its repository and its digest."""
    with registry(build("cosign") / "crane") as address:
        repository = f"{address}/media/my-converter"
        must("docker", "tag", IMAGE, f"{repository}:0.2.0")
        try:
            printed = must("docker", "push", f"{repository}:0.2.0", limit=120)
        finally:
            must("docker", "image", "rm", f"{repository}:0.2.0")
        digest = re.search(r"digest: (sha256:[0-9a-f]{64})", printed)
        assert digest, printed
        yield repository, digest[1]


def test_a_release_is_signed_and_verified(tmp_path: Path, pushed: tuple[str, str]) -> None:
    repository, digest = pushed
    (tmp_path / "dist").mkdir()
    sums = tmp_path / "dist/SHA256SUMS"
    sums.write_text(f"{'0' * 64}  install.yaml\n", encoding="utf-8")
    shown = f"{ON_THE_PAGE}@sha256:DIGEST"
    typed = {
        words[1]: [f"{repository}@{digest}" if word == shown else word for word in words]
        for words in commands("install.md", "cosign")
    }
    assert list(typed) == [
        *("generate-key-pair", "signing-config"),
        *("sign-blob", "sign", "verify-blob", "verify"),
    ]
    for words in typed.values():
        done = attempt(words, tmp_path)
        assert done.code == 0, f"{' '.join(words)}: {done.err}"

    # Neither a changed file nor another key is accepted.
    sums.write_text(f"{'1' * 64}  install.yaml\n", encoding="utf-8")
    assert "invalid signature" in attempt(typed["verify-blob"], tmp_path).err
    for key in ("cosign.key", "cosign.pub"):
        (tmp_path / key).unlink()
    assert attempt(typed["generate-key-pair"], tmp_path).code == 0
    assert "failed to verify signature" in attempt(typed["verify"], tmp_path).err


@pytest.fixture
def backup(kubectl: Kubectl) -> Iterator[str]:
    """A completed backup. Only Velero's CRDs are installed. All is removed after the test."""
    build("velero")  # this also gets the module, with the CRDs
    listed = must(
        *("env", "-C", str(ROOT / "hack/go-modules/velero"), str(ROOT / "hack/go")),
        *("mod", "download", "-json", "github.com/vmware-tanzu/velero"),
        limit=120,
    )
    crds = f"{json.loads(listed)['Dir']}/config/crd/v1/bases"
    made: dict[str, Any] = {
        "apiVersion": "velero.io/v1",
        "kind": "Backup",
        "metadata": {"name": BACKUP, "namespace": VELERO},
        "spec": {},
        "status": {"phase": "Completed"},
    }
    try:
        kubectl("apply", "--server-side", "-f", crds, limit=120)
        kubectl("wait", "--for=condition=Established", "-f", crds, limit=90)
        kubectl("create", "namespace", VELERO)
        kubectl("create", "-f", "-", text=json.dumps(made))
        yield BACKUP
    finally:
        kubectl("delete", "namespace", VELERO, "--ignore-not-found", limit=120)
        kubectl("delete", "-f", crds, "--ignore-not-found", limit=120)


def test_velero_restores_the_status_of_conversions(kubectl: Kubectl, backup: str) -> None:
    program = str(build("velero") / "velero")
    ((_, *arguments),) = commands("operations.md", "velero")
    typed = [backup if word == "BACKUP" else word for word in arguments]
    must("env", f"KUBECONFIG={kubectl.kubeconfig}", program, *typed)
    (restore,) = kubectl.get("-n", VELERO, "restores.velero.io")["items"]
    assert restore["spec"]["backupName"] == backup
    assert restore["spec"]["includedNamespaces"] == ["my-network"]
    (included,) = restore["spec"]["restoreStatus"]["includedResources"]
    kubectl("get", included, "--all-namespaces")  # the API server knows this name
