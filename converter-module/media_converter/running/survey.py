"""Looks at a media file before it is converted, and finds the frame that is on the screen."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import jpeg, structure
from media_converter.planning.plan import Position
from media_converter.probing import clock, encryption, ffprobe, packets
from media_converter.probing.codecs import WITHOUT_TIMESTAMPS
from media_converter.probing.media import MediaInfo, Unread, VideoStream
from media_converter.probing.packets import Frame, PacketReader
from media_converter.running import verify
from media_converter.running.failures import is_too_large
from media_converter.running.process import Files
from media_converter.running.run import Run, refuse_playlists_and_documents

# Containers without a header that lists their streams, by ffprobe's names. ffprobe finds a stream
# only when it reads a packet of it.
_WITHOUT_HEADER: Final = ("mpegts", "mpeg")
# A tool knows a stream when it has read so many bytes behind its first packet.
_ENOUGH_BYTES: Final = 8_000_000
_MAX_PLACE: Final = ffprobe.MAX_LOOK_BYTES - _ENOUGH_BYTES
# Codecs of still images, in which covers are stored.
_STILL_CODECS: Final = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000")
# ffmpeg gives packets of these containers wrong times after a seek.
_SEEKS_WRONGLY: Final = ("ogg",)
# Seconds before the wanted time at which the search for its keyframe starts.
_STEPS_BACK: Final = (0.0, 12.0, 60.0)
_LOOK_AHEAD_SECONDS: Final = (1.0, 40.0)
# If the newest listed frame is older than this at the wanted time, newer ones may be stored later
# in the file. Then more of the file is listed.
_LONG_FRAME_SECONDS: Final = 0.9
# A transport stream has no index, so a seek may land up to this many seconds too late.
_SEEK_MARGIN_SECONDS: Final = 1.0


def probe(run: Run) -> MediaInfo:
    """Describe the input. Raises ConversionError if it is no media file or is encrypted."""
    if run.known.info is None:
        run.known.info = _examine(run)
    return run.known.info


def _examine(run: Run) -> MediaInfo:
    refuse_playlists_and_documents(run)
    kind = structure.still_image_kind(run.read)
    if kind and not jpeg.is_motion_jpeg(run.read):
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT, f"the input is {kind}; use image_resize for images"
        )
    is_aiff = structure.is_endless_aiff(run.read)
    if is_aiff or structure.is_endless_wave64(run.read):
        name = "AIFF" if is_aiff else "Wave64"
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"the {name} file does not say how long it is, because a program wrote it to a pipe; "
            "save it as WAV or FLAC",
        )
    if encryption.by_structure(run.read, run.source.size_bytes):
        raise _encrypted()
    info = _probe(run)
    if info.container in _WITHOUT_HEADER:
        info = _with_late_streams(run, info)
        info = info._replace(clock_restarts=clock.restarts(run.read, run.source.size_bytes))
    if info.encrypted:
        raise _encrypted()
    info = info._replace(unread=tuple(_with_packets(run, info)))
    if not info.video and not info.audio and any(s.scrambled for s in info.unread):
        raise _encrypted()
    info = _without_covers(run, info)
    return verify.with_full_duration(info, run.missing_bytes())


def _with_late_streams(run: Run, info: MediaInfo) -> MediaInfo:
    """Look at more of a file without a header, if a stream may begin later or twice.

    A stream that begins later still is found if this is within the bytes that a tool may read.
    """
    merge = ffprobe.MERGE if info.container == "mpegts" else ()
    look: tuple[str, ...] = ()
    if info.unread or not info.video or not info.audio:
        look = ffprobe.long_look()
    if not look and len(info.video) == len(info.audio) == 1:
        return info._replace(demuxer_options=merge)
    info = _probe(run, merge + look)
    if not info.unread:
        return info
    first = places(run, info).first
    firsts = [first.get(each.stream_index, -1) for each in info.unread]
    near = [place for place in firsts if 0 <= place < _MAX_PLACE]
    if not near:
        return info
    return _probe(run, merge + ffprobe.long_look(max(near) + _ENOUGH_BYTES))


def _probe(run: Run, demuxer_options: tuple[str, ...] = ()) -> MediaInfo:
    step = ffprobe.step(demuxer_options=demuxer_options)
    result = run.run_tool(step)
    info = (
        ffprobe.parse(result.stdout, demuxer_options=demuxer_options)
        if result.exit_code == 0
        else None
    )
    # ffprobe prints no size for a frame that is too large to decode.
    if info is None or (not info.video and is_too_large(result.stderr)):
        raise run.explain_failure(step, result)
    return info


def _encrypted() -> ConversionError:
    return ConversionError(
        ExitReason.ENCRYPTED,
        "the input is encrypted (DRM), and the converter has no key; use an unencrypted copy",
    )


def _without_covers(run: Run, info: MediaInfo) -> MediaInfo:
    """Treat a video track with a single image as a cover if there is another video track."""
    if len(info.video) < 2 or not any(video.codec in _STILL_CODECS for video in info.video):
        return info
    covers = [
        video
        for video in info.video
        if video.codec in _STILL_CODECS and list_packets(run, info, video.stream_index).packets == 1
    ]
    videos = tuple(video for video in info.video if video not in covers)
    if not videos:
        return info
    return info._replace(video=videos, attached_pics=(*info.attached_pics, *covers))


def _with_packets(run: Run, info: MediaInfo) -> Iterator[Unread]:
    """The unread streams that have content.

    ffprobe lists no packets of a scrambled stream. If the file has one, the stream is marked.
    """
    first = places(run, info).first if info.unread else {}
    for stream in info.unread:
        if stream.stream_index in first:
            yield stream._replace(starts_late=first[stream.stream_index] >= _MAX_PLACE)
        elif encryption.has_scrambled_stream(run.read):
            yield stream._replace(scrambled=True)


def places(run: Run, info: MediaInfo) -> packets.Places:
    """Where the packets of each stream are. Reads all of the file, once for each way to read it.

    A broadcast can name hundreds of streams, so one look answers for all of them.
    """
    found = run.known.places
    if info.demuxer_options not in found:
        found[info.demuxer_options] = packets.Places()
        run.run_tool(
            packets.places_step(info.demuxer_options), on_line=found[info.demuxer_options].add_line
        )
    return found[info.demuxer_options]


def list_packets(
    run: Run,
    info: MediaInfo,
    stream_index: int,
    start: float | None = None,
    end: float | None = None,
    fd: int | None = None,
) -> PacketReader:
    """The packets of a stream of the input, or of the file ``fd``.

    ``start`` and ``end`` are timestamps as stored in the file, which need not begin at 0. A seek is
    not exact, so the list can begin before or after ``start``.
    """
    reader = PacketReader()
    step = packets.step(stream_index, start, end, info.demuxer_options)
    files = Files(run.source.fd if fd is None else fd)
    run.run_tool(step, files, on_line=reader.add_line)
    return reader


def list_part(
    run: Run, info: MediaInfo, stream_index: int, part: tuple[float, float] | None
) -> PacketReader:
    """The packets of a stream that are shown within a range, in seconds from the file's start.

    They are listed once, however many outputs need them.
    """
    listings = run.known.listings
    if (stream_index, part) not in listings:
        listings[stream_index, part] = _list_part(run, info, stream_index, part)
    return listings[stream_index, part]


def _list_part(
    run: Run, info: MediaInfo, stream_index: int, part: tuple[float, float] | None
) -> PacketReader:
    if part is None:
        return list_packets(run, info, stream_index)
    start, end = info.start + part[0], info.start + part[1]
    if info.clock_restarts:
        # A time may be in two places of the file. ffmpeg reads the part from the start of the file.
        return list_packets(run, info, stream_index).unwrapped().between(start, end)
    if info.container in WITHOUT_TIMESTAMPS:
        return list_packets(run, info, stream_index).between(start, end)
    # A frame may be stored behind others that are shown later.
    until = None if end == float("inf") else end + _LOOK_AHEAD_SECONDS[0]
    begin = start if part[0] and info.container not in _SEEKS_WRONGLY else None
    return list_packets(run, info, stream_index, begin, until).between(start, end)


def video_duration(run: Run, info: MediaInfo, video: VideoStream) -> float:
    """The duration of the input in seconds, as found in its packets if its header has none.

    A live recording has none, and that of a raw stream is estimated from its bit rate. If the clock
    starts again, the frames are counted.
    """
    if info.duration and info.container not in WITHOUT_TIMESTAMPS and not info.clock_restarts:
        return info.duration
    reader = list_part(run, info, video.stream_index, None)
    frames = reader.frames()
    if frames and not info.clock_restarts:
        last = max(frame.time + frame.duration for frame in frames)
        return max(last - info.start, _EPSILON)
    rate = video.avg_frame_rate or video.r_frame_rate or _DEFAULT_RATE
    return max(reader.packets * rate[1] / rate[0], _EPSILON)


def find_position(run: Run, info: MediaInfo, video: VideoStream, time: float) -> Position:
    """The frame that is on the screen at ``time``, in seconds from the start of the file.

    If packets have no times, as in raw H.264, or if the clock starts again, the position only says
    that ffmpeg must read the file from its start.
    """
    if info.container in WITHOUT_TIMESTAMPS or info.clock_restarts:
        return Position(time)
    wanted = info.start + time
    for back in () if info.container in _SEEKS_WRONGLY else _STEPS_BACK:
        if back and wanted - back < info.start:
            break
        found = _on_screen(_frames_around(run, info, video, wanted - back, wanted), wanted)
        if found:
            found = _until_next(run, info, video, found, wanted)
            margin = _SEEK_MARGIN_SECONDS if info.container in _WITHOUT_HEADER else 0.0
            seek = max(0.0, found.key.time - info.start - margin)
            return _position(info, time, found, seek or None)
    reader = list_packets(run, info, video.stream_index)
    found = _on_screen(reader.frames(), wanted, first_is_key=True)
    return _position(info, time, found, None) if found else Position(time)


def _until_next(
    run: Run, info: MediaInfo, video: VideoStream, found: "OnScreen", wanted: float
) -> "OnScreen":
    """Extend a frame whose stated end has passed to the next frame, if there is one.

    The next one may come after a long gap, as where the signal of a recording was lost. Lists the
    rest of the file only in such a gap, or if ``wanted`` is after the end.
    """
    frame = found.frame
    if frame.time + frame.duration > wanted:
        return found
    rest = list_packets(run, info, video.stream_index, wanted).frames()
    later = next((other.time for other in rest if other.time > wanted), None)
    if later is None:
        return found
    return found._replace(frame=frame._replace(duration=later - frame.time))


def _position(info: MediaInfo, time: float, found: "OnScreen", seek: float | None) -> Position:
    frame = found.frame
    return Position(time, frame.time - info.start, frame.duration, seek, info.start)


def _frames_around(
    run: Run, info: MediaInfo, video: VideoStream, start: float, wanted: float
) -> list[Frame]:
    frames: list[Frame] = []
    for ahead in _LOOK_AHEAD_SECONDS:
        reader = list_packets(run, info, video.stream_index, start, wanted + ahead)
        if info.container in _WITHOUT_HEADER:
            # A seek may land in the middle of a frame, which then seems to be a keyframe.
            reader.drop_first()
        frames = reader.frames()
        before = [frame.time for frame in frames if frame.time <= wanted]
        if not before or wanted - before[-1] < _LONG_FRAME_SECONDS:
            break
    return frames


class OnScreen(NamedTuple):
    """The frame on the screen, and the keyframe that must be decoded before it."""

    frame: Frame
    key: Frame


def _on_screen(
    frames: list[Frame], wanted: float, *, first_is_key: bool = False
) -> OnScreen | None:
    shown = [frame for frame in frames if frame.time <= wanted + _EPSILON]
    if first_is_key:
        # Before the first frame, a player shows the first frame.
        shown = shown or frames[:1]
        keys = shown[:1]
    else:
        keys = [frame for frame in shown if frame.is_key]
    if not keys:
        return None
    frame = shown[-1]
    if len(frames) > len(shown):
        # A packet may state no duration. The frame is shown until the next one.
        until_next = frames[len(shown)].time - frame.time
        frame = frame._replace(duration=max(frame.duration, until_next))
    return OnScreen(frame, keys[-1])


_EPSILON: Final = 1e-4
# What ffmpeg shows a raw stream with.
_DEFAULT_RATE: Final = (25, 1)
