"""Writes what the input is as a JSON document."""

from __future__ import annotations

import json
import os
from typing import Final

from media_converter.contract import ExitReason, Output
from media_converter.errors import ConversionError
from media_converter.files import jpeg, placeholder, png, structure
from media_converter.files.digest import sha256
from media_converter.files.write import write_all
from media_converter.planning.audio_filters import (
    audio_decoder_options,
    choose_audio,
    reading_alone,
)
from media_converter.planning.image import plan_image
from media_converter.planning.joined_tracks import feed, mix_filters
from media_converter.planning.media_info import (
    Document,
    Extra,
    Placeholder,
    describe_image,
    describe_media,
)
from media_converter.planning.thumbnail import ThumbnailRequest
from media_converter.planning.video_choice import refuse_if_needs_dolby_vision
from media_converter.probing.media import MediaInfo
from media_converter.running import image, image_input, loudness, survey, thumbnail, verify
from media_converter.running.process import Files
from media_converter.running.run import Converted, Run, refuse_playlists_and_documents
from media_converter.step import Stdout
from media_converter.typed_options import ImageOptions, InfoOptions, ThumbnailOptions

_MAX_FRAME_BYTES: Final = 1 << 20


def write_info(run: Run, options: InfoOptions) -> Converted:
    """Describe the input. Raises ConversionError if it is no media file."""
    refuse_playlists_and_documents(run)
    is_image = structure.looks_like_image(run.read) and not jpeg.is_motion_jpeg(run.read)
    document, warnings = _image(run, options) if is_image else _media(run, options)
    # JSON has no word for infinity and for what is no number.
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    fd = run.make_temporary().fd
    write_all(fd, text)
    if os.pread(fd, len(text) + 1, 0) != text:
        raise verify.not_readable("cannot be read back")
    for warning in warnings:
        run.log(warning)
    return Converted(Output(sha256=sha256(fd, run.runner.check), container="json"), warnings)


def probe_only(run: Run) -> float | None:
    """How many seconds of media the input has. None if this is not known.

    Raises ConversionError if it is no media file.
    """
    refuse_playlists_and_documents(run)
    if structure.looks_like_image(run.read) and not jpeg.is_motion_jpeg(run.read):
        image.probe_image(run, image_input.padded(run.read, run.source.fd, run.source.size_bytes))
        return 0.0
    return survey.probe(run).duration


def _media(run: Run, options: InfoOptions) -> tuple[Document, tuple[str, ...]]:
    info = survey.probe(run)
    run.log(f"media: {info.container}, {len(info.video)} video, {len(info.audio)} audio")
    extra, warnings = Extra(), []
    if options.loudness:
        audio = choose_audio(info, next(iter(info.video), None))
        if audio is None:
            warnings.append("The document has no loudness: the input has no audio.")
        else:
            read = audio_decoder_options(audio)
            tracks = feed(run.limits, info, audio, reading_alone(read, audio.start - info.start))
            stream = tracks or audio.stream_index
            found = loudness.measure(run, info, stream, mix_filters(audio), read)
            if found is None:
                warnings.append("The document has no loudness: it cannot be measured.")
            elif not found.is_whole:
                warnings.append(
                    "The document has no loudness: the channels or the sample rate of the audio "
                    "change."
                )
            else:
                extra = extra._replace(loudness=found)
    if options.placeholder:
        hint = _placeholder(options.placeholder, _frame(run, info))
        extra = extra._replace(placeholder=hint)
        if hint is None:
            warnings.append(
                "The document has no placeholder: the input has neither a video nor an image."
            )
    document = describe_media(info, run.source.size_bytes, run.missing_bytes(), extra)
    return document, tuple(warnings)


def _image(run: Run, options: InfoOptions) -> tuple[Document, tuple[str, ...]]:
    source = image_input.padded(run.read, run.source.fd, run.source.size_bytes)
    facts = image.probe_image(run, source)
    run.log(f"image: {facts.info.format}")
    extra, warnings = Extra(), []
    if options.placeholder:
        data = _shrunk(run, source, facts)
        extra = extra._replace(placeholder=_placeholder(options.placeholder, data))
    if options.loudness:
        warnings.append("The document has no loudness: the input is an image.")
    missing = structure.missing_bytes(run.read, run.source.size_bytes)
    document = describe_image(facts.info, run.source.size_bytes, missing, extra)
    return document, tuple(warnings)


def _placeholder(name: str, data: bytes | None) -> Placeholder | None:
    """Compute the placeholder from a small PNG. None without one."""
    if data is None:
        return None
    pixels = png.decode(data)
    if pixels is None:
        raise ConversionError(
            ExitReason.INTERNAL_ERROR,
            "the small image for the placeholder cannot be read; leave the option placeholder "
            "out, and report this",
        )
    compute = placeholder.thumbhash if name == "thumbhash" else placeholder.blurhash
    return Placeholder(name, compute(pixels), placeholder.dominant_colour(pixels))


def _shrunk(run: Run, source: int, facts: image_input.ImageFacts) -> bytes:
    """A PNG of the image, with sides of at most MAX_SIDE pixels."""
    options = ImageOptions(placeholder.MAX_SIDE, placeholder.MAX_SIDE)
    plan = plan_image(
        facts.info,
        options,
        "png",
        run.task.background,
        run.limits,
        has_profile=facts.needs_profile,
    )
    prepared = image_input.prepare(run, source, run.source.size_bytes, facts)
    step = plan.step._replace(name="placeholder", stdout=Stdout.CAPTURE)
    result = image.run_image_tool(run, step, Files(prepared.fd, None, prepared.profile))
    if result.exit_code != 0:
        # A JPEG that lacks only its end mark is converted, so it is described too.
        copy = image_input.with_end_mark(run.read, run.source.fd, run.source.size_bytes)
        if copy is not None:
            result = image.run_image_tool(run, step, Files(copy, None, prepared.profile))
    if result.exit_code != 0:
        raise run.explain_failure(step, result)
    return result.stdout


def _frame(run: Run, info: MediaInfo) -> bytes | None:
    """A PNG of the frame that extract_thumbnail takes by default. None if there is none."""
    video = next(iter((*info.video, *info.attached_pics)), None)
    if video is None:
        return None
    refuse_if_needs_dolby_vision(video)
    size = (placeholder.MAX_SIDE, placeholder.MAX_SIDE)
    request = ThumbnailRequest(
        info, video, ThumbnailOptions(size=size), run.limits, "png", run.task.background
    )
    frame = os.memfd_create("frame", os.MFD_CLOEXEC)
    try:
        thumbnail.extract_bright_frame(run, request, frame)
        return os.pread(frame, _MAX_FRAME_BYTES, 0)
    finally:
        os.close(frame)
