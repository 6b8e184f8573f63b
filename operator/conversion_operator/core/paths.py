"""Which conversions wait for others, because they use the same files.

These rules hold for the unfinished conversions of one namespace:

- A conversion that has not begun waits until its input is made, whichever of the two came first. It
  fails if the one that was to make the input fails.
- Of two conversions that write the same file, and of two that have begun, the one that is ahead in
  the queue goes first. One that has begun goes before one that has not.

No two conversions wait for each other, except in a cycle of inputs. The one that came last in such
a cycle is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import Phase
from conversion_operator.core.model import EPOCH, Conversion
from conversion_operator.core.plan import Block, input_awaited
from media_converter.contract import ExitReason

FATAL: Final = frozenset((Reason.INPUT_NOT_MADE, Reason.INPUT_CYCLE))
"""The blocks that end a conversion."""

_SHOWN_NAMES: Final = 5

Path = tuple[str, str]
"""A namespace, and a path in its volume."""

FindWriters = Callable[[str, str], Iterable[Conversion]]
"""Returns the conversions of a namespace that have a path as their output, ended ones too."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The unfinished conversions, each in the order of the queue.

    ``running`` have an attempt in progress, or may have one. ``begun`` wait for another attempt,
    ``fresh`` for their first one. ``ending`` wait too, but end at their next reconcile.
    """

    running: list[Conversion]
    begun: list[Conversion]
    fresh: list[Conversion]
    ending: list[Conversion]


def arrival_key(conversion: Conversion) -> tuple[datetime, int, str, str]:
    """The sort key of the order in which conversions were created.

    Creation times have whole seconds, so the arrival decides within one second.
    """
    key = conversion.key
    return conversion.created, conversion.arrival, key.name, key.uid


def path_blocks(unfinished: Unfinished, find_writers: FindWriters) -> dict[str, Block]:
    """Why conversions wait for others, or fail because of others, by uid.

    Each admission pass calls this once. It visits every unfinished conversion.
    """
    writers = _first_writers(unfinished)
    waiting: dict[Path, list[Conversion]] = defaultdict(list)
    for conversion in unfinished.fresh:
        if _input(conversion) in writers:
            waiting[_input(conversion)].append(conversion)
    before = _Uses()
    for conversion in unfinished.running:
        before.add(conversion)
    blocks: dict[str, Block | None] = {}
    for conversion in unfinished.begun:
        blocks[conversion.key.uid] = before.conflict(conversion) or _waits(
            conversion, before.written
        )
        before.add(conversion)
    for conversion in unfinished.fresh:
        blocks[conversion.key.uid] = (
            _waits(conversion, writers)
            or _not_made(conversion, find_writers, waiting)
            or before.conflict(conversion)
        )
        before.add_writer(conversion)
    return {uid: block for uid, block in blocks.items() if block} | _cycles(waiting)


def _first_writers(unfinished: Unfinished) -> dict[Path, Conversion]:
    """The unfinished conversion that writes each path. Of several, the one that goes first."""
    writers: dict[Path, Conversion] = {}
    for group in (unfinished.running, unfinished.begun, unfinished.fresh, unfinished.ending):
        for conversion in group:
            writers.setdefault(_output(conversion), conversion)
    return writers


class _Uses:
    """What conversions that go first read and write: the first of them, by path."""

    def __init__(self) -> None:
        self.written: dict[Path, Conversion] = {}
        self._read: dict[Path, Conversion] = {}

    def add(self, conversion: Conversion) -> None:
        self.add_writer(conversion)
        self._read.setdefault(_input(conversion), conversion)

    def add_writer(self, conversion: Conversion) -> None:
        self.written.setdefault(_output(conversion), conversion)

    def conflict(self, conversion: Conversion) -> Block | None:
        """Why this conversion may not write its output yet."""
        path = _output(conversion)
        for holders, verb in ((self.written, "also writes"), (self._read, "still reads")):
            holder = holders.get(path)
            if holder:
                message = f"conversion {holder.key.name} {verb} {path[1]}"
                return Block(Reason.PATH_BUSY, message)
        return None


def _input(conversion: Conversion) -> Path:
    return conversion.key.namespace, conversion.input_path


def _output(conversion: Conversion) -> Path:
    return conversion.key.namespace, conversion.output_path


def _waits(conversion: Conversion, writers: Mapping[Path, Conversion]) -> Block | None:
    writer = writers.get(_input(conversion))
    if writer is None:
        return None
    message = input_awaited(writer.key.name, conversion.input_path)
    return Block(Reason.WAITING_FOR_INPUT, message)


def _not_made(
    conversion: Conversion, find_writers: FindWriters, waiting: Mapping[Path, list[Conversion]]
) -> Block | None:
    """Why the input of a conversion was not made. None if it was made, or nobody was to make it.

    Only conversions count that ended after this one was created. It waited for them. Within one
    second, the resourceVersions say what came first. If one has succeeded, the input exists.
    """
    found = find_writers(*_input(conversion))
    since = conversion.created, conversion.arrival
    ended = [w for w in found if w.key != conversion.key and (_end(w), w.version) > since]
    ended = [
        w
        for w in ended
        if not _was_refused_for(w, conversion, waiting) and not _left_as_it_was(w, conversion)
    ]
    if not ended or any(w.status and w.status.phase is Phase.SUCCEEDED for w in ended):
        return None
    last = max(ended, key=_end)
    status = last.status
    end = "was cancelled"
    if status and status.phase is Phase.FAILED:
        end = f"failed ({status.reason})"
    name, path = last.key.name, conversion.input_path
    return Block(
        Reason.INPUT_NOT_MADE, f"conversion {name}, which was to write the input {path}, {end}"
    )


def _end(conversion: Conversion) -> datetime:
    """When the end of a conversion was stored, by the API server's time. EPOCH: it has not ended.

    Its completionTime is the time of a node, and earlier.
    """
    status = conversion.status
    if status is None or not status.phase.terminal:
        return EPOCH
    finished = (c for c in status.conditions if c.type == names.CONDITION_FINISHED)
    times = (condition.last_transition_time for condition in finished)
    return next(times, status.completion_time or EPOCH)


def _left_as_it_was(ended: Conversion, conversion: Conversion) -> bool:
    """True if the end of a writer says nothing about the input of this conversion.

    Either the file exists, or the writer came later and never started: then the input may have been
    there all the time.
    """
    status = ended.status
    if status is not None and status.reason == ExitReason.OUTPUT_EXISTS:
        return True
    tried = status is not None and bool(status.attempts)
    return not tried and arrival_key(ended) > arrival_key(conversion)


def _was_refused_for(
    ended: Conversion, conversion: Conversion, waiting: Mapping[Path, list[Conversion]]
) -> bool:
    """True if a conversion was refused because it would have waited for this one.

    Then this one starts as if the other had never been created.
    """
    if ended.status is None or ended.status.reason != Reason.INPUT_CYCLE:
        return False
    goal, reached, paths = _input(ended), set[Path](), [_output(conversion)]
    while paths:
        path = paths.pop()
        if path == goal:
            return True
        if path not in reached:
            reached.add(path)
            paths += [_output(reader) for reader in waiting.get(path, ())]
    return False


def _cycles(waiting: Mapping[Path, Sequence[Conversion]]) -> dict[str, Block]:
    """The conversions to refuse: the last one of each cycle of inputs, by uid.

    ``waiting`` has the conversions that wait for their input, by its path. If cycles have a path in
    common, the next pass finds the others. Takes time in proportion to what waits.
    """
    paths = _without_dead_ends(waiting)
    blocks: dict[str, Block] = {}
    seen: dict[Path, int] = {}
    for walk, start in enumerate(paths):
        steps: dict[Path, Conversion] = {}
        path = start
        while path not in seen:
            seen[path] = walk
            steps[path] = next(c for c in waiting[path] if _output(c) in paths)
            path = _output(steps[path])
        if seen[path] == walk:
            walked = list(steps)
            cycle = [steps[each] for each in walked[walked.index(path) :]]
            last = max(cycle, key=arrival_key)
            blocks[last.key.uid] = _refused(cycle)
    return blocks


def _without_dead_ends(waiting: Mapping[Path, Sequence[Conversion]]) -> dict[Path, None]:
    """The paths from which the outputs of those that wait lead on for ever: into a cycle."""
    onward = {path: len(readers) for path, readers in waiting.items()}
    leads_to: dict[Path, list[Path]] = defaultdict(list)
    for path, readers in waiting.items():
        for reader in readers:
            leads_to[_output(reader)].append(path)
    dead = [path for path in leads_to if path not in onward]
    while dead:
        for path in leads_to[dead.pop()]:
            onward[path] -= 1
            if not onward[path]:
                dead.append(path)
    return {path: None for path, count in onward.items() if count}


def _refused(cycle: Sequence[Conversion]) -> Block:
    if len(cycle) == 1:
        message = f"its output {cycle[0].output_path} is also its input: choose another output"
        return Block(Reason.INPUT_CYCLE, message)
    others = sorted(c.key.name for c in cycle)
    shown = ", ".join(others[:_SHOWN_NAMES]) + (", …" if len(others) > _SHOWN_NAMES else "")
    message = (
        f"the conversions {shown} would wait for each other: each reads what another one writes. "
        "This one came last"
    )
    return Block(Reason.INPUT_CYCLE, message)
