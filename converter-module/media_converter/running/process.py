"""Runs one tool at a time, or two that belong together, with bounded output and time limits.

The converter is process 1 of its container, so it must handle SIGTERM and reap every process that
ends. One poll loop waits for the tool's pipes and for signals. All times use the monotonic clock.
"""

import _thread
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import scratch
from media_converter.running import confinement
from media_converter.running.child import Child, Files, ProcessResult, Watch, reap
from media_converter.running.confinement import Access, Confinement
from media_converter.running.joining import Joiner
from media_converter.step import COVER_PATH, INPUT, LAST_FD, Feed, Stdout, Step, output_path

__all__ = ["Files", "ProcessResult", "Runner"]

# What setpriv exits with if it cannot confine or execute the tool.
BLOCK_UNTRUSTED: Final = "VIPS_BLOCK_UNTRUSTED"
_SETPRIV_FAILURES: Final = (126, 127)
_TICK_SECONDS: Final = 0.5
_READ_SIZE: Final = 65_536


class TimeLimits(NamedTuple):
    """The time limits of a run.

    ``deadline`` is a value of time.monotonic(). ``timeout_seconds`` is for the message only. A tool
    may run for ``stall_seconds`` without progress.
    """

    deadline: float
    timeout_seconds: float
    stall_seconds: float


class Signals:
    """Receives signals through a pipe, which wakes the poll loop. Handlers only set a flag."""

    def __init__(self) -> None:
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.terminated = False
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, self._on_terminate)
        signal.signal(signal.SIGCHLD, _ignore)

    def check(self) -> None:
        """Raise ConversionError with the reason Terminated if a signal asked to stop."""
        if self.terminated:
            raise ConversionError(
                ExitReason.TERMINATED,
                "the converter was asked to stop before it had finished; if nobody deleted the "
                "pod, check its node",
            )

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self.terminated = True


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing. Python writes a signal to the wake-up pipe only if the signal has a handler."""


class Runner:
    """Runs tools one after the other, under the same time limits."""

    def __init__(
        self,
        signals: Signals,
        time_limits: TimeLimits,
        confinement: Confinement,
        environment: Mapping[str, str],
        on_tick: Callable[[], None],
    ) -> None:
        self._signals = signals
        self._time_limits = time_limits
        self._confinement = confinement
        self._environment = dict(environment)
        self._on_tick = on_tick
        self.pid: int | None = None
        """The tool that runs now."""

    def run(
        self,
        step: Step,
        *,
        files: Files,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
        activity: Callable[[], object] | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> ProcessResult:
        """Run the tool until it exits.

        Raises ConversionError with the reason Terminated, DeadlineExceeded or Stalled.
        ``on_error_line`` gets every line of standard error, also those that are not kept.
        ``activity`` returns a value that changes while the tool makes progress. If the value stays
        the same for the stall limit, the tool is killed. Without ``activity``, each line for
        ``on_line`` counts as progress. ``on_tick`` is called twice a second, and the tool is killed
        if it raises.
        """
        self._signals.check()
        if activity is None and on_line is not None:
            counter = _LineCounter(on_line)
            on_line, activity = counter.add_line, counter.count
        folder = scratch.make()
        try:
            path = folder.path if folder else None
            watch = Watch(on_line, on_error_line, activity, on_tick)
            result = self._run(step, files, path, watch)
        finally:
            if folder:
                folder.remove()
        if result.exit_code in _SETPRIV_FAILURES and result.stderr.startswith("setpriv: "):
            raise ConversionError(
                ExitReason.INTERNAL_ERROR,
                f"the {step.name} step cannot be confined: {result.stderr.splitlines()[0]}; check "
                "the security settings of the node",
            )
        return result

    def check(self) -> None:
        """Call this regularly during a long computation between two tools.

        Raises ConversionError with the reason Terminated or DeadlineExceeded.
        """
        self._signals.check()
        _check_deadline(self._time_limits)
        self._on_tick()

    def wait_for(self, call: Callable[[], None]) -> None:
        """Run a system call that may block for long, in a thread.

        Raises what it raises, or ConversionError with the reason Terminated or DeadlineExceeded. In
        this case the thread is left behind, and the process ends when the kernel lets it.
        """
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        errors: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:
                errors.append(error)
            finally:
                os.close(write_end)

        _thread.start_new_thread(run, ())
        poller = select.poll()
        poller.register(read_end, select.POLLIN)
        poller.register(self._signals.wakeup, select.POLLIN)
        try:
            while read_end not in (ready := [fd for fd, _ in poller.poll(_TICK_SECONDS * 1000)]):
                if self._signals.wakeup in ready:
                    _drain(self._signals.wakeup)
                self.check()
        finally:
            os.close(read_end)
        if errors:
            raise errors[0]

    def _run(self, step: Step, files: Files, folder: str | None, watch: Watch) -> ProcessResult:
        environment = self._environment | ({"TMPDIR": folder} if folder else {})
        if step.reads_own:
            environment.pop(BLOCK_UNTRUSTED, None)
        feeder = self._start_feeder(step.feed, files.source, watch) if step.feed else None
        if feeder:
            files = files._replace(joined=feeder.joined)
        child = Child(step, environment, files, self._confine(step, files, folder), watch)
        if feeder:
            os.close(feeder.joined)
        children = [child, feeder.child] if feeder else [child]
        self.pid = child.pid
        self._wait(children, watch)
        result = child.finish()
        return feeder.result(result) if feeder else result

    def _wait(self, children: Sequence[Child], watch: Watch) -> None:
        """Read what the children print until they have ended. Kills them if this raises."""
        watchdog = _Watchdog(self._time_limits, watch.activity)
        poller = select.poll()
        readers = {fd: child for child in children for fd in child.pipes}
        for fd in (self._signals.wakeup, *readers):
            poller.register(fd, select.POLLIN)
        try:
            while not reap(children):
                for fd, _ in poller.poll(_TICK_SECONDS * 1000):
                    if fd == self._signals.wakeup:
                        _drain(fd)
                    elif not readers[fd].read(fd):
                        poller.unregister(fd)
                self._signals.check()
                watchdog.check()
                if watch.on_tick:
                    watch.on_tick()
                self._on_tick()
        except BaseException:
            for child in children:
                child.kill()
            raise

    def _start_feeder(self, feed: Feed, source: int, watch: Watch) -> "_Feeder":
        step = Step("tracks", feed.argv)
        command = self._confine(step, Files(source), None)
        return _Feeder(feed, step, source, self._environment, command, watch)

    def _confine(self, step: Step, files: Files, folder: str | None) -> tuple[str, ...]:
        """The command of a tool that may open only its own files."""
        outputs = () if step.stdout is Stdout.OUTPUT else enumerate(files.outputs)
        own = [
            Access(path, rights)
            for fd, path, rights in (
                (files.source, INPUT, confinement.READ),
                *((fd, output_path(number), confinement.READ_WRITE) for number, fd in outputs),
                (files.cover, COVER_PATH, confinement.READ),
            )
            if fd is not None and not confinement.is_in_memory(fd)
        ]
        if folder:
            own.append(Access(folder, confinement.SCRATCH))
        return self._confinement.command(step.argv, own)


class _LineCounter:
    """Counts the lines that a tool prints, and passes them on."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._lines = 0

    def add_line(self, line: str) -> None:
        self._lines += 1
        self._on_line(line)

    def count(self) -> int:
        return self._lines


def reserve_descriptors() -> None:
    """Open /dev/null as every descriptor up to LAST_FD, so that later files get other numbers.

    Call this once, before opening any file. Otherwise the output could be descriptor 3. A tool
    expects its input there, and copying the input to descriptor 3 would close the output.
    """
    while os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) < LAST_FD:
        continue


class _Feeder:
    """The second tool of a step, which decodes tracks, and the thread that joins them.

    ``joined`` is what the tool of the step reads. It must be closed when that has started.
    """

    def __init__(
        self,
        feed: Feed,
        step: Step,
        source: int,
        environment: Mapping[str, str],
        command: tuple[str, ...],
        watch: Watch,
    ) -> None:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(feed.tracks)]
        self.joined, target = os.pipe2(os.O_CLOEXEC)
        first, *more = (write_end for _, write_end in pipes)
        self.child = Child(
            step, environment, Files(source, first, None, tuple(more)), command, watch
        )
        for fd in (first, *more):
            os.close(fd)
        self._joiner = Joiner([read_end for read_end, _ in pipes], target, feed.sample_rate)

    def result(self, result: ProcessResult) -> ProcessResult:
        """The result of the step: that of this tool if it failed first, otherwise ``result``.

        Raises ConversionError if the tracks cannot be joined.
        """
        own = self.child.finish()
        if self._joiner.apart:
            raise ConversionError(
                ExitReason.UNSUPPORTED_FORMAT,
                "the audio tracks are stored too far apart in the file to be joined; interleave "
                "them, for example with a remux, and convert the result",
            )
        failed = own.exit_code != 0 and not self._joiner.stopped
        return own._replace(stdout=result.stdout) if failed else result


class _Watchdog:
    """Checks the deadline and the stall limit of one tool."""

    def __init__(self, limits: TimeLimits, activity: Callable[[], object] | None) -> None:
        self._limits = limits
        self._activity = activity
        self._last_activity: object = None
        self._last_change = time.monotonic()

    def check(self) -> None:
        _check_deadline(self._limits)
        now = time.monotonic()
        current = self._activity() if self._activity else None
        if current != self._last_activity:
            self._last_activity, self._last_change = current, now
        elif now - self._last_change >= self._limits.stall_seconds:
            raise ConversionError(
                ExitReason.STALLED,
                f"no progress for {self._limits.stall_seconds:g} s; check the speed of the shared "
                "volume, and play the input to check it",
            )


def _check_deadline(limits: TimeLimits) -> None:
    if time.monotonic() >= limits.deadline:
        raise ConversionError(
            ExitReason.DEADLINE_EXCEEDED,
            f"not finished within the time limit of {limits.timeout_seconds:g} s; raise "
            "spec.timeoutSeconds, or choose a smaller resolution or a shorter part",
        )


def _drain(fd: int) -> None:
    try:
        while os.read(fd, _READ_SIZE):
            continue
    except BlockingIOError:
        return
