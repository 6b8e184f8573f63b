"""The progress of a run that makes several outputs: that of each one, by its seconds of media."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from media_converter.contract import Progress
from media_converter.options import STAGES, Stage
from media_converter.planning.plan import trimmed_duration
from media_converter.probing.media import MediaInfo
from media_converter.running.forecast import checks
from media_converter.running.run import Known
from media_converter.task import Task

_STILL_SECONDS = 1.0
_SECONDS_OF_WORK: Final = {Stage.SCAN: 0.02, Stage.AUDIO: 0.02}
"""About how long a second of media takes, in seconds. That of a video is not known before it runs.
"""


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
        self._going: dict[int, None] = {}
        self._ended: set[int] = set()
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
            self._going[number] = None
            self._tell(progress)

        return take

    def end(self, number: int) -> None:
        """Take note that an output has ended, however that was."""
        self._done[number] = 1.0
        self._going.pop(number, None)
        self._ended.add(number)
        self._tell(Progress())

    def _tell(self, progress: Progress) -> None:
        weights = {number: seconds(self._tasks[number], self._known.info) for number in self._done}
        total = done = 0.0
        for number, share in self._done.items():
            # Without all durations, each output counts the same.
            weight = 1.0 if None in weights.values() else weights[number] or 0.0
            total, done = total + weight, done + weight * share
        share = done / total if total else 0.0
        # The percentage never decreases. It is 100 only after all outputs are in place.
        self._percent = max(self._percent, min(99, int(100 * share)))
        left = self._left(progress, share)
        eta = None if left is None else round(left)
        self._on_progress(Progress(self._percent, progress.speed, eta))

    def _left(self, progress: Progress, share: float) -> float | None:
        """How many seconds the run still takes. None if that is not known.

        It is what the outputs that are being made take, and those after them. The latter are of
        slower kinds, so what was done until now says little about them.
        """
        video = any(self._stage(number) is Stage.VIDEO for number in self._going)
        speed = progress.speed if video else None
        later = [n for n in self._done if n not in self._going and n not in self._ended]
        times = [self._expected(number, speed) for number in later]
        if None in times:
            return None
        if progress.eta_seconds is None:
            return (self._now() - self._began) * (1 - share) / share if share else None
        others = checks(max(0, len(self._going) - 1), 0, share)
        return progress.eta_seconds + others + sum(filter(None, times))

    def _expected(self, number: int, speed: float | None) -> float | None:
        """The seconds that an output takes that has not started. ``speed`` is that of a video."""
        stage, info = self._stage(number), self._known.info
        if stage < Stage.SCAN:
            return _STILL_SECONDS
        media = seconds(self._tasks[number], info)
        if stage is Stage.SCAN and info is not None:
            media = info.duration
        if media is None:
            return None
        if stage is Stage.VIDEO:
            return media / speed if speed else None
        return checks(1, 0, 1.0) + media * _SECONDS_OF_WORK[stage]

    def _stage(self, number: int) -> Stage:
        return STAGES[self._tasks[number].conversion_type]


def seconds(task: Task, info: MediaInfo | None) -> float | None:
    """How many seconds of media an output processes. None if that is not known."""
    if STAGES[task.conversion_type] < Stage.AUDIO:
        return _STILL_SECONDS
    start = getattr(task.options, "start", 0.0)
    duration = getattr(task.options, "duration", None)
    return trimmed_duration(info.duration if info else None, start, duration)
