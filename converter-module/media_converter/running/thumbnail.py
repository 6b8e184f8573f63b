"""Extracts a thumbnail: the picture at the requested time, or a bright one."""

from __future__ import annotations

import os

from media_converter.contract import INPUT_FAULTS
from media_converter.planning.plan import ConversionPlan, Position
from media_converter.planning.thumbnail import (
    TAIL_SECONDS,
    ThumbnailRequest,
    candidate_times,
    is_dark,
    plan_last_frame,
    plan_thumbnail,
)
from media_converter.planning.video_choice import choose_video, refuse_if_needs_dolby_vision
from media_converter.probing.decoded import Shape, shape_of_pictures
from media_converter.probing.media import VideoStream
from media_converter.running import survey
from media_converter.running.process import Files
from media_converter.running.run import Run
from media_converter.typed_options import ThumbnailOptions


def extract(run: Run, options: ThumbnailOptions) -> ConversionPlan:
    """Write the thumbnail. Returns the plan of the picture that was written."""
    return extract_bright_frame(run, request_for(run, options), run.make_temporary().fd)


def request_for(run: Run, options: ThumbnailOptions) -> ThumbnailRequest:
    """What to extract. Raises ConversionError if the input has no picture."""
    info = survey.probe(run)
    # A song has no video. Its thumbnail is its cover.
    cover = None if info.video else next(iter(info.attached_pics), None)
    video = cover or choose_video(info)
    refuse_if_needs_dolby_vision(video)
    if options.share is not None:
        # A live recording has the length of its packets.
        length = survey.film_length(run, info, video)
        options = options._replace(time=options.share * length)
    return ThumbnailRequest(
        info, video, options, run.limits, run.task.output_format, run.task.background
    )


def extract_bright_frame(run: Run, request: ThumbnailRequest, output: int) -> ConversionPlan:
    """Write the first candidate frame that is not dark, or the brightest one if all are dark.

    Returns the plan of the frame that was written.
    """
    brightest: tuple[float, ConversionPlan] | None = None
    last_written: ConversionPlan | None = None
    for time in candidate_times(request):
        position = survey.find_position(run, request.info, request.video, time)
        plan, mean_luma = _extract_at(run, request, position, output)
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


def _extract_at(
    run: Run, request: ThumbnailRequest, position: Position, output: int
) -> tuple[ConversionPlan, float | None]:
    """Write the frame at a position. Returns its plan, and the mean luma or None."""
    video, shapes = request.video, list[Shape]()
    plan = plan_thumbnail(request, position)
    mean_luma = _extract(run, plan, output, shapes)
    if mean_luma is None or not shapes or _is_known(shapes[0], video):
        return plan, mean_luma
    plan = plan_thumbnail(request, position, size_varies=True)
    return plan, _extract(run, plan, output)


def _is_known(shape: Shape, video: VideoStream) -> bool:
    """Whether decoded pictures have the shape that the file states.

    If the container hides a border, ffmpeg prints the size with it. The shape of the pixels that
    the container states may then be wrong.
    """
    width, height = video.cropped
    pixel = shape.sample_aspect_ratio if any(video.cropped) else video.sample_aspect_ratio
    return shape == Shape(video.width + width, video.height + height, pixel)


def _extract(
    run: Run, plan: ConversionPlan, output: int, shapes: list[Shape] | None = None
) -> float | None:
    """Write the planned frame and return its mean luma, 0 to 255. None if there is no frame.

    ``shapes`` receives those of the decoded pictures.
    """

    def add_line(line: str) -> None:
        shape = shape_of_pictures(line)
        if shape and shapes is not None:
            shapes.append(shape)

    os.ftruncate(output, 0)
    result = run.run_tool(plan.step, Files(run.source.fd, output), on_error_line=add_line)
    if result.exit_code == 0 and result.stdout and os.fstat(output).st_size:
        return sum(result.stdout) / len(result.stdout)
    if result.exit_code == 0:
        return None
    failure = run.explain_failure(plan.step, result)
    if failure.reason in INPUT_FAULTS:
        return None
    raise failure


def _extract_last_frame(run: Run, request: ThumbnailRequest, output: int) -> ConversionPlan:
    tail = max(0.0, (request.duration or 0.0) - TAIL_SECONDS)
    for position in (survey.find_position(run, request.info, request.video, tail), Position(0.0)):
        plan = plan_last_frame(request, position)
        result = run.run_tool(plan.step, Files(run.source.fd, output))
        if os.fstat(output).st_size:
            run.log(f"{plan.summary}, the last frame")
            return plan
    raise run.explain_failure(plan.step, result)
