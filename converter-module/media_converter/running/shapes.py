"""Looks whether the shape of the pixels changes within the input."""

from __future__ import annotations

from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.plan import Position
from media_converter.probing import pixel_shapes
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.probing.packets import PacketReader
from media_converter.probing.pixel_shapes import (
    LOOK_BYTES,
    ShapeReader,
    Shapes,
    UnsupportedShapesError,
)
from media_converter.running import survey
from media_converter.running.process import Files
from media_converter.running.run import Run

_START_SECONDS: Final = 1.0


def find(
    run: Run,
    info: MediaInfo,
    video: VideoStream,
    listing: PacketReader | None,
    position: Position | None,
) -> Shapes | None:
    """The shapes of the pixels from a position on. None if there is only the one that is stated.

    Reads the start of each keyframe. Only if they differ, it decodes the stream. Raises
    ConversionError if the shapes cannot be told apart.
    """
    if info.container not in pixel_shapes.CONTAINERS or listing is None:
        return None
    listings, first = [listing], None
    if position is not None:
        # The shape that is stated is that of the start of the file.
        start = info.start + _START_SECONDS
        listings.append(survey.list_packets(run, info, video.stream_index, None, start))
    if not _may_change(run, info, video, listings):
        return None
    if position is not None:
        time = position.time if position.frame_time is None else position.frame_time
        first = info.start + time
    reader = ShapeReader(first, restarts=info.clock_restarts)
    step = pixel_shapes.step(video.stream_index, info.demuxer_options, run.limits.threads)
    try:
        run.run_tool(step, Files(run.source.fd), on_line=reader.add_line)
        found = pixel_shapes.shapes(
            reader.changes, video.sample_aspect_ratio, has_one_layout=reader.has_one_layout
        )
    except UnsupportedShapesError as error:
        raise ConversionError(ExitReason.UNSUPPORTED_FORMAT, str(error)) from None
    if found:
        run.log("the shape of the pixels changes; frames are fitted into the first shape")
    return found


def _may_change(
    run: Run, info: MediaInfo, video: VideoStream, listings: list[PacketReader]
) -> bool:
    """Whether keyframes state different sizes or shapes.

    A keyframe without such a statement has that of the one before it. If none has one, nothing
    is known of them, and the stream may change. Streams of codecs whose statements are not known
    are not decoded for this.
    """
    if not pixel_shapes.states_shape(video.codec):
        return False
    seen: set[bytes] = set()
    keys = [
        offset
        for listing in listings
        for offset, is_key in zip(listing.offsets, listing.keys, strict=True)
        if is_key and offset >= 0
    ]
    for offset in keys:
        run.runner.check()
        data = run.read(offset, LOOK_BYTES)
        header = pixel_shapes.sequence_header(data, info.container, video.codec)
        if header is not None:
            seen.add(header)
        if len(seen) > 1:
            return True
    return len(keys) > 1 and not seen
