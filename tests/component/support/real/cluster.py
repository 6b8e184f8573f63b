"""The scheduler, kubelets and nodes for a real API server, whose Job controller is real too."""

from __future__ import annotations

import time
from typing import Final

from tests.component.support.cluster import FakeCluster
from tests.component.support.errors import StatusError
from tests.component.support.kinds import PODS
from tests.component.support.simulation import Simulation
from tests.component.support.storage import Key

_QUIET_SECONDS: Final = 1.0


class RealSimulation(Simulation):
    """Runs the simulated kubelets. The real controllers need some time for their part."""

    async def settle(self) -> None:
        """Run rounds until nothing has changed for a second."""
        changed_at, rv = time.monotonic(), self._storage.rv
        while time.monotonic() - changed_at < _QUIET_SECONDS:
            self.step()
            if self._storage.rv != rv:
                changed_at, rv = time.monotonic(), self._storage.rv
            await self._storage.changed.wait(0.1)


class RealCluster(FakeCluster):
    """As the fake cluster, but the Job controller of Kubernetes creates the pods."""

    def step(self) -> int:
        before = self.storage.rv
        for kind, key in self._take_dirty():
            if kind is PODS:
                self._sync_pod(key)
        return self.storage.rv - before

    def _sync_pod(self, key: Key) -> None:
        version = self.storage.find(PODS, *key)
        if version is None:
            return
        try:
            self._kubelet.sync(key, version.obj, self._run_of(version.obj))
        except StatusError as error:
            # Somebody changed or deleted the pod at the same time. The watch reports it.
            if error.code not in (404, 409):
                raise
