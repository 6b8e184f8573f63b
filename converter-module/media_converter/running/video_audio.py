"""Gives the audio of a video the wanted loudness, before the video is encoded.

The audio alone is written to the temporary file of the output and measured there, in several tries
if it takes them. Then the video is encoded once, with the gain that was found.
"""

from __future__ import annotations

import os
from functools import partial

from media_converter.planning.plan import Evidence
from media_converter.planning.video_audio import (
    EncodedAudio,
    plan_encoded_audio,
    trial_step,
    wanted_audio,
)
from media_converter.planning.video_choice import choose_video
from media_converter.probing.decoded import Loudness
from media_converter.probing.media import MediaInfo
from media_converter.running.loudness import Leveller, measure
from media_converter.running.process import Files
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Run
from media_converter.typed_options import VideoOptions


def with_loudness(
    run: Run, info: MediaInfo, options: VideoOptions, evidence: Evidence
) -> tuple[Evidence, tuple[str, ...]]:
    """The evidence with the gain of the audio, and warnings. Raises ConversionError."""
    audio = wanted_audio(info, choose_video(info), options)
    if audio is None or options.loudness is None:
        return evidence, ()
    encoded = plan_encoded_audio(info, audio, options, evidence, run.limits)
    leveller = Leveller(run, options.loudness, partial(_measure, run, info, encoded, options))
    while leveller.gain is not None:
        _write_audio(run, info, encoded, evidence._replace(gain=leveller.gain))
        if leveller.is_right():
            break
    return evidence._replace(gain=leveller.gain), leveller.warnings


def _measure(
    run: Run, info: MediaInfo, audio: EncodedAudio, options: VideoOptions
) -> Loudness | None:
    track, read = audio.feed or audio.audio.stream_index, audio.input_options
    return measure(run, info, track, audio.filters, read, options.duration)


def _write_audio(run: Run, info: MediaInfo, audio: EncodedAudio, evidence: Evidence) -> None:
    options = run.task.options
    if not isinstance(options, VideoOptions) or evidence.gain is None:
        raise TypeError(f"no loudness is wanted: {options}")
    step = trial_step(info, audio, options, evidence.gain, run.limits)
    output = run.make_temporary().fd
    os.ftruncate(output, 0)
    meter = Meter(
        None, lambda _: None, max_plausible_duration(info.duration, run.source.size_bytes)
    )
    result = run.run_tool(step, Files(run.source.fd, output), meter)
    if result.exit_code != 0:
        raise run.explain_failure(step, result)
