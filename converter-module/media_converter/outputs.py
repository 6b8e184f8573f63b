"""Makes several outputs from one input, one after the other.

Each output is complete when it has its name. The first one that fails and is not optional ends the
run.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from media_converter import convert
from media_converter.contract import ExitReason, OutputResult, OutputState, Progress
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import paths
from media_converter.files.paths import Input
from media_converter.limits import Limits
from media_converter.options import STAGES
from media_converter.request import name_output
from media_converter.running.delivery import Delivery
from media_converter.running.existing import Result, find_published
from media_converter.running.overall import Overall
from media_converter.running.process import Runner
from media_converter.running.run import Batch, Converted, Known, Run, hole_finder
from media_converter.task import Task

# The whole run ends, whatever output is being made.
_ENDS_RUN = frozenset({ExitReason.TERMINATED, ExitReason.INPUT_CHANGED})
NOT_APPLICABLE = frozenset(
    {ExitReason.NO_VIDEO_STREAM, ExitReason.NO_AUDIO_STREAM, ExitReason.UNSUPPORTED_FORMAT}
)
"""Reasons that say that a conversion type does not apply to the input."""


class Watcher(NamedTuple):
    """Who wants to know what happens in a run."""

    log: Callable[[str], None]
    on_progress: Callable[[Progress], None]
    on_results: Callable[[tuple[OutputResult, ...]], None]


def convert_outputs(
    tasks: tuple[Task, ...], limits: Limits, runner: Runner, workspace: str, watcher: Watcher
) -> None:
    """Make the output of each task.

    Raises ConversionError for the first one that fails and is not optional.
    """
    _Outputs(tasks, limits, runner, paths.open_root(workspace), watcher).make()


def in_order(tasks: tuple[Task, ...], numbers: list[int]) -> list[int]:
    """The numbers of tasks in the order in which they are done. What is fast comes first."""
    return sorted(numbers, key=lambda number: STAGES[tasks[number].conversion_type])


def _units(tasks: tuple[Task, ...], order: list[int]) -> list[list[int]]:
    """Those that are made together, in the order of the first of each."""
    units: list[list[int]] = []
    for number in order:
        found = (u for u in units if convert.are_together(tasks[u[0]], tasks[number]))
        unit = next(found, None)
        if unit is None:
            units.append([number])
        else:
            unit.append(number)
    return units


def _fail(error: Exception) -> None:
    raise error


class _Outputs:
    """The outputs of a run, and what has become of them."""

    def __init__(
        self,
        tasks: tuple[Task, ...],
        limits: Limits,
        runner: Runner,
        root: int,
        watcher: Watcher,
    ) -> None:
        self._tasks = tasks
        self._limits = limits
        self._runner = runner
        self._root = root
        self._watcher = watcher
        self._results = [OutputResult()] * len(tasks)

    def make(self) -> None:
        """Make the outputs that do not exist yet."""
        source = self._open_input()
        order = in_order(self._tasks, list(range(len(self._tasks))))
        for number in order:
            with_input = source if isinstance(source, Input) else None
            self._guard(number, partial(self._keep, number, with_input))
        if waiting := self._waiting(order):
            if isinstance(source, ConversionError):
                raise source
            for number in waiting:
                for path in self._tasks[number].files:
                    self._guard(number, partial(paths.check_not_input, self._root, path, source))
            self._make_all(source, self._waiting(order))

    def _make_all(self, source: Input, waiting: list[int]) -> None:
        known, find_holes = Known(), hole_finder(source, self._runner)
        overall = Overall(self._tasks, waiting, known, self._watcher.on_progress)

        def run_for(number: int, delivery: Delivery) -> Run:
            return Run(
                task=self._tasks[number],
                limits=self._limits,
                runner=self._runner,
                source=source,
                make_temporary=delivery.open,
                log=self._watcher.log,
                on_progress=overall.of(number),
                find_holes=find_holes,
                known=known,
            )

        for unit in _units(self._tasks, waiting):
            deliveries = {number: self._deliver(number, source) for number in unit}
            try:
                self._make_unit(deliveries, [run_for(*each) for each in deliveries.items()])
            finally:
                for delivery in deliveries.values():
                    delivery.close()
            for number in unit:
                overall.end(number)

    def _deliver(self, number: int, source: Input) -> Delivery:
        task = self._tasks[number]
        self._watcher.log(f"{task.label}: {task.conversion_type}")
        return Delivery(self._root, task, self._runner, source, self._watcher.log)

    def _make_unit(self, deliveries: dict[int, Delivery], runs: list[Run]) -> None:
        """Make outputs that belong together. What is complete gets its name, whatever fails."""
        unit = list(deliveries)
        batches = convert.convert_together(runs)
        while batch := self._next_batch(unit, batches):
            failures = []
            for index, finish in batch:
                number = unit[index]
                finish_it = partial(self._finish, number, deliveries[number], finish)
                try:
                    self._guard(number, finish_it)
                except ConversionError as error:
                    failures.append(error)
                    if error.reason in _ENDS_RUN:
                        raise
            if failures:
                raise failures[0]

    def _next_batch(self, unit: list[int], batches: Iterator[Batch]) -> Batch | None:
        try:
            return next(batches, None)
        except (ConversionError, OSError) as error:
            for number in self._waiting(unit):
                self._guard(number, partial(_fail, error))
        return None

    def _finish(self, number: int, delivery: Delivery, finish: Callable[[], Converted]) -> None:
        try:
            self._succeed(number, delivery.publish(finish()))
        finally:
            delivery.close()

    def _open_input(self) -> Input | ConversionError:
        """The input. An error, if it cannot be opened: perhaps nothing is left to be made."""
        try:
            return paths.open_input(self._root, self._tasks[0].input_file)
        except ConversionError as error:
            return error

    def _keep(self, number: int, source: Input | None) -> None:
        """Keep an output that an earlier attempt has published."""
        task = self._tasks[number]
        if published := find_published(self._root, task, self._runner, source):
            self._watcher.log(f"{task.label}: an earlier attempt has published it")
            self._succeed(number, published)

    def _waiting(self, order: list[int]) -> list[int]:
        return [n for n in order if self._results[n].state is OutputState.PENDING]

    def _guard(self, number: int, call: Callable[[], None]) -> None:
        """Do something for an output. Raises ConversionError if its failure ends the run."""
        try:
            call()
        except ConversionError as error:
            self._fail(number, error)
        except OSError as error:
            self._fail(number, from_os_error(error, "converting"))

    def _succeed(self, number: int, result: Result) -> None:
        state = OutputState.SUCCEEDED
        self._set(number, OutputResult(state, result.size_bytes, result.output, result.warnings))

    def _fail(self, number: int, error: ConversionError) -> None:
        if error.reason in _ENDS_RUN:
            raise error
        task = self._tasks[number]
        skips = task.optional and error.reason in NOT_APPLICABLE
        state = OutputState.SKIPPED if skips else OutputState.FAILED
        self._set(number, OutputResult(state, reason=error.reason, message=error.message))
        named = name_output(task, error)
        if not task.optional:
            raise named
        self._watcher.log(f"{state}, {error.reason}: {named.message}")

    def _set(self, number: int, result: OutputResult) -> None:
        self._results[number] = result
        self._watcher.on_results(tuple(self._results))
