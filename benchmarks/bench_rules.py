"""What the CEL rules of ConversionJobs cost the API server, for each create and status write.

    make bench-rules

Prints the CPU time of a kube-apiserver for each request, in milliseconds: with the rules, and
without any rule. It runs both twice, in turn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.processes import cpu_seconds

from conversion_operator.api.crd import build_crd
from tests.component.support.clock import ServerClock
from tests.component.support.kinds import CONVERSIONJOBS
from tests.component.support.real.api import until_served
from tests.component.support.real.processes import ControlPlane, insecure_tls
from tests.component.support.real.storage import RealStorage
from tests.component.support.tools import conversion_job

SPECS: Final[dict[str, dict[str, Any]]] = {
    "one output": {
        "conversionType": "image_resize",
        "inputFile": "in/a.jpg",
        "outputFile": "out/a.webp",
    },
    "four options": {
        "conversionType": "video_to_mp4",
        "inputFile": "in/a.mov",
        "outputFile": "out/a.mp4",
        "options": {"quality": "high", "resolution": "720p", "start": 5, "duration": 20},
    },
    "four outputs": {
        "inputFile": "in/a.mov",
        "outputs": [
            {
                "conversionType": "video_to_mp4",
                "outputFile": "out/a.mp4",
                "options": {"resolution": 1080},
            },
            {
                "conversionType": "video_to_mp4",
                "outputFile": "out/b.mp4",
                "options": {"resolution": 720},
            },
            {"conversionType": "extract_thumbnail", "outputFile": "out/a.jpg"},
            {"conversionType": "video_storyboard", "outputFile": "out/s.jpg"},
        ],
    },
}
OBJECTS: Final = 150
WRITES: Final = 4
"""Status writes to each object."""
REPEATS: Final = 2
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PATH: Final = "/apis/converter.mynetwork.io/v1alpha1/namespaces/default/conversionjobs"
_JSON_PATCH: Final = "application/json-patch+json"
_SETTLE_SECONDS: Final = 8
"""The API server publishes the schema of a new CRD for a while."""
_IDLE_SECONDS: Final = 5


def without_rules(node: Any) -> Any:
    """The CRD without its CEL rules."""
    if isinstance(node, list):
        return [without_rules(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {k: without_rules(v) for k, v in node.items() if k != "x-kubernetes-validations"}


class ApiServer:
    """A kube-apiserver with a CRD of ConversionJobs."""

    def __init__(self, plane: ControlPlane, crd: dict[str, Any]) -> None:
        self._pid = plane.pid("kube-apiserver")
        self._storage = RealStorage(ServerClock(), plane.url, insecure_tls())
        self._storage.request("POST", _CRDS, crd)
        until_served(self._storage, [CONVERSIONJOBS])
        time.sleep(_SETTLE_SECONDS)
        before = cpu_seconds(self._pid)
        time.sleep(_IDLE_SECONDS)
        self._idle = (cpu_seconds(self._pid) - before) / _IDLE_SECONDS

    def close(self) -> None:
        self._storage.close()

    def milliseconds(self, spec: dict[str, Any], name: str) -> tuple[float, float]:
        """CPU time of one create, and of one write of the status."""
        names = [f"{name.replace(' ', '-')}-{number}" for number in range(OBJECTS)]

        def create() -> None:
            for each in names:
                self._storage.request(
                    "POST", _PATH, conversion_job(each, "default") | {"spec": spec}
                )

        def write() -> None:
            for number in range(WRITES):
                for each in names:
                    self._storage.request(
                        "PATCH", f"{_PATH}/{each}/status", _patch(number), _JSON_PATCH
                    )

        return self._measured(create, OBJECTS), self._measured(write, OBJECTS * WRITES)

    def _measured(self, work: Callable[[], None], requests: int) -> float:
        before, start = cpu_seconds(self._pid), time.monotonic()
        work()
        idle = self._idle * (time.monotonic() - start)
        return (cpu_seconds(self._pid) - before - idle) / requests * 1000


def _patch(number: int) -> list[dict[str, Any]]:
    """A write such as those of the operator. Each changes something."""
    values = {"phase": "Running" if number else "Queued", "message": f"write {number}"}
    return [
        {"op": "add", "path": f"/status/{name}", "value": value} for name, value in values.items()
    ]


def measure(title: str, crd: dict[str, Any]) -> None:
    """Print a line for each spec."""
    plane = ControlPlane()
    plane.start_api_server()
    try:
        with contextlib.closing(ApiServer(plane, crd)) as server:
            for name, spec in SPECS.items():
                create, write = server.milliseconds(spec, name)
                print(f"{title:14} {name:14} create {create:5.1f}  status {write:5.1f} ms")
    finally:
        plane.stop()


def main() -> None:
    crd = build_crd()
    for _ in range(REPEATS):
        measure("with rules", crd)
        measure("without rules", without_rules(crd))


if __name__ == "__main__":
    main()
