"""Prepares an image for libvips: copies it to memory if libvips would read the file wrongly."""

import os
from typing import Final, NamedTuple, Protocol

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import bmp, colour_tags, image_kinds, image_layout, jpeg, tiff
from media_converter.files.bmp import Bitmap
from media_converter.files.colour_tags import ColourTags
from media_converter.files.structure import ReadAt, is_video_or_audio
from media_converter.planning import icc, image_input
from media_converter.probing import ffprobe
from media_converter.probing.media import ImageInfo
from media_converter.running.process import Files, ProcessResult
from media_converter.step import Step

_CHUNK: Final = 1 << 20
# Per pixel. The decoder keeps the whole image: each row may refer to any earlier one.
_LOSSLESS_WEBP_BYTES: Final = 4.0
# So much more memory than for 4:2:0, without the file, which loader and decoder copy.
_FULL_CHROMA_HEIF: Final = 1.75


class Tools(Protocol):
    """What preparing needs of a run of the converter."""

    @property
    def read(self) -> ReadAt:
        """A function that reads the input at an offset."""

    def run_tool(self, step: Step, files: Files | None = None) -> ProcessResult:
        """Run a tool with these files, or with the input alone."""

    def explain_failure(self, step: Step, result: ProcessResult) -> ConversionError:
        """The ConversionError for a tool that failed on the input."""


class ImageInput(NamedTuple):
    """What libvips reads: ``fd`` is the input, or a copy of it in memory.

    ``profile`` is the descriptor of the ICC profile of its colours. None if they are sRGB or the
    image has its own profile.
    """

    fd: int
    profile: int | None = None


class ImageFacts(NamedTuple):
    """What the converter reads from the file itself, without libvips.

    ``profile`` is the ICC profile that says the same as ``tags``. ``page`` is that of a TIFF, and
    ``bitmap`` the header of a BMP.
    """

    info: ImageInfo
    page: tiff.TiffPage | None = None
    tags: ColourTags | None = None
    profile: bytes | None = None
    bitmap: Bitmap | None = None

    @property
    def needs_profile(self) -> bool:
        """Whether libvips gets an ICC profile."""
        return self.profile is not None or (self.page is not None and self.page.is_float_grey)


def refuse_without_loader(read: ReadAt) -> None:
    """Raise ConversionError with UnsupportedFormat if no loader reads files of this kind."""
    if is_video_or_audio(read):
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            "the input is a video or audio; use video_to_mp4, extract_thumbnail or audio_to_mp3",
        )
    kind = image_kinds.without_loader(read)
    if kind:
        raise ConversionError(
            ExitReason.UNSUPPORTED_FORMAT,
            f"{kind} is not accepted as input; save it as JPEG, PNG or WebP",
        )


def examine_bitmap(read: ReadAt, size_bytes: int) -> ImageFacts | None:
    """Read the header of a BMP. None for other files. Raises ConversionError."""
    bitmap = bmp.header(read)
    if bitmap is None:
        return None
    if bitmap.problem:
        reason = ExitReason.UNSUPPORTED_FORMAT
        if "damaged" in bitmap.problem:
            reason = ExitReason.INPUT_DAMAGED
        raise ConversionError(
            reason, f"the BMP image cannot be read: {bitmap.problem}; save it as PNG or JPEG"
        )
    missing = bitmap.missing_bytes(size_bytes)
    if missing:
        raise truncated(f"{missing} bytes are missing at its end")
    pixels = bitmap.width * bitmap.height
    info = ImageInfo(
        "bmp",
        bitmap.width,
        bitmap.height,
        needs_srgb=bool(bitmap.profile),
        copied_bytes=pixels * (5 if bitmap.is_run_length else 4),
    )
    return ImageFacts(info, bitmap=bitmap)


def examine(tools: Tools, info: ImageInfo, size_bytes: int) -> ImageFacts:
    """Read what libvips does not. ``info`` is what it found. Raises ConversionError."""
    page = tiff.first_page(tools.read) if info.format == "tiff" else None
    if page:
        info = image_input.prepared_info(info, page, size_bytes)
    if info.format == "webp" and not info.is_animated and image_layout.is_lossless_webp(tools.read):
        info = info._replace(held_bytes=_LOSSLESS_WEBP_BYTES)
    if info.format == "heif":
        if image_layout.is_full_chroma_heif(tools.read):
            info = info._replace(held_bytes=info.held_bytes * _FULL_CHROMA_HEIF)
        info = info._replace(copied_bytes=2 * size_bytes)
    tags = colour_tags.colour_tags(tools.read) if info.format in ("png", "heif") else None
    if info.format == "heif" and tags is None and not info.needs_srgb:
        tags = _tags_of_codec(tools)
    profile = icc.profile_for(tags, grey=info.is_grey)
    return ImageFacts(info, page, tags, profile)


def _tags_of_codec(tools: Tools) -> ColourTags | None:
    """The tags in the coded image of a HEIF or AVIF image, which count if it has no box colr."""
    described = ffprobe.parse(tools.run_tool(ffprobe.step()).stdout)
    streams = (*described.video, *described.attached_pics) if described else ()
    found = (colour_tags.by_name(s.color_primaries, s.color_transfer) for s in streams)
    return next((tags for tags in found if tags), None)


def prepare(tools: Tools, source: int, size_bytes: int, facts: ImageFacts) -> ImageInput:
    """Make the copies that the image needs. Raises ConversionError."""
    profile = facts.profile
    fd = source
    if facts.bitmap:
        fd = _decoded(tools.read, facts.bitmap)
    elif facts.page:
        fd, linear = _plain_tiff(tools, source, facts.page)
        if facts.page.is_float_grey:
            profile = icc.float_grey_profile(linear=linear)
    elif profile and facts.tags and facts.tags.over_profile:
        fd = _without_profile(tools.read, source, size_bytes)
    return ImageInput(fd, None if profile is None else _in_memory("profile", profile))


def with_end_mark(read: ReadAt, source: int, size_bytes: int) -> int | None:
    """A copy of a JPEG that has the end mark. None if the file has the mark or is no JPEG."""
    end = jpeg.missing_end(read, size_bytes)
    if not end:
        return None
    copy = os.memfd_create("jpeg", os.MFD_CLOEXEC)
    _copy(source, copy, 0, size_bytes)
    _write(copy, end)
    return copy


def lacks_last_rows(tools: Tools, source: int, info: ImageInfo, warnings: str) -> bool:
    """Whether pixels at the end of a JPEG are missing, though it has an end mark.

    ``warnings`` are those of the loader. It gives the same warning if pixels are missing elsewhere,
    so the last pixel decides: the loader fills in a middle grey.
    """
    if info.format != "jpeg" or image_input.EARLY_END not in warnings:
        return False
    step = image_input.last_pixel_step(info)
    return image_input.is_filled_in(tools.run_tool(step, Files(source)).stdout)


def padded(read: ReadAt, source: int, size_bytes: int) -> int:
    """A copy of a WebP that lacks only its last byte of padding, or else the input itself.

    A chunk of odd length has a byte of padding. Some programs leave out the last one.
    """
    head = read(0, 12)
    length = int.from_bytes(head[4:8], "little") + 8
    if head[:4] + head[8:] != b"RIFFWEBP" or length != size_bytes + 1 or length % 2:
        return source
    copy = os.memfd_create("webp", os.MFD_CLOEXEC)
    _copy(source, copy, 0, size_bytes)
    _write(copy, b"\0")
    return copy


def _plain_tiff(tools: Tools, source: int, page: tiff.TiffPage) -> tuple[int, bool]:
    """A TIFF or PNG with samples that libvips reads rightly, and whether they are linear light."""
    fd, linear = source, False
    if image_input.is_deep(page):
        step = image_input.statistics_step()
        result = tools.run_tool(step, Files(fd))
        found = image_input.parse_statistics(result.stdout)
        if result.exit_code != 0 or found is None:
            raise tools.explain_failure(step, result)
        fd = _rewrite(tools, fd, image_input.plain_samples_step(page, found))
        linear = image_input.is_light(page, found)
    return _rewrite(tools, fd, image_input.bands_step(page)), linear


def _rewrite(tools: Tools, fd: int, step: Step | None) -> int:
    if step is None:
        return fd
    copy = os.memfd_create(step.name, os.MFD_CLOEXEC)
    result = tools.run_tool(step, Files(fd, copy))
    if result.exit_code != 0:
        raise tools.explain_failure(step, result)
    return copy


def _decoded(read: ReadAt, bitmap: Bitmap) -> int:
    """A TIFF with the pixels of a BMP."""
    with_alpha = bmp.has_alpha(read, bitmap)
    copy = os.memfd_create("bmp", os.MFD_CLOEXEC)
    waiting = bytearray(bmp.tiff_header(bitmap, with_alpha=with_alpha))
    try:
        for row in bmp.rows(read, bitmap, with_alpha=with_alpha):
            waiting += row
            if len(waiting) >= _CHUNK:
                _write(copy, waiting)
                waiting.clear()
    except ValueError as error:
        raise truncated(str(error)) from error
    _write(copy, waiting)
    return copy


def truncated(why: str) -> ConversionError:
    """The ConversionError for an image of which something is missing."""
    return ConversionError(
        ExitReason.INPUT_TRUNCATED, f"the input is truncated: {why}; upload it again"
    )


def _write(fd: int, data: bytes | bytearray) -> None:
    written = 0
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _without_profile(read: ReadAt, source: int, size_bytes: int) -> int:
    """A copy of a PNG without its ICC profile, which has less weight than its chunk cICP."""
    copy = os.memfd_create("png", os.MFD_CLOEXEC)
    at = 0
    for kind, offset, length in colour_tags.png_chunks(read):
        if kind == b"iCCP":
            _copy(source, copy, at, offset - 8)
            at = offset + length + 4
    _copy(source, copy, at, size_bytes)
    return copy


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(source, min(_CHUNK, end - start), start)
        if not data:
            return
        _write(target, data)
        start += len(data)


def _in_memory(name: str, data: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    _write(fd, data)
    return fd
