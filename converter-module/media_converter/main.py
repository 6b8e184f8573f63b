"""The converter's process: environment in, exit code and report out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Final

from media_converter import convert, job, paths, temporary
from media_converter.contract import EXIT_CODES, ExitReason, Progress, Report
from media_converter.errors import ConversionError, from_os_error
from media_converter.limits import Limits, read_limits
from media_converter.process import Bounds, Runner, Signals, reserve_descriptors
from media_converter.report import Reporter

WORKSPACE: Final = "/workspace"
SWEEP: Final = "sweep"
"""The one argument: only remove what killed runs left in the output's folder, then end."""


def main() -> int:
    """Run one conversion; the exit code is the one of its reason in contract.EXIT_CODES."""
    began = time.monotonic()
    reserve_descriptors()
    signals = Signals()
    reporter = Reporter(os.environ.get("TERMINATION_LOG") or job.DEFAULT_TERMINATION_LOG)
    try:
        report = _sweep(reporter) if sys.argv[1:] == [SWEEP] else _convert(began, signals, reporter)
    except ConversionError as error:
        report = Report(final=True, reason=error.reason, message=error.message)
    except OSError as error:
        failure = from_os_error(error, "converting")
        report = Report(final=True, reason=failure.reason, message=failure.message)
    except Exception as error:
        reporter.log(_where(error))
        report = Report(
            final=True,
            reason=ExitReason.INTERNAL_ERROR,
            message=f"{type(error).__name__}: {error}",
        )
    reason = report.reason or ExitReason.INTERNAL_ERROR
    reporter.log(f"{reason}: {report.message}" if report.message else str(reason))
    reporter.finish(report)
    return EXIT_CODES[reason]


def _convert(began: float, signals: Signals, reporter: Reporter) -> Report:
    task = job.read(os.environ)
    limits = read_limits()
    reporter.log(f"{task.conversion_type} {task.input_file} to {task.output_file} ({task.id})")
    bounds = Bounds(began + task.timeout_seconds, task.timeout_seconds, task.stall_seconds)
    runner = Runner(signals, bounds, tool_environment(limits), reporter.tick)

    def show(progress: Progress) -> None:
        reporter.progress = progress

    result = convert.run(task, limits, runner, WORKSPACE, reporter.log, show)
    reporter.progress = Progress(percent=100, eta_seconds=0)
    return Report(
        final=True, reason=ExitReason.COMPLETED, output_size=result.size, output=result.output
    )


def _sweep(reporter: Reporter) -> Report:
    root = paths.open_root(WORKSPACE)
    folder = paths.open_existing_folder(root, os.environ.get("OUTPUT_FILE", ""))
    names = () if folder is None else temporary.sweep(folder)
    for name in names:
        reporter.log(f"removed {name}")
    return Report(
        final=True, reason=ExitReason.COMPLETED, message=f"{len(names)} temporary files removed"
    )


def tool_environment(limits: Limits) -> Mapping[str, str]:
    """All the environment variables a tool is given."""
    return {
        "PATH": "/opt/ffmpeg/bin:/usr/bin",
        "HOME": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        # Keeps glibc from one memory pool a thread.
        "MALLOC_ARENA_MAX": "2",
        # Loaders that libvips itself does not trust with files from strangers.
        "VIPS_BLOCK_UNTRUSTED": "1",
        "VIPS_CONCURRENCY": str(limits.threads),
    }


def _where(error: BaseException) -> str:
    """Where an unforeseen error was raised, without the cost of importing traceback."""
    trace, places = error.__traceback__, []
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(places))
