"""Converts audio, and has what all conversions of video and audio need: run, judge, verify."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from media_converter.contract import ExitReason, Output, Progress
from media_converter.errors import ConversionError
from media_converter.files import structure
from media_converter.files.apetag import ape_tags
from media_converter.files.digest import sha256
from media_converter.planning.audio import (
    AudioOutput,
    audio_feed,
    audio_output_filters,
    cover_step,
    input_options,
    output_seconds,
    plan_audio,
    require_audio,
)
from media_converter.planning.audio_formats import AUDIO_FORMATS
from media_converter.planning.plan import COPY_ALL, ConversionPlan, Evidence, MayCopy
from media_converter.probing import ffprobe, holes, isobmff
from media_converter.probing.chain import Hole
from media_converter.probing.decoded import Decoded, LogReader, Loudness, StreamCounts
from media_converter.probing.media import MediaInfo
from media_converter.probing.packets import PacketReader
from media_converter.running import content, copies, damage, lacking, survey, verify
from media_converter.running.input_position import read_until
from media_converter.running.loudness import Leveller, measure
from media_converter.running.process import Files, ProcessResult
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Converted, Run
from media_converter.typed_options import AudioOptions, VideoOptions

Part = tuple[float, float]
Tags = tuple[tuple[str, str], ...]


class Source(NamedTuple):
    """What is known about the input before it is converted.

    ``listing`` has the packets of the video, or of the audio if that is all that is wanted, within
    the requested range. None if nobody needs it. ``part`` is this range in seconds from the
    start of the file, None for all of it.
    """

    info: MediaInfo
    listing: PacketReader | None
    holes: tuple[Hole, ...] = ()
    part: Part | None = None


class ToolRun(NamedTuple):
    """One run of ffmpeg: its plan, what it printed and what it read."""

    plan: ConversionPlan
    result: ProcessResult
    decoded: Decoded


def convert_audio(run: Run, options: AudioOptions) -> Converted:
    """Convert the audio to the format of the output."""
    written = AUDIO_FORMATS[run.task.output_format]
    info = survey.probe(run)
    info = info._replace(tags=_all_tags(run, info.tags))
    cover = _cover(run, info) if written.keeps_cover else None
    part = part_of(options)
    copying = _copyable_audio(run, options)
    leveller = Leveller(run, options.loudness, partial(_measure_audio, run, info, options))
    while True:
        plan = plan_audio(
            info,
            options,
            run.limits,
            cover is not None,
            copying=copying,
            output=AudioOutput(run.task.output_format, leveller.gain),
        )
        tool_run = ToolRun(plan, *run_plans([run], [plan], cover, leveller.check_seconds))
        failed = copies.faults(run, tool_run.plan, tool_run.result, tool_run.decoded, None)
        if failed:
            run.log(f"the audio cannot be copied: {failed['audio']}; encoding it")
            copying = copying._replace(audio=False)
        elif leveller.is_right():
            break
    source = source_of_audio(run, info, tool_run.plan.audio_index, part)
    made = finish(run, source, tool_run)
    for warning in leveller.warnings:
        run.log(warning)
    return made._replace(warnings=made.warnings + leveller.warnings)


def _all_tags(run: Run, known: Tags) -> Tags:
    """The tags with those of APEv2, which count less than ID3v2 and more than ID3v1.

    ID3v1 cuts texts after 30 characters.
    """
    ape = ape_tags(run.read, run.source.size_bytes)
    return known + ape if run.read(0, 3) == b"ID3" else ape + known


def plan_only(run: Run, options: AudioOptions) -> ConversionPlan:
    """The plan of an audio conversion. Raises ConversionError if it cannot be converted."""
    written = AUDIO_FORMATS[run.task.output_format]
    info, copying = survey.probe(run), _copyable_audio(run, options)
    return plan_audio(
        info,
        options,
        run.limits,
        written.keeps_cover and bool(info.attached_pics),
        copying=copying,
        output=AudioOutput(run.task.output_format),
    )


def _measure_audio(run: Run, info: MediaInfo, options: AudioOptions) -> Loudness | None:
    audio = require_audio(info)
    filters = audio_output_filters(info, audio, options, AudioOutput(run.task.output_format))
    track = audio_feed(info, audio, options, run.limits) or audio.stream_index
    read, seconds = input_options(info, audio, options), output_seconds(info, options)
    return measure(run, info, track, filters, read, seconds)


def _copyable_audio(run: Run, options: AudioOptions) -> MayCopy:
    is_whole = part_of(options) is None and not _inner(run, run.find_holes(None))
    return MayCopy(audio=is_whole)


def source_of_audio(
    run: Run, info: MediaInfo, stream_index: int | None, part: Part | None
) -> Source:
    """As ``survey_input``, but lists all packets of a file only if something of it is lost."""
    listing: PacketReader | None = None
    if part is not None and part[1] != float("inf") and stream_index is not None:
        listing = survey.list_part(run, info, stream_index, part)
        return Source(info, listing, run.find_holes(_last_offset(listing, part)), part)
    lost = run.find_holes(None)
    if lost and stream_index is not None:
        listing = survey.list_part(run, info, stream_index, part)
    return Source(info, listing, lost, part)


def part_of(options: VideoOptions | AudioOptions) -> Part | None:
    """The requested range of the input, from when to when. None for all of it."""
    if not options.start and options.duration is None:
        return None
    length = float("inf") if options.duration is None else options.duration
    return options.start, options.start + length


def survey_input(run: Run, info: MediaInfo, stream_index: int, options: VideoOptions) -> Source:
    """What the packets of a stream and the structure of the input tell about a range."""
    part = part_of(options)
    listing = survey.list_part(run, info, stream_index, part)
    return Source(info, listing, run.find_holes(_last_offset(listing, part)), part)


def _last_offset(listing: PacketReader, part: Part | None) -> int | None:
    """The offset of the last packet of a range. None if it may be at the end of the file."""
    if part is None or part[1] == float("inf"):
        return None
    last = max(listing.offsets, default=-1)
    return last if last >= 0 else None


def _inner(run: Run, lost: tuple[Hole, ...]) -> bool:
    """Whether bytes are lost before the end of the file."""
    return any(hole.size and hole.start < run.source.size_bytes for hole in lost)


def learn(evidence: Evidence, failed: dict[str, str], decoded: Decoded) -> Evidence:
    """What a run of ffmpeg adds to the evidence. Another try is worth it only if this is new."""
    return evidence._replace(
        may_copy=evidence.may_copy._replace(**dict.fromkeys(failed, False)),
        size_varies=evidence.size_varies or "video" in decoded.reconfigured,
        audio_varies=evidence.audio_varies or "audio" in decoded.reconfigured,
    )


def copyable(run: Run, source: Source) -> MayCopy:
    """What the structure of the input allows to copy."""
    if _inner(run, source.holes):
        return MayCopy(video=False, audio=False)
    kinds = {b"vide": "video", b"soun": "audio"}
    refused: dict[str, bool] = {}
    for track in isobmff.tracks(run.read, run.source.size_bytes):
        kind = kinds.get(track.handler)
        if kind and (len(track.entries) != 1 or not track.plain_edits):
            refused[kind] = False
    listing = source.listing
    if listing is not None and (listing.discarded or listing.corrupt):
        refused["video"] = False
    return COPY_ALL._replace(**refused)


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


def run_plans(
    runs: Sequence[Run],
    plans: Sequence[ConversionPlan],
    cover: int | None = None,
    after: float = 0.0,
) -> tuple[ProcessResult, Decoded]:
    """Run ffmpeg for plans that share a step. Each run has the temporary file of one of them.

    After ffmpeg exits, the runs take about ``after`` more seconds.

    Raises ConversionError if it fails, unless it only failed to copy.
    """
    first, plan = runs[0], plans[0]
    for run, its_plan in zip(runs, plans, strict=True):
        run.log(its_plan.summary)
        os.ftruncate(run.make_temporary().fd, 0)

    def on_progress(progress: Progress) -> None:
        for run in runs:
            run.on_progress(progress)

    max_seconds = max_plausible_duration(plan.duration, first.source.size_bytes)
    after += copies.check_seconds(plan) + content.check_seconds(plan) + first.known.survey_seconds
    read = partial(_share_read, first)
    meter = Meter(plan.duration or None, on_progress, max_seconds, after=after, read=read)
    reader = LogReader()
    outputs = tuple(run.make_temporary().fd for run in runs)
    files = Files(first.source.fd, outputs[0], cover, outputs[1:])
    result = first.run_tool(plan.step, files, meter, on_error_line=reader.add_line)
    if result.exit_code != 0 and not (plan.copies_video or plan.copies_audio):
        raise first.explain_failure(plan.step, result)
    return result, reader.result()


def _share_read(run: Run) -> float:
    """The share of the input that the tool has read. 0: not known, or only a range is wanted."""
    options, pid = run.task.options, run.runner.pid
    if pid is None or not isinstance(options, VideoOptions | AudioOptions) or part_of(options):
        return 0.0
    return min(1.0, (read_until(pid, run.source.fd) or 0) / run.source.size_bytes)


def finish(run: Run, source: Source, tool_run: ToolRun) -> Converted:
    """Judge what was lost, verify the output and describe it."""
    plan, info = tool_run.plan, source.info
    output = run.make_temporary()
    size_bytes = os.fstat(output.fd).st_size
    lacking.refuse_second_video(info, plan, tool_run.decoded)
    lost = losses(run, source, tool_run)
    found = None
    if size_bytes:
        found = ffprobe.parse(run.run_tool(ffprobe.step(), Files(output.fd)).stdout)
    if not size_bytes or (plan.video_index is None and not (found and found.duration)):
        damage.judge(lost, run.task.damage)
        raise _nothing(plan, size_bytes)
    warnings = damage.judge(lost, run.task.damage)
    size = run.source.size_bytes
    missing = run.missing_bytes() or holes.missing_bytes(source.holes, size)
    found, short = verify.check_media(
        found, plan.expected, missing, tool_run.result.stderr, run.task.damage
    )
    if plan.expected.container in ("mp4", "m4a"):
        verify.check_faststart(structure.is_faststart(structure.reader(output.fd), size_bytes))
    content.check(run, info, plan, found)
    warnings += short + (
        () if _wants_no_audio(run) else lacking.audio(info, plan, tool_run.decoded)
    )
    if not warnings and source.part is None:
        warnings = lacking.rest(run, info, plan, tool_run.decoded)
    for warning in warnings:
        run.log(warning)
    return Converted(_describe(plan, found, sha256(output.fd, run.runner.check)), warnings)


def _nothing(plan: ConversionPlan, size_bytes: int) -> ConversionError:
    """The ConversionError for an output without content."""
    if plan.start:
        return ConversionError(
            ExitReason.NOTHING_IN_RANGE,
            f"nothing can be read after start, {plan.start:g} s; choose an earlier start",
        )
    if size_bytes:
        return ConversionError(
            ExitReason.INPUT_DAMAGED, "no audio sample can be decoded; upload the file again"
        )
    return ConversionError(
        ExitReason.NOTHING_IN_RANGE, "nothing could be read in the requested range; choose another"
    )


def losses(run: Run, source: Source, tool_run: ToolRun) -> tuple[damage.Loss, ...]:
    """What a run of ffmpeg could not decode of the input, and what the input lacks."""
    plan, streams, listing = tool_run.plan, tool_run.decoded.streams, source.listing
    found = []
    if lost := _hole_loss(run, source, plan):
        found.append(lost)
    if plan.video_index is not None and not plan.copies_video:
        leading = listing.leading if listing and source.part is None else 0
        video = damage.loss(
            "frames", streams.get(plan.video_index), tool_run.decoded.corrupt, leading
        )
        found.append(video._replace(seconds=_missing_seconds(run, source)))
    if plan.audio_index is not None and not plan.copies_audio:
        counts, wrong = tool_run.decoded.total(plan.audio_indexes), tool_run.decoded.wrong_checksums
        found.append(damage.loss("audio packets", counts, wrong, 0))
        found.append(_missing_samples(source, plan, counts))
    return tuple(found)


def _missing_samples(
    source: Source, plan: ConversionPlan, counts: StreamCounts | None
) -> damage.Loss:
    """How many samples were not decoded of a file that says how many it has, such as FLAC."""
    stream = next((a for a in source.info.audio if a.stream_index == plan.audio_index), None)
    if source.part or stream is None or source.info.container != "flac" or not stream.duration:
        return damage.Loss("samples", 0, 0)
    promised = round(stream.duration * stream.sample_rate)
    return damage.missing_samples(promised, stream.sample_rate, counts)


def _hole_loss(run: Run, source: Source, plan: ConversionPlan) -> damage.Loss | None:
    """What the file itself lacks of the requested range."""
    listing = source.listing
    if not source.holes or listing is None:
        return None
    first, last = 0, run.source.size_bytes
    if source.part is not None and source.part[1] != float("inf"):
        last = max(listing.offsets, default=last)
    if source.part is not None and source.part[0]:
        first = min((place for place in listing.offsets if place >= 0), default=first)
    listed = plan.audio_index if plan.video_index is None else plan.video_index

    def others() -> Iterator[PacketReader]:
        video, audio = source.info.video, source.info.audio
        for number in [*(v.stream_index for v in video), *(a.stream_index for a in audio)]:
            if number != listed:
                yield survey.list_part(run, source.info, number, source.part)

    return damage.hole_loss(source.holes, listing, first, last, others)


def _missing_seconds(run: Run, source: Source) -> float:
    """The longest time without frames in the output that has frames in the input."""
    output = run.make_temporary().fd
    if source.listing is None or not os.fstat(output).st_size:
        return 0.0
    written = survey.list_packets(run, source.info, 0, fd=output)
    least = run.task.damage.max_seconds
    return damage.longest_missing(sorted(source.listing.times), sorted(written.times), least)


def _wants_no_audio(run: Run) -> bool:
    options = run.task.options
    return isinstance(options, VideoOptions) and options.audio == "none"


def _describe(plan: ConversionPlan, found: MediaInfo, digest: str) -> Output:
    video = found.video[0] if found.video else None
    return Output(
        sha256=digest,
        container=plan.expected.container,
        video_codec=video.codec if video else None,
        audio_codec=found.audio[0].codec if found.audio else None,
        width=video.width if video else None,
        height=video.height if video else None,
        duration_seconds=found.duration,
    )
