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
    *("aac", "libaom_av1", "libmp3lame", "libwebp", "libx264", "mjpeg", "png", "rawvideo"),
    *("pcm_s16le", "wrapped_avframe"),  # of the muxer null, which only decodes
)
MUXERS = ("avif", "image2", "mp3", "mp4", "null", "rawvideo", "webp")
FILTERS = (
    *("aformat", "anull", "aresample", "asetpts", "atrim", "pan", "volumedetect"),
    *("bwdif", "drawbox", "format", "fps", "hflip", "null", "overlay", "pad", "scale"),
    *("select", "setparams", "setpts", "setsar", "split", "tonemap", "transpose", "trim"),
    *("vflip", "zscale"),
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
LIBRARIES = ("libaom", "libdav1d", "libmp3lame", "libvpx", "libwebp", "libx264", "libzimg", "zlib")


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
