"""The loop over several outputs, with conversions that write only a name."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_converter import convert
from media_converter.contract import (
    ConversionType,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
)
from media_converter.errors import ConversionError
from media_converter.outputs import Watcher, convert_outputs
from media_converter.running.run import Converted, Run
from media_converter.task import OutputFields, Task, task_for
from media_converter.typed_options import ThumbnailOptions
from tests.unit.converter.builders import LIMITS, FakeSignals, runner

NAMES = ("a.jpg", "b.jpg", "c.jpg")
S, F, P, K = OutputState.SUCCEEDED, OutputState.FAILED, OutputState.PENDING, OutputState.SKIPPED


def tasks(overwrites: bool | None = None, **changes: Any) -> tuple[Task, ...]:
    """A thumbnail for each of NAMES. ``changes`` are by the letter of the name."""
    environment = {
        "INPUT_FILE": "in.mov",
        "CONVERSION_UID": "uid",
        "OVERWRITE": "false" if overwrites is False else "true",
    }
    made = []
    for number, name in enumerate(NAMES):
        kind = ConversionType.EXTRACT_THUMBNAIL
        fields = OutputFields(kind, f"out/{name}", "jpeg", ThumbnailOptions())
        task = task_for(environment, fields)._replace(label=f"outputs[{number}]")
        made.append(task._replace(**changes.get(name[0], {})))
    return tuple(made)


class Bench:
    """Runs the loop with conversions that write the name of their output."""

    def __init__(self, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.volume = volume
        self.made: list[str] = []
        self.results: tuple[OutputResult, ...] = ()
        self.log: list[str] = []
        self.errors: dict[str, ExitReason] = {}
        self.before: Callable[[str], None] = lambda name: None
        monkeypatch.setattr(convert, "convert", self.convert)

    def convert(self, run: Run) -> Converted:
        name = run.task.output_file.rpartition("/")[2]
        self.before(name)
        self.made.append(name)
        os.write(run.make_temporary().fd, name.encode())
        if name in self.errors:
            raise ConversionError(self.errors[name], "why")
        return Converted(Output(hashlib.sha256(name.encode()).hexdigest(), "jpeg"))

    def run(self, work: tuple[Task, ...]) -> list[OutputState]:
        self.made, self.results = [], (OutputResult(),) * len(work)

        def take(results: tuple[OutputResult, ...]) -> None:
            self.results = results

        watcher = Watcher(self.log.append, lambda progress: None, take)
        machine = runner(FakeSignals(), 60, lambda: None)
        convert_outputs(work, LIMITS, machine, str(self.volume), watcher)
        return [result.state for result in self.results]

    def killed(self, work: tuple[Task, ...]) -> None:
        """Run it in a process that is killed before it ends."""
        child = os.fork()
        if not child:
            try:
                self.run(work)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.volume / "out").iterdir()}


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def kill(*_arguments: object, **_names: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
