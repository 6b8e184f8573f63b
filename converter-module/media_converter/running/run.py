"""Defines a run, the work on one output: what all runs share, and how they run tools."""

import os
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from media_converter.contract import ExitReason, Output, Progress
from media_converter.errors import ConversionError
from media_converter.files import structure
from media_converter.files.digest import sha256
from media_converter.files.paths import Input
from media_converter.files.space import check_free_space
from media_converter.files.temporary import Temporary
from media_converter.limits import Limits, oom_kills
from media_converter.probing import decoded
from media_converter.probing.chain import Hole
from media_converter.probing.media import MediaInfo
from media_converter.probing.packets import PacketReader, Places
from media_converter.running import endings
from media_converter.running.failures import explain
from media_converter.running.folding import fold
from media_converter.running.process import Files, ProcessResult, Runner
from media_converter.running.progress import Meter
from media_converter.step import Step
from media_converter.task import Task
from media_converter.typed_options import ImageOptions

_MAX_TOOL_LINES: Final = 12


class Converted(NamedTuple):
    """A written output: its properties, and what of the input it lacks, in sentences.

    ``beside`` is the content of the second file of the output, if it has one.
    """

    output: Output
    warnings: tuple[str, ...] = ()
    beside: bytes = b""


Batch = list[tuple[int, Callable[[], Converted]]]
"""What one run of ffmpeg has written: numbers of outputs, and functions that verify them."""


Listed = tuple[int, tuple[float, float] | None]
"""The index of a stream, and a range in seconds from the start of the file. None: all of it."""


class Known:
    """What a conversion has found out about the input, so that the next one need not.

    ``survey_seconds`` is how long that took. To check an output takes about as long again, on the
    same machine.
    """

    def __init__(self) -> None:
        self.survey_seconds = 0.0
        self.info: MediaInfo | None = None
        self.listings: dict[Listed, PacketReader] = {}
        self.places: dict[tuple[str, ...], Places] = {}


class Run(NamedTuple):
    """The work on one output: its task and the objects that all conversions use.

    ``make_temporary`` creates the temporary file at its first call and returns the same file later.
    ``find_holes`` finds what the structure of the input does not explain, up to an offset or,
    with None, in all of it. It reads most of that, but only once. All outputs of the same input
    share ``find_holes`` and ``known``.
    """

    task: Task
    limits: Limits
    runner: Runner
    source: Input
    make_temporary: Callable[[], Temporary]
    log: Callable[[str], None]
    on_progress: Callable[[Progress], None]
    find_holes: Callable[[int | None], tuple[Hole, ...]]
    known: Known

    def run_tool(
        self,
        step: Step,
        files: Files | None = None,
        meter: Meter | None = None,
        *,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
    ) -> ProcessResult:
        """Run a tool. It inherits only the input, unless ``files`` names others.

        ``stderr`` of the result has only the errors of ffmpeg, and all lines of other tools.
        ``on_error_line`` gets all lines of standard error. Raises ConversionError with the reason
        OutOfMemory if the kernel killed the tool for its memory.
        """
        files = files or Files(self.source.fd)

        def on_tick() -> None:
            for output in files.outputs:
                check_free_space(output)

        on_tick()
        kills = oom_kills()
        result = self.runner.run(
            step,
            files=files,
            on_line=meter.add_line if meter else on_line,
            on_error_line=on_error_line,
            activity=(lambda: (meter.state, _modified(files.outputs))) if meter else None,
            on_tick=on_tick,
        )
        result = result._replace(stderr=decoded.errors_only(result.stderr))
        for line in fold(result.stderr.splitlines(), _MAX_TOOL_LINES):
            self.log(f"{step.name}: {line}")
        if result.exit_code == -9 or oom_kills() > kills:
            raise ConversionError(
                ExitReason.OUT_OF_MEMORY,
                f"the {step.name} step needed more memory than the limit allows; raise "
                "spec.resources.limits.memory, or choose a smaller size",
            )
        if endings.has_crashed(result):
            self.log(f"the sha256 of the input is {sha256(self.source.fd, self.runner.check)}")
            raise endings.crashed(step.name, result)
        if endings.exceeded_file_size(result):
            raise endings.output_too_large(self.task.max_output_bytes)
        return result

    def explain_failure(self, step: Step, result: ProcessResult) -> ConversionError:
        """The ConversionError for a tool that failed on the input."""
        self.source.check_unchanged()
        # For image_resize, a video is not a damaged image but an unsupported format.
        only_images = isinstance(self.task.options, ImageOptions)
        looks_accepted = structure.looks_like_image if only_images else structure.looks_like_media
        return explain(
            step.name,
            result,
            self._missing_or_walk,
            looks_accepted(self.read),
            ends_early=structure.ends_early(self.read, self.source.size_bytes),
        )

    @property
    def read(self) -> structure.ReadAt:
        """A function that reads the input at an offset."""
        return structure.reader(self.source.fd)

    def missing_bytes(self) -> int:
        """How many bytes the structure of the input promises beyond the end of the file."""
        return structure.missing_bytes(self.read, self.source.size_bytes)

    def _missing_or_walk(self) -> int:
        """As ``missing_bytes``, but walks the input if its header promises nothing."""
        from media_converter.probing import holes  # only for a failure

        missing = self.missing_bytes()
        if missing or not holes.can_miss_bytes(self.read):
            return missing
        return holes.missing_bytes(self.find_holes(None), self.source.size_bytes)


def hole_finder(source: Input, runner: Runner) -> Callable[[int | None], tuple[Hole, ...]]:
    """A function that finds the holes of the input up to an offset. It walks once for each."""
    read_input = structure.reader(source.fd)

    def read(offset: int, count: int) -> bytes:
        runner.check()
        return read_input(offset, count)

    @cache
    def find(until: int | None) -> tuple[Hole, ...]:
        from media_converter.probing import holes  # no image needs it

        return holes.find(read, source.size_bytes, until)

    return find


def refuse_playlists_and_documents(run: Run) -> None:
    """Raise ConversionError with the reason UnsupportedFormat for files that name other files."""
    kind = structure.refused_kind(run.read)
    if kind:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"{kind} is not accepted as input; use the media itself"
        )


def _modified(outputs: tuple[int, ...]) -> list[int]:
    """When files were last written, in nanoseconds.

    ffmpeg prints no progress while it moves the moov box to the front, but it writes the file.
    """
    return [os.fstat(fd).st_mtime_ns for fd in outputs]
