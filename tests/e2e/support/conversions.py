"""ConversionJobs for tests: kubectl creates them, and watches follow them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conversion_operator.api import names
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.watches import Body, Watches, live

NAMESPACE: Final = "my-network"
TERMINAL: Final = ("Succeeded", "Failed", "Cancelled")

_ORDINARY: Final = {
    "video_to_mp4": ("input/big-buck-bunny.mov", "mp4"),
    "audio_to_mp3": ("input/guitar.flac", "mp3"),
    "image_resize": ("input/hubble-deep-field.jpg", "webp"),
    "extract_thumbnail": ("input/big-buck-bunny.mov", "jpg"),
}
LONG_INPUT: Final = "input/long.mp4"
"""Minutes of video, for conversions that must still run when the test looks at them."""


def manifest(
    name: str,
    kind: str = "image_resize",
    namespace: str = NAMESPACE,
    folder: str = "output",
    **spec: Any,
) -> dict[str, Any]:
    """A ConversionJob with the sample input of its type. ``spec`` overrides fields."""
    source, extension = _ORDINARY[kind]
    ordinary = {
        "conversionType": kind,
        "inputFile": source,
        "outputFile": f"{folder}/{name}.{extension}",
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": ordinary | spec,
    }


@dataclass(frozen=True)
class Conversion:
    """One ConversionJob, which may be deleted already."""

    body: Body
    kubectl: Kubectl
    watches: Watches
    volume: Path

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.body["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.body["metadata"]["uid"])

    @property
    def output(self) -> Path:
        """The output file, as the host sees it."""
        return self.volume / str(self.body["spec"]["outputFile"]).lstrip("/")

    @property
    def status(self) -> Any:
        """The last status seen; {} before the first."""
        events = self.watches.conversions.of(self.uid)
        return events[-1].body.get("status", {}) if events else {}

    @property
    def phase(self) -> str:
        """The last phase seen; "" before the first."""
        return str(self.status.get("phase", ""))

    def statuses(self) -> list[Any]:
        """All its statuses, in order."""
        return [
            e.body["status"] for e in self.watches.conversions.of(self.uid) if "status" in e.body
        ]

    def until(self, probe: Callable[[Any], object], what: str, seconds: float = 60) -> Any:
        """Wait for a status for which ``probe`` is true. Short-lived statuses count too."""

        def find() -> Any:
            return next((status for status in self.statuses() if probe(status)), None)

        try:
            return self.watches.until(find, f"{self.name} is {what}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {self.status}") from None

    def until_phase(self, *phases: str, seconds: float = 60) -> Any:
        """The first status with one of these phases. Fails at any other terminal phase."""

        def probe(status: Any) -> bool:
            reached = status["phase"] in phases
            assert reached or status["phase"] not in TERMINAL, (
                f"{self.name} ended in another phase: {status}"
            )
            return reached

        return self.until(probe, " or ".join(phases), seconds)

    def until_reason(self, reason: str, seconds: float = 60) -> Any:
        """The first status with this reason."""
        return self.until(lambda status: status["reason"] == reason, reason, seconds)

    def succeeded(self, seconds: float = 120) -> Any:
        """Wait for success, check the outputs against the status (I5), and return the status."""
        status = self.until_phase("Succeeded", seconds=seconds)
        if "plan" in status:
            return status
        told = status["outputs"] if "outputs" in status else [status["output"]]
        made = [output for output in told if output.get("state") != "Skipped"]
        contents = [file.read_bytes() for file in self.files(status) if file.exists()]
        assert status["outputSize"] == sum(map(len, contents))
        assert [output["sha256"] for output in made] == [
            hashlib.sha256(content).hexdigest() for content in contents
        ]
        return status

    def files(self, status: Any) -> list[Path]:
        """The output files, as the host sees them. Those of a profile are in the status."""
        spec = self.body["spec"]
        several = spec.get("outputs") or status.get("resolved", {}).get("outputs") or [spec]
        return [self.volume / str(each["outputFile"]).lstrip("/") for each in several]

    def patch(self, **spec: Any) -> None:
        """Change the spec."""
        self.kubectl(
            "-n",
            self.namespace,
            "patch",
            "convjob",
            self.name,
            "--type=merge",
            "-p",
            json.dumps({"spec": spec}),
        )

    def cancel(self) -> None:
        """Set spec.cancel."""
        self.patch(cancel=True)

    def pods(self) -> list[Body]:
        """Its pods."""
        return self.watches.pods_of(self.uid)

    def no_pod_lives(self) -> bool:
        """True if none of its pods may still run."""
        return not any(live(pod) for pod in self.pods())

    def jobs_made(self) -> list[str]:
        """The names of all Jobs ever created for its attempts. Sweeps are not attempts."""
        label = names.UID_LABEL
        mine = [
            event.body["metadata"]["name"]
            for event in self.watches.snapshot("jobs")
            if event.body["metadata"]["labels"][label] == self.uid
        ]
        return [name for name in dict.fromkeys(mine) if not name.endswith("-sweep")]

    def jobs_that_ran(self) -> int:
        """The number of its Jobs, without those whose container the node could not start."""
        reasons = [attempt.get("reason") for attempt in self.status.get("attempts", ())]
        return len(self.jobs_made()) - reasons.count("StartError")


class Conversions:
    """Creates ConversionJobs, and deletes them with their Jobs and pods after the test."""

    def __init__(self, kubectl: Kubectl, watches: Watches, volume: Path, folder: str) -> None:
        self._kubectl, self._watches, self._volume = kubectl, watches, volume
        self._folder = folder
        self._made: list[Conversion] = []

    def make(self, name: str, kind: str = "image_resize", **special: Any) -> Conversion:
        """Create a ConversionJob; see :func:`manifest`."""
        return self.create(self.manifest(name, kind, **special))

    def create(self, body: Body) -> Conversion:
        """Create this ConversionJob."""
        return self.adopt(self._kubectl.create(body))

    def manifest(self, name: str, kind: str = "image_resize", **special: Any) -> dict[str, Any]:
        """A manifest whose output lies in this run's folder."""
        return manifest(name, kind, folder=self._folder, **special)

    def long(self, name: str, **special: Any) -> Conversion:
        """Create a conversion that runs for minutes unless it is cancelled."""
        # Without a resolution, the video streams would only be copied.
        options = {"resolution": "480p", "quality": "high"}
        return self.make(name, "video_to_mp4", inputFile=LONG_INPUT, options=options, **special)

    def adopt(self, body: Body) -> Conversion:
        """Take over a ConversionJob that the test created in another way."""
        conversion = Conversion(body, self._kubectl, self._watches, self._volume)
        self._made.append(conversion)
        return conversion

    def remove(self) -> None:
        """Delete all ConversionJobs, and wait until their Jobs and pods are deleted."""
        for namespace in {c.namespace for c in self._made}:
            mine = [c.name for c in self._made if c.namespace == namespace]
            self._kubectl(
                "-n", namespace, "delete", "convjob", "--ignore-not-found", "--wait=false", *mine
            )
        uids = {c.uid for c in self._made}
        self._watches.until(
            lambda: (
                not any(self._watches.pods_of(uid) for uid in uids)
                and not any(
                    job["metadata"]["labels"][names.UID_LABEL] in uids
                    for job in self._watches.jobs.current.values()
                )
            ),
            "the test's Jobs and pods are deleted",
            90,
        )
