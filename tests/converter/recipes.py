"""Inputs that several test modules use, and files that refer to other files."""

from __future__ import annotations

from tests.converter.kitchen import Kitchen, colour, tone, video

PLAYLISTS = {
    "hls.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.mp4\n#EXT-X-ENDLIST\n",
    "hls-http.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9999/x.ts\n"
    b"#EXT-X-ENDLIST\n",
    "concat.mp4": b"ffconcat version 1.0\nfile other.mp4\n",
    "concat-path.mp4": b"ffconcat version 1.0\nfile /workspace/media/other.mp4\n",
    "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=video 9998 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash.mp4": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    b'mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4">'
    b'<Representation id="1" bandwidth="1"><BaseURL>other.mp4</BaseURL><SegmentBase/>'
    b"</Representation></AdaptationSet></Period></MPD>",
    "imf.mp4": b'<?xml version="1.0"?><CompositionPlaylist><Id>urn:uuid:0</Id>'
    b"</CompositionPlaylist>",
    "image-list.mp4": b"%03d.jpg",
    "vapoursynth.mp4": b"import vapoursynth\n",
    "subtitles.mp4": b"1\n00:00:00,000 --> 00:00:01,000\nhi\n",
    "nsv.mp4": b"http://127.0.0.1:9999/x\n",
    "asx.mp4": b'<asx version="3.0"><entry><ref href="http://127.0.0.1:9999/x"/></entry></asx>',
}


def covered(kitchen: Kitchen, name: str) -> str:
    cover = kitchen.ffmpeg("cover.png", *colour("red", "64x64", seconds=1), "-frames:v", "1")
    codec = {"mp3": "libmp3lame", "m4a": "aac", "flac": "flac"}[name.partition(".")[2]]
    extra = ("-id3v2_version", "3") if name.endswith("mp3") else ()
    return kitchen.ffmpeg(
        name, *tone(), "-i", cover, "-map", "0:a", "-map", "1:v", "-c:v", "copy",
        "-c:a", codec, *extra, "-disposition:v", "attached_pic",
    )  # fmt: skip


def photo(kitchen: Kitchen, name: str, size: str = "400x300", *save: str) -> str:
    """A noisy image in the format of the name's extension."""
    png_name = kitchen.ffmpeg(
        f"photo-{size}.png", *video(size), "-vf", "noise=alls=20,format=rgb24", "-frames:v", "1"
    )
    return kitchen.vips(name, "copy", png_name, save=f"[{','.join(save)}]" if save else "")


def long_video(kitchen: Kitchen) -> str:
    """A few seconds that take longer to encode than to play."""
    return kitchen.ffmpeg(
        "long-video.mkv", *video("1280x720", seconds=5), *tone(seconds=5),
        "-c:v", "mpeg4", "-q:v", "4", "-c:a", "flac",
    )  # fmt: skip


def looped_video(kitchen: Kitchen) -> str:
    """Four minutes: a fast machine encodes one minute before a test has polled three times."""
    return kitchen.ffmpeg(
        "looped-video.mkv", "-stream_loop", "47", "-i", long_video(kitchen), "-c", "copy"
    )
