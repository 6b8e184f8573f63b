"""Which conversions wait for others, because they use the same files.

These rules hold for the unfinished conversions of one namespace:

- A conversion that has not begun waits until its input is made, whichever of the two came first. It
  fails if the conversion that should make the input fails.
- If two conversions write the same file, the one that is ahead in the queue goes first. The same
  holds if both have begun, and one reads what the other writes. A conversion that has begun goes
  before one that has not.
- A dry run writes no file, and nobody waits for it.

Conversions can block each other for ever only in a cycle, for example if each reads what the other
writes. So the newest conversion of a cycle fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Final, Self

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import OutputStatus, Phase
from conversion_operator.core.model import EPOCH, Conversion
from conversion_operator.core.plan import Block, input_awaited
from conversion_operator.core.standing import Standing, creation_key
from media_converter.contract import ExitReason, OutputState
from media_converter.options import output_files

FAILING_REASONS: Final = frozenset((Reason.INPUT_NOT_MADE, Reason.INPUT_CYCLE))
"""A conversion fails if it waits for one of these reasons."""

_SHOWN_NAMES: Final = 5

FindWriters = Callable[[str, str], Iterable[Conversion]]
"""Returns the conversions of a namespace that have a path as their output, ended ones too."""

FindReaders = Callable[[str], Iterable[Standing]]
"""Returns the conversions of the same namespace that wait for this file to be made."""


def path_busy(holder: str, verb: str, path: str) -> Block:
    """The block of a conversion whose output another one uses. ``holder`` is the other's name."""
    return Block(Reason.PATH_BUSY, f"conversion {holder} {verb} {path}")


def waits_for(writer: str, path: str) -> Block:
    """The block of a conversion that waits until the conversion ``writer`` has made its input."""
    return Block(Reason.WAITING_FOR_INPUT, input_awaited(writer, path))


@dataclass(frozen=True, slots=True)
class EndedWriters:
    """The conversions that have one path among their outputs, sorted once for all that read it.

    ``found`` are all of them. The others have ended: those in ``made`` have made the file, those in
    ``failed`` have not, each with the time at which its end was stored, the latest first.
    """

    path: str
    found: list[Conversion]
    made: tuple[tuple[datetime, Conversion], ...]
    failed: tuple[tuple[datetime, Conversion], ...]

    @classmethod
    def of(cls, found: list[Conversion], path: str) -> Self:
        """Sort the writers of a path."""
        ends = sorted(((_end(w), w) for w in found), key=itemgetter(0), reverse=True)
        made = [_has_made(writer, path) for _, writer in ends]
        return cls(
            path,
            found,
            tuple(itertools.compress(ends, made)),
            tuple(itertools.compress(ends, (not each for each in made))),
        )


def input_not_made(
    reader: Standing, writers: EndedWriters, readers_of: FindReaders
) -> Block | None:
    """Why the input of a conversion was not made. None if it was made, or no conversion writes it.

    A writer counts only if it ended after the reader was created, because the reader waited only
    for those, and if its end says something about the input: see ``_says_nothing_about_input`` and
    ``_failed_for_cycle_with``. Within the same second, the resourceVersions say what came first. If
    a writer that counts has made the file, the input exists.
    """

    def counting(ends: Iterable[tuple[datetime, Conversion]]) -> Iterator[Conversion]:
        for end, writer in ends:
            if end < reader.creation_key.time:
                return
            came_first = (end, writer.version) <= reader.creation_key[:2]
            if came_first or _says_nothing_about_input(writer, reader):
                continue
            if not _failed_for_cycle_with(reader, writer, readers_of):
                yield writer

    last = next(counting(writers.failed), None)
    if last is None or any(counting(writers.made)):
        return None
    status = last.status
    name, path = last.key.name, reader.reads
    end = "was cancelled"
    if status and status.phase is Phase.FAILED:
        end = f"failed ({status.reason})"
    elif status and status.phase is Phase.SUCCEEDED:
        output = output_at(last, path)
        end = "left it out" + (f" ({output.reason})" if output and output.reason else "")
    return Block(
        Reason.INPUT_NOT_MADE, f"conversion {name}, which was to write the input {path}, {end}"
    )


def output_at(conversion: Conversion, path: str) -> OutputStatus | None:
    """What has become of one of several outputs. None if the status does not say so."""
    listed = (conversion.status.outputs if conversion.status else None) or ()
    numbers = [
        number
        for number, kind in enumerate(conversion.output_types)
        for _ in output_files(kind, "a.jpg")
    ]
    paths = conversion.output_paths
    if len(listed) != len(conversion.output_types) or len(numbers) != len(paths):
        return None
    return listed[numbers[paths.index(path)]] if path in paths else None


def _has_made(conversion: Conversion, path: str) -> bool:
    """True if an ended conversion has made this file.

    One that has failed may have made some of its outputs. One that has succeeded may have left out
    an optional one.
    """
    output = output_at(conversion, path)
    if output is not None:
        return output.state is OutputState.SUCCEEDED
    return conversion.status is not None and conversion.status.phase is Phase.SUCCEEDED


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


def _says_nothing_about_input(ended: Conversion, reader: Standing) -> bool:
    """True if the end of a writer says nothing about the input of this reader.

    Either the file exists, or the writer came later and never started: then the input may have been
    there all the time.
    """
    status, output = ended.status, output_at(ended, reader.reads)
    reason = output.reason if output else status and status.reason
    if reason == ExitReason.OUTPUT_EXISTS:
        return True
    tried = status is not None and bool(status.attempts)
    return not tried and creation_key(ended) > reader.creation_key


def _failed_for_cycle_with(reader: Standing, ended: Conversion, readers_of: FindReaders) -> bool:
    """True if the writer failed because it would have waited for the reader.

    The reader then ignores it.
    """
    if ended.status is None or ended.status.reason != Reason.INPUT_CYCLE:
        return False
    goal, reached, paths = ended.input_path, set[str](), [*reader.writes]
    while paths:
        path = paths.pop()
        if path == goal:
            return True
        if path not in reached:
            reached.add(path)
            paths += [output for other in readers_of(path) for output in other.writes]
    return False


def input_cycle(cycle: Sequence[Standing]) -> Block:
    """The block of the conversion that came last in a cycle. It fails."""
    if len(cycle) == 1:
        message = f"its output {cycle[0].reads} is also its input: choose another output"
        return Block(Reason.INPUT_CYCLE, message)
    read = {standing.reads for standing in cycle}
    of_inputs = all(read & {*standing.writes} for standing in cycle)
    verb = "reads" if of_inputs else "reads or writes"
    others = sorted(standing.name for standing in cycle)
    shown = ", ".join(others[:_SHOWN_NAMES]) + (", …" if len(others) > _SHOWN_NAMES else "")
    message = (
        f"the conversions {shown} would wait for each other: each {verb} what another one writes. "
        "This one came last"
    )
    return Block(Reason.INPUT_CYCLE, message)
