"""Runs one tool at a time, with bounded output, a deadline and a stall limit.

The converter is process 1 of its container, so it must handle SIGTERM and reap every process that
ends. One poll loop waits for the tool's pipes and for signals. All times use the monotonic clock.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import scratch
from media_converter.running import confinement
from media_converter.running.confinement import Access, Confinement
from media_converter.step import (
    COVER,
    COVER_FD,
    INPUT,
    INPUT_FD,
    LAST_FD,
    Stdout,
    Step,
    output_fd,
    output_path,
)

# What setpriv exits with if it cannot confine or execute the tool.
BLOCK_UNTRUSTED: Final = "VIPS_BLOCK_UNTRUSTED"
_SETPRIV_FAILURES: Final = (126, 127)
_TICK_SECONDS: Final = 0.5
_STDERR_KEPT: Final = 16_384
_STDOUT_KEPT: Final = 8 << 20
_READ_SIZE: Final = 65_536


class Files(NamedTuple):
    """The descriptors that a tool inherits. It opens them as INPUT, OUTPUT and COVER.

    ``cover`` is also the ICC profile for libvips, which opens it as PROFILE. A tool with several
    outputs opens them by step.output_path.
    """

    source: int
    output: int | None = None
    cover: int | None = None
    more_outputs: tuple[int, ...] = ()

    @property
    def outputs(self) -> tuple[int, ...]:
        """All outputs."""
        return () if self.output is None else (self.output, *self.more_outputs)


class ProcessResult(NamedTuple):
    """What a tool printed, and its exit code. A negative exit code is minus the signal."""

    exit_code: int
    stdout: bytes
    stderr: str


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
        the same for the stall limit, the tool is killed. ``on_tick`` is called twice a second, and
        the tool is killed if it raises.
        """
        self._signals.check()
        folder = scratch.make()
        try:
            path = folder.path if folder else None
            watch = _Watch(on_line, on_error_line, activity, on_tick)
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

    def _run(self, step: Step, files: Files, folder: str | None, watch: _Watch) -> ProcessResult:
        environment = self._environment | ({"TMPDIR": folder} if folder else {})
        if step.reads_own:
            environment.pop(BLOCK_UNTRUSTED, None)
        child = _Child(step, environment, files, self._confine(step, files, folder), watch)
        self.pid = child.pid
        watchdog = _Watchdog(self._time_limits, watch.activity)
        poller = select.poll()
        for fd in (self._signals.wakeup, *child.pipes):
            poller.register(fd, select.POLLIN)
        try:
            while (exit_code := child.reap()) is None:
                for fd, _ in poller.poll(_TICK_SECONDS * 1000):
                    if fd == self._signals.wakeup:
                        _drain(fd)
                    elif not child.read(fd):
                        poller.unregister(fd)
                self._signals.check()
                watchdog.check()
                if watch.on_tick:
                    watch.on_tick()
                self._on_tick()
        except BaseException:
            child.kill()
            raise
        return child.finish(exit_code)

    def _confine(self, step: Step, files: Files, folder: str | None) -> tuple[str, ...]:
        """The command of a tool that may open only its own files."""
        outputs = () if step.stdout is Stdout.OUTPUT else enumerate(files.outputs)
        own = [
            Access(path, rights)
            for fd, path, rights in (
                (files.source, INPUT, confinement.READ),
                *((fd, output_path(number), confinement.READ_WRITE) for number, fd in outputs),
                (files.cover, COVER, confinement.READ),
            )
            if fd is not None and not confinement.is_in_memory(fd)
        ]
        if folder:
            own.append(Access(folder, confinement.SCRATCH))
        return self._confinement.command(step.argv, own)


class _Watch(NamedTuple):
    """What the caller of a tool wants to see while it runs."""

    on_line: Callable[[str], None] | None
    on_error_line: Callable[[str], None] | None
    activity: Callable[[], object] | None
    on_tick: Callable[[], None] | None


def reserve_descriptors() -> None:
    """Open /dev/null as every descriptor up to LAST_FD, so that later files get other numbers.

    Call this once, before opening any file. Otherwise the output could be descriptor 3. A tool
    expects its input there, and copying the input to descriptor 3 would close the output.
    """
    while os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) < LAST_FD:
        continue


class _Child:
    """A running tool and its pipes."""

    def __init__(
        self,
        step: Step,
        environment: Mapping[str, str],
        files: Files,
        argv: tuple[str, ...],
        watch: _Watch,
    ) -> None:
        self._on_line = watch.on_line if step.stdout is Stdout.PROGRESS else None
        self._on_error_line = watch.on_error_line
        self._error_line = b""
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
            (files.cover, COVER_FD),
        ]
        if not writes_output:
            copies += [(fd, output_fd(number)) for number, fd in enumerate(files.outputs)]
        self.pid = os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in copies if fd is not None],
            # Python ignores SIGPIPE and SIGXFSZ.
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ),
        )
        for fd in (out_write, err_write, null):
            os.close(fd)
        self.pipes = (self._out, self._err)

    def read(self, fd: int) -> bool:
        """Read what is in a pipe. False at its end."""
        data = os.read(fd, _READ_SIZE)
        if fd == self._err:
            self._stderr += data
            self._pass_error_lines(data)
            # The first lines name the cause and the last lines the effect, so keep both.
            if len(self._stderr) > 2 * _STDERR_KEPT:
                del self._stderr[_STDERR_KEPT // 2 : -_STDERR_KEPT // 2]
        elif self._on_line:
            self._stdout += data
            *lines, rest = self._stdout.split(b"\n")
            # A line without an end must not fill the memory.
            self._stdout = bytearray(rest[-_READ_SIZE:])
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))
        elif len(self._stdout) < _STDOUT_KEPT:
            self._stdout += data
        return bool(data)

    def _pass_error_lines(self, data: bytes) -> None:
        if self._on_error_line:
            *lines, rest = (self._error_line + data).split(b"\n")
            self._error_line = rest[-_READ_SIZE:]
            # At its end, the tool may leave a line without a line break.
            lines += [] if data else [rest]
            for line in lines:
                self._on_error_line(line.decode("utf-8", "replace"))

    def reap(self) -> int | None:
        """The exit code, or minus the signal. None while the tool runs.

        Process 1 also inherits orphans, so this reaps every process that has ended.
        """
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Kill the tool and close its pipes."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for fd in self.pipes:
            os.close(fd)

    def finish(self, exit_code: int) -> ProcessResult:
        """Read the rest of the pipes and close them."""
        for fd in self.pipes:
            while self.read(fd):
                continue
            os.close(fd)
        stderr = self._stderr.decode("utf-8", "replace").strip()
        return ProcessResult(exit_code, bytes(self._stdout), stderr)


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
