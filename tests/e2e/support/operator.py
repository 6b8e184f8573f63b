"""The operator in the cluster: its settings, log and metrics, and ways to kill it."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.support.commands import ROOT, Kubectl, must

NAMESPACE: Final = "my-network-converter"
NAME: Final = "my-network-converter-operator"
ACCOUNT: Final = f"system:serviceaccount:{NAMESPACE}:{NAME}"
AUDIT_LOG: Final = "/var/log/kubernetes/audit.log"
PROCESS: Final = "python3 -m conversion_operator"
_SELECTOR: Final = f"app.kubernetes.io/name={NAME}"


class Log:
    """New lines of the operator's log."""

    def __init__(self, lines: queue.Queue[str | None]) -> None:
        self._lines = lines

    def until(self, wanted: Callable[[Any], object], what: str, seconds: float) -> Any:
        """Wait for the first record for which ``wanted`` is true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not in the log within {seconds:.0f} s: {what}") from None
            assert line is not None, f"the log ended before: {what}"
            record = json.loads(line)
            if wanted(record):
                return record


class OperatorInCluster:
    """The operator that the overlay installed."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def pod(self) -> Any:
        """Its pod."""
        pods = self._kubectl.get("-n", NAMESPACE, "pods", "-l", _SELECTOR)["items"]
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return pod

    def restarts(self) -> int:
        """How often its container was restarted."""
        return int(self.pod()["status"]["containerStatuses"][0]["restartCount"])

    def until_ready(self, seconds: float = 120) -> None:
        """Wait until it is rolled out and ready."""
        self._kubectl(
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            f"deployment/{NAME}",
            f"--timeout={seconds}s",
            limit=seconds + 10,
        )

    def scale(self, replicas: int) -> None:
        """Scale the Deployment, and wait until the pods are ready or deleted."""
        self._kubectl("-n", NAMESPACE, "scale", f"deployment/{NAME}", f"--replicas={replicas}")
        if replicas:
            self.until_ready()
        else:
            self._kubectl.wait("delete", "-n", NAMESPACE, "pod", "-l", _SELECTOR, seconds=60)

    def kill_process(self) -> None:
        """Send SIGKILL from outside the container, as the OOM killer would."""
        pod = self.pod()
        before = pod["status"]["containerStatuses"][0]["restartCount"]
        name = pod["metadata"]["name"]
        must("docker", "exec", pod["spec"]["nodeName"], "pkill", "-KILL", "-f", PROCESS)
        self._kubectl.wait(
            f"jsonpath={{.status.containerStatuses[0].restartCount}}={before + 1}",
            "-n",
            NAMESPACE,
            f"pod/{name}",
            seconds=60,
        )

    def delete_pod(self) -> None:
        """Delete its pod without a grace period."""
        name = self.pod()["metadata"]["name"]
        self._kubectl("-n", NAMESPACE, "delete", "pod", name, "--force", "--grace-period=0")

    @contextmanager
    def log(self, since: str = "1s") -> Iterator[Log]:
        """Follow its log from now on."""
        pod = self.pod()["metadata"]["name"]
        follow = subprocess.Popen(
            self._kubectl.command("-n", NAMESPACE, "logs", "-f", f"--since={since}", pod),
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            assert follow.stdout is not None
            with follow.stdout as written:
                for line in written:
                    lines.put(line)
            lines.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield Log(lines)
        finally:
            follow.terminate()
            follow.wait(timeout=10)
            reader.join()

    def records(self) -> list[Any]:
        """All log records of its current container."""
        text = self._kubectl("-n", NAMESPACE, "logs", self.pod()["metadata"]["name"])
        return [json.loads(line) for line in text.splitlines()]

    def settings(self) -> dict[str, str]:
        """The ConfigMap's values."""
        data: dict[str, str] = self._kubectl.get("-n", NAMESPACE, "configmap", NAME)["data"]
        return data

    def patch_settings(self, settings: Mapping[str, str]) -> None:
        """Change the ConfigMap, and do not wait for the operator to notice."""
        patch = json.dumps({"data": settings})
        self._kubectl("-n", NAMESPACE, "patch", "configmap", NAME, "--type=merge", "-p", patch)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change the ConfigMap, and wait until the operator uses the new settings."""
        with self.log() as log:
            self.patch_settings(settings)
            wanted = {name.lower(): value.lower() for name, value in settings.items()}
            wanted.pop("converter_callback_url", None)  # no log shows it
            log.until(
                lambda record: (
                    record["message"] == "Settings changed"
                    and all(str(record[name]).lower() == wanted[name] for name in wanted)
                ),
                f"settings changed to {settings}",
                60,
            )

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """The metrics: name → label values in the order of the label names → value."""
        service = f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}:metrics/proxy/metrics"
        result: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self._kubectl.raw(service)):
            for sample in family.samples:
                labels = tuple(value for _, value in sorted(sample.labels.items()))
                result.setdefault(sample.name, {})[labels] = sample.value
        return result

    def requests(self, since: str = "") -> list[Any]:
        """Its requests in the audit log, since a time or since it was installed."""
        since = since or self._kubectl.get("namespace", NAMESPACE)["metadata"]["creationTimestamp"]
        # Stamps in the log have fractions of seconds. Without the Z, this one sorts before them.
        since = since.removesuffix("Z")
        node = self.pod()["spec"]["nodeName"]
        text = must("docker", "exec", node, "cat", AUDIT_LOG)
        records = (json.loads(line) for line in text.splitlines() if ACCOUNT in line)
        return [
            record
            for record in records
            if record["user"]["username"] == ACCOUNT and record["stageTimestamp"] >= since
        ]


def install(kubectl: Kubectl, overlay: Path) -> None:
    """Install the CRD and an overlay, and wait until the operator is ready."""
    crds = str(ROOT / "crds")
    kubectl("apply", "-f", crds)
    kubectl.wait("condition=Established", "-f", crds, seconds=60)
    kubectl("apply", "-k", str(overlay))
    OperatorInCluster(kubectl).until_ready()
