"""Runs one conversion from start to end: open, probe, plan, run, verify, commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from media_converter.contract import INPUT_FAULTS, ExitReason, Output, Progress
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import jpeg, paths, publish, still, structure, temporary
from media_converter.files.apetag import ape_tags
from media_converter.files.digest import sha256
from media_converter.files.paths import Input, Target
from media_converter.files.space import check_free_space
from media_converter.files.temporary import Temporary
from media_converter.limits import Limits, oom_kills
from media_converter.options import AudioOptions, ImageOptions, ThumbnailOptions, VideoOptions
from media_converter.planning.audio import cover_step, plan_audio
from media_converter.planning.image import plan_image, refusing_warnings
from media_converter.planning.plan import ConversionPlan
from media_converter.planning.thumbnail import (
    ThumbnailRequest,
    candidate_times,
    is_dark,
    plan_last_frame,
    plan_thumbnail,
)
from media_converter.planning.video import choose_video, plan_video, refuse_if_needs_dolby_vision
from media_converter.probing import ffprobe, vipsheader
from media_converter.probing.media import MediaInfo
from media_converter.running import endings, image_input, verify
from media_converter.running.existing import Result, find_published
from media_converter.running.failures import explain, is_too_large
from media_converter.running.folding import fold
from media_converter.running.process import Files, ProcessResult, Runner
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.step import Step
from media_converter.task import Task

_MAX_TOOL_LINES: Final = 12


class Run(NamedTuple):
    """One run of the converter: the task and the objects that all conversions use.

    ``make_temporary`` creates the temporary file at its first call and returns the same file later.
    """

    task: Task
    limits: Limits
    runner: Runner
    source: Input
    make_temporary: Callable[[], Temporary]
    log: Callable[[str], None]
    on_progress: Callable[[Progress], None]

    def run_tool(
        self, step: Step, files: Files | None = None, meter: Meter | None = None
    ) -> ProcessResult:
        """Run a tool. It inherits only the input, unless ``files`` names others.

        Raises ConversionError with the reason OutOfMemory if the kernel killed it for its memory.
        """
        files = files or Files(self.source.fd)
        output = files.output
        on_tick = None if output is None else partial(check_free_space, output)
        if on_tick:
            on_tick()
        kills = oom_kills()
        result = self.runner.run(
            step,
            files=files,
            on_line=meter.add_line if meter else None,
            activity=(lambda: (meter.state, _modified(output))) if meter else None,
            on_tick=on_tick,
        )
        for line in fold(result.stderr.splitlines(), _MAX_TOOL_LINES):
            self.log(f"{step.name}: {line}")
        if result.exit_code == -9 or oom_kills() > kills:
            raise ConversionError(
                ExitReason.OUT_OF_MEMORY,
                f"the {step.name} step needed more memory than the limit allows",
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
        return explain(step.name, result, self.missing_bytes(), looks_accepted(self.read))

    @property
    def read(self) -> structure.ReadAt:
        """A function that reads the input at an offset."""
        return structure.reader(self.source.fd)

    def missing_bytes(self) -> int:
        """How many bytes the structure of the input promises beyond the end of the file."""
        return structure.missing_bytes(self.read, self.source.size_bytes)


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

    run = Run(task, limits, runner, source, make_temporary, log, on_progress)
    try:
        output = _convert(run)
        source.check_unchanged()
        result = Result(os.fstat(temporaries[0].fd).st_size, output)
        if result.size_bytes > task.max_output_bytes:
            raise endings.output_too_large(task.max_output_bytes)
        while not _publish(temporaries[0], task, runner, output.sha256):
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


def _convert(run: Run) -> Output:
    match run.task.options:
        case VideoOptions() as options:
            return _video(run, options)
        case AudioOptions() as options:
            return _audio(run, options)
        case ImageOptions() as options:
            return _image(run, options)
        case ThumbnailOptions() as options:
            return _thumbnail(run, options)


def _video(run: Run, options: VideoOptions) -> Output:
    info = _probe(run)
    return _transcode(run, plan_video(info, options, run.limits, run.task.background))


def _audio(run: Run, options: AudioOptions) -> Output:
    info = _probe(run)
    info = info._replace(tags=info.tags + ape_tags(run.read, run.source.size_bytes))
    cover = _cover(run, info)
    return _transcode(run, plan_audio(info, options, run.limits, cover is not None), cover)


def _cover(run: Run, info: MediaInfo) -> int | None:
    """The descriptor of a JPEG of the attached picture, in memory. None if there is no cover."""
    step = cover_step(info, run.limits)
    if step is None:
        return None
    cover = os.memfd_create("cover", os.MFD_CLOEXEC)
    result = run.run_tool(step, Files(run.source.fd, cover))
    if result.exit_code == 0 and os.fstat(cover).st_size:
        return cover
    run.log("the cover cannot be decoded; the output has none")
    return None


def _transcode(run: Run, plan: ConversionPlan, cover: int | None = None) -> Output:
    run.log(plan.summary)
    output = run.make_temporary()
    max_seconds = max_plausible_duration(plan.duration, run.source.size_bytes)
    meter = Meter(plan.duration, run.on_progress, max_seconds)
    result = run.run_tool(plan.step, Files(run.source.fd, output.fd, cover), meter)
    if result.exit_code != 0:
        raise run.explain_failure(plan.step, result)
    size_bytes = os.fstat(output.fd).st_size
    if not size_bytes:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE, "nothing could be read in the requested range"
        )
    found = ffprobe.parse(run.run_tool(ffprobe.step(), Files(output.fd)).stdout)
    if plan.expected.container == "mp3" and (found is None or not found.duration):
        raise ConversionError(ExitReason.INPUT_DAMAGED, "no audio sample can be decoded")
    found = verify.check_media(found, plan.expected, run.missing_bytes(), result.stderr)
    if plan.expected.container == "mp4":
        verify.check_faststart(structure.is_faststart(structure.reader(output.fd), size_bytes))
    return _describe(plan, found, sha256(output.fd, run.runner.check))


def _thumbnail(run: Run, options: ThumbnailOptions) -> Output:
    info = _probe(run)
    # A song has no video. Its thumbnail is its cover.
    cover = None if info.video else next(iter(info.attached_pics), None)
    video = cover or choose_video(info)
    refuse_if_needs_dolby_vision(video)
    output = run.make_temporary()
    request = ThumbnailRequest(
        info, video, options, run.limits, run.task.output_format, run.task.background
    )
    return _describe_image(_extract_bright_frame(run, request, output.fd), output.fd)


def _extract_bright_frame(run: Run, request: ThumbnailRequest, output: int) -> ConversionPlan:
    """Write the first candidate frame that is not dark, or the brightest one if all are dark.

    Returns the plan of the frame that was written.
    """
    brightest: tuple[float, ConversionPlan] | None = None
    last_written: ConversionPlan | None = None
    for time in candidate_times(request):
        plan = plan_thumbnail(request, time)
        mean_luma = _extract(run, plan, output)
        if mean_luma is None:
            continue
        last_written = plan
        if request.options.time is not None or not is_dark(mean_luma):
            run.log(f"{plan.summary}, at {time:g} s")
            return plan
        if brightest is None or mean_luma > brightest[0]:
            brightest = (mean_luma, plan)
    if brightest is None:
        return _extract_last_frame(run, request, output)
    if last_written is not brightest[1]:
        _extract(run, brightest[1], output)
    run.log(f"{brightest[1].summary}, dark everywhere")
    return brightest[1]


def _extract(run: Run, plan: ConversionPlan, output: int) -> float | None:
    """Write the planned frame and return its mean luma, 0 to 255. None if there is no frame."""
    result = run.run_tool(plan.step, Files(run.source.fd, output))
    if result.exit_code == 0 and result.stdout and os.fstat(output).st_size:
        return sum(result.stdout) / len(result.stdout)
    failure = run.explain_failure(plan.step, result)
    if failure.reason in INPUT_FAULTS:
        return None
    raise failure


def _extract_last_frame(run: Run, request: ThumbnailRequest, output: int) -> ConversionPlan:
    plan = plan_last_frame(request)
    result = run.run_tool(plan.step, Files(run.source.fd, output))
    if not os.fstat(output).st_size:
        raise run.explain_failure(plan.step, result)
    run.log(f"{plan.summary}, the last frame")
    return plan


def _image(run: Run, options: ImageOptions) -> Output:
    _refuse_playlists_and_documents(run)
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
    result = _run_image_tool(run, plan.step, Files(prepared.fd, output.fd, prepared.profile))
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
    result = _run_image_tool(run, refusing_warnings(step), Files(copy, output, profile))
    # For the last rows, the loader only warns.
    is_complete = result.exit_code == 0 and "premature end" not in result.stderr
    return result if is_complete else None


def _probe_image(run: Run) -> image_input.ImageFacts:
    image_input.refuse_without_loader(run.read)
    facts = image_input.examine_bitmap(run.read, run.source.size_bytes)
    if facts:
        return facts
    step = vipsheader.step()
    result = _run_image_tool(run, step, Files(run.source.fd))
    canvas_pixels = structure.gif_canvas_pixels(run.read)
    info = vipsheader.parse(result.stdout, canvas_pixels) if result.exit_code == 0 else None
    if info is None:
        raise run.explain_failure(step, result)
    return image_input.examine(run.read, info)


def _run_image_tool(run: Run, step: Step, files: Files) -> ProcessResult:
    """Run a tool of libvips, which prints no progress. If it takes too long, it is the image."""
    try:
        return run.run_tool(step, files)
    except ConversionError as error:
        if error.reason is not ExitReason.STALLED:
            raise
        raise ConversionError(
            ExitReason.INPUT_DAMAGED,
            f"the image cannot be decoded within {run.task.stall_seconds:g} s",
        ) from error


def _probe(run: Run) -> MediaInfo:
    _refuse_playlists_and_documents(run)
    kind = structure.still_image_kind(run.read)
    if kind and not jpeg.is_motion_jpeg(run.read):
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"the input is {kind}; use image_resize for images"
        )
    step = ffprobe.step()
    result = run.run_tool(step)
    info = ffprobe.parse(result.stdout) if result.exit_code == 0 else None
    # ffprobe prints no size for a frame that is too large to decode.
    if info is None or (not info.video and is_too_large(result.stderr)):
        raise run.explain_failure(step, result)
    return verify.with_full_duration(info, run.missing_bytes())


def _refuse_playlists_and_documents(run: Run) -> None:
    kind = structure.refused_kind(run.read)
    if kind:
        raise ConversionError(ExitReason.UNSUPPORTED_FORMAT, f"{kind} is not accepted as input")


def _modified(fd: int | None) -> int:
    """When a file was last written, in nanoseconds. 0 without a file.

    ffmpeg prints no progress while it moves the moov box to the front, but it writes the file.
    """
    return 0 if fd is None else os.fstat(fd).st_mtime_ns


def _describe(plan: ConversionPlan, found: MediaInfo, sha256: str) -> Output:
    video = found.video[0] if found.video else None
    return Output(
        sha256=sha256,
        container=plan.expected.container,
        video_codec=video.codec if video else None,
        audio_codec=found.audio[0].codec if found.audio else None,
        width=video.width if video else None,
        height=video.height if video else None,
        duration_seconds=found.duration,
    )


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
