"""Computes output sizes, and builds the filters between the decoder and the encoder."""

from __future__ import annotations

from typing import Final

from media_converter.planning.plan import NO_EVIDENCE, Evidence
from media_converter.probing.media import Ratio, VideoStream
from media_converter.probing.pixel_shapes import Shapes, spans
from media_converter.probing.rates import MAX_EARLY

# The alpha channel of these codecs is a second bit stream, which ffmpeg's own decoders ignore.
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_INTERLACED_FIELD_ORDERS: Final = ("tt", "bb", "tb", "bt")
# Codecs of broadcasts and camcorders, whose frames often consist of two interlaced fields.
_FIELD_CODECS: Final = ("h264", "mpeg2video", "vc1", "dvvideo", "mpeg4", "prores", "dnxhd", "ffv1")
_MIN_SIDE_TO_DEINTERLACE: Final = 4
# The times of GIF frames are multiples of 10 ms. Like every browser, show frames that are shorter
# than 20 ms for 100 ms.
_GIF_TIMESTAMPS: Final = (
    "setpts='if(isnan(PREV_OUTPTS),0,"
    "PREV_OUTPTS+if(lt((PTS-PREV_INPTS)*TB,0.02),0.1/TB,PTS-PREV_INPTS))'"
)
# Take the chroma of RGB from all pixels, not from every second one. Otherwise the last chroma
# sample of a row with an odd width would include what follows the row in memory.
_SCALER: Final = "bicubic+full_chroma_inp"
_ANIMATIONS: Final = ("gif", "apng", "webp")
# A first or last frame that is shown for longer than this is repeated.
_MIN_HELD_SECONDS: Final = 0.3
# Frames per second. A video with a lower average frame rate counts as a slide show. If the output
# is trimmed, the fps filter repeats its frames at _REPEATED_RATE.
_SLIDE_SHOW_RATE: Final = 8
_REPEATED_RATE: Final = 10
# A higher r_frame_rate is often only the resolution of the timestamps. hold_frames then uses 30 fps
# for a long first frame. It does not repeat a long last frame, except in APNG and WebP: there it
# uses the highest frame rate that the output allows.
_MAX_TRUSTED_RATE: Final = 60
MATRICES: Final = ("bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc")
"""The matrices from RGB to YUV that the scaler and players know, by ffprobe's names."""
_MIN_HD_WIDTH: Final = 1280
_MIN_HD_HEIGHT: Final = 720
# Prefixes of RGB and grey pixel formats. They have no matrix from RGB to YUV.
_RGB: Final = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "mono", "gray")


def fit_box(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the same aspect ratio that fits into ``box``.

    Never larger than ``width`` x ``height``. Each side is at least 1 pixel.
    """
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fit_short_side(width: int, height: int, short: int | None) -> tuple[int, int]:
    """The size with the same aspect ratio whose shorter side is at most ``short`` pixels.

    Never larger than ``width`` x ``height``, but each side is at least 2 pixels. Both sides are
    even, because H.264 with 4:2:0 has no odd sides.
    """
    shorter = min(width, height)
    if short is None or shorter <= short:
        return max(2, width - width % 2), max(2, height - height % 2)
    return max(2, 2 * round(width * short / shorter / 2)), max(
        2, 2 * round(height * short / shorter / 2)
    )


def decoder_options(video: VideoStream) -> list[str]:
    """Input options that choose the video's decoder."""
    if video.coded_alpha and video.codec in _ALPHA_DECODERS:
        return ["-c:v", _ALPHA_DECODERS[video.codec]]
    return []


def flatten(background: str) -> str:
    """The filters that lay transparent frames on ``background``, a colour as RRGGBB.

    They must come before any scaling: mixing transparent with opaque pixels would show the colours
    hidden under the transparency. The lower layer is a copy of the frame that is filled with the
    colour, so it has the same size and timestamp.
    """
    return (
        "format=rgba,split[front][back];"
        f"[back]drawbox=c=0x{background}:t=fill:replace=1[ground];"
        "[ground][front]overlay=format=rgb"
    )


def fit_varying(size: tuple[int, int], sar: str = "sar") -> list[str]:
    """The filters that fit frames of any size into ``size``, between black bars.

    ``sar`` is the sample aspect ratio, as an expression of the filter scale.
    """
    box = f"{size[0]}:{size[1]}"
    return [
        f"scale='max(2,iw*max(1,{sar}))':'max(2,ih*max(1,1/({sar})))'",
        "setsar=1",
        f"scale={box}:force_original_aspect_ratio=decrease:flags={_SCALER}",
        f"pad={box}:-1:-1",
    ]


def fit_shapes(size: tuple[int, int], shapes: Shapes) -> str:
    """The filters that fit frames with several sample aspect ratios into ``size``.

    ffmpeg gives all frames the first sample aspect ratio. So split makes a copy of each frame for
    each ratio, each copy is scaled for its ratio, and overlay shows the copy that is right for the
    frame number n. A scale expression could depend on n, but scale would then set up its scaler for
    each frame.

    If the frame size identifies the ratio (``by_size``), one scale expression is enough.
    """
    if shapes.by_size:
        sar = "1"
        for (width, height), (x, y) in shapes.by_size:
            sar = f"if(eq(iw,{width})*eq(ih,{height}),{x}/{y},{sar})"
        return ",".join(fit_varying(size, sar))
    fits, layers = [], []
    grouped = list(spans(shapes.runs))
    for index, ((x, y), shown) in enumerate(grouped):
        fits.append(f"[in{index}]{','.join(fit_varying(size, f'{x}/{y}'))}[fit{index}]")
        is_shown = "+".join(
            f"gte(n,{first})" + ("" if end is None else f"*lt(n,{end})") for first, end in shown
        )
        if index:
            below = "[fit0]" if index == 1 else f"[on{index - 1}]"
            above = "" if index == len(grouped) - 1 else f"[on{index}]"
            layers.append(f"{below}[fit{index}]overlay=format=auto:enable='{is_shown}'{above}")
    if not layers:
        (x, y), _ = grouped[0]
        return ",".join(fit_varying(size, f"{x}/{y}"))
    inputs = "".join(f"[in{index}]" for index in range(len(grouped)))
    return f"split={len(grouped)}{inputs};" + ";".join([*fits, *layers])


def video_filter(
    video: VideoStream,
    size: tuple[int, int],
    frame_rate_limit: int | None,
    background: str,
    evidence: Evidence = NO_EVIDENCE,
    crop_to: tuple[int, int] | None = None,
) -> str:
    """The filters that turn decoded frames into frames of ``size`` for the encoder.

    Of ``evidence``, they use whether the frame size or the sample aspect ratio changes. If
    ``crop_to`` is given, the frame is cropped to this size, around its centre.
    """
    filters = []
    if video.has_alpha:
        filters.append(flatten(background))
    filters += deinterlace(video)
    if evidence.shapes is not None:
        # It uses the frame number, so it comes before the filter that limits the frame rate.
        filters.append(fit_shapes(size, evidence.shapes))
    if may_have_short_gif_frames(video):
        filters.append(_GIF_TIMESTAMPS)
    elif frame_rate_limit:
        filters.append(limit_frame_rate(frame_rate_limit))
    if evidence.size_varies and evidence.shapes is None:
        filters += fit_varying(size)
    filters += scale_to_sdr(video, size, crop_to)
    return ",".join(filters)


def hold_frames(
    video: VideoStream,
    first_held_seconds: float,
    last_held_seconds: float | None,
    *,
    is_trimmed: bool,
    allowed_frame_rate: int,
) -> list[str]:
    """The filter that keeps each frame on the screen for as long as in the input, by repeating it.

    Some filters drop the duration of a frame. Without this filter, three kinds of output are too
    short: a video whose last frame is shown for long; a range of a slide show, which would end when
    its last frame appears; and a range that starts in the middle of a long frame. An empty list if
    the filter is not needed.

    ``first_held_seconds`` is how long the first frame of the range stays on the screen. It is 0 if
    this is unknown or if the range starts at the start of the input. ``last_held_seconds`` is how
    long the last frame stays on the screen. It is None if this is unknown or if the output is
    trimmed. ``allowed_frame_rate`` is the frame rate that the output may not exceed.
    """
    # An unknown rate counts as 10 fps.
    rate = video.r_frame_rate or (_REPEATED_RATE, 1)
    is_trusted_rate = _rate(rate) <= _MAX_TRUSTED_RATE
    if first_held_seconds > _MIN_HELD_SECONDS and not is_slide_show(video):
        return [_fps(rate if is_trusted_rate else (30, 1), allowed_frame_rate)]
    if is_trimmed and is_slide_show(video):
        return [_fps((_REPEATED_RATE, 1), allowed_frame_rate)]
    holds_last = last_held_seconds is not None and last_held_seconds > _MIN_HELD_SECONDS
    may_repeat_last = is_trusted_rate or video.codec in _ANIMATIONS
    if holds_last and may_repeat_last and not may_have_short_gif_frames(video):
        return [_fps(rate, allowed_frame_rate)]
    return []


def _fps(rate: Ratio, allowed_frame_rate: int) -> str:
    if _rate(rate) > allowed_frame_rate:
        return f"fps={allowed_frame_rate}"
    return f"fps={rate[0]}/{rate[1]}"


def is_slide_show(video: VideoStream) -> bool:
    """Whether the video has fewer than 8 frames per second on average. False if this is unknown."""
    rate = video.avg_frame_rate or video.r_frame_rate
    return rate is not None and _rate(rate) < _SLIDE_SHOW_RATE


def _rate(ratio: Ratio) -> float:
    return ratio[0] / ratio[1]


def may_have_short_gif_frames(video: VideoStream) -> bool:
    """Whether this is a GIF that may have frames shorter than 20 ms: its r_frame_rate is above 50.

    Browsers show such frames for 100 ms.
    """
    frame_rate = video.r_frame_rate
    return video.codec == "gif" and frame_rate is not None and frame_rate[0] > 50 * frame_rate[1]


def deinterlace(video: VideoStream) -> list[str]:
    """A deinterlacer, if the video may be interlaced. Otherwise an empty list.

    If the field order is unknown, the codec decides. The deinterlacer leaves frames unchanged that
    are not flagged as interlaced.
    """
    may_be_interlaced = video.field_order in _INTERLACED_FIELD_ORDERS or (
        video.field_order == "unknown" and video.codec in _FIELD_CODECS
    )
    large_enough = min(video.width, video.height) >= _MIN_SIDE_TO_DEINTERLACE
    return ["bwdif=mode=send_frame:deint=interlaced"] if may_be_interlaced and large_enough else []


def limit_frame_rate(frame_rate_limit: int) -> str:
    """A filter that drops frames where the input has more than ``frame_rate_limit`` per second.

    The output keeps a variable frame rate. With a constant frame rate, a video of 30 fps with a
    short burst of 120 fps would have ``frame_rate_limit`` frames per second from start to end.

    ``ld(0)`` is the time when the next frame is due. A frame may come MAX_EARLY of a period early.
    So 72 frames per second become 60, not 36, and timestamps that are rounded to milliseconds do no
    harm. ffmpeg computes the period. A rounded period would drop a frame of a long video that has
    exactly this rate. Timestamps can be negative, so 0 does not identify the first frame, but isnan
    does.
    """
    period = f"1/{frame_rate_limit}"
    is_first = "isnan(prev_selected_t)"
    is_due = f"{is_first}+not(lt(t,ld(0)-{MAX_EARLY}*{period}))"
    due = f"max(t,if({is_first},t,ld(0))+{period})"
    return f"select='if({is_due},1+0*st(0,{due}),0)'"


def is_wide_gamut(video: VideoStream) -> bool:
    """Whether colours must be converted from BT.2020 to BT.709."""
    return video.is_hdr or "bt2020" in (video.color_primaries, video.color_space[:6])


def set_colour_tags(video: VideoStream) -> list[str]:
    """The filter that sets the colour tags of a video without tags, or with unsupported ones.

    Players show an untagged video as BT.709 if it is large, and as BT.601 if it is small. The
    scaler always treats it as BT.601, and does not support rare matrices.
    """
    if video.pixel_format.startswith(_RGB) or video.color_space in MATRICES:
        return []
    is_hd = video.width >= _MIN_HD_WIDTH or video.height >= _MIN_HD_HEIGHT
    if is_hd:
        return ["setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"]
    return ["setparams=colorspace=smpte170m"] if video.color_space else []


def scale_to_sdr(
    video: VideoStream, size: tuple[int, int], crop_to: tuple[int, int] | None = None
) -> list[str]:
    """The filters that scale to ``size`` and convert colours to 8-bit limited-range SDR.

    Every video needs these filters, also SDR video.

    If ``crop_to`` is given, the frame is cropped to this size, around its centre.
    """
    scale = f"scale={size[0]}:{size[1]}:flags={_SCALER}"
    crop = [f"crop={crop_to[0]}:{crop_to[1]}"] if crop_to else []
    last = ["setsar=1", "format=yuv420p"]
    if is_wide_gamut(video):
        if video.color_space not in ("", *MATRICES):
            scale = f"setparams=colorspace=bt2020nc,{scale}"
        # Crop before the conversion of colours, because its filters hold up to 12 bytes per pixel.
        return [scale, *crop, "format=yuv420p10le", *_narrow_gamut(video), *last]
    if video.pixel_format.startswith(_RGB) or video.has_alpha:
        tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        convert = f"{scale}:out_color_matrix=bt709:out_range=tv"
        return [convert, "format=yuv420p", tags, *last, *crop]
    named = set_colour_tags(video)
    if video.full_range:
        return [*named, f"{scale}:in_range=pc:out_range=tv", *last, *crop]
    return [*named, scale, *last, *crop]


def _narrow_gamut(video: VideoStream) -> list[str]:
    """The filters that convert BT.2020 video (HDR or SDR) to BT.709 SDR."""
    transfer = video.color_transfer if video.is_hdr else "bt709"
    # The file may not name its colour space, and zscale cannot convert from an unknown one.
    source = (
        "setparams=color_primaries=bt2020:colorspace=bt2020nc:"
        f"color_trc={transfer}:range={'pc' if video.full_range else 'tv'}"
    )
    if not video.is_hdr:
        return [source, "zscale=p=bt709:t=bt709:m=bt709:r=tv"]
    return [
        source,
        # One filter changes transfer, primaries and matrix, because each filter in floating point
        # holds frames of 12 bytes per pixel.
        "zscale=t=linear:npl=100:p=bt709:m=gbr",
        "format=gbrpf32le",
        "tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
    ]


def still_filter(
    video: VideoStream, size: tuple[int, int], output_format: str, background: str
) -> str:
    """The filters that turn a decoded frame into one image of ``size``."""
    filters = []
    if video.has_alpha:
        filters.append(flatten(background))
    filters += deinterlace(video)
    filters += scale_to_sdr(video, size) if is_wide_gamut(video) else set_colour_tags(video)
    scale = f"scale={size[0]}:{size[1]}:flags={_SCALER}"
    if output_format == "png":
        filters += [scale, "format=rgb24"]
    elif output_format == "jpeg":
        # JPEG is full range with the matrix of BT.601, whatever the video has.
        filters += [f"{scale}:out_color_matrix=bt601:out_range=pc", "format=yuvj420p"]
    else:
        filters += [f"{scale}:out_color_matrix=bt601:out_range=tv", "format=yuv420p"]
    return ",".join([*filters, "setsar=1"])
