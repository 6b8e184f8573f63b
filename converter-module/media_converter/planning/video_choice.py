"""Chooses the video stream of an input, and refuses videos whose colours would be wrong."""

from __future__ import annotations

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing.media import MAX_FRAME_PIXELS, MediaInfo, VideoStream


def choose_video(info: MediaInfo) -> VideoStream:
    """The first video stream that can be decoded.

    Raises ConversionError with the reason NoVideoStream, UnsupportedFormat, Encrypted, InputDamaged
    or InputTooLarge.
    """
    if info.video:
        refuse_too_large(info.video[0])
        _refuse_reserved_matrix(info.video[0])
        return info.video[0]
    undecodable = [name for name in info.undecodable if name.startswith("video")]
    if undecodable:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"there is no decoder for {', '.join(undecodable)}; "
            "convert the input to a common format first",
        )
    if any(stream.starts_late and stream.kind == "video" for stream in info.unread):
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            "the video starts after the part of the file that the converter searches for streams; "
            "cut off the beginning of the file",
        )
    unread = [stream.codec for stream in info.unread if stream.kind == "video"]
    if any(stream.scrambled and stream.kind == "video" for stream in info.unread):
        raise ConversionError(
            ExitReason.ENCRYPTED,
            "the video is encrypted, and the converter has no key; use an unencrypted copy",
        )
    if unread:
        raise ConversionError(
            ExitReason.INPUT_DAMAGED,
            f"no frame of the {unread[0]} video stream can be decoded; upload the file again",
        )
    raise ConversionError(
        ExitReason.NO_VIDEO_STREAM, "the file has no video stream; use audio_to_mp3"
    )


def refuse_too_large(video: VideoStream) -> None:
    """Raise ConversionError with the reason InputTooLarge if frames have too many pixels.

    The size comes from the header of the file, so no frame is decoded.
    """
    if video.width * video.height > MAX_FRAME_PIXELS:
        raise ConversionError(
            ExitReason.INPUT_TOO_LARGE,
            f"{video.width}x{video.height} is {video.width * video.height / 1e6:.0f} megapixels, "
            f"over the limit of {MAX_FRAME_PIXELS / 1e6:.0f} for a video; make it smaller",
        )


def _refuse_reserved_matrix(video: VideoStream) -> None:
    """Raise ConversionError (UnsupportedFormat) if color_space is reserved.

    No standard defines this matrix.
    """
    if video.color_space == "reserved":
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            "the video names a colour matrix that no standard defines; remove its colour tags",
        )


def refuse_if_needs_dolby_vision(video: VideoStream) -> None:
    """Raise ConversionError (UnsupportedFormat) if the video needs a Dolby Vision decoder.

    Other decoders show wrong colours if there is no compatible base layer.
    """
    if video.needs_dolby_vision:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"Dolby Vision profile {video.dolby_profile} has no base layer that other decoders can "
            "show; export the video as HDR10, HLG or SDR",
        )
