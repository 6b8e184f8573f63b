"""Pictures: sizes, and the filters that bring any video to square, limited-range yuv420p."""

from __future__ import annotations

from typing import Final

from media_converter.media import VideoStream

# Transparency beside the picture: ffmpeg's own decoders do not look at it.
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_FIELD_ORDERS: Final = ("tt", "bb", "tb", "bt")
_FIELD_CODECS: Final = ("h264", "mpeg2video", "vc1", "dvvideo", "mpeg4", "prores", "dnxhd", "ffv1")
_LEAST_TO_DEINTERLACE: Final = 4
# As every browser: a GIF's frame of less than 2/100 s lasts a tenth of a second.
_GIF_TIMES: Final = (
    "setpts='if(isnan(PREV_OUTPTS),0,"
    "PREV_OUTPTS+if(lt((PTS-PREV_INPTS)*TB,0.02),0.1/TB,PTS-PREV_INPTS))'"
)
# The colour of RGB from all pixels, not every second one: odd rows would end in what lies behind.
_SCALER: Final = "bicubic+full_chroma_inp"
# Pixel formats that carry no matrix of their own.
_RGB: Final = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "mono", "gray")


def fit_box(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape within ``box``, never enlarged, each side at least 1."""
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fit_short_side(width: int, height: int, short: int | None) -> tuple[int, int]:
    """The same shape in even sides, the shorter at most ``short``; never enlarged but from 1 to 2.

    H.264 with 4:2:0 has no odd sides.
    """
    now = min(width, height)
    if short is None or now <= short:
        return max(2, width - width % 2), max(2, height - height % 2)
    return max(2, 2 * round(width * short / now / 2)), max(2, 2 * round(height * short / now / 2))


def decoder_options(video: VideoStream) -> tuple[str, ...]:
    """Input options of the video's decoder."""
    if video.coded_alpha and video.codec in _ALPHA_DECODERS:
        return ("-c:v", _ALPHA_DECODERS[video.codec])
    return ()


def flatten(background: str) -> str:
    """Lay a see-through picture on a colour, RRGGBB.

    Before any scaling: mixing see-through with solid pixels would bring out the colours hidden
    under them. The background is made of the frame itself, so it has its size and time.
    """
    return (
        "format=rgba,split[front][back];"
        f"[back]drawbox=c=0x{background}:t=fill:replace=1[ground];"
        "[ground][front]overlay=format=rgb"
    )


def video_filter(
    video: VideoStream, size: tuple[int, int], max_rate: int | None, background: str
) -> str:
    """The filter from decoded frames to frames for the encoder, in ``size`` pixels."""
    return ",".join(
        part
        for part in (
            flatten(background) if video.alpha else "",
            deinterlace(video),
            _GIF_TIMES if is_hasty_gif(video) else limit_rate(max_rate) if max_rate else "",
            *to_sdr(video, size),
        )
        if part
    )


def is_hasty_gif(video: VideoStream) -> bool:
    """Whether a GIF has frames of 1/100 s, which browsers show for a tenth of a second."""
    return (
        video.codec == "gif"
        and video.peak_rate is not None
        and (video.peak_rate[0] > 50 * video.peak_rate[1])
    )


def deinterlace(video: VideoStream) -> str:
    """A deinterlacer that leaves frames alone which are not flagged as interlaced.

    Where the file does not say, codecs of broadcast and camcorders may hold fields all the same.
    """
    fields = video.order in _FIELD_ORDERS or (
        video.order == "unknown" and video.codec in _FIELD_CODECS
    )
    tall_enough = min(video.width, video.height) >= _LEAST_TO_DEINTERLACE
    return "bwdif=mode=send_frame:deint=interlaced" if fields and tall_enough else ""


def limit_rate(most: int) -> str:
    """Drop frames that follow another too closely; a varying rate stays varying.

    A constant rate instead would turn 30 frames a second with one burst of 120 into 120 for ever.
    """
    gap = 1 / most - 0.0005
    return f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{gap:.4f})'"


def wide_colours(video: VideoStream) -> bool:
    """Whether colours have to be brought from BT.2020 to BT.709."""
    return video.hdr or video.primaries == "bt2020" or video.matrix.startswith("bt2020")


def to_sdr(video: VideoStream, size: tuple[int, int]) -> tuple[str, ...]:
    """Scale, and bring colours to 8-bit limited-range standard dynamic range."""
    width, height = size
    scale = f"scale={width}:{height}:flags={_SCALER}"
    end = ("setsar=1", "format=yuv420p")
    if wide_colours(video):
        return (f"{scale},format=yuv420p10le", *_tone_map(video), *end)
    if video.pixel_format.startswith(_RGB) or video.alpha:
        tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        return (f"{scale}:out_color_matrix=bt709:out_range=tv", "format=yuv420p", tags, *end)
    if video.full_range:
        return (f"{scale}:in_range=pc:out_range=tv", *end)
    return (scale, *end)


def _tone_map(video: VideoStream) -> tuple[str, ...]:
    transfer = video.transfer if video.hdr else "bt709"
    # What the file leaves out is filled in: zscale has no path from an unknown colour space.
    source = (
        "setparams=color_primaries=bt2020:colorspace=bt2020nc:"
        f"color_trc={transfer}:range={'pc' if video.full_range else 'tv'}"
    )
    if not video.hdr:
        return (source, "zscale=p=bt709:t=bt709:m=bt709:r=tv")
    return (
        source,
        # One step for all three: each step in floating point holds frames of 12 bytes a pixel.
        "zscale=t=linear:npl=100:p=bt709:m=gbr",
        "format=gbrpf32le",
        "tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
    )


def still_filter(video: VideoStream, size: tuple[int, int], form: str, background: str) -> str:
    """The filter from a decoded frame to one picture in ``size`` pixels."""
    width, height = size
    parts = [flatten(background) if video.alpha else "", deinterlace(video)]
    if wide_colours(video):
        parts += to_sdr(video, size)
    scale = f"scale={width}:{height}:flags={_SCALER}"
    if form == "png":
        parts += [scale, "format=rgb24"]
    elif form == "jpeg":
        # JPEG is full range by the matrix of BT.601, whatever the video was.
        parts += [f"{scale}:out_color_matrix=bt601:out_range=pc", "format=yuvj420p"]
    else:
        parts += [f"{scale}:out_color_matrix=bt601:out_range=tv", "format=yuv420p"]
    return ",".join(part for part in (*parts, "setsar=1") if part)
