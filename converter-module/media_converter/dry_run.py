"""Plans the outputs of a run without making them: probes the input, and writes nothing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from media_converter.contract import INPUT_FAULTS, Action, PlannedOutput, Progress
from media_converter.errors import ConversionError, from_os_error
from media_converter.files import paths
from media_converter.files.paths import Input
from media_converter.files.temporary import Temporary
from media_converter.limits import Limits
from media_converter.outputs import in_order
from media_converter.planning import estimates, image_memory, memory
from media_converter.planning.audio import require_audio
from media_converter.planning.audio_filters import output_channels
from media_converter.planning.audio_formats import AUDIO_FORMATS
from media_converter.planning.estimates import Estimate
from media_converter.planning.image_fit import fit_image
from media_converter.planning.plan import ConversionPlan, Position
from media_converter.planning.preview import most_threads
from media_converter.planning.preview import needed_memory as preview_memory
from media_converter.planning.quality import DEFAULT_QUALITY
from media_converter.planning.storyboard import needed_memory
from media_converter.planning.thumbnail import plan_thumbnail
from media_converter.planning.video import allowed_frame_rate, probed_frame_rate
from media_converter.planning.video_choice import choose_video
from media_converter.planning.waveform import plan_waveform
from media_converter.probing.rates import Rates
from media_converter.request import name_output
from media_converter.running import (
    image,
    media_info,
    preview,
    storyboard,
    survey,
    thumbnail,
    transcode,
    videos,
)
from media_converter.running.existing import find_published
from media_converter.running.process import Runner
from media_converter.running.run import Known, Run, hole_finder
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


def plan_outputs(
    tasks: tuple[Task, ...],
    limits: Limits,
    runner: Runner,
    workspace: str,
    log: Callable[[str], None],
) -> tuple[PlannedOutput, ...]:
    """What a run would do for each task, within the limits of this container.

    Raises ConversionError for an output that cannot be made and is not optional.
    """
    root = paths.open_root(workspace)
    source = paths.open_input(root, tasks[0].input_file)
    known, find_holes = Known(), hole_finder(source, runner)
    drafts: dict[int, _Draft] = {}
    for number in in_order(tasks, list(range(len(tasks)))):
        run = Run(
            task=tasks[number],
            limits=limits,
            runner=runner,
            source=source,
            make_temporary=_no_temporary,
            log=log,
            on_progress=_ignore,
            find_holes=find_holes,
            known=known,
        )
        drafts[number] = _draft(run, root, source)
    source.check_unchanged()
    in_turn = [drafts[number] for number in range(len(tasks))]
    return tuple(_with_others(draft, in_turn) for draft in in_turn)


_PASSES_FOR_LOUDNESS = 3
"""Measuring the audio, writing it alone, and writing it with the video."""


class _Draft(NamedTuple):
    """What a run would do for an output, before it is known what is made at the same time.

    ``run`` is set for a video that would be encoded, and ``rates`` if its packets have times.
    """

    planned: PlannedOutput
    run: Run | None = None
    rates: Rates | None = None


def _no_temporary() -> Temporary:
    raise RuntimeError("a dry run writes nothing")


def _ignore(_progress: Progress) -> None:
    """A dry run has no progress."""


def _draft(run: Run, root: int, source: Input) -> _Draft:
    task = run.task
    try:
        try:
            find_published(root, task, run.runner, source)
            for path in task.files:
                paths.check_not_input(root, path, source)
            return _plan(run)
        except OSError as error:
            raise from_os_error(error, "planning") from error
    except ConversionError as error:
        named = name_output(task, error)
        if not task.optional or error.reason not in INPUT_FAULTS:
            # What another run may do is no reason to say that an output is left out.
            raise named from error
        run.log(f"{error.reason}: {named.message}")
        planned = PlannedOutput(Action.SKIP, reason=error.reason, message=error.message)
        return _Draft(planned)


def _plan(run: Run) -> _Draft:
    match run.task.options:
        case VideoOptions():
            return _video(run)
        case AudioOptions() as options:
            return _Draft(_audio(run, options))
        case ImageOptions() as options:
            return _Draft(_image(run, options))
        case ThumbnailOptions() as options:
            return _Draft(_thumbnail(run, options))
        case InfoOptions() as options:
            return _Draft(_info(run, options))
        case WaveformOptions() as options:
            return _Draft(_waveform(run, options))
        case StoryboardOptions() as options:
            return _Draft(_storyboard(run, options))
        case PreviewOptions() as options:
            return _Draft(_preview(run, options))


def _video(run: Run) -> _Draft:
    (plan, rates), info = videos.plan_only(run), survey.probe(run)
    run.log(plan.summary)
    copies_all = plan.copies_video and (plan.audio_index is None or plan.copies_audio)
    action = Action.COPY if copies_all else Action.ENCODE
    estimate = estimates.of_copy(info.size_bytes)
    if plan.copies_video and not copies_all:
        audio_seconds = estimates.of_audio(0, plan.duration).seconds or 0.0
        estimate = Estimate((estimate.seconds or 0.0) + audio_seconds, estimate.size)
    planned = _planned(action, plan, memory.FOR_COPY, estimate)
    return _Draft(planned, None if plan.copies_video else run, rates)


def _with_others(draft: _Draft, drafts: Sequence[_Draft]) -> PlannedOutput:
    """The plan of an output with the memory of what runs at the same time."""
    run = draft.run
    if run is None:
        return draft.planned
    video, options = choose_video(survey.probe(run)), videos.options_of(run)
    group = [d for d in drafts if d.run and videos.same_part(d.run.task.options, options)]
    wanted = [videos.encoded_as(video, videos.options_of(d.run)) for d in group if d.run]
    number = next(index for index, other in enumerate(group) if other is draft)
    own, batch = wanted[number], memory.batch_of(number, video, wanted, run.limits)
    sharing = memory.share_threads(video, batch, run.limits)
    planned, duration = draft.planned, draft.planned.duration_seconds
    most = allowed_frame_rate(options)
    frames = estimates.frame_counts(duration, probed_frame_rate(video), most, draft.rates)
    audio_seconds = duration or 0.0 if planned.audio_codec else 0.0
    if options.loudness is not None:
        audio_seconds *= _PASSES_FOR_LOUDNESS
    quality = options.quality or DEFAULT_QUALITY
    estimate = estimates.of_video(video, own, quality, frames, audio_seconds, len(batch))
    return _with_estimate(planned._replace(memory=sharing.needed), estimate)


def _audio(run: Run, options: AudioOptions) -> PlannedOutput:
    plan = transcode.plan_only(run, options)
    run.log(plan.summary)
    action = Action.COPY if plan.copies_audio else Action.ENCODE
    written, audio = AUDIO_FORMATS[run.task.output_format], require_audio(survey.probe(run))
    bitrate = written.bitrate(options.bitrate, output_channels(audio, options.channels))
    passes = 1 if options.loudness is None else 2
    estimate = estimates.of_audio(bitrate, plan.duration, passes)
    return _planned(action, plan, memory.FOR_COPY, estimate)


def _info(run: Run, options: InfoOptions) -> PlannedOutput:
    seconds = media_info.probe_only(run)
    estimate = estimates.of_document(seconds if options.loudness else 0.0)
    planned = PlannedOutput(Action.CONVERT, memory=memory.FOR_COPY)
    return _with_estimate(planned, estimate)


def _waveform(run: Run, options: WaveformOptions) -> PlannedOutput:
    info = survey.probe(run)
    plan = plan_waveform(info, require_audio(info), options, run.task.output_format, run.limits)
    run.log(plan.summary)
    estimate = estimates.of_document(plan.duration)
    return _planned(Action.CONVERT, plan, memory.FOR_COPY, estimate)


def _storyboard(run: Run, options: StoryboardOptions) -> PlannedOutput:
    scan, board = storyboard.prepare(run, options)
    run.log(board.summary)
    length = board.times[-1] / 1000
    estimate = estimates.of_storyboard(scan.video, length, board.sprite, board.output_format)
    planned = PlannedOutput(
        Action.CONVERT,
        video_codec=board.output_format,
        width=board.sprite[0],
        height=board.sprite[1],
        memory=needed_memory(scan.video, board),
    )
    return _with_estimate(planned, estimate)


def _preview(run: Run, options: PreviewOptions) -> PlannedOutput:
    made = preview.prepare(run, options, looks=False)
    run.log(made.plan.summary)
    video, size, output_format = made.video, made.size, run.task.output_format
    estimate = estimates.of_preview(video, size, made.plan.duration or 0.0, output_format)
    parts = len(made.parts)
    threads = most_threads(video, size, output_format, parts, run.limits)
    needed = preview_memory(video, size, output_format, parts, threads)
    planned = _planned(Action.ENCODE, made.plan, needed, estimate)
    return planned._replace(video_codec=planned.video_codec or output_format)


def _image(run: Run, options: ImageOptions) -> PlannedOutput:
    _, facts, plan = image.prepare(run, options)
    run.log(plan.summary)
    info, kind = facts.info, run.task.output_format
    width, height = plan.expected.size or (0, 0)
    pages = plan.expected.frames or 1
    read = info.width * info.height * pages
    estimate = estimates.of_still(read, (width, height * pages), kind)
    fit = fit_image(info.displayed_size, options)
    staged = plan.save is not None
    needed = image_memory.estimate(info, kind, fit, pages, is_staged=staged)
    return _planned(Action.CONVERT, plan, needed, estimate)


def _thumbnail(run: Run, options: ThumbnailOptions) -> PlannedOutput:
    request = thumbnail.request_for(run, options)
    plan = plan_thumbnail(request, Position(request.options.time or 0.0))
    run.log(plan.summary)
    video = request.video
    size = plan.expected.size or (0, 0)
    estimate = estimates.of_thumbnail(video, size, run.task.output_format)
    return _planned(Action.ENCODE, plan, memory.for_decoding(video), estimate)


def _planned(
    action: Action, plan: ConversionPlan, needed: int, estimate: Estimate
) -> PlannedOutput:
    width, height = plan.expected.size or (None, None)
    planned = PlannedOutput(
        action=action,
        video_codec=plan.expected.video_codec,
        audio_codec=plan.expected.audio_codec,
        width=width,
        height=height,
        duration_seconds=plan.duration,
        memory=needed,
    )
    return _with_estimate(planned, estimate)


def _with_estimate(planned: PlannedOutput, estimate: Estimate) -> PlannedOutput:
    seconds = None if estimate.seconds is None else round(estimate.seconds, 1)
    return planned._replace(estimated_seconds=seconds, estimated_size=estimate.size)
