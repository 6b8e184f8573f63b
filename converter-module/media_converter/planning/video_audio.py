"""Plans the audio of a video, and how its loudness is found before the video is encoded."""

from typing import NamedTuple

from media_converter.limits import Limits
from media_converter.planning.audio_filters import (
    audio_decoder_options,
    choose_audio,
    video_audio_filters,
    video_audio_options,
    video_audio_rate,
)
from media_converter.planning.gain import Gain
from media_converter.planning.joined_tracks import audio_input, audio_map, feed
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
from media_converter.step import Feed, Stdout, Step
from media_converter.typed_options import VideoOptions


def wanted_audio(info: MediaInfo, video: VideoStream, options: VideoOptions) -> AudioStream | None:
    """The track that the output gets. None if there is none, or if none is wanted."""
    return None if options.audio == "none" else choose_audio(info, video)


def reading_of(options: VideoOptions, position: Position | None) -> Reading:
    """How the requested range is read.

    ``position`` is None if the range starts at the start of the input.
    """
    if position:
        return read_from(position)
    return Reading(tuple(trim_options(0.0, options.duration)))


class EncodedAudio(NamedTuple):
    """The audio of an output: the track, and how it is read and filtered.

    ``feed`` decodes the tracks if they are joined.
    """

    audio: AudioStream
    input_options: tuple[str, ...]
    filters: tuple[str, ...]
    codec: str
    feed: Feed | None = None

    def options(self, gain: Gain | None) -> list[str]:
        """Output options that encode it with a gain."""
        rate = video_audio_rate(self.audio, self.codec)
        gain_filters = gain.filters(rate) if gain else []
        return video_audio_options(self.audio, self.codec, self.filters, gain_filters)


def plan_encoded_audio(
    info: MediaInfo, audio: AudioStream, options: VideoOptions, evidence: Evidence, limits: Limits
) -> EncodedAudio:
    """How the audio of a video is read and filtered before it is encoded."""
    reading, varies = reading_of(options, evidence.position), evidence.audio_varies
    codec = CONTAINERS[options.container].audio_codec
    input_options = (*audio_decoder_options(audio), *reading.input_options)
    track_reading = reading._replace(input_options=input_options)
    track_feed = feed(limits, info, audio, track_reading, options.duration, varies=varies)
    # The feed has already cut joined audio to the range.
    first_filters = () if audio.joined else reading.audio_filters
    filters = video_audio_filters(audio, codec, first_filters, varies=varies)
    return EncodedAudio(
        audio=audio,
        input_options=input_options,
        filters=tuple(filters),
        codec=codec,
        feed=track_feed,
    )


def trial_step(
    info: MediaInfo, audio: EncodedAudio, options: VideoOptions, gain: Gain, limits: Limits
) -> Step:
    """Build the step that writes the audio alone, as the video will have it.

    An encoder raises peaks, so the encoded audio must be measured to know whether the gain is
    right. The audio alone is encoded in a fraction of the time of the video.
    """
    argv = ffmpeg_command(limits, audio.input_options, demuxer_options=info.demuxer_options)
    argv += audio_input(audio.audio)
    argv += ["-map", audio_map(audio.audio), *audio.options(gain), *NO_METADATA]
    if options.duration is not None:
        argv += ["-t", f"{options.duration:.6f}"]
    argv += [*PROGRESS, *CONTAINERS[options.container].muxer, OUTPUT_URL]
    return Step("audio", tuple(argv), Stdout.LINES, feed=audio.feed)
