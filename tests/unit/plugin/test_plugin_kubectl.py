"""How the plugin runs kubectl. A script stands for kubectl, and writes its arguments down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_conversion import kubectl
from kubectl_conversion.commands import logs
from kubectl_conversion.diagnosis import facts
from kubectl_conversion.kubectl import Kubectl
from kubectl_conversion.source import Caller
from tests.unit.plugin.test_plugin_decisions import conversion


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the arguments. The script answers as kubectl does without a kubeconfig."""
    script, written = tmp_path / "kubectl", tmp_path / "arguments"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {written}\n'
        'case "$1" in config) echo "error: current-context must exist" >&2; exit 1;; esac\n'
        "echo '{}'\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return written


def test_in_a_pod_kubectl_uses_the_account_of_the_pod(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def timed() -> bool:
        program.unlink(missing_ok=True)
        Kubectl().get("/x")
        return "--request-timeout" in program.read_text()

    assert timed()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert not timed()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    assert not timed()
    (tmp_path / "config").write_text("x")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'nothing'}:{tmp_path / 'config'}")
    assert timed()


def test_in_a_pod_doctor_looks_at_the_namespace_of_the_pod(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = tmp_path / "namespace"
    account.write_text("media\n")
    monkeypatch.setattr(kubectl, "_SERVICE_ACCOUNT", account)
    assert facts.connect(Kubectl(), "").namespace == "default"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert facts.connect(Kubectl(), "").namespace == "media"
    assert Kubectl().namespace() == "media"
    assert facts.connect(Kubectl(), "other").namespace == "other"


def test_the_log_is_that_of_the_converter(program: Path) -> None:
    containers = [{"name": "sidecar"}, {"name": "converter"}]
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": containers}}
    logs._print_live(Caller(Kubectl(), "media"), conversion(), pod, follow=False)
    assert "log?container=converter" in program.read_text()
