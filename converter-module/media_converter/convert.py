"""One conversion from start to end: the order of things, and which failure has which reason."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from media_converter import (
    paths,
    plan_audio,
    plan_image,
    plan_thumbnail,
    plan_video,
    probe,
    probe_image,
    still,
    structure,
    temporary,
    verify,
)
from media_converter.contract import FILE_FAULTS, ExitReason, Output, Progress
from media_converter.errors import ConversionError
from media_converter.failures import explain, is_too_large
from media_converter.job import Job
from media_converter.limits import Limits, oom_kills
from media_converter.media import MediaInfo
from media_converter.options import AudioOptions, ImageOptions, ThumbnailOptions, VideoOptions
from media_converter.paths import Input, Target
from media_converter.plan import Plan
from media_converter.process import Ended, Files, Runner, Step
from media_converter.progress import Meter, longest
from media_converter.temporary import Temporary

_HASH_CHUNK: Final = 1 << 20


class Result(NamedTuple):
    """A finished output: its size in bytes and what was found in it."""

    size: int
    output: Output


class Context(NamedTuple):
    """What every conversion is handed."""

    job: Job
    limits: Limits
    runner: Runner
    source: Input
    make_temporary: Callable[[], Temporary]
    log: Callable[[str], None]
    show: Callable[[Progress], None]

    def tool(self, step: Step, files: Files | None = None, meter: Meter | None = None) -> Ended:
        """Run a tool, on the input alone by default; raises OutOfMemory if it was killed."""
        handed = files or Files(self.source.fd)
        kills = oom_kills()
        ended = self.runner.run(
            step,
            files=handed,
            on_line=meter.line if meter else None,
            activity=(lambda: (meter.state, _modified(handed.output))) if meter else None,
        )
        for line in ended.stderr.splitlines()[:20]:
            self.log(f"{step.name}: {line}")
        if ended.code == -9 or oom_kills() > kills:
            raise ConversionError(
                ExitReason.OUT_OF_MEMORY,
                f"the {step.name} step needed more memory than the limit allows",
            )
        return ended

    def fail(self, step: Step, ended: Ended) -> ConversionError:
        """Why a tool failed on the input."""
        self.source.check_unchanged()
        read = structure.reader(self.source.fd)
        missing = structure.missing_bytes(read, self.source.size)
        # A video handed to image_resize is no damaged picture, it is none.
        pictures_only = isinstance(self.job.options, ImageOptions)
        known = structure.looks_like_picture if pictures_only else structure.looks_like_media
        return explain(step.name, ended, missing, known(read))


def run(
    job: Job,
    limits: Limits,
    runner: Runner,
    workspace: str,
    log: Callable[[str], None],
    show: Callable[[Progress], None],
) -> Result:
    """Convert. Raises ConversionError; then nothing is at the output path that was not before."""
    root = paths.open_root(workspace)
    source = paths.open_input(root, job.input_file)
    paths.check_not_input(root, job.output_file, source)
    made: list[Temporary] = []

    def make_temporary() -> Temporary:
        if not made:
            made.append(_temporary(paths.open_target(root, job.output_file, source), log))
        return made[0]

    context = Context(job, limits, runner, source, make_temporary, log, show)
    try:
        output = _convert(context)
        source.check_unchanged()
        size = os.fstat(made[0].fd).st_size
        made[0].commit()
    except BaseException:
        for leftover in made:
            leftover.discard()
        raise
    return Result(size, output)


def _temporary(target: Target, log: Callable[[str], None]) -> Temporary:
    for name in temporary.sweep(target.folder):
        log(f"removed {name}, left by a run that was killed")
    return temporary.create(target)


def _convert(context: Context) -> Output:
    match context.job.options:
        case VideoOptions() as options:
            return _video(context, options)
        case AudioOptions() as options:
            return _audio(context, options)
        case ImageOptions() as options:
            return _image(context, options)
        case ThumbnailOptions() as options:
            return _thumbnail(context, options)


def _video(context: Context, options: VideoOptions) -> Output:
    info = _probe(context)
    return _transcode(
        context, plan_video.plan(info, options, context.limits, context.job.background)
    )


def _audio(context: Context, options: AudioOptions) -> Output:
    info = _probe(context)
    cover = _cover(context, info)
    plan = plan_audio.plan(info, options, context.limits, cover is not None)
    return _transcode(context, plan, cover)


def _cover(context: Context, info: MediaInfo) -> int | None:
    """A JPEG of the attached picture, in a file that exists only in memory."""
    step = plan_audio.cover_step(info, context.limits)
    if step is None:
        return None
    cover = os.memfd_create("cover", os.MFD_CLOEXEC)
    ended = context.tool(step, Files(context.source.fd, cover))
    if ended.code == 0 and os.fstat(cover).st_size:
        return cover
    context.log("the cover cannot be read and is left out")
    return None


def _transcode(context: Context, plan: Plan, cover: int | None = None) -> Output:
    context.log(plan.note)
    output = context.make_temporary()
    most = longest(plan.length, context.source.size)
    meter = Meter(plan.length, context.show, most)
    ended = context.tool(plan.step, Files(context.source.fd, output.fd, cover), meter)
    if ended.code != 0:
        raise context.fail(plan.step, ended)
    if not os.fstat(output.fd).st_size:
        raise ConversionError(
            ExitReason.NOTHING_IN_RANGE, "nothing could be read in the part that was asked for"
        )
    read = structure.reader(context.source.fd)
    found = _read_back(context, output.fd)
    if plan.expected.container == "mp3" and (found is None or not found.duration):
        raise ConversionError(
            ExitReason.INPUT_DAMAGED, "not one sample of the sound can be decoded"
        )
    found = verify.check_media(
        found,
        plan.expected,
        structure.missing_bytes(read, context.source.size),
        ended.stderr,
    )
    if plan.expected.container == "mp4":
        size = os.fstat(output.fd).st_size
        verify.check_index(structure.is_index_first(structure.reader(output.fd), size))
    return _describe(plan, found, _sha256(output.fd))


def _thumbnail(context: Context, options: ThumbnailOptions) -> Output:
    form = context.job.form
    info = _probe(context)
    # A song has no video, but its cover is what a viewer expects to see.
    video = info.pictures[0] if info.pictures and not info.video else plan_video.choose_video(info)
    plan_video.refuse_undisplayable(video)
    output = context.make_temporary()
    ground = context.job.background
    request = plan_thumbnail.Request(info, video, options, context.limits, form, ground)
    plan = _take_picture(context, request, output.fd)
    return _describe_picture(plan, output.fd)


def _take_picture(context: Context, request: plan_thumbnail.Request, output: int) -> Plan:
    """Write the first moment's picture that is not black, or the brightest there is."""
    brightest: tuple[float, Plan] | None = None
    written: Plan | None = None
    for moment in plan_thumbnail.moments(request):
        plan = plan_thumbnail.plan(request, moment)
        light = _extract(context, plan, output)
        if light is None:
            continue
        written = plan
        if request.options.time is not None or not plan_thumbnail.is_dark(light):
            context.log(f"{plan.note} at {moment:g} s")
            return plan
        if brightest is None or light > brightest[0]:
            brightest = (light, plan)
    if brightest is None:
        plan = plan_thumbnail.plan_last(request)
        ended = context.tool(plan.step, Files(context.source.fd, output))
        if not os.fstat(output).st_size:
            raise context.fail(plan.step, ended)
        context.log(f"{plan.note}: the last picture")
        return plan
    if written is not brightest[1]:
        _extract(context, brightest[1], output)
    context.log(f"{brightest[1].note}: black throughout")
    return brightest[1]


def _extract(context: Context, plan: Plan, output: int) -> float | None:
    """Write a picture; its mean light from 0 to 255, or None if there is none at that moment."""
    ended = context.tool(plan.step, Files(context.source.fd, output))
    if ended.code == 0 and ended.stdout and os.fstat(output).st_size:
        return sum(ended.stdout) / len(ended.stdout)
    failure = context.fail(plan.step, ended)
    if failure.reason in FILE_FAULTS:
        return None
    raise failure


def _image(context: Context, options: ImageOptions) -> Output:
    form = context.job.form
    _refuse_known(context)
    step = probe_image.step()
    ended = context.tool(step)
    canvas = structure.gif_canvas(structure.reader(context.source.fd))
    info = probe_image.parse(ended.stdout, canvas) if ended.code == 0 else None
    if info is None:
        raise context.fail(step, ended)
    plan = plan_image.plan(info, options, form, context.job.background, context.limits)
    context.log(plan.note)
    output = context.make_temporary()
    ended = context.tool(plan.step, Files(context.source.fd, output.fd))
    if ended.code != 0:
        raise context.fail(plan.step, ended)
    return _describe_picture(plan, output.fd)


def _probe(context: Context) -> MediaInfo:
    _refuse_known(context)
    kind = structure.still_kind(structure.reader(context.source.fd))
    if kind:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"the input is {kind}; use image_resize for pictures"
        )
    step = probe.step()
    ended = context.tool(step)
    info = probe.parse(ended.stdout) if ended.code == 0 else None
    # A frame too large to decode has no size at all in what ffprobe prints.
    if info is None or (not info.video and is_too_large(ended.stderr)):
        raise context.fail(step, ended)
    return verify.with_missing(
        info, structure.missing_bytes(structure.reader(context.source.fd), context.source.size)
    )


def _refuse_known(context: Context) -> None:
    kind = structure.refused_kind(structure.reader(context.source.fd))
    if kind:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"the input is {kind}; that is refused"
        )


def _read_back(context: Context, output: int) -> MediaInfo | None:
    return probe.parse(context.tool(probe.step(), Files(output)).stdout)


def _modified(fd: int | None) -> int:
    """Moving the index to the front shows only here, in the time the output was last written."""
    return 0 if fd is None else os.fstat(fd).st_mtime_ns


def _sha256(fd: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while data := os.pread(fd, _HASH_CHUNK, offset):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


def _describe(plan: Plan, found: MediaInfo, sha256: str) -> Output:
    """The output's facts as they were read back."""
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


def _describe_picture(plan: Plan, fd: int) -> Output:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    found = verify.check_image(still.measure(data), plan.expected)
    return Output(
        sha256=hashlib.sha256(data).hexdigest(),
        container=plan.expected.container,
        video_codec=plan.expected.video_codec,
        width=found.width,
        height=found.height,
    )
