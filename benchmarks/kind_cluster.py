"""A kind cluster of a benchmark's own, with the operator of this source tree."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.kube import Kube

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / ".tools" / "bench"
OPERATOR_NAMESPACE: Final = "my-network-converter"
NAMESPACE: Final = "my-network"
JOBS: Final = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONVERSIONS: Final = f"/apis/converter.mynetwork.io/v1alpha1/namespaces/{NAMESPACE}/conversionjobs"
OPERATOR_PODS: Final = (
    f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods"
    "?labelSelector=app.kubernetes.io/name=my-network-converter-operator"
)
_SETTINGS: Final = (
    f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps/my-network-converter-operator"
)
_GATEWAY: Final = (
    f"/apis/apps/v1/namespaces/{OPERATOR_NAMESPACE}/deployments/my-network-converter-gateway"
)


def step(text: str) -> None:
    """Prints one line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class KindCluster:
    """One cluster with one node, and its volume."""

    name: str

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @property
    def volume(self) -> Path:
        return ROOT / ".tools" / f"volume-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        return ROOT / ".tools" / "kube" / f"{self.name}.yaml"

    @contextmanager
    def running(self, *options: str, keep: bool) -> Iterator[None]:
        """Creates the cluster and deploys deploy/overlays/kind. Removes all at the end."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            for command in (
                ("docker",),
                ("cluster", "up", self.name, str(self.volume), *options),
                ("images", self.name),
                ("deploy", self.name),
            ):
                subprocess.run([str(ROOT / "hack" / command[0]), *command[1:]], check=True)
            step("the cluster is ready")
            yield
        finally:
            if not keep:
                subprocess.run([str(ROOT / "hack" / "cluster"), "down", self.name], check=True)
                subprocess.run(
                    [str(ROOT / "hack" / "volume"), "remove", str(self.volume)], check=True
                )


async def configure(kube: Kube, parallel: int, **settings: Any) -> None:
    """Sets the limit and other settings of the operator, and waits until they are in force."""
    data = {"CONVERTER_MAX_PARALLEL": str(parallel)} | settings
    await kube.merge(_SETTINGS, {"data": data})
    await asyncio.sleep(3)  # settings take effect within two seconds


async def stop_http_api(kube: Kube) -> None:
    """The HTTP API does nothing in these benchmarks."""
    await kube.merge(_GATEWAY, {"spec": {"replicas": 0}})
