"""Runs one conversion from start to end: open, convert, verify, commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

from media_converter.contract import Output, Progress
from media_converter.files import paths, still, structure, temporary
from media_converter.files.paths import Target
from media_converter.files.temporary import Temporary
from media_converter.limits import Limits
from media_converter.options import AudioOptions, ImageOptions, ThumbnailOptions, VideoOptions
from media_converter.planning.image import plan_image, refusing_warnings
from media_converter.planning.plan import ConversionPlan
from media_converter.probing import vipsheader
from media_converter.running import image_input, thumbnail, transcode, verify
from media_converter.running.process import Files, ProcessResult, Runner
from media_converter.running.run import Converted, Run, refuse_playlists_and_documents
from media_converter.step import Step
from media_converter.task import Task


class Result(NamedTuple):
    """A finished output: its size, its probed properties, and warnings about its input."""

    size_bytes: int
    output: Output
    warnings: tuple[str, ...] = ()


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
    source = paths.open_input(root, task.input_file)
    paths.check_not_input(root, task.output_file, source)
    temporaries: list[Temporary] = []

    def make_temporary() -> Temporary:
        if not temporaries:
            temporaries.append(_temporary(paths.open_target(root, task.output_file, source), log))
        return temporaries[0]

    run = Run(task, limits, runner, source, make_temporary, log, on_progress)
    try:
        converted = _convert(run)
        source.check_unchanged()
        size_bytes = os.fstat(temporaries[0].fd).st_size
        temporaries[0].commit()
    except BaseException:
        for temporary_file in temporaries:
            temporary_file.discard()
        raise
    return Result(size_bytes, converted.output, converted.warnings)


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


def _image(run: Run, options: ImageOptions) -> Output:
    refuse_playlists_and_documents(run)
    facts = _probe_image(run)
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
    prepared = image_input.prepare(run, run.source.fd, run.source.size_bytes, facts)
    result = run.run_tool(plan.step, Files(prepared.fd, output.fd, prepared.profile))
    if result.exit_code != 0:
        result = _convert_without_end_mark(run, plan.step, output.fd, prepared.profile) or result
    if result.exit_code != 0:
        raise run.explain_failure(plan.step, result)
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
    result = run.run_tool(refusing_warnings(step), Files(copy, output, profile))
    # For the last rows, the loader only warns.
    is_complete = result.exit_code == 0 and "premature end" not in result.stderr
    return result if is_complete else None


def _probe_image(run: Run) -> image_input.ImageFacts:
    image_input.refuse_without_loader(run.read)
    facts = image_input.examine_bitmap(run.read, run.source.size_bytes)
    if facts:
        return facts
    step = vipsheader.step()
    result = run.run_tool(step)
    canvas_pixels = structure.gif_canvas_pixels(run.read)
    info = vipsheader.parse(result.stdout, canvas_pixels) if result.exit_code == 0 else None
    if info is None:
        raise run.explain_failure(step, result)
    return image_input.examine(run.read, info)


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
