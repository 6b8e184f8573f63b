"""Estimates how long a conversion takes and how large its output is, before it runs.

The costs below are CPU seconds of the image's tools in a container with one CPU. They were measured
on the video (1280x720) and on a photograph of 18 megapixels of ``make bench-engine``, one command
for each: ``ffmpeg -i VIDEO -map 0:v:0 -f null -`` for a decoder, the options of planning.video for
an encoder, and ``vips thumbnail PHOTO FILE 1600 --height 900``. The machine was busy, so they are
somewhat too high. Videos differ: one may have half or twice the estimated size.
"""

from typing import Final, NamedTuple

from media_converter.planning.memory import EncodedVideo
from media_converter.probing.media import VideoStream
from media_converter.probing.rates import Rates

_START_SECONDS: Final = 0.5
"""Of the interpreter, the probe and the checks of the output."""
_DECODING_SECONDS_PER_PIXEL: Final = {"h264": 3.6e-9, "hevc": 6.1e-9, "av1": 3.0e-9, "vp9": 6.8e-9}
_OTHER_DECODING_SECONDS_PER_PIXEL: Final = 3.6e-9
"""Other codecs count as H.264."""
_ENCODING_SECONDS_PER_PIXEL: Final = {"low": 1.5e-8, "medium": 1.5e-8, "high": 2.2e-8}
_BITS_PER_PIXEL: Final = {"low": 0.03, "medium": 0.07, "high": 0.13}
"""For a pixel of a frame of the output, with H.264."""
_SECONDS_FACTOR: Final = {"h264": 1.0, "hevc": 4.1, "av1": 2.1, "vp9": 10.0}
_BITS_FACTOR: Final = {"h264": 1.0, "hevc": 0.8, "av1": 0.8, "vp9": 1.0}
"""What other codecs take, compared with H.264 on the first 3 s of the same video."""
_AAC_BITS_PER_SECOND: Final = 128_000
_AUDIO_SECONDS: Final = 0.05
"""To decode and encode one second of audio."""
_COPIED_BYTES_PER_SECOND: Final = 200_000_000
_STILL_BYTES_PER_PIXEL: Final = {
    "jpeg": 0.34,
    "png": 2.7,
    "webp": 0.34,
    "avif": 0.46,
    "gif": 1.0,
    "jxl": 0.3,
}
_STILL_SECONDS_PER_PIXEL: Final = {"avif": 1.4e-6}
_OTHER_STILL_SECONDS_PER_PIXEL: Final = 3.0e-7
_LOADING_SECONDS_PER_PIXEL: Final = 6.0e-8
_KEY_SECONDS: Final = 2.0
"""The time between two keyframes."""
_PREVIEW_RATE: Final = {"mp4": 25, "webp": 10}
"""Frames per second."""
_DECODED_FOR_THUMBNAIL: Final = 30
"""Frames."""


class Estimate(NamedTuple):
    """How long a conversion takes on one CPU, and how large the output is, in bytes.

    None if the duration of the input is not known.
    """

    seconds: float | None = None
    size: int | None = None


def of_copy(size_bytes: int) -> Estimate:
    """A conversion that only changes the container."""
    return Estimate(_START_SECONDS + size_bytes / _COPIED_BYTES_PER_SECOND, size_bytes)


def frame_counts(
    duration: float | None, rate: float, most: float, rates: Rates | None
) -> tuple[float, float] | None:
    """How many frames of a video are decoded and encoded. None if this is not known.

    ``rate`` is that of the header, and ``most`` the highest of the output, in frames per second.
    ``rates`` are those of the packets: a video can have more frames than its header says. At least
    as many frames are encoded as the header's rate gives, because a frame that is shown for long
    can be repeated.
    """
    stated = None if duration is None else (duration * rate, duration * min(rate, most))
    if rates is None or not rates.times:
        return stated
    decoded, kept = len(rates.times), rates.kept(most)
    return decoded, kept if stated is None else max(kept, stated[1])


def of_video(
    video: VideoStream,
    wanted: EncodedVideo,
    quality: str,
    frames: tuple[float, float] | None,
    audio_seconds: float,
    sharing_outputs: int = 1,
) -> Estimate:
    """An encoded video. ``sharing_outputs`` is how many outputs share the decoder.

    ``frames`` is how many are decoded and encoded. ``audio_seconds`` counts each pass.
    """
    if frames is None:
        return Estimate()
    decoding = _DECODING_SECONDS_PER_PIXEL.get(video.codec, _OTHER_DECODING_SECONDS_PER_PIXEL)
    size, codec = wanted
    read, written = video.width * video.height * frames[0], size[0] * size[1] * frames[1]
    encoding = _ENCODING_SECONDS_PER_PIXEL[quality] * _SECONDS_FACTOR[codec]
    seconds = read * decoding / sharing_outputs + written * encoding
    seconds += audio_seconds * _AUDIO_SECONDS
    bits_per_pixel = _BITS_PER_PIXEL[quality] * _BITS_FACTOR[codec]
    bits = written * bits_per_pixel + audio_seconds * _AAC_BITS_PER_SECOND
    return Estimate(_START_SECONDS + seconds, int(bits / 8))


def of_audio(bitrate: int, duration: float | None, passes: int = 1) -> Estimate:
    """An audio file. ``bitrate`` is in kbit/s, 0 if the format is lossless.

    Its size is then not known. ``passes`` is how many times the audio is decoded.
    """
    if duration is None:
        return Estimate()
    size = int(duration * bitrate * 1000 / 8) or None
    return Estimate(_START_SECONDS + duration * _AUDIO_SECONDS * passes, size)


def of_document(audio_seconds: float | None) -> Estimate:
    """A document or a drawing, for which so much audio is decoded. Its size is not known."""
    if audio_seconds is None:
        return Estimate()
    return Estimate(_START_SECONDS + audio_seconds * _AUDIO_SECONDS)


def of_thumbnail(video: VideoStream, size: tuple[int, int], output_format: str) -> Estimate:
    """A frame of a video, for which some frames before it are decoded."""
    pixels = video.width * video.height * _DECODED_FOR_THUMBNAIL
    seconds = pixels * _DECODING_SECONDS_PER_PIXEL.get(
        video.codec, _OTHER_DECODING_SECONDS_PER_PIXEL
    )
    still = of_still(0, size, output_format)
    return Estimate((still.seconds or 0.0) + seconds, still.size)


def of_storyboard(
    video: VideoStream, duration: float, size: tuple[int, int], output_format: str
) -> Estimate:
    """A storyboard of ``size``, for which the keyframes of the whole video are decoded."""
    pixels = video.width * video.height * duration / _KEY_SECONDS
    seconds = pixels * _DECODING_SECONDS_PER_PIXEL.get(
        video.codec, _OTHER_DECODING_SECONDS_PER_PIXEL
    )
    still = of_still(0, size, output_format)
    return Estimate((still.seconds or 0.0) + seconds, still.size)


def of_preview(
    video: VideoStream, size: tuple[int, int], seconds: float, output_format: str
) -> Estimate:
    """A preview, for which at most twice its length is decoded."""
    frames, pixels = seconds * _PREVIEW_RATE[output_format], size[0] * size[1]
    decoding = _DECODING_SECONDS_PER_PIXEL.get(video.codec, _OTHER_DECODING_SECONDS_PER_PIXEL)
    read = 2 * seconds * _PREVIEW_RATE["mp4"] * video.width * video.height
    if output_format == "webp":
        still = of_still(0, (1, round(frames * pixels)), "webp")
        return Estimate((still.seconds or 0.0) + read * decoding, (still.size or 0) // 4)
    encoding, bits = _ENCODING_SECONDS_PER_PIXEL["medium"], _BITS_PER_PIXEL["medium"]
    needed = _START_SECONDS + read * decoding + frames * pixels * encoding
    return Estimate(needed, int(frames * pixels * bits / 8))


def of_still(read_pixels: int, size: tuple[int, int], output_format: str) -> Estimate:
    """An image of ``size``, from an image of ``read_pixels``."""
    pixels = size[0] * size[1]
    rate = _STILL_SECONDS_PER_PIXEL.get(output_format, _OTHER_STILL_SECONDS_PER_PIXEL)
    seconds = _START_SECONDS + read_pixels * _LOADING_SECONDS_PER_PIXEL + pixels * rate
    return Estimate(seconds, int(pixels * _STILL_BYTES_PER_PIXEL[output_format]))
