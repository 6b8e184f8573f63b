"""The converter's main program. Reads the environment, converts, writes the report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Final

from media_converter.contract import EXIT_CODES, ExitReason, OutputResult, Progress, Report
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import paths, temporary
from media_converter.limits import Limits, file_size_limit, limit_file_size, read_limits
from media_converter.request import output_paths, read_log_request, read_request
from media_converter.running.confinement import Confinement, landlock_abi
from media_converter.running.process import (
    BLOCK_UNTRUSTED,
    Runner,
    Signals,
    TimeLimits,
    reserve_descriptors,
)
from media_converter.running.report import Reporter
from media_converter.running.stored_log import StoredLog
from media_converter.task import DEFAULT_TERMINATION_LOG

WORKSPACE: Final = "/workspace"
SWEEP: Final = "sweep"
"""A command-line argument. The run then only removes the files that killed runs left."""


def main() -> int:
    """Run one conversion and return the exit code of its reason, from contract.EXIT_CODES."""
    if sys.argv[1:] == ["--version"]:
        print(os.environ.get("MY_CONVERTER_VERSION", "0.0.0"))  # noqa: T201
        return 0
    started = time.monotonic()
    reserve_descriptors()
    signals = Signals()
    reporter = Reporter(os.environ.get("TERMINATION_LOG") or DEFAULT_TERMINATION_LOG)
    try:
        report = (
            _sweep(reporter) if sys.argv[1:] == [SWEEP] else _convert(started, signals, reporter)
        )
    except ConversionError as error:
        report = Report(final=True, reason=error.reason, message=error.message)
    except OSError as error:
        failure = from_os_error(error, "converting")
        report = Report(final=True, reason=failure.reason, message=failure.message)
    except Exception as error:
        reporter.log(_where(error))
        report = Report(
            final=True, reason=ExitReason.INTERNAL_ERROR, message=f"{type(error).__name__}: {error}"
        )
    reason = report.reason or ExitReason.INTERNAL_ERROR
    reporter.log(f"{reason}: {report.message}" if report.message else str(reason))
    reporter.finish(report)
    return EXIT_CODES[reason]


def _convert(started: float, signals: Signals, reporter: Reporter) -> Report:
    log = read_log_request(os.environ)
    try:
        request = read_request(os.environ)
        task = request.tasks[0]
        limit_file_size(task.max_output_bytes)
    finally:
        # The log is opened after the file size limit is set, because the limit applies to it too.
        if log:
            reporter.keep(StoredLog(WORKSPACE, log, file_size_limit()))
    limits = read_limits()
    confinement = Confinement(landlock_abi())
    reporter.landlock_abi = confinement.landlock_abi
    for one in request.tasks:
        reporter.log(f"{one.conversion_type} {one.input_file} -> {one.output_file} ({one.id})")
    reporter.log(str(confinement))
    deadline = started + task.timeout_seconds
    time_limits = TimeLimits(deadline, task.timeout_seconds, task.stall_seconds)
    runner = Runner(signals, time_limits, confinement, tool_environment(limits), reporter.tick)

    def on_progress(progress: Progress) -> None:
        reporter.progress = progress

    report = Report(final=True, reason=ExitReason.COMPLETED)
    # Imported only now, because the modules that a run does not need take a tenth of a second.
    if request.dry_run:
        from media_converter.dry_run import plan_outputs

        plan = plan_outputs(request.tasks, limits, runner, WORKSPACE, reporter.log)
        report = report._replace(plan=plan)
    elif request.is_list:
        from media_converter.outputs import Watcher, convert_outputs

        reporter.outputs = (OutputResult(),) * len(request.tasks)
        watcher = Watcher(reporter.log, on_progress, reporter.set_outputs)
        convert_outputs(request.tasks, limits, runner, WORKSPACE, watcher)
        size = sum(result.size or 0 for result in reporter.outputs)
        report = report._replace(output_size=size)
    else:
        from media_converter.convert import convert_file

        result = convert_file(task, limits, runner, WORKSPACE, reporter.log, on_progress)
        report = report._replace(
            output_size=result.size_bytes, output=result.output, warnings=result.warnings
        )
    reporter.progress = Progress(percent=100, eta_seconds=0)
    return report


def _sweep(reporter: Reporter) -> Report:
    root = paths.open_root(WORKSPACE)
    errors, count = [], 0
    for path in output_paths(os.environ):
        try:
            names = _sweep_folder_of(root, path)
        except ConversionError as error:
            errors.append(error)
            continue
        count += len(names)
        for name in names:
            reporter.log(f"removed {name}")
    # One folder that cannot be swept does not keep the others from being swept.
    if errors:
        raise errors[0]
    return Report(
        final=True, reason=ExitReason.COMPLETED, message=f"{count} temporary files removed"
    )


def _sweep_folder_of(root: int, path: str) -> tuple[str, ...]:
    folder = paths.open_existing_folder(root, path)
    if folder is None:
        return ()
    try:
        return temporary.sweep(folder)
    except OSError as error:
        raise from_os_error(error, "removing temporary files") from error
    finally:
        os.close(folder)


def tool_environment(limits: Limits) -> Mapping[str, str]:
    """The environment variables of every tool. It gets no others."""
    return {
        "PATH": "/opt/ffmpeg/bin:/usr/bin",
        "HOME": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        # Keeps glibc from creating one memory pool per thread.
        "MALLOC_ARENA_MAX": "2",
        # Turns off the loaders that libvips considers unsafe for untrusted files.
        BLOCK_UNTRUSTED: "1",
        "VIPS_CONCURRENCY": str(limits.threads),
    }


def _where(error: BaseException) -> str:
    """Where an unexpected error was raised, without the cost of importing traceback."""
    trace, places = error.__traceback__, []
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(places))
