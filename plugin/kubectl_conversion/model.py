"""ConversionJobs as frozen values, read from what the API server sends.

A later release may have written an object, and anybody may write a spec. So a field of another type
than expected reads as absent, and nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kubectl_conversion import data

ENDED: Final = ("Succeeded", "Failed", "Cancelled")
_ORDER: Final = ("Running", "Starting", "Queued", "Pending")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a conversion."""

    number: int
    reason: str
    message: str
    started: datetime | None
    ended: datetime | None
    pod_uid: str


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a conversion: what was asked for, and what has become of it."""

    conversion_type: str
    path: str
    state: str = ""
    size: int | None = None
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """One ConversionJob. ``raw`` is the object itself."""

    namespace: str
    name: str
    uid: str
    created: datetime | None
    phase: str
    reason: str
    message: str
    input: str
    outputs: tuple[Output, ...]
    profile: str
    queue: str
    position: int | None
    percent: int | None
    speed: str
    eta_seconds: int | None
    estimated_end: datetime | None
    attempts: tuple[Attempt, ...]
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    output_size: int | None
    pod: str
    node: str
    logs: str
    raw: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it never changes again."""
        return self.phase in ENDED

    @property
    def dry_run(self) -> bool:
        """Whether it only plans."""
        return dig(self.raw, "spec", "dryRun") is True

    @property
    def kind(self) -> str:
        """Its conversion type, or in which other form its outputs are given."""
        if self.profile:
            return f"profile {self.profile}"
        return self.outputs[0].conversion_type if len(self.outputs) == 1 else "outputs"

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


def dig(obj: object, *names: str) -> Any:
    """The value at a path of names. None if there is none."""
    for name in names:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(name)
    return obj


def text_at(obj: object, *names: str) -> str:
    """A text. Empty if there is none."""
    found = dig(obj, *names)
    return found if isinstance(found, str) else ""


def number_at(obj: object, *names: str) -> int | None:
    """A whole number."""
    found = dig(obj, *names)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def items_at(obj: object, *names: str) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    found = dig(obj, *names)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def time_at(obj: object, *names: str) -> datetime | None:
    """A time of the API server."""
    try:
        read = datetime.fromisoformat(text_at(obj, *names))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def parse(obj: Mapping[str, Any]) -> Conversion:
    """One ConversionJob."""
    status = dig(obj, "status") or {}
    exact = number_at(status, "durationMilliseconds")
    seconds = dig(status, "durationSeconds") if exact is None else exact / 1000
    return Conversion(
        namespace=text_at(obj, "metadata", "namespace"),
        name=text_at(obj, "metadata", "name"),
        uid=text_at(obj, "metadata", "uid"),
        created=time_at(obj, "metadata", "creationTimestamp"),
        phase=text_at(status, "phase") or "Pending",
        reason=text_at(status, "reason") or ("" if text_at(status, "phase") else "Pending"),
        message=text_at(status, "message"),
        input=text_at(obj, "spec", "inputFile"),
        outputs=_outputs(obj),
        profile=text_at(obj, "spec", "profile"),
        queue=_queue(obj),
        position=number_at(status, "queuePosition"),
        percent=number_at(status, "progress", "percent"),
        speed=text_at(status, "progress", "speed"),
        eta_seconds=number_at(status, "progress", "etaSeconds"),
        estimated_end=time_at(status, "progress", "estimatedEndTime"),
        attempts=tuple(_attempt(item) for item in items_at(status, "attempts")),
        started=time_at(status, "startTime"),
        ended=time_at(status, "completionTime"),
        seconds=_seconds(seconds),
        output_size=number_at(status, "outputSize"),
        pod=text_at(status, "podName"),
        node=text_at(status, "nodeName"),
        logs=text_at(status, "logs"),
        raw=obj,
    )


def _seconds(value: object) -> float | None:
    """A duration: whole seconds, or a text with decimals."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _queue(obj: Mapping[str, Any]) -> str:
    chosen = text_at(obj, "spec", "queue") or text_at(obj, "status", "resolved", "queue")
    return chosen or str(data.load()["defaultQueue"])


def _outputs(obj: Mapping[str, Any]) -> tuple[Output, ...]:
    listed = items_at(obj, "spec", "outputs") or items_at(obj, "status", "resolved", "outputs")
    if listed:
        states = items_at(obj, "status", "outputs")
        known = [*states, *({} for _ in listed)]
        return tuple(_output(asked, state) for asked, state in zip(listed, known, strict=False))
    if not text_at(obj, "spec", "outputFile"):
        return ()
    spec, status = dig(obj, "spec"), dig(obj, "status")
    made = text_at(status, "phase") == "Succeeded" and dig(obj, "spec", "dryRun") is not True
    facts = {
        "state": "Succeeded" if made else "",
        "size": number_at(status, "outputSize"),
        "warnings": dig(status, "output", "warnings"),
    }
    return (_output(spec, facts),)


def _output(asked: Mapping[str, Any], state: Mapping[str, Any]) -> Output:
    warnings = dig(state, "warnings")
    return Output(
        conversion_type=text_at(asked, "conversionType"),
        path=text_at(asked, "outputFile"),
        state=text_at(state, "state"),
        size=number_at(state, "size"),
        reason=text_at(state, "reason"),
        message=text_at(state, "message"),
        warnings=tuple(str(each) for each in warnings) if isinstance(warnings, list) else (),
    )


def _attempt(item: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=number_at(item, "number") or 0,
        reason=text_at(item, "reason"),
        message=text_at(item, "message"),
        started=time_at(item, "startTime"),
        ended=time_at(item, "completionTime"),
        pod_uid=text_at(item, "podUID"),
    )


def in_order(conversions: Iterable[Conversion]) -> list[Conversion]:
    """What runs first, then what waits in the order of the queue, then what ended last."""
    return sorted(conversions, key=_rank)


def _rank(conversion: Conversion) -> tuple[int, str, str, float, str]:
    if conversion.finished:
        ended = conversion.ended or conversion.created
        return 9, "", "", -ended.timestamp() if ended else 0.0, conversion.name
    place = _ORDER.index(conversion.phase) if conversion.phase in _ORDER else len(_ORDER)
    created = conversion.created.timestamp() if conversion.created else 0.0
    waits = conversion.position if conversion.position is not None else 10**9
    # A position is the place within one namespace and queue.
    if conversion.phase == "Queued":
        return place, conversion.namespace, conversion.queue, waits, conversion.name
    return place, "", "", created, conversion.name
