"""Checks streams that were copied: a copy is right only if it decodes completely."""

from __future__ import annotations

import os
from typing import Final

from media_converter.files import structure
from media_converter.planning.plan import ConversionPlan, decode_step
from media_converter.probing import isobmff, nal
from media_converter.probing.decoded import Decoded, LogReader
from media_converter.probing.media import MediaInfo
from media_converter.probing.packets import PacketReader
from media_converter.running import survey
from media_converter.running.process import Files, ProcessResult
from media_converter.running.run import Run
from media_converter.step import Step

# Up to this many pixels of all frames together, the whole copy is decoded: 15 s of 720p.
_MAX_PIXELS_TO_DECODE: Final = 350_000_000
_SAMPLES: Final = 8
_SAMPLE_SECONDS: Final = 1.0
# An audio decoder may need a packet or two before the first block of samples.
_MAX_MISSING_BLOCKS: Final = 2
# To estimate how long the check takes.
_STEP_SECONDS: Final = 0.1
_USUAL_RATE: Final = 25
_KEY_SECONDS: Final = 2.0
_SECONDS_PER_PIXEL: Final = 3.6e-9


def faults(
    run: Run,
    plan: ConversionPlan,
    result: ProcessResult,
    decoded: Decoded,
    listing: PacketReader | None,
) -> dict[str, str]:
    """What is wrong with the copied streams, in words, by ``video`` and ``audio``."""
    found: dict[str, str] = {}
    if result.exit_code != 0:
        copied = {"video": plan.copies_video, "audio": plan.copies_audio}
        return {kind: "it cannot be read" for kind, value in copied.items() if value}
    if plan.copies_video and (why := _video_fault(run, plan, listing)):
        found["video"] = why
    if plan.copies_audio and (why := _audio_fault(plan, decoded)):
        found["audio"] = why
    return found


def check_seconds(plan: ConversionPlan) -> float:
    """About how long :func:`faults` takes with the copied video of a plan. 0 without one."""
    if not plan.copies_video or plan.expected.size is None or not plan.duration:
        return 0.0
    width, height = plan.expected.size
    frames = _USUAL_RATE * plan.duration
    if frames * width * height <= _MAX_PIXELS_TO_DECODE:
        return _STEP_SECONDS + frames * width * height * _SECONDS_PER_PIXEL
    decoded = _SAMPLES * _SAMPLE_SECONDS * _USUAL_RATE + plan.duration / _KEY_SECONDS
    return (_SAMPLES + 1) * _STEP_SECONDS + decoded * width * height * _SECONDS_PER_PIXEL


def _audio_fault(plan: ConversionPlan, decoded: Decoded) -> str:
    """What is wrong with copied audio. The same step also decoded all of it."""
    counts = decoded.streams.get(plan.audio_index if plan.audio_index is not None else -1)
    if counts is None or counts.frames is None or not counts.frames:
        return "nothing of it can be decoded"
    if counts.errors:
        return f"{counts.errors} of {counts.packets} packets cannot be decoded"
    if counts.frames < counts.packets - _MAX_MISSING_BLOCKS:
        return f"{counts.packets - counts.frames} of {counts.packets} packets give no audio"
    return "its parameters change" if "audio" in decoded.reconfigured else ""


def _video_fault(run: Run, plan: ConversionPlan, listing: PacketReader | None) -> str:
    fd = run.make_temporary().fd
    if plan.expected.container != "mp4":
        # VP8 and VP9 have no units with other data.
        count = survey.list_packets(run, MediaInfo(plan.expected.container, 0), 0, fd=fd).packets
        return _count_fault(count, listing) or _decoding_fault(run, plan, fd, count)
    read = structure.reader(fd)
    tracks = isobmff.tracks(read, os.fstat(fd).st_size, with_samples=True)
    track = next((track for track in tracks if track.handler == b"vide"), None)
    if track is None or track.samples is None:
        return "the copy has no frames"
    count = len(track.samples.sizes)
    if why := _count_fault(count, listing):
        return why
    inspection = nal.inspect(track, read)
    for offset, size in inspection.foreign:
        os.pwrite(fd, nal.filler(size), offset)
    return inspection.fault or _decoding_fault(run, plan, fd, count)


def _count_fault(count: int, listing: PacketReader | None) -> str:
    if listing is None or count == listing.packets:
        return ""
    return f"the copy has {count} of {listing.packets} frames"


def _decoding_fault(run: Run, plan: ConversionPlan, fd: int, count: int) -> str:
    """Decode all of a short video. Of a long one, decode all keyframes and a few seconds."""
    width, height = plan.expected.size or (0, 0)
    if count * width * height <= _MAX_PIXELS_TO_DECODE or not plan.duration:
        return _check(run, decode_step(run.limits, "v:0"), fd, count)
    last = max(0.0, plan.duration - _SAMPLE_SECONDS)
    for number in range(_SAMPLES):
        start = last * number / (_SAMPLES - 1)
        why = _check(run, decode_step(run.limits, "v:0", start, _SAMPLE_SECONDS), fd)
        if why:
            return why
    return _check(run, decode_step(run.limits, "v:0", keys_only=True), fd)


def _check(run: Run, step: Step, fd: int, count: int | None = None) -> str:
    """Decode some of the copy. ``count`` is how many frames there must be, if it is known."""
    reader = LogReader()
    result = run.run_tool(step, Files(fd), on_error_line=reader.add_line)
    decoded = reader.result()
    counts = decoded.streams.get(0)
    if result.exit_code != 0 or counts is None or not counts.frames:
        return "it cannot be decoded"
    if counts.errors or decoded.corrupt:
        return f"{counts.errors + decoded.corrupt} frames cannot be decoded"
    if count is not None and counts.frames != count:
        return f"{counts.frames} of {count} frames can be decoded"
    return "its size changes" if "video" in decoded.reconfigured else ""
