"""Converts videos: plan, run, check copied streams, and plan again with what was found.

Several videos of the same range of the input are encoded by one run of ffmpeg, which decodes once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError, from_os_error
from media_converter.planning import memory
from media_converter.planning.plan import ConversionPlan, Evidence
from media_converter.planning.together import combine
from media_converter.planning.video import output_size, plan_video
from media_converter.planning.video_choice import choose_video
from media_converter.planning.video_fit import fit_video
from media_converter.probing import rates
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.running import copies, shapes, survey
from media_converter.running.run import Batch, Converted, Run
from media_converter.running.transcode import (
    Source,
    ToolRun,
    copyable,
    finish,
    learn,
    part_of,
    run_plans,
    survey_input,
)
from media_converter.running.video_audio import with_loudness
from media_converter.typed_options import VideoOptions

# If ffmpeg ends for another reason, one of several outputs may be the cause.
_CONCERNS_ALL: Final = frozenset(
    {
        ExitReason.TERMINATED,
        ExitReason.DEADLINE_EXCEEDED,
        ExitReason.STALLED,
        ExitReason.INPUT_CHANGED,
        ExitReason.DISK_FULL,
    }
)


class _VideoOutput:
    """A video that is being made, and what is known about it."""

    def __init__(self, number: int, run: Run, options: VideoOptions, evidence: Evidence) -> None:
        self.number = number
        self.run = run
        self.options = options
        self.evidence = evidence
        self.is_alone = False
        self.warnings: tuple[str, ...] = ()
        self._is_levelled = options.loudness is None

    def level(self, info: MediaInfo) -> None:
        """Find the gain of the audio, once. Raises ConversionError."""
        if not self._is_levelled:
            self._is_levelled = True
            self.evidence, self.warnings = with_loudness(
                self.run, info, self.options, self.evidence
            )

    def finish(self, source: Source, tool_run: ToolRun) -> Converted:
        """Verify the output. Raises ConversionError."""
        made = finish(self.run, source, tool_run)
        fit = fit_video(choose_video(source.info).displayed_size, self.options)
        warnings = (*self.warnings, fit.warning) if fit.warning else self.warnings
        for warning in warnings:
            self.run.log(warning)
        return made._replace(warnings=made.warnings + warnings)

    def plan(self, info: MediaInfo) -> ConversionPlan:
        """The plan if this is the only output. Raises ConversionError."""
        run = self.run
        return plan_video(info, self.options, run.limits, run.task.background, self.evidence)


def same_part(one: object, other: object) -> bool:
    """Whether two outputs are videos of the same range of the input."""
    return (
        isinstance(one, VideoOptions)
        and isinstance(other, VideoOptions)
        and part_of(one) == part_of(other)
    )


def convert_videos(runs: Sequence[Run]) -> Iterator[Batch]:
    """Convert to MP4 or WebM. All outputs are the same range of the same input.

    The functions of a batch must be called before the next batch is made. They raise
    ConversionError if an output is wrong.
    """
    began = time.monotonic()
    video, source, evidence = _survey(runs[0])
    runs[0].known.survey_seconds = time.monotonic() - began
    info = source.info
    outputs = [_VideoOutput(i, run, options_of(run), evidence) for i, run in enumerate(runs)]
    while outputs:
        batch, plans, failed = _next(outputs, info, video)
        yield from ([each] for each in failed)
        made = _run(batch, plans, source) if batch else []
        ended = {number for number, _ in (*failed, *made)}
        outputs = [output for output in outputs if output.number not in ended]
        if made:
            yield made


def plan_only(run: Run) -> tuple[ConversionPlan, rates.Rates | None]:
    """The plan of a conversion of a video, and the rates of the requested range, if they are known.

    Raises ConversionError if it cannot be converted.
    """
    _, source, evidence = _survey(run)
    ground = run.task.background
    return plan_video(source.info, options_of(run), run.limits, ground, evidence), evidence.rates


def encoded_as(video: VideoStream, options: VideoOptions) -> memory.EncodedVideo:
    """The size and the codec of an output that is encoded."""
    return memory.EncodedVideo(output_size(video, options), options.codec)


def _survey(run: Run) -> tuple[VideoStream, Source, Evidence]:
    """What is known before the first try."""
    info, options = survey.probe(run), options_of(run)
    video = choose_video(info)
    position = survey.find_position(run, info, video, options.start) if options.start else None
    source = survey_input(run, info, video.stream_index, options)
    listing, last = source.listing, None
    if listing is not None and listing.durations and source.part is None:
        last = listing.durations[-1]
    changing = shapes.find(run, info, video, listing, position)
    known = Evidence(
        copyable(run, source),
        position,
        # The filters for several shapes fit any size, so a change of it teaches nothing.
        size_varies=changing is not None,
        last_held_seconds=last,
        shapes=changing,
    )
    return video, source, known if listing is None else known._replace(rates=rates.measure(listing))


def options_of(run: Run) -> VideoOptions:
    """The options of a conversion of a video."""
    options = run.task.options
    if isinstance(options, VideoOptions):
        return options
    raise TypeError(f"not a video: {options}")


def _next(
    outputs: list[_VideoOutput], info: MediaInfo, video: VideoStream
) -> tuple[list[_VideoOutput], list[ConversionPlan], Batch]:
    """The outputs to make next, their plans, and the outputs that cannot be made.

    An output that is copied is made alone, and first: it takes seconds.
    """
    planned, failed = [], Batch()
    for output in outputs:
        try:
            output.level(info)
            planned.append((output, output.plan(info)))
        except ConversionError as error:
            failed.append((output.number, partial(_fail, error)))
    for output, plan in planned:
        if plan.copies_video:
            return [output], [plan], failed
    if not planned:
        return [], [], failed
    batch = _that_fit([output for output, _ in planned], video)
    if len(batch) == 1:
        return batch, [plan for output, plan in planned if output is batch[0]], failed
    return batch, list(_plan_together(batch, info, video)), failed


def _that_fit(outputs: list[_VideoOutput], video: VideoStream) -> list[_VideoOutput]:
    """The first output, and those that can be encoded at the same time within the memory limit."""
    if outputs[0].is_alone:
        return outputs[:1]
    able = [output for output in outputs if not output.is_alone]
    wanted = [encoded_as(video, output.options) for output in able]
    numbers, waiting = memory.next_batch(video, wanted, able[0].run.limits)
    for each in waiting:
        able[each.number].run.log(
            f"encoding {each.outputs} videos at the same time needs a memory limit of "
            f"{memory.sufficient_limit(each.needed)} MiB; one comes after the other"
        )
    return [able[number] for number in numbers]


def _share(batch: list[_VideoOutput], video: VideoStream) -> memory.Sharing:
    wanted = [encoded_as(video, output.options) for output in batch]
    return memory.share_threads(video, wanted, batch[0].run.limits)


def _plan_together(
    batch: list[_VideoOutput], info: MediaInfo, video: VideoStream
) -> tuple[ConversionPlan, ...]:
    encoders = _share(batch, video).encoders
    plans = []
    for output, encoder in zip(batch, encoders, strict=True):
        run, background = output.run, output.run.task.background
        plans.append(
            plan_video(info, output.options, run.limits, background, output.evidence, encoder)
        )
    batch[0].run.log(f"{len(batch)} videos from one decoder")
    return combine(plans)


def _run(batch: list[_VideoOutput], plans: list[ConversionPlan], source: Source) -> Batch:
    """Run ffmpeg. Returns the outputs that it has made, which need not be all of them."""
    runs = [output.run for output in batch]
    try:
        result, decoded = run_plans(runs, plans)
    except (ConversionError, OSError) as raised:
        error = _as_conversion_error(raised)
        if error.reason in _CONCERNS_ALL:
            raise
        if len(batch) == 1:
            return [(batch[0].number, partial(_fail, error))]
        return _separate(batch, f"{error.reason}: {error.message}")
    made = Batch()
    for output, plan in zip(batch, plans, strict=True):
        tool_run = ToolRun(plan, result, decoded)
        try:
            failed = copies.faults(output.run, plan, result, decoded, source.listing)
        except (ConversionError, OSError) as raised:
            error = _as_conversion_error(raised)
            if error.reason in _CONCERNS_ALL:
                raise error from raised
            made.append((output.number, partial(_fail, error)))
            continue
        for kind, why in failed.items():
            output.run.log(f"the {kind} cannot be copied: {why}; encoding it")
        known, output.evidence = output.evidence, learn(output.evidence, failed, decoded)
        if output.evidence == known:
            made.append((output.number, partial(output.finish, source, tool_run)))
    return made


def _separate(batch: list[_VideoOutput], why: str) -> Batch:
    """Make the outputs one after the other: one of them may be the cause."""
    batch[0].run.log(f"the videos cannot be made together ({why}); one comes after the other")
    for output in batch:
        output.is_alone = True
    return []


def _as_conversion_error(error: ConversionError | OSError) -> ConversionError:
    return error if isinstance(error, ConversionError) else from_os_error(error, "converting")


def _fail(error: ConversionError) -> Converted:
    raise error
