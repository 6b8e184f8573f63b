"""Says what an output lacks of its input, although nothing of the input is damaged."""

from __future__ import annotations

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.plan import ConversionPlan
from media_converter.planning.video_codecs import CONTAINERS
from media_converter.probing.decoded import Decoded
from media_converter.probing.media import MediaInfo
from media_converter.running import survey
from media_converter.running.run import Run


def refuse_second_video(info: MediaInfo, plan: ConversionPlan, decoded: Decoded) -> None:
    """Raise ConversionError (UnsupportedFormat) if an Ogg file goes on with another video.

    ffmpeg reads the next song of a chained Ogg file, but no next video.
    """
    if decoded.stopped and info.container == "ogg" and plan.video_index is not None:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            "the Ogg file has several videos one after the other, and the converter reads only "
            "the first one; split the file",
        )


def audio(info: MediaInfo, plan: ConversionPlan, decoded: Decoded) -> tuple[str, ...]:
    """A warning if a video has no audio because nothing can decode or find it."""
    if plan.audio_index is not None or plan.expected.container not in CONTAINERS:
        return ()
    names = [name.removeprefix("audio ") for name in info.undecodable if name.startswith("audio")]
    unread = [stream for stream in info.unread if stream.kind == "audio"]
    if any(stream.scrambled for stream in unread):
        return ("The output has no audio: it is encrypted, and the converter has no key.",)
    if names:
        return (f"The output has no audio: there is no decoder for {', '.join(names)}.",)
    if "audio" in decoded.appeared or any(stream.starts_late for stream in unread):
        return ("The output has no audio: it begins later than the converter looks for streams.",)
    if unread:
        return (f"The output has no audio: no packet of its {unread[0].codec} can be decoded.",)
    return ()


def rest(run: Run, info: MediaInfo, plan: ConversionPlan, decoded: Decoded) -> tuple[str, ...]:
    """A warning if an input was not read to its end, or goes on with another video or audio."""
    if decoded.stopped:
        return ("The input could not be read to its end.",)
    is_video = plan.video_index is not None
    noun = "video" if is_video else "audio stream"
    warning = (f"Another {noun} begins later in the input, and the output lacks it.",)
    if ("video" if is_video else "audio") in decoded.appeared:
        return warning
    if len(info.programs) < 2:
        return ()
    chosen = plan.video_index if is_video else plan.audio_index
    # The video or the audio of another program may begin where the chosen one ends.
    places = survey.places(run, info)
    end = places.last.get(-1 if chosen is None else chosen, -1)
    begins = [
        places.first.get(stream.stream_index, -1)
        for stream in (info.video if is_video else info.audio)
    ]
    return warning if end >= 0 and any(begin > end for begin in begins) else ()
