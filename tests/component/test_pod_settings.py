"""The administrator's pod settings reach Jobs and pods, also where others change these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from conversion_operator.api import names
from conversion_operator.core.manifest import job_name
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.audit import Request
from tests.component.support.invariants import check_all
from tests.component.support.real.api import RealApi
from tests.component.support.scripts import slow_start, succeed
from tests.component.support.tools import conversion_job

GET: dict[str, Any] = {"verb": "get", "resource": "conversionjobs"}
ALL: Final = """
labels: {team: media}
annotations: {sidecar.istio.io/inject: "false"}
tolerations: [{key: dedicated, operator: Exists}]
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        preference: {matchExpressions: [{key: disk, operator: In, values: [ssd]}]}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {team: media}}
          matchLabelKeys: [example.com/team]
hostUsers: false
imagePullSecrets: [{name: registry}]
copyLabels: [example.com/]
copyAnnotations: [ticket]
"""
# The real API server refuses pods that name a class which does not exist.
OF_CLASSES: Final = """
nodeSelector: {disk: ssd}
priorityClassName: media
runtimeClassName: sandbox
schedulerName: media
"""
CLASSES: Final[dict[str, dict[str, Any]]] = {
    "/apis/scheduling.k8s.io/v1/priorityclasses": {"metadata": {"name": "media"}, "value": 7},
    "/apis/node.k8s.io/v1/runtimeclasses": {"metadata": {"name": "sandbox"}, "handler": "runsc"},
}


@pytest.fixture
def classes(api: FakeApi) -> Iterator[str]:
    """Settings that only a real API server judges, and what they need there."""
    if not isinstance(api, RealApi):
        yield ""
        return
    for path, body in CLASSES.items():
        api.real.request("POST", path, body)
    yield OF_CLASSES
    for path, body in CLASSES.items():
        api.real.request("DELETE", f"{path}/{body['metadata']['name']}")


def job_of(api: FakeApi, name: str, attempt: int = 1) -> dict[str, Any]:
    uid = api.get("conversionjobs", name)["metadata"]["uid"]
    return api.find("jobs", job_name(uid, attempt)) or {}


@pytest.mark.judged
async def test_a_real_server_accepts_all_settings(
    api: FakeApi, cluster: FakeCluster, classes: str, tmp_path: Path
) -> None:
    cluster.default = succeed(hold=True)
    metadata = {
        "labels": {"example.com/team": "a", "other.example.com/team": "b"},
        "annotations": {"ticket": "7", "linkerd.io/inject": "enabled"},
    }
    async with running(api, tmp_path, converter_pod_settings=ALL + classes):
        api.create(conversion_job("c", metadata=metadata))
        await until_phase(api, "c", "Running")
        job, pod = job_of(api, "c"), api.get("pods", status_of(api, "c")["podName"])
        for found in (job, pod):
            labels, annotations = found["metadata"]["labels"], found["metadata"]["annotations"]
            assert (labels["team"], labels["example.com/team"]) == ("media", "a")
            assert "other.example.com/team" not in labels
            assert (annotations["sidecar.istio.io/inject"], annotations["ticket"]) == ("false", "7")
            assert "linkerd.io/inject" not in annotations
        assert pod["spec"]["hostUsers"] is False
        for name, value in yaml.safe_load(classes or "{}").items():
            assert pod["spec"][name] == value
        assert {"key": "dedicated", "operator": "Exists"} in pod["spec"]["tolerations"]
        cluster.finish("c")
        await until_phase(api, "c", "Succeeded")
    check_all(api, limit=3)


async def test_nothing_is_read_if_nothing_is_copied(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_pod_settings="labels: {team: media}"):
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
    assert api.audit.count(**GET) == 0


async def test_an_attempt_that_has_not_started_gets_the_new_settings(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("c", slow_start(), succeed())
    cluster.script("d", succeed(hold=True))
    async with running(api, tmp_path) as op:
        api.create(conversion_job("c"))
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Running")
        await api.until(lambda: bool(job_of(api, "c")), 20)
        op.configure(converter_pod_settings="labels: {team: media}")
        await until_phase(api, "c", "Succeeded", 30)
        assert attempts_of(api, "c") == ["PodSettingsChanged", "Completed"]
        assert job_of(api, "c", 2)["metadata"]["labels"]["team"] == "media"
        cluster.finish("d")
        await until_phase(api, "d", "Succeeded")
        assert attempts_of(api, "d") == ["Completed"]
    check_all(api, limit=3)


@pytest.mark.judged
async def test_a_job_that_admission_changes_is_not_replaced(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A policy adds and replaces the same fields that the settings set."""
    cluster.script("c", slow_start(), succeed())

    def admitted(body: dict[str, Any]) -> None:
        body["metadata"]["labels"]["team"] = "changed"
        body["metadata"]["annotations"]["added"] = "x"

    text = "labels: {team: media}\nnodeSelector: {}"
    async with running(api, tmp_path, converter_pod_settings=text) as op:
        api.create(conversion_job("c"))
        await api.until(lambda: bool(job_of(api, "c")), 20)
        uid = job_of(api, "c")["metadata"]["uid"]
        api.mutate("jobs", job_of(api, "c")["metadata"]["name"], admitted)
        await api.until(lambda: phase_of(api, "c") == "Starting", 20)
        await op.reconcile_all()
        await op.reconcile_all()
        assert job_of(api, "c")["metadata"]["uid"] == uid
        assert job_of(api, "c")["metadata"]["labels"]["team"] == "changed"
        assert attempts_of(api, "c") == [None]


async def test_no_job_is_created_without_the_labels_to_copy(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """A ConversionJob that cannot be read is not one without labels."""

    def of_c(request: Request) -> bool:
        return request.verb == "get" and request.name == "c"

    async with running(api, tmp_path, converter_pod_settings="copyLabels: [team]"):
        with api.faults.status(503, resource="conversionjobs", where=of_c) as fault:
            api.create(conversion_job("c", metadata={"labels": {"team": "a"}}))
            await fault.wait_hit()
            await api.until(lambda: fault.hits > 1, 20)
            assert job_of(api, "c") == {}
        await until_phase(api, "c", "Succeeded", 30)
        assert job_of(api, "c")["metadata"]["labels"]["team"] == "a"
    check_all(api, limit=3)


async def test_a_conversion_with_too_much_to_copy_waits_and_says_so(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    large = {"annotations": {"note": "x" * 20000}}
    async with running(api, tmp_path, converter_pod_settings="copyAnnotations: [note]"):
        api.create(conversion_job("c", metadata=large))
        await api.until(lambda: status_of(api, "c").get("reason") == "PodRejected", 20)
        assert "remove some, or make them shorter" in status_of(api, "c")["message"]
        api.create(conversion_job("d"))
        await until_phase(api, "d", "Succeeded")
        assert job_of(api, "c") == {}


async def test_an_invalid_change_keeps_the_settings(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, converter_pod_settings="labels: {team: media}") as op:
        op.configure(converter_pod_settings="securityContext: {}")
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded")
        labels = job_of(api, "c")["metadata"]["labels"]
        assert (labels["team"], labels[names.MANAGED_BY_LABEL]) == ("media", names.MANAGED_BY)
