"""Records status changes in logs, metrics and Events.

A change is recorded after its status was stored, so no change is recorded twice or too early.
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError
from conversion_operator.cluster.objects import Event, WritePermit
from conversion_operator.controller.metrics import (
    DRY_RUN,
    INVALID_SPEC,
    SEVERAL_OUTPUTS,
    Metrics,
)
from conversion_operator.core.children import Job, Pod
from conversion_operator.core.model import Conversion
from media_converter.contract import ExitReason, OutputState

FOREIGN_EVENTS: Final = 10
FOREIGN_CONVERSIONS: Final = 1000
INCOMPLETE: Final = "OutputIncomplete"
"""The reason of the Event for an output that lacks a part of the input."""
POSTERS: Final = 4
"""How many Events are posted at the same time. The others wait for them."""
WAITING_EVENTS: Final = 1000
"""How many Events may wait. Then those without trouble are dropped."""
WAITING_WARNINGS: Final = 2000
"""How many Events may wait, warnings included. Then each further one is dropped."""
_EVENT_MESSAGE_MAX: Final = 1024
_NORMAL: Final = frozenset({"Completed", Reason.PLANNED, Reason.CANCELLED})

RecordTrace = Callable[[Conversion, ConversionJobStatus], None]
FindEvent = Callable[[Conversion, ConversionJobStatus], Event | None]

logger = logging.getLogger("conversion_operator.conversions")


class EventRecorder:
    """Writes logs and metrics at once, and posts Events in the background.

    Events are best effort: they delay nothing and may get lost. A conversion without trouble has
    one Event, for its end: everything else about it is in its status.
    """

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        identity: str,
        permit: Callable[[], WritePermit],
        find_waiting_event: FindEvent = lambda *_: None,
        record_trace: RecordTrace = lambda *_: None,
    ) -> None:
        self._cluster, self._metrics, self._identity = cluster, metrics, identity
        self._permit, self._find_waiting_event = permit, find_waiting_event
        self._record_trace = record_trace
        self._waiting: deque[Event] = deque()
        self._posters: set[asyncio.Task[None]] = set()
        # The foreign objects that were recorded, by the uid of the conversion in their label.
        self._foreign_told: dict[str, set[str]] = {}

    def record(
        self,
        conversion: Conversion,
        stored: ConversionJobStatus,
        *,
        converter_ended: bool = False,
    ) -> None:
        """Record the change from the conversion's former status to ``stored``.

        ``converter_ended`` is True if its end is that of a container, not one that the operator has
        decided.
        """
        if converter_ended and stored.phase.terminal:
            self._observe_delay(stored)
        events = (
            self._log_and_count(conversion, stored),
            _warning(conversion, stored),
            self._find_waiting_event(conversion, stored),
        )
        for event in filter(None, events):
            self.post(event)

    def post(self, event: Event) -> None:
        """Post an Event in the background, unless too many wait: the API server is slow."""
        if len(self._waiting) >= (WAITING_EVENTS if event.type == "Normal" else WAITING_WARNINGS):
            logger.debug("Too many Events wait; dropping one about %s", event.about)
            return
        self._waiting.append(event)
        if len(self._posters) < POSTERS:
            # The event loop keeps only weak references to tasks. The set keeps this one alive.
            task = asyncio.create_task(self._post_waiting(), name="post events")
            self._posters.add(task)
            task.add_done_callback(self._posters.discard)

    def record_foreign(self, conversion: Conversion, foreign: Iterable[Job | Pod]) -> None:
        """Record, once each, the objects with the labels of this conversion that are not its own.

        At most FOREIGN_EVENTS objects of one conversion get an Event, and the objects of at most
        FOREIGN_CONVERSIONS conversions at a time. The metric counts all.
        """
        uid = conversion.key.uid
        for child in foreign:
            if uid not in self._foreign_told and len(self._foreign_told) >= FOREIGN_CONVERSIONS:
                break
            told = self._foreign_told.setdefault(uid, set())
            if len(told) >= FOREIGN_EVENTS:
                break
            if child.uid in told:
                continue
            told.add(child.uid)
            kind = "Job" if isinstance(child, Job) else "Pod"
            _log("foreign_child", conversion, child=f"{kind}/{child.name}")
            self.post(Event(conversion.key, "Warning", f"Foreign{kind}", _foreign(child)))

    def forget(self, uid: str) -> None:
        """Forget what was recorded about a conversion. Called when it no longer exists."""
        self._foreign_told.pop(uid, None)

    def _log_and_count(self, conversion: Conversion, new: ConversionJobStatus) -> Event | None:
        """Returns the Event to post, None if the change needs no Event."""
        old_phase = conversion.status.phase if conversion.status else None
        kind = _kind(conversion)
        if new.phase.terminal:
            if old_phase is not Phase.RUNNING:  # the run was too short for a write of its own
                self._observe_wait(conversion, kind, new)
            self._record_end(conversion, kind, new)
            self._metrics.decoder_crashes.labels(kind).inc(_crashes(new))
            if old_phase is None or not old_phase.terminal:
                self._record_trace(conversion, new)
            severity = "Normal" if new.reason in _NORMAL else "Warning"
            return Event(conversion.key, severity, new.reason, new.message)
        if new.phase is old_phase:
            return None
        if new.phase is Phase.PENDING:
            return Event(conversion.key, "Warning", new.reason, new.message)
        if new.phase is Phase.RUNNING:
            self._record_start(conversion, kind, new)
            return None
        if new.phase is Phase.QUEUED and old_phase is not None and new.attempts:
            reason = new.attempts[-1].reason or new.reason
            self._metrics.attempts.labels(kind, reason).inc()
            if reason == ExitReason.DECODER_CRASHED:
                self._metrics.decoder_crashes.labels(kind).inc()
            _log("job_retried", conversion, reason=reason, detail=new.message)
            return Event(conversion.key, "Warning", reason, new.message)
        return None

    def _record_start(self, conversion: Conversion, kind: str, new: ConversionJobStatus) -> None:
        self._observe_wait(conversion, kind, new)
        _log("job_started", conversion)

    def _observe_wait(self, conversion: Conversion, kind: str, new: ConversionJobStatus) -> None:
        if new.start_time:
            waited = (new.start_time - conversion.created).total_seconds()
            self._metrics.wait_seconds.labels(kind).observe(max(0.0, waited))

    def _observe_delay(self, new: ConversionJobStatus) -> None:
        if new.completion_time and new.phase is not Phase.CANCELLED:
            delay = (self._cluster.now() - new.completion_time).total_seconds()
            self._metrics.end_to_status_seconds.observe(max(0.0, delay))

    def _record_end(self, conversion: Conversion, kind: str, new: ConversionJobStatus) -> None:
        self._metrics.finished.labels(kind, new.phase, new.reason).inc()
        milliseconds = new.duration_milliseconds
        seconds = None if milliseconds is None else milliseconds / 1000
        if seconds is not None:
            self._metrics.run_seconds.labels(kind).observe(seconds)
        if new.phase is Phase.SUCCEEDED:
            self._metrics.output_bytes.labels(kind).inc(new.output_size or 0)
        facts: dict[str, object] = {"reason": new.reason, "duration_seconds": seconds}
        if new.phase is Phase.SUCCEEDED:
            _log("job_completed", conversion, **facts, output_size_bytes=new.output_size)
        elif new.phase is Phase.CANCELLED:
            _log("job_cancelled", conversion, **facts)
        else:
            _log("job_failed", conversion, **facts, detail=new.message)

    async def _post_waiting(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            try:
                await self._cluster.create_event(event, self._identity, self._permit())
            except ClusterError as error:
                logger.debug("Cannot post an Event: %s", error)


def _crashes(ended: ConversionJobStatus) -> int:
    """How many outputs of a conversion that has ended a crashed decoder has not made."""
    crashed = ExitReason.DECODER_CRASHED
    outputs = sum(output.reason == crashed for output in ended.outputs or ())
    return max(outputs, ended.reason == crashed)


def _warning(conversion: Conversion, stored: ConversionJobStatus) -> Event | None:
    """The Event for outputs that lack a part of the input, or have failed. None: all is there."""
    old_phase = conversion.status.phase if conversion.status else None
    if stored.phase is not Phase.SUCCEEDED or old_phase is Phase.SUCCEEDED:
        return None
    warnings = [*((stored.output.warnings if stored.output else None) or ())]
    for number, output in enumerate(stored.outputs or ()):
        if output.state is OutputState.FAILED:
            warnings.append(f"outputs[{number}] has failed: {output.reason}.")
        warnings += [f"outputs[{number}]: {warning}" for warning in output.warnings or ()]
    return (
        Event(conversion.key, "Warning", INCOMPLETE, " ".join(warnings)[:_EVENT_MESSAGE_MAX])
        if warnings
        else None
    )


def _kind(conversion: Conversion) -> str:
    """The type of a conversion in logs and metrics. There are few such words."""
    if conversion.spec is None:
        return INVALID_SPEC
    if conversion.dry_run:
        return DRY_RUN
    return conversion.spec.conversion_type or SEVERAL_OUTPUTS


def _log(event: str, conversion: Conversion, **facts: object) -> None:
    """Write one log event. Names and paths are JSON values, never part of a format string."""
    kind = _kind(conversion)
    extra: dict[str, object] = {
        "event": event,
        "job_id": conversion.key.name,
        "namespace": conversion.key.namespace,
        "uid": conversion.key.uid,
        "conversion_type": None if kind == INVALID_SPEC else kind,
        "input_file": posixpath.basename(conversion.input_path),
    }
    logger.info(event, extra=extra | facts)


def _foreign(child: Job | Pod) -> str:
    kind = "Job" if isinstance(child, Job) else "pod"
    return (
        f"{kind} {child.name} has the labels of this conversion, but the operator did not create "
        f"it. The operator ignores it. Find out who created it. To delete it: "
        f"kubectl -n {child.namespace} delete {kind.lower()} {child.name}"
    )
