"""Lists the codecs and formats that the image's ffmpeg reads, by the names that ffprobe prints.

ffprobe also names codecs that it cannot decode, so the parser looks up each stream here. The
Dockerfile builds ffmpeg with exactly these codecs and formats, and a test compares both.
"""

from __future__ import annotations

from typing import Final

_VIDEO: Final = """
    apng asv1 asv2 av1 bmp cfhd cinepak cllc cscd dnxhd dvvideo ffv1 ffvhuff flashsv flashsv2 flv1
    fraps gif h261 h263 h263i h263p h264 hap hevc hq_hqa huffyuv indeo3 indeo4 indeo5 jpeg2000
    lagarith magicyuv mjpeg mjpegb mpeg1video mpeg2video mpeg4 mss2 msmpeg4v1 msmpeg4v2
    msmpeg4v3 msrle msvideo1 mszh png prores qdraw qtrle r10k r210 rawvideo rpza rv10 rv20 rv30
    rv40 smc speedhq svq1 svq3 theora tscc tscc2 utvideo v210 v308 v408 v410 vc1 vp3 vp5 vp6 vp6a
    vp6f vp7 vp8 vp9 webp wmv1 wmv2 wmv3 yuv4 zlib zmbv
"""
_AUDIO: Final = """
    aac aac_latm ac3 adpcm_adx adpcm_g722 adpcm_g726 adpcm_g726le adpcm_ima_qt adpcm_ima_wav
    adpcm_ms adpcm_swf adpcm_yamaha alac amr_nb amr_wb ape atrac1 atrac3 atrac3p cook
    dsd_lsbf dsd_lsbf_planar dsd_msbf dsd_msbf_planar dts eac3 flac g723_1 g729 gsm gsm_ms
    mace3 mace6 mlp mp1 mp2 mp3 musepack7 musepack8 nellymoser opus pcm_alaw pcm_bluray pcm_dvd
    pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar pcm_s16le
    pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar
    pcm_s8 pcm_s8_planar pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8 qcelp
    qdm2 qdmc ra_144 ra_288 s302m shorten sipr speex tak truehd tta vorbis wavpack wmalossless
    wmapro wmav1 wmav2 wmavoice
"""
_DEMUXERS: Final = """
    aac ac3 aiff amr amrnb amrwb ape apng asf au av1 avi caf dsf dts dtshd dv eac3 flac flv gif
    h264 hevc ivf loas m4v matroska mjpeg mlp mov mp3 mpc mpc8 mpegps mpegts mpegvideo mxf obu
    ogg rm tak truehd tta vc1 w64 wav wtv wv xwma yuv4mpegpipe
"""
_ESTIMATED_DURATION: Final = """
    aac ac3 amr amrnb amrwb av1 dts dtshd eac3 h264 hevc ivf loas m4v mjpeg mlp mp3 mpeg
    mpegts mpegvideo obu truehd vc1 wtv
"""

_WITHOUT_TIMESTAMPS: Final = """
    h261 h263 h264 hevc m4v mjpeg mpegvideo obu vc1
"""

_INTRA_ONLY: Final = """
    cfhd dnxhd dvvideo ffv1 ffvhuff huffyuv jpeg2000 magicyuv mjpeg mjpegb prores rawvideo
"""

INTRA_ONLY_CODECS: Final = frozenset(_INTRA_ONLY.split())
"""Intra-only codecs: each frame is a keyframe, which decodes without others."""

VIDEO_DECODERS: Final = frozenset(_VIDEO.split())
AUDIO_DECODERS: Final = frozenset(_AUDIO.split())
DEMUXERS: Final = tuple(_DEMUXERS.split())
"""Demuxers, by their names in ffmpeg's configure. None of them opens a second file or a network
address: playlists (HLS, DASH, concat), image sequences and SDP are not built in."""

ESTIMATED_DURATION: Final = frozenset(_ESTIMATED_DURATION.split())
"""Formats, by ffprobe's names, that do not reliably state their duration."""
WITHOUT_TIMESTAMPS: Final = frozenset(_WITHOUT_TIMESTAMPS.split())
"""Formats, by ffprobe's names, of which only a decoder knows the times. They have no index."""
