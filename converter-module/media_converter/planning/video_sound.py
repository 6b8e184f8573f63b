"""Plans the sound of a video, and how its loudness is found before the video is encoded."""

from __future__ import annotations

from typing import NamedTuple

from media_converter.limits import Limits
from media_converter.planning.audio_filters import (
    choose_audio,
    sound_decoder_options,
    sound_filters,
    sound_options,
    sound_rate,
)
from media_converter.planning.gain import Gain
from media_converter.planning.plan import (
    NO_METADATA,
    OUTPUT_URL,
    PROGRESS,
    Evidence,
    Position,
    Reading,
    ffmpeg_command,
    read_from,
    trim_options,
)
from media_converter.planning.video_codecs import CONTAINERS
from media_converter.probing.media import AudioStream, MediaInfo, VideoStream
from media_converter.step import Stdout, Step
from media_converter.typed_options import VideoOptions


def sound_of(info: MediaInfo, video: VideoStream, options: VideoOptions) -> AudioStream | None:
    """The track that the output gets. None if there is none, or if none is wanted."""
    return None if options.audio == "none" else choose_audio(info, video)


def reading_of(options: VideoOptions, position: Position | None) -> Reading:
    """How the requested part is read."""
    if position:
        return read_from(position)
    return Reading(tuple(trim_options(0.0, options.duration)))


class VideoSound(NamedTuple):
    """The sound of an output: the track, and how it is read and filtered."""

    audio: AudioStream
    input_options: tuple[str, ...]
    filters: tuple[str, ...]
    codec: str

    def options(self, gain: Gain | None) -> list[str]:
        """Output options that encode it with a gain."""
        last = gain.filters(sound_rate(self.audio, self.codec)) if gain else []
        return sound_options(self.audio, self.codec, self.filters, last)


def plan_sound(audio: AudioStream, options: VideoOptions, evidence: Evidence) -> VideoSound:
    """The sound of a video that is encoded."""
    reading = reading_of(options, evidence.position)
    codec = CONTAINERS[options.container].audio_codec
    filters = sound_filters(audio, codec, reading.audio_filters, varies=evidence.sound_varies)
    read = [*sound_decoder_options(audio), *reading.input_options]
    return VideoSound(audio, tuple(read), tuple(filters), codec)


def trial_step(
    info: MediaInfo, sound: VideoSound, options: VideoOptions, gain: Gain, limits: Limits
) -> Step:
    """Build the step that writes the sound alone, as the video will have it.

    An encoder raises peaks, so the gain is right only if the encoded sound is. The sound alone is
    encoded in a fraction of the time of the video.
    """
    argv = ffmpeg_command(limits, sound.input_options, deep_probe=info.deep_probe)
    argv += ["-map", f"0:{sound.audio.stream_index}", *sound.options(gain), *NO_METADATA]
    if options.duration is not None:
        argv += ["-t", f"{options.duration:.6f}"]
    argv += [*PROGRESS, *CONTAINERS[options.container].muxer, OUTPUT_URL]
    return Step("sound", tuple(argv), Stdout.PROGRESS)
