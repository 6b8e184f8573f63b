"""Converts images with libvips: prepare the input, plan, run, verify."""

from __future__ import annotations

import hashlib
import os

from media_converter.contract import INPUT_FAULTS, ExitReason, Output
from media_converter.errors import ConversionError
from media_converter.files import still, structure
from media_converter.planning.image import plan_image, refusing_warnings, verify_step
from media_converter.planning.image_fit import fit_image
from media_converter.planning.image_input import EARLY_END
from media_converter.planning.plan import ConversionPlan
from media_converter.probing import jpeg_header, vipsheader
from media_converter.probing.media import ImageInfo
from media_converter.running import image_input, verify
from media_converter.running.process import Files, ProcessResult
from media_converter.running.run import Converted, Run, refuse_playlists_and_documents
from media_converter.step import Step
from media_converter.typed_options import ImageOptions


def convert_image(run: Run, options: ImageOptions) -> Converted:
    """Write an image of another size or format."""
    source, facts, plan = prepare(run, options)
    run.log(plan.summary)
    output = run.make_temporary()
    prepared = image_input.prepare(run, source, run.source.size_bytes, facts)
    target = os.memfd_create("staged", os.MFD_CLOEXEC) if plan.save else output.fd
    result = run_image_tool(run, plan.step, Files(prepared.fd, target, prepared.profile))
    if result.exit_code != 0:
        result = _convert_without_end_mark(run, plan.step, target, prepared.profile) or result
    if result.exit_code != 0:
        raise run.explain_failure(plan.step, result)
    if image_input.lacks_last_rows(run, prepared.fd, facts.info, result.stderr):
        raise image_input.truncated("the data of its last pixels are missing")
    if plan.save:
        if plan.expected.frames is not None:
            from media_converter.running.image_frames import cut_frames  # for animations only

            fit = fit_image(facts.info.displayed_size, options)
            target = cut_frames(run, facts.info, fit, options.gravity, target)
        _save(run, plan.save, target, output.fd)
    for warning in plan.warnings:
        run.log(warning)
    described = describe_image(plan, output.fd)
    if plan.expected.container == "jxl":
        _check_decodes(run, output.fd)
    return Converted(described, plan.warnings)


def _save(run: Run, step: Step, source: int, output: int) -> None:
    """Make the output of an image that a step has written to memory."""
    result = run_image_tool(run, step, Files(source, output))
    if result.exit_code == 0:
        return
    error = run.explain_failure(step, result)
    if error.reason not in INPUT_FAULTS:
        raise error
    # It is not the input that this step has read.
    said = result.stderr.strip().splitlines() or ["it says nothing"]
    raise ConversionError(
        ExitReason.VERIFICATION_FAILED,
        f"the output cannot be written: {said[-1]:.200}; choose another output format",
    )


def _check_decodes(run: Run, output: int) -> None:
    """Raise ConversionError if an output cannot be decoded to its end."""
    if run_image_tool(run, verify_step(), Files(output)).exit_code != 0:
        raise verify.not_readable("is incomplete")
    run.log("the output was decoded to its end")


def prepare(run: Run, options: ImageOptions) -> tuple[int, image_input.ImageFacts, ConversionPlan]:
    """The descriptor of what libvips reads, facts about it, and the plan."""
    refuse_playlists_and_documents(run)
    source = image_input.padded(run.read, run.source.fd, run.source.size_bytes)
    facts = probe_image(run, source)
    plan = plan_image(
        facts.info,
        options,
        run.task.output_format,
        run.task.background,
        run.limits._replace(seconds=min(run.task.timeout_seconds, run.task.stall_seconds)),
        has_profile=facts.needs_profile,
    )
    return source, facts, plan


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
    result = run_image_tool(run, refusing_warnings(step), Files(copy, output, profile))
    # For the last rows, the loader only warns.
    is_complete = result.exit_code == 0 and EARLY_END not in result.stderr
    return result if is_complete else None


def probe_image(run: Run, source: int) -> image_input.ImageFacts:
    """What the image is. Raises ConversionError if no loader can read it."""
    image_input.refuse_without_loader(run.read)
    facts = image_input.examine_bitmap(run.read, run.source.size_bytes)
    if facts:
        return facts
    info = jpeg_header.read_header(run.read) or _ask_vipsheader(run, source)
    return image_input.examine(run, info, run.source.size_bytes)


def _ask_vipsheader(run: Run, source: int) -> ImageInfo:
    step = vipsheader.step()
    result = run_image_tool(run, step, Files(source))
    canvas_pixels = structure.gif_canvas_pixels(run.read)
    info = vipsheader.parse(result.stdout, canvas_pixels) if result.exit_code == 0 else None
    if info is None:
        raise run.explain_failure(step, result)
    return info


def run_image_tool(run: Run, step: Step, files: Files) -> ProcessResult:
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


def describe_image(plan: ConversionPlan, fd: int) -> Output:
    """Verify a written image, and describe it."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    found = verify.check_image(still.measure(data), plan.expected)
    return Output(
        sha256=hashlib.sha256(data).hexdigest(),
        container=plan.expected.container,
        video_codec=plan.expected.video_codec,
        width=found.width,
        height=found.height,
    )
