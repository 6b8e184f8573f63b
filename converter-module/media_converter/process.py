"""Runs one tool at a time: bounded output, deadline, stall limit, SIGTERM, reaping.

The converter is process 1 of its container, so it handles SIGTERM itself (nobody else would) and
reaps whatever ends. One poll loop waits for the tool's pipes and for signals; every time is taken
from the monotonic clock.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError

INPUT_FD: Final = 3
OUTPUT_FD: Final = 4
COVER_FD: Final = 5
INPUT: Final = f"/proc/self/fd/{INPUT_FD}"
OUTPUT: Final = f"/proc/self/fd/{OUTPUT_FD}"
COVER: Final = f"/proc/self/fd/{COVER_FD}"
"""The names a tool knows the files by: descriptors it inherits, whatever they are called."""

# Process 1 takes everything with it when it is killed; where the converter is not process 1, a tool
# would go on writing for nobody.
_DIES_WITH_US: Final = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")
_TICK_SECONDS: Final = 0.5
_STDERR_KEPT: Final = 16_384
_STDOUT_MOST: Final = 8 << 20
_READ: Final = 65_536


class Stdout(Enum):
    """What a tool's standard output is."""

    PROGRESS = "lines for on_line"
    CAPTURE = "bytes for the caller"
    OUTPUT = "the output file itself"


class Step(NamedTuple):
    """One tool to run: what it does, in a word for the log, and its argv."""

    name: str
    argv: tuple[str, ...]
    stdout: Stdout = Stdout.CAPTURE


class Files(NamedTuple):
    """Descriptors a tool is handed as INPUT, OUTPUT and COVER."""

    source: int
    output: int | None = None
    cover: int | None = None


class Ended(NamedTuple):
    """How a tool ended: exit code, or minus the signal that killed it; what it printed."""

    code: int
    stdout: bytes
    stderr: str


class Bounds(NamedTuple):
    """``deadline`` is a time.monotonic() value; ``stall_seconds`` without progress end a tool."""

    deadline: float
    timeout_seconds: float
    stall_seconds: float


class Signals:
    """Signals as bytes in a pipe, so that the poll loop wakes and no handler runs code."""

    def __init__(self) -> None:
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.terminated = False
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, self._on_terminate)
        signal.signal(signal.SIGCHLD, _ignore)

    def check(self) -> None:
        """Raise Terminated once the process was asked to stop."""
        if self.terminated:
            raise ConversionError(
                ExitReason.TERMINATED, "the converter was asked to stop before it was complete"
            )

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self.terminated = True


def _ignore(_number: int, _frame: object) -> None:
    """Only there so that the signal reaches the wake-up pipe."""


class Runner:
    """Runs tools on one input and one output descriptor."""

    def __init__(
        self,
        signals: Signals,
        bounds: Bounds,
        environment: Mapping[str, str],
        on_tick: Callable[[], None],
    ) -> None:
        self._signals = signals
        self._bounds = bounds
        self._environment = dict(environment)
        self._on_tick = on_tick

    def run(
        self,
        step: Step,
        *,
        files: Files,
        on_line: Callable[[str], None] | None = None,
        activity: Callable[[], object] | None = None,
    ) -> Ended:
        """Run the tool to its end.

        ``activity`` returns a value that changes while the tool gets on; without change for the
        stall limit the tool is killed. Raises Terminated, DeadlineExceeded, Stalled.
        """
        self._signals.check()
        child = _Child(step, self._environment, files, on_line)
        watch = _Watch(self._bounds, activity)
        poller = select.poll()
        for fd in (self._signals.wakeup, *child.pipes):
            poller.register(fd, select.POLLIN)
        try:
            while (code := child.reap()) is None:
                for fd, _ in poller.poll(_TICK_SECONDS * 1000):
                    if fd == self._signals.wakeup:
                        _drain(fd)
                    elif not child.read(fd):
                        poller.unregister(fd)
                self._signals.check()
                watch.check()
                self._on_tick()
        except BaseException:
            child.kill()
            raise
        return child.finish(code)


def reserve_descriptors() -> None:
    """Fill the low descriptors, so that no file opened later lies where a tool's will be put.

    Call it once, first: a copy onto 3 would close an output that happens to be 3.
    """
    while os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) < COVER_FD:
        continue


class _Child:
    """A started tool with its pipes."""

    def __init__(
        self,
        step: Step,
        environment: Mapping[str, str],
        files: Files,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._on_line = on_line if step.stdout is Stdout.PROGRESS else None
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._out, out_write = os.pipe2(os.O_CLOEXEC)
        self._err, err_write = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        writes_output = step.stdout is Stdout.OUTPUT
        copies = [
            (null, 0),
            (files.output if writes_output else out_write, 1),
            (err_write, 2),
            (files.source, INPUT_FD),
            (None if writes_output else files.output, OUTPUT_FD),
            (files.cover, COVER_FD),
        ]
        argv = (*_DIES_WITH_US, *step.argv)
        self._pid = os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in copies if fd is not None],
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGPIPE),
        )
        for fd in (out_write, err_write, null):
            os.close(fd)
        self.pipes = (self._out, self._err)

    def read(self, fd: int) -> bool:
        """Take what a pipe has; False at its end."""
        data = os.read(fd, _READ)
        if fd == self._err:
            self._stderr += data
            # The first lines name the cause, the last ones the effect: keep both ends.
            if len(self._stderr) > 2 * _STDERR_KEPT:
                del self._stderr[_STDERR_KEPT // 2 : -_STDERR_KEPT // 2]
        elif self._on_line:
            self._stdout += data
            *lines, rest = self._stdout.split(b"\n")
            # A line without an end must not fill the memory.
            self._stdout = bytearray(rest[-_READ:])
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))
        elif len(self._stdout) < _STDOUT_MOST:
            self._stdout += data
        return bool(data)

    def reap(self) -> int | None:
        """The exit code, or minus the signal, once it has ended. Process 1 also gets orphans."""
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it at once. What it wrote is thrown away, so nothing is lost."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        for fd in self.pipes:
            os.close(fd)

    def finish(self, code: int) -> Ended:
        """Read what is left in the pipes and close them."""
        for fd in self.pipes:
            while self.read(fd):
                continue
            os.close(fd)
        return Ended(code, bytes(self._stdout), self._stderr.decode("utf-8", "replace").strip())


class _Watch:
    """Deadline and stall limit of one tool."""

    def __init__(self, bounds: Bounds, activity: Callable[[], object] | None) -> None:
        self._bounds = bounds
        self._activity = activity
        self._last: object = None
        self._since = time.monotonic()

    def check(self) -> None:
        now = time.monotonic()
        if now >= self._bounds.deadline:
            raise ConversionError(
                ExitReason.DEADLINE_EXCEEDED,
                f"not complete within the time limit of {self._bounds.timeout_seconds:g} s",
            )
        seen = self._activity() if self._activity else None
        if seen != self._last:
            self._last, self._since = seen, now
        elif now - self._since >= self._bounds.stall_seconds:
            raise ConversionError(
                ExitReason.STALLED, f"no progress for {self._bounds.stall_seconds:g} s"
            )


def _drain(fd: int) -> None:
    try:
        while os.read(fd, _READ):
            continue
    except BlockingIOError:
        return
