"""Bounds of objects and of specs, and a folder of the volume for each namespace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.commands import ROOT, Kubectl
from tests.e2e.support.conversions import NAMESPACE, Conversions, manifest
from tests.e2e.support.operator import OperatorInCluster

FOLDER = {
    "CONVERTER_VOLUME_FOLDER": "tenants/{namespace}",
    "CONVERTER_READ_ONLY_FOLDERS": "input",
}


def test_large_metadata_is_rejected(kubectl: Kubectl) -> None:
    body = manifest("large")
    for name, size, accepted in (("plain", 10, True), ("large", 200_000, False)):
        body["metadata"] |= {"name": name, "annotations": {"example.com/note": "x" * size}}
        done = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=json.dumps(body))
        assert (done.code == 0) is accepted, done.err
    assert "may have at most 32768 characters together" in done.err


def test_a_conversion_above_a_bound_fails_without_a_job(conversions: Conversions) -> None:
    conversion = conversions.make("large", resources={"limits": {"memory": "5Gi"}})
    status = conversion.until_phase("Failed")
    assert status["reason"] == "InvalidSpec"
    assert "spec.resources.limits.memory is 5Gi" in status["message"]
    assert "CONVERTER_MAX_MEMORY allows at most 4Gi" in status["message"]
    assert conversion.jobs_made() == []


@pytest.fixture
def tenant(operator: OperatorInCluster, volume: Path) -> Iterator[Path]:
    """The namespace's folder of the volume. Converters see only this folder."""
    folder = volume / "tenants" / NAMESPACE
    (folder / "input").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    shutil.copy(ROOT / "deploy/samples/media/hubble-deep-field.jpg", folder / "input")
    operator.configure(FOLDER)
    yield folder
    operator.configure(dict.fromkeys(FOLDER, ""))


def test_a_namespace_is_confined_to_its_folder(tenant: Path, conversions: Conversions) -> None:
    inside = conversions.make("inside")
    # The volume has this file, but not the namespace's folder.
    outside = conversions.make("outside", "audio_to_mp3")
    above = conversions.make("above", outputFile="input/a.webp")
    inside.until_phase("Succeeded", seconds=120)
    assert (tenant / inside.body["spec"]["outputFile"]).stat().st_size
    assert not inside.output.exists()
    assert outside.until_phase("Failed")["reason"] == "InputNotFound"
    status = above.until_phase("Failed")
    assert (status["reason"], above.jobs_made()) == ("InvalidSpec", [])
    (container,) = inside.pods()[0]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/workspace/input"]["readOnly"] is True
