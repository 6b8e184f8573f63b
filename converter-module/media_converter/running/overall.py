"""The progress of a run that makes several outputs: that of each one, by its seconds of media."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from media_converter.contract import Progress
from media_converter.options import STAGES, Stage
from media_converter.planning.plan import trimmed_duration
from media_converter.probing.media import MediaInfo
from media_converter.running.run import Known
from media_converter.task import Task

_STILL_SECONDS = 1.0


class Overall:
    """Adds up the progress of outputs. ``known`` tells the duration of the input when it is known.

    ``waiting`` are the numbers of the tasks that are not done yet.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        waiting: Iterable[int],
        known: Known,
        on_progress: Callable[[Progress], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = tasks
        self._done = dict.fromkeys(waiting, 0.0)
        self._known = known
        self._on_progress = on_progress
        self._now = now
        self._began = now()
        self._percent = 0

    def of(self, number: int) -> Callable[[Progress], None]:
        """A function that takes the progress of one output."""

        def take(progress: Progress) -> None:
            if progress.percent is not None:
                self._done[number] = progress.percent / 100
            self._tell(progress.speed)

        return take

    def end(self, number: int) -> None:
        """Take note that an output has ended, however that was."""
        self._done[number] = 1.0
        self._tell(None)

    def _tell(self, speed: float | None) -> None:
        weights = {number: seconds(self._tasks[number], self._known.info) for number in self._done}
        total = done = 0.0
        for number, share in self._done.items():
            # Without all durations, each output counts the same.
            weight = 1.0 if None in weights.values() else weights[number] or 0.0
            total, done = total + weight, done + weight * share
        share = done / total if total else 0.0
        # The percentage never decreases. It is 100 only after all outputs are in place.
        self._percent = max(self._percent, min(99, int(100 * share)))
        left = round((self._now() - self._began) * (1 - share) / share) if share else None
        self._on_progress(Progress(self._percent, speed, left))


def seconds(task: Task, info: MediaInfo | None) -> float | None:
    """How many seconds of media an output processes. None if that is not known."""
    if STAGES[task.conversion_type] < Stage.AUDIO:
        return _STILL_SECONDS
    start = getattr(task.options, "start", 0.0)
    duration = getattr(task.options, "duration", None)
    return trimmed_duration(info.duration if info else None, start, duration)
