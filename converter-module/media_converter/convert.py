"""Runs one conversion from start to end: open, convert, verify, commit.

A run imports only the modules of its own type: to import those of all types takes longer than many
a conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from media_converter.contract import Progress
from media_converter.files import paths
from media_converter.limits import Limits
from media_converter.running.delivery import Delivery
from media_converter.running.existing import Result, find_published
from media_converter.running.process import Runner
from media_converter.running.run import Batch, Converted, Known, Run, hole_finder
from media_converter.task import Task
from media_converter.typed_options import (
    AudioOptions,
    ImageOptions,
    InfoOptions,
    PreviewOptions,
    StoryboardOptions,
    ThumbnailOptions,
    VideoOptions,
    WaveformOptions,
)


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
    for path in task.files:
        paths.check_not_input(root, path, source)
    delivery = Delivery(root, task, runner, source, log)
    find_holes = hole_finder(source, runner)
    run = Run(task, limits, runner, source, delivery.open, log, on_progress, find_holes, Known())
    try:
        return delivery.publish(convert(run))
    finally:
        delivery.close()


def convert(run: Run) -> Converted:
    """Write the output of a run to its temporary file, and verify it."""
    match run.task.options:
        case VideoOptions():
            from media_converter.running import videos

            return _only(videos.convert_videos([run]))
        case AudioOptions() as options:
            from media_converter.running import transcode

            return transcode.convert_audio(run, options)
        case ImageOptions() as options:
            from media_converter.running import image

            return image.convert_image(run, options)
        case ThumbnailOptions() as options:
            from media_converter.running import image, thumbnail

            plan = thumbnail.extract(run, options)
            return Converted(image.describe_image(plan, run.make_temporary().fd))
        case InfoOptions() as options:
            from media_converter.running import media_info

            return media_info.write_info(run, options)
        case WaveformOptions() as options:
            from media_converter.running import waveform

            return waveform.write_waveform(run, options)
        case StoryboardOptions() as options:
            from media_converter.running import storyboard

            return storyboard.write_storyboard(run, options)
        case PreviewOptions() as options:
            from media_converter.running import preview

            return preview.write_preview(run, options)


def are_together(one: Task, other: Task) -> bool:
    """Whether the outputs of two tasks are made together."""
    if not isinstance(one.options, VideoOptions):
        return False
    from media_converter.running import videos

    return videos.same_part(one.options, other.options)


def convert_together(runs: list[Run]) -> Iterator[Batch]:
    """Write outputs that are made together, and as many batches as this takes."""
    if len(runs) == 1:
        yield [(0, partial(convert, runs[0]))]
    else:
        from media_converter.running import videos

        yield from videos.convert_videos(runs)


def _only(batches: Iterator[Batch]) -> Converted:
    """The only output of all batches, verified."""
    return next(finish() for batch in batches for _, finish in batch)
