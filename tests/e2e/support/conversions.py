"""ConversionJobs as a test uses them: made by kubectl, followed by the world's watch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conversion_operator.api import names
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.world import Body, World, live

NAMESPACE: Final = "my-network"
TERMINAL: Final = ("Succeeded", "Failed", "Cancelled")

_ORDINARY: Final = {
    "video_to_mp4": ("input/big-buck-bunny.mov", "mp4"),
    "audio_to_mp3": ("input/guitar.flac", "mp3"),
    "image_resize": ("input/hubble-deep-field.jpg", "webp"),
    "extract_thumbnail": ("input/big-buck-bunny.mov", "jpg"),
}
LONG_INPUT: Final = "input/long.mp4"
"""Minutes of video, for conversions that are to be met while they run."""


def manifest(
    name: str,
    kind: str = "image_resize",
    namespace: str = NAMESPACE,
    folder: str = "output",
    **spec: Any,
) -> dict[str, Any]:
    """An ordinary ConversionJob of a type; ``spec`` says what is special about it."""
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
    """One ConversionJob that exists, or did."""

    body: Body
    kubectl: Kubectl
    world: World
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
        """The status last seen; {} before the first."""
        events = self.world.conversions.of(self.uid)
        return events[-1].body.get("status", {}) if events else {}

    @property
    def phase(self) -> str:
        """The phase last seen; "" before the first."""
        return str(self.status.get("phase", ""))

    def statuses(self) -> list[Any]:
        """Every status it ever had, in order."""
        return [e.body["status"] for e in self.world.conversions.of(self.uid) if "status" in e.body]

    def until(self, probe: Callable[[Any], object], what: str, seconds: float = 60) -> Any:
        """The first of all its statuses for which ``probe`` is true, however short it lasted."""

        def look() -> Any:
            return next((status for status in self.statuses() if probe(status)), None)

        try:
            return self.world.until(look, f"{self.name} is {what}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {self.status}") from None

    def until_phase(self, *phases: str, seconds: float = 60) -> Any:
        """The first status with one of these phases. Another end than these is an error."""

        def probe(status: Any) -> bool:
            reached = status["phase"] in phases
            assert reached or status["phase"] not in TERMINAL, (
                f"{self.name} ended otherwise: {status}"
            )
            return reached

        return self.until(probe, " or ".join(phases), seconds)

    def until_reason(self, reason: str, seconds: float = 60) -> Any:
        """The first status with this reason."""
        return self.until(lambda status: status["reason"] == reason, reason, seconds)

    def succeeded(self, seconds: float = 120) -> Any:
        """The status of its success, with the output there as the status says (I5)."""
        status = self.until_phase("Succeeded", seconds=seconds)
        content = self.output.read_bytes()
        assert status["outputSize"] == len(content)
        assert status["output"]["sha256"] == hashlib.sha256(content).hexdigest()
        return status

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
        """Ask for it to be stopped."""
        self.patch(cancel=True)

    def pods(self) -> list[Body]:
        """Its pods."""
        return self.world.pods_of(self.uid)

    def no_pod_lives(self) -> bool:
        """True if no pod of it may still run."""
        return not any(live(pod) for pod in self.pods())

    def jobs_made(self) -> list[str]:
        """The names of all Jobs ever made to convert it; a sweep converts nothing."""
        label = names.UID_LABEL
        mine = [
            event.body["metadata"]["name"]
            for event in self.world.snapshot("jobs")
            if event.body["metadata"]["labels"][label] == self.uid
        ]
        return [name for name in dict.fromkeys(mine) if not name.endswith("-sweep")]

    def tries(self) -> int:
        """How many Jobs were made for it, less those that the node could not even start."""
        reasons = [attempt.get("reason") for attempt in self.status.get("attempts", ())]
        return len(self.jobs_made()) - reasons.count("StartError")


class Conversions:
    """Makes ConversionJobs, and removes them at the end of the test with all that is theirs."""

    def __init__(self, kubectl: Kubectl, world: World, volume: Path, folder: str) -> None:
        self._kubectl, self._world, self._volume = kubectl, world, volume
        self._folder = folder
        self._made: list[Conversion] = []

    def make(self, name: str, kind: str = "image_resize", **special: Any) -> Conversion:
        """Create one; see :func:`manifest`."""
        return self.adopt(self._kubectl.create(self.manifest(name, kind, **special)))

    def manifest(self, name: str, kind: str = "image_resize", **special: Any) -> dict[str, Any]:
        """A manifest whose output lies in this run's folder."""
        return manifest(name, kind, folder=self._folder, **special)

    def long(self, name: str, **special: Any) -> Conversion:
        """One that runs for minutes unless it is stopped."""
        # Without a resolution a video that fits already would only be copied.
        options = {"resolution": "480p", "quality": "high"}
        return self.make(name, "video_to_mp4", inputFile=LONG_INPUT, options=options, **special)

    def adopt(self, body: Body) -> Conversion:
        """Look after one that was made otherwise."""
        conversion = Conversion(body, self._kubectl, self._world, self._volume)
        self._made.append(conversion)
        return conversion

    def remove(self) -> None:
        """Delete all of them and wait until none of their Jobs and pods is left."""
        for namespace in {c.namespace for c in self._made}:
            mine = [c.name for c in self._made if c.namespace == namespace]
            self._kubectl(
                "-n", namespace, "delete", "convjob", "--ignore-not-found", "--wait=false", *mine
            )
        uids = {c.uid for c in self._made}
        self._world.until(
            lambda: (
                not any(self._world.pods_of(uid) for uid in uids)
                and not any(
                    job["metadata"]["labels"][names.UID_LABEL] in uids
                    for job in self._world.jobs.current.values()
                )
            ),
            "the test's Jobs and pods are gone",
            90,
        )
