"""Makes a preview: choose places that are not dark, encode, verify."""

import os
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from media_converter.contract import ExitReason, Output
from media_converter.errors import ConversionError
from media_converter.files import still, structure
from media_converter.files.digest import sha256
from media_converter.planning.plan import ConversionPlan, luma_step
from media_converter.planning.preview import Look, Part, Place, most_parts, places, plan_preview
from media_converter.planning.preview import preview_size as size_of
from media_converter.planning.thumbnail import is_dark
from media_converter.planning.video_choice import choose_video, refuse_if_needs_dolby_vision
from media_converter.probing import ffprobe, holes
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.running import content, survey, transcode, verify
from media_converter.running.process import Files
from media_converter.running.run import Converted, Run
from media_converter.typed_options import PreviewOptions


class Preview(NamedTuple):
    """What to make."""

    info: MediaInfo
    video: VideoStream
    parts: tuple[Part, ...]
    size: tuple[int, int]
    plan: ConversionPlan
    warnings: tuple[str, ...] = ()


def write_preview(run: Run, options: PreviewOptions) -> Converted:
    """Write the preview."""
    preview = prepare(run, options, looks=True)
    plan, output = preview.plan, run.make_temporary()
    warnings = preview.warnings + _judge(run, preview)
    result, _ = transcode.run_plans([run], [plan])
    if not os.fstat(output.fd).st_size:
        raise ConversionError(
            ExitReason.INPUT_DAMAGED, "no frame can be decoded; upload the file again"
        )
    if plan.expected.container == "webp":
        data = os.pread(output.fd, os.fstat(output.fd).st_size, 0)
        image = verify.check_image(still.measure(data), plan.expected)
        _check_pages(run, preview, image.frames)
        width, height, codec, duration = image.width, image.height, "webp", None
    else:
        found = ffprobe.parse(run.run_tool(ffprobe.step(), Files(output.fd)).stdout)
        found, short = verify.check_media(
            found, plan.expected, run.missing_bytes(), result.stderr, run.task.damage
        )
        warnings += short
        verify.check_silent(found)
        size_bytes = os.fstat(output.fd).st_size
        verify.check_faststart(structure.is_faststart(structure.reader(output.fd), size_bytes))
        _check_content(run, preview)
        video = found.video[0]
        width, height, codec, duration = video.width, video.height, video.codec, found.duration
    for warning in warnings:
        run.log(warning)
    made = Output(
        sha256=sha256(output.fd, run.runner.check),
        container=plan.expected.container,
        video_codec=codec,
        width=width,
        height=height,
        duration_seconds=duration,
    )
    return Converted(made, warnings)


def prepare(run: Run, options: PreviewOptions, *, looks: bool) -> Preview:
    """Choose the parts. Raises ConversionError. ``looks`` says whether to leave out dark places."""
    info, output_format = survey.probe(run), run.task.output_format
    video = choose_video(info)
    refuse_if_needs_dolby_vision(video)
    duration = survey.video_duration(run, info, video)
    size = size_of(video, options, output_format)
    most = most_parts(video, size, output_format, options.segments, run.limits)
    chosen = places(duration, options, most)
    warnings: tuple[str, ...] = ()
    if len(chosen) < len(places(duration, options, options.segments)):
        warnings = (
            f"The preview has {most} parts instead of {options.segments}. More need more memory.",
        )
    parts = tuple(_part(run, info, video, place, looks) for place in chosen)
    look = Look(size, output_format, run.task.background)
    plan = plan_preview(info, video, parts, look, run.limits)
    return Preview(info, video, parts, size, plan, warnings)


def _part(run: Run, info: MediaInfo, video: VideoStream, place: Place, looks: bool) -> Part:
    """The first candidate of a place that is not dark, as far as it is looked at."""
    begin = place.candidates[0]
    # If the clock starts again, each look would decode all that comes before the place.
    if looks and not info.clock_restarts:
        bright = (time for time in place.candidates if not _is_dark(run, video, time))
        begin = next(bright, begin)
    return Part(survey.find_position(run, info, video, begin), place.seconds)


def _is_dark(run: Run, video: VideoStream, time: float) -> bool:
    """Whether the keyframe before a time is dark. If there is none, this is not known."""
    pixels = run.run_tool(luma_step(run.limits, video.stream_index, time)).stdout
    return bool(pixels) and is_dark(sum(pixels) / len(pixels))


def _judge(run: Run, preview: Preview) -> tuple[str, ...]:
    """The warnings about a truncated video. Raises ConversionError if the file shows that it is."""
    ends = [
        part.position.frame_time + part.position.frame_duration
        for part in preview.parts
        if part.position.frame_time is not None
    ]
    if not ends:
        return ()
    wanted, end = preview.parts[-1].position.time, max(ends)
    if not verify.is_short(end, wanted):
        return ()
    missing = run.missing_bytes() or holes.missing_bytes(
        run.find_holes(None), run.source.size_bytes
    )
    read = preview.info._replace(duration=end, video=(), audio=())
    expected = preview.plan.expected._replace(video_codec=None, duration=wanted)
    _, short = verify.check_media(read, expected, missing, "", run.task.damage)
    return short


def _check_content(run: Run, preview: Preview) -> None:
    """Raise ConversionError if the preview has one colour where the video has not."""
    begins = accumulate((part.seconds for part in preview.parts[:-1]), initial=0.0)
    made = (content.detail_of(run, begin) for begin in begins)
    content.check_frames(
        run,
        preview.video.stream_index,
        made,
        _times(preview),
        from_start=preview.info.clock_restarts,
    )


def _check_pages(run: Run, preview: Preview, frames: int) -> None:
    """As :func:`_check_content`, of an animation.

    Its encoder merges frames that are equal, so a frame has no certain time, and a part may have a
    single frame. So if the chosen frames have one colour, all others are looked at, too.
    """
    count = len(preview.parts)
    chosen = sorted({number * frames // count for number in range(count)})
    others = (page for page in reversed(range(frames)) if page not in chosen)
    made = until_detailed(content.detail_of_page(run, page) for page in (*chosen, *others))
    content.check_frames(
        run,
        preview.video.stream_index,
        made,
        _times(preview),
        from_start=preview.info.clock_restarts,
    )


def until_detailed(details: Iterable[float]) -> Iterator[float]:
    """The details, up to the first that is not one colour."""
    for detail in details:
        yield detail
        if detail > content.MAX_FLAT:
            return


def _times(preview: Preview) -> list[float]:
    return [part.position.time for part in preview.parts]
