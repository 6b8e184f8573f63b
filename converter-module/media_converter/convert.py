"""Runs one conversion from start to end: open, convert, verify, commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial

from media_converter.contract import ExitReason, Output, Progress
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import paths, publish, still, structure, temporary
from media_converter.files.paths import Target
from media_converter.files.temporary import Temporary
from media_converter.limits import Limits
from media_converter.options import (
    AudioOptions,
    ImageOptions,
    InfoOptions,
    ThumbnailOptions,
    VideoOptions,
    WaveformOptions,
)
from media_converter.planning.image import plan_image, refusing_warnings
from media_converter.planning.image_input import EARLY_END
from media_converter.planning.plan import ConversionPlan
from media_converter.probing import vipsheader
from media_converter.running import (
    endings,
    image_input,
    media_info,
    thumbnail,
    transcode,
    verify,
    waveform,
)
from media_converter.running.existing import Result, find_published
from media_converter.running.process import Files, ProcessResult, Runner
from media_converter.running.run import (
    Converted,
    Run,
    hole_finder,
    refuse_playlists_and_documents,
)
from media_converter.step import Step
from media_converter.task import Task


def convert_file(
    task: Task,
    limits: Limits,
    runner: Runner,
    workspace: str,
    log: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> Result:
    """Convert one file. If this raises ConversionError, the output path is unchanged."""
    root = paths.open_root(workspace)
    if not task.overwrites and (published := find_published(root, task, runner)):
        log("an earlier attempt has published the output")
        return published
    source = paths.open_input(root, task.input_file)
    paths.check_not_input(root, task.output_file, source)
    temporaries: list[Temporary] = []

    def make_temporary() -> Temporary:
        if not temporaries:
            temporaries.append(_temporary(paths.open_target(root, task.output_file, source), log))
        return temporaries[0]

    find_holes = hole_finder(source, runner)
    run = Run(task, limits, runner, source, make_temporary, log, on_progress, find_holes)
    try:
        converted = _convert(run)
        source.check_unchanged()
        result = Result(os.fstat(temporaries[0].fd).st_size, converted.output, converted.warnings)
        if result.size_bytes > task.max_output_bytes:
            raise endings.output_too_large(task.max_output_bytes)
        while not _publish(temporaries[0], task, runner, converted.output.sha256):
            # A file has that name now. If somebody removes it meanwhile, try again.
            if published := find_published(root, task, runner):
                temporaries[0].discard()
                return published
    except BaseException:
        for temporary_file in temporaries:
            temporary_file.discard()
        raise
    return result


def _publish(temporary_file: Temporary, task: Task, runner: Runner, digest: str) -> bool:
    """Give the output its name. False if that name exists and must not be replaced."""
    if not task.overwrites and task.conversion_uid:
        publish.mark(temporary_file.fd, publish.Mark(task.conversion_uid, digest))
    try:
        runner.wait_for(partial(os.fsync, temporary_file.fd))
    except OSError as error:
        raise from_os_error(error, "putting the output in place") from error
    return temporary_file.commit(overwrites=task.overwrites)


def _temporary(target: Target, log: Callable[[str], None]) -> Temporary:
    for name in temporary.sweep(target.folder):
        log(f"removed {name}, which a killed run left")
    return temporary.create(target)


def _convert(run: Run) -> Converted:
    match run.task.options:
        case VideoOptions() as options:
            return transcode.convert_video(run, options)
        case AudioOptions() as options:
            return transcode.convert_audio(run, options)
        case ImageOptions() as options:
            return Converted(_image(run, options))
        case ThumbnailOptions() as options:
            plan = thumbnail.extract(run, options)
            return Converted(_describe_image(plan, run.make_temporary().fd))
        case InfoOptions() as options:
            return media_info.write_info(run, options)
        case WaveformOptions() as options:
            return waveform.write_waveform(run, options)


def _image(run: Run, options: ImageOptions) -> Output:
    refuse_playlists_and_documents(run)
    source = image_input.padded(run.read, run.source.fd, run.source.size_bytes)
    facts = _probe_image(run, source)
    plan = plan_image(
        facts.info,
        options,
        run.task.output_format,
        run.task.background,
        run.limits,
        has_profile=facts.needs_profile,
    )
    run.log(plan.summary)
    output = run.make_temporary()
    prepared = image_input.prepare(run, source, run.source.size_bytes, facts)
    result = _run_image_tool(run, plan.step, Files(prepared.fd, output.fd, prepared.profile))
    if result.exit_code != 0:
        result = _convert_without_end_mark(run, plan.step, output.fd, prepared.profile) or result
    if result.exit_code != 0:
        raise run.explain_failure(plan.step, result)
    if image_input.lacks_last_rows(run, prepared.fd, facts.info, result.stderr):
        raise image_input.truncated("the data of its last pixels are missing")
    return _describe_image(plan, output.fd)


def _convert_without_end_mark(
    run: Run, step: Step, output: int, profile: int | None
) -> ProcessResult | None:
    """Convert a JPEG that lacks only its end mark. None if it has one, or if pixels are missing.

    With the mark, the loader does not notice that pixels are missing, but it warns.
    """
    copy = image_input.with_end_mark(run.read, run.source.fd, run.source.size_bytes)
    if copy is None:
        return None
    os.ftruncate(output, 0)
    os.lseek(output, 0, os.SEEK_SET)
    result = _run_image_tool(run, refusing_warnings(step), Files(copy, output, profile))
    # For the last rows, the loader only warns.
    is_complete = result.exit_code == 0 and EARLY_END not in result.stderr
    return result if is_complete else None


def _probe_image(run: Run, source: int) -> image_input.ImageFacts:
    image_input.refuse_without_loader(run.read)
    facts = image_input.examine_bitmap(run.read, run.source.size_bytes)
    if facts:
        return facts
    step = vipsheader.step()
    result = _run_image_tool(run, step, Files(source))
    canvas_pixels = structure.gif_canvas_pixels(run.read)
    info = vipsheader.parse(result.stdout, canvas_pixels) if result.exit_code == 0 else None
    if info is None:
        raise run.explain_failure(step, result)
    return image_input.examine(run, info)


def _run_image_tool(run: Run, step: Step, files: Files) -> ProcessResult:
    """Run a tool of libvips, which prints no progress. If it takes too long, it is the image."""
    try:
        return run.run_tool(step, files)
    except ConversionError as error:
        if error.reason is not ExitReason.STALLED:
            raise
        raise ConversionError(
            ExitReason.INPUT_DAMAGED,
            f"the image cannot be decoded within {run.task.stall_seconds:g} s; make it smaller",
        ) from error


def _describe_image(plan: ConversionPlan, fd: int) -> Output:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    found = verify.check_image(still.measure(data), plan.expected)
    return Output(
        sha256=hashlib.sha256(data).hexdigest(),
        container=plan.expected.container,
        video_codec=plan.expected.video_codec,
        width=found.width,
        height=found.height,
    )
