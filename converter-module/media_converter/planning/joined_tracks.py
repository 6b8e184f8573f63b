"""Finds audio that a camera or a recorder stores as one mono track per channel, and joins it.

Most files with several tracks have alternatives, such as languages or a commentary: a player plays
one of them. In MXF and QuickTime files, professional cameras and recorders store left and right, or
each microphone, as a track of its own, and all of them are to be heard at the same time.

The image's ffmpeg is built without the audio filters that take several inputs, such as amerge. So a
second ffmpeg decodes the tracks, and :mod:`media_converter.running.joining` joins them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.limits import Limits
from media_converter.planning.plan import Reading, ffmpeg_command
from media_converter.probing.media import AudioStream, MediaInfo
from media_converter.step import JOINED_FD, MAX_TRACKS, Feed, output_fd

_MXF: Final = "mxf"
_MOV: Final = "mov,mp4,m4a,3gp,3g2,mj2"
_QUICKTIME_BRAND: Final = "qt"
_MAX_START_DIFFERENCE: Final = 0.05
"""Seconds. Channels of one recording start together."""
_MAX_DURATION_DIFFERENCE: Final = 1.0
"""Seconds. A recorder may end its tracks one after the other."""
# There may be more samples than a WAV file can state.
JOINED_INPUT: Final = ("-f", "wav", "-ignore_length", "1", "-i", f"pipe:{JOINED_FD}")
"""Options that open joined audio as the second input."""
JOINED_MAP: Final = "1:0"
"""The -map argument of joined audio."""


def join(info: MediaInfo, chosen: AudioStream) -> AudioStream:
    """The audio with a channel for each track, if the tracks of a file are channels.

    Otherwise ``chosen``. All tracks of the file must be mono and match. If the file has another
    track, too, such as a stereo mix, nothing is joined.
    """
    tracks = sorted(info.audio, key=lambda track: track.stream_index)
    if not 2 <= len(tracks) <= MAX_TRACKS or not _stores_channels_as_tracks(info, tracks):
        return chosen
    if not all(_matches(track, tracks[0]) for track in tracks):
        return chosen
    durations = [track.duration for track in tracks if track.duration is not None]
    return tracks[0]._replace(
        channels=len(tracks),
        layout="stereo" if len(tracks) == 2 else "",
        start=min(track.start for track in tracks),
        duration=max(durations, default=None),
        bit_rate=None,
        joined=tuple(track.stream_index for track in tracks),
    )


def _stores_channels_as_tracks(info: MediaInfo, tracks: Iterable[AudioStream]) -> bool:
    """Whether files like this one have a track for each channel.

    A QuickTime player plays all tracks that are enabled, which ffprobe calls default. So the audio
    is one recording if all are enabled. Programs that write uncompressed audio often enable only
    the first track, but a file with uncompressed audio is for editing: its tracks are channels.
    MP4 files are for viewers, and have alternatives.
    """
    if info.container == _MXF:
        return True
    # A file without a brand is an old QuickTime file.
    brand = dict(info.tags).get("major_brand", _QUICKTIME_BRAND).strip()
    if info.container != _MOV or brand != _QUICKTIME_BRAND:
        return False
    return all(track.default or track.codec.startswith("pcm_") for track in tracks)


def _matches(track: AudioStream, first: AudioStream) -> bool:
    """Whether two tracks can be channels of one recording."""
    return (
        track.channels == 1
        and not track.secondary
        and track.codec == first.codec
        and track.sample_rate == first.sample_rate
        and track.language == first.language
        and track.title == first.title
        and abs(track.start - first.start) <= _MAX_START_DIFFERENCE
        and _have_similar_durations(track.duration, first.duration)
    )


def _have_similar_durations(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _MAX_DURATION_DIFFERENCE


def mix_filters(audio: AudioStream) -> list[str]:
    """The filter that mixes more than two joined tracks to stereo. Empty for other audio.

    The first of each pair of tracks is on the left, the second on the right. The last of an odd
    number is on both sides. Each side is divided by the square root of the number of its tracks. So
    a silent track makes the others only slightly quieter, and different signals keep their level.
    """
    channels = len(audio.joined)
    if channels <= 2:
        return []
    centre = channels - 1 if channels % 2 else None
    sides = []
    for side in range(2):
        tracks = [track for track in range(channels) if track % 2 == side or track == centre]
        sides.append("+".join(f"{len(tracks) ** -0.5:.6f}*c{track}" for track in tracks))
    return [f"pan=stereo|c0={sides[0]}|c1={sides[1]}"]


def audio_input(audio: AudioStream | None) -> list[str]:
    """Options that open joined audio as the second input. Empty for a track of the file itself."""
    return list(JOINED_INPUT) if audio and audio.joined else []


def audio_map(audio: AudioStream) -> str:
    """The -map argument of the audio stream."""
    return JOINED_MAP if audio.joined else f"0:{audio.stream_index}"


def feed(
    limits: Limits,
    info: MediaInfo,
    audio: AudioStream | None,
    reading: Reading,
    seconds: float | None = None,
    *,
    varies: bool = False,
) -> Feed | None:
    """What decodes the tracks of joined audio. None for a track of the file itself.

    ``reading`` is how the requested part of a track is read: the part then starts at time 0. A
    track that starts later, or that has a gap, is filled with silence, so that all tracks remain in
    step. ``seconds`` limits the part. ``varies`` says that the channels or the sample rate change
    within a track; then its start is not filled, because each change would fill it again.
    """
    if audio is None or not audio.joined:
        return None
    times = "async=1:min_hard_comp=0.1" + ("" if varies else ":first_pts=0")
    chain = [
        *reading.audio_filters,
        f"aresample={audio.sample_rate}:{times}",
        "aformat=channel_layouts=mono",
    ]
    argv = [
        *ffmpeg_command(limits, reading.input_options, demuxer_options=info.demuxer_options),
        "-nostats",
    ]
    for number, track in enumerate(audio.joined):
        argv += ["-map", f"0:{track}", "-af", ",".join(chain), "-c:a", "pcm_s24le"]
        argv += [] if seconds is None else ["-t", f"{seconds:.6f}"]
        # The muxer of raw video writes the packets and nothing else.
        argv += ["-f", "rawvideo", f"pipe:{output_fd(number)}"]
    return Feed(tuple(argv), len(audio.joined), audio.sample_rate)
