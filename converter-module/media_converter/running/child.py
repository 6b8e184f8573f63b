"""A running tool: how it starts, what it prints, and how it ends."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from media_converter.step import COVER_FD, INPUT_FD, JOINED_FD, Stdout, Step, output_fd

_STDERR_KEPT: Final = 16_384
_STDOUT_KEPT: Final = 8 << 20
_READ_SIZE: Final = 65_536


class Files(NamedTuple):
    """The descriptors that a tool inherits. It opens them as INPUT, OUTPUT and COVER_PATH.

    ``cover`` is also the ICC profile for libvips, which opens it as PROFILE. A tool with several
    outputs opens them by step.output_path. ``joined`` is the pipe with joined audio.
    """

    source: int
    output: int | None = None
    cover: int | None = None
    more_outputs: tuple[int, ...] = ()
    joined: int | None = None

    @property
    def outputs(self) -> tuple[int, ...]:
        """All outputs."""
        return () if self.output is None else (self.output, *self.more_outputs)


class ProcessResult(NamedTuple):
    """What a tool printed, and its exit code. A negative exit code is minus the signal."""

    exit_code: int
    stdout: bytes
    stderr: str


class Watch(NamedTuple):
    """What the caller of a tool wants to see while it runs."""

    on_line: Callable[[str], None] | None
    on_error_line: Callable[[str], None] | None
    activity: Callable[[], object] | None
    on_tick: Callable[[], None] | None


class Child:
    """A running tool and its pipes."""

    def __init__(
        self,
        step: Step,
        environment: Mapping[str, str],
        files: Files,
        argv: tuple[str, ...],
        watch: Watch,
    ) -> None:
        self._on_line = watch.on_line if step.stdout is Stdout.LINES else None
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
            (files.joined, JOINED_FD),
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
        self.exit_code: int | None = None
        """Minus the signal, if one ended it. None while it runs; :func:`reap` sets it."""

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

    def kill(self) -> None:
        """Kill the tool, unless it has ended, and close its pipes."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for fd in self.pipes:
            os.close(fd)

    def finish(self) -> ProcessResult:
        """Read the rest of the pipes and close them. The tool must have ended."""
        for fd in self.pipes:
            while self.read(fd):
                continue
            os.close(fd)
        stderr = self._stderr.decode("utf-8", "replace").strip()
        return ProcessResult(self.exit_code or 0, bytes(self._stdout), stderr)


def reap(children: Sequence[Child]) -> bool:
    """Note the exit codes of children that have ended. True if all have.

    Process 1 also inherits orphans, so this reaps every process that has ended.
    """
    while any(child.exit_code is None for child in children):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return False
        for child in children:
            if pid == child.pid:
                child.exit_code = os.waitstatus_to_exitcode(status)
    return True
