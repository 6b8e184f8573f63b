"""Prints the configure flags of the image's ffmpeg, one per line, during the image build."""

from __future__ import annotations

import platform
import sys

from media_converter.probing.codecs import AUDIO_DECODERS, DEMUXERS, VIDEO_DECODERS

# Decoders whose name in configure is not the name of their codec.
DECODER_NAMES = {
    "amr_nb": ("amrnb",),
    "amr_wb": ("amrwb",),
    "av1": ("libdav1d",),
    "dts": ("dca",),
    "flv1": ("flv",),
    "mp1": ("mp1float",),
    "mp2": ("mp2float",),
    "mp3": ("mp3float",),
    "musepack7": ("mpc7",),
    "musepack8": ("mpc8",),
    # Two each: ffmpeg's own are faster, but only libvpx decodes the alpha channel.
    "vp8": ("vp8", "libvpx_vp8"),
    "vp9": ("vp9", "libvpx_vp9"),
}
ENCODERS = (
    # Sound. The muxer null, which only decodes, needs pcm_s16le and wrapped_avframe.
    *("aac", "flac", "libmp3lame", "libopus", "libvorbis", "pcm_s16le", "pcm_s24le"),
    # Films.
    *("libsvtav1", "libvpx_vp9", "libx264", "libx265"),
    # Pictures.
    *("libaom_av1", "libwebp", "libwebp_anim", "mjpeg", "png", "rawvideo", "wrapped_avframe"),
)
MUXERS = (
    *("avif", "flac", "image2", "ipod", "mp3", "mp4", "null", "ogg", "opus", "rawvideo", "wav"),
    # tee: one audio encoder for several files.
    *("tee", "webm", "webp"),
)
FILTERS = (
    # Sound. loudnorm is not in the image: it changes the dynamics if the linear gain would clip.
    *(
        "aformat",
        "alimiter",
        "ametadata",
        "anull",
        "aresample",
        "asetnsamples",
        "asetpts",
        "asplit",
    ),
    *("astats", "atrim", "ebur128", "pan", "volume", "volumedetect"),
    # Pictures.
    *("blackframe", "blurdetect", "bwdif", "concat", "crop", "drawbox", "format", "fps", "hflip"),
    *("metadata", "null", "overlay", "pad", "scale", "select", "setparams", "setpts", "setsar"),
    *("split", "tile", "tonemap", "transpose", "trim", "vflip", "zscale"),
)
BITSTREAM_FILTERS = (
    "aac_adtstoasc",
    "extract_extradata",
    "h264_mp4toannexb",
    "hevc_mp4toannexb",
    "null",
    "vp9_superframe",
    "vp9_superframe_split",
)
# What Debian builds its own packages with, but FORTIFY_SOURCE is 3 instead of 2. The build fails if
# the compiler does not know a flag.
HARDENED_COMPILER_FLAGS = (
    "-O2",
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=3",
)
# Marks the targets of indirect jumps, for processors that check them.
JUMP_TARGET_FLAGS = {"x86_64": "-fcf-protection", "aarch64": "-mbranch-protection=standard"}
LIBRARIES = (
    *("libaom", "libdav1d", "libmp3lame", "libopus", "libsvtav1", "libvorbis", "libvpx", "libwebp"),
    *("libx264", "libx265", "libzimg", "zlib"),
)


def compiler_flags() -> tuple[str, ...]:
    """The flags that make an error in a decoder harder to exploit."""
    return (*HARDENED_COMPILER_FLAGS, JUMP_TARGET_FLAGS[platform.machine()])


def flags() -> list[str]:
    """Disable everything, then enable what the converter uses: no network, devices or playlists."""
    decoders = [
        name
        for codec in sorted(VIDEO_DECODERS | AUDIO_DECODERS)
        for name in DECODER_NAMES.get(codec, (codec,))
    ]
    return [
        "--prefix=/opt/ffmpeg",
        "--disable-everything",
        "--disable-autodetect",
        "--disable-avdevice",
        "--disable-debug",
        "--disable-doc",
        "--disable-ffplay",
        "--disable-network",
        "--enable-gpl",
        # A position-independent program whose tables of addresses are read-only after the start.
        "--enable-pic",
        "--extra-ldexeflags=-pie",
        "--extra-ldflags=-Wl,-z,relro,-z,now",
        *(f"--extra-cflags={flag}" for flag in compiler_flags()),
        "--enable-parsers",
        "--enable-protocol=file,pipe",
        *(f"--enable-{library}" for library in LIBRARIES),
        *(f"--enable-demuxer={name}" for name in DEMUXERS),
        *(f"--enable-decoder={name}" for name in decoders),
        *(f"--enable-encoder={name}" for name in ENCODERS),
        *(f"--enable-muxer={name}" for name in MUXERS),
        *(f"--enable-filter={name}" for name in FILTERS),
        *(f"--enable-bsf={name}" for name in BITSTREAM_FILTERS),
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(flags()) + "\n")
