"""The cases of bench_engine: inputs, the commands that convert them, and the ratios to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FFMPEG = "/usr/bin/ffmpeg"


@dataclass(frozen=True)
class Command:
    """One way to convert: the converter with these options or outputs, or plain commands.

    ``outputs`` are those of one run of the converter. ``more`` are commands after the first one.
    """

    label: str
    target: str
    argv: tuple[str, ...] = ()
    kind: str = ""
    options: dict[str, object] = field(default_factory=dict)
    outputs: tuple[Mapping[str, object], ...] = ()
    more: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Case:
    """The same input through several commands, the converter first."""

    name: str
    source: str
    commands: tuple[Command, ...]
    size: str = ""
    """Output and source are scaled to this before SSIM and PSNR. Empty: neither is computed."""


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: ``rival`` / converter, of seconds, of CPU time or of memory."""

    text: str
    case: str
    rival: str
    of: str
    least: float


def plain(label: str, target: str, *argv: str) -> Command:
    """A plain command. IN and OUT stand for its files."""
    return Command(label, target, argv)


def converter(kind: str, target: str, **options: object) -> Command:
    return Command("converter", target, kind=kind, options=options)


X264 = ("-c:v", "libx264", "-c:a", "aac", "-preset", "medium", "-crf", "23")
RESIZE = ("/usr/bin/convert", "IN", "-resize", "800x600", "-quality", "85", "OUT")
SCALED = plain("plain, scaled", "b.mp4", FFMPEG, "-i", "IN", *X264, "-vf", "scale=-2:720", "OUT")
MP3 = ("-c:a", "libmp3lame", "-b:a", "192k")


def frame(seconds: str) -> tuple[Command, Command]:
    argv = (FFMPEG, "-i", "IN", "-ss", seconds, "-frames:v", "1", "-q:v", "2", "OUT")
    return converter("extract_thumbnail", "a.jpg", time=seconds), plain("plain", "b.jpg", *argv)


def video(**options: object) -> tuple[Command, Command]:
    plainly = plain("plain", "b.mp4", FFMPEG, "-i", "IN", *X264, "OUT")
    return converter("video_to_mp4", "a.mp4", **options), plainly


LADDER = (1080, 720, 480)


def ladder(audio: str) -> tuple[Command, Command]:
    """Three sizes, a thumbnail and a storyboard: in one run, and one by one, with like settings.

    ``audio`` is the codec that ffmpeg gets. It must be what the converter does: it copies AAC, and
    encodes anything else as AAC.
    """
    outputs: list[Mapping[str, object]] = [
        {
            "conversionType": "video_to_mp4",
            "outputFile": f"/out/ladder-{lines}.mp4",
            "options": {"resolution": f"{lines}p"},
        }
        for lines in LADDER
    ]
    thumb = {"conversionType": "extract_thumbnail", "outputFile": "/out/ladder.jpg"}
    sprite = {"conversionType": "video_storyboard", "outputFile": "/out/ladder-sprite.jpg"}
    x264 = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "subme=1", "-crf", "21")
    separate: list[tuple[str, ...]] = [
        (FFMPEG, "-y", "-i", "IN", "-vf", f"scale=-2:{lines}", *x264, "-c:a", audio,
         "-movflags", "+faststart", f"/workspace/out/separate-{lines}.mp4")
        for lines in LADDER
    ]  # fmt: skip
    frame_at_1 = ("-ss", "1", "-i", "IN", "-frames:v", "1", "-q:v", "2")
    separate.append((FFMPEG, "-y", *frame_at_1, "/workspace/out/separate.jpg"))
    separate.append((FFMPEG, "-y", *tiles("1", "10x10"), "/workspace/out/separate-sprite.jpg"))
    return (
        Command("converter", "ladder-1080.mp4", outputs=(*outputs, thumb, sprite)),
        Command("separate", "separate-1080.mp4", separate[0], more=tuple(separate[1:])),
    )


def tiles(rate: str, grid: str) -> tuple[str, ...]:
    """The plain way to a sprite: decode all, and keep some frames."""
    filters = f"fps={rate},scale=160:160:force_original_aspect_ratio=decrease,tile={grid}"
    return ("-i", "IN", "-vf", filters, "-frames:v", "1", "-q:v", "3")


def storyboard() -> Case:
    rival = plain("plain", "b.jpg", FFMPEG, *tiles("1/36", "10x10"), "OUT")
    return Case(
        "storyboard of an hour", "hour.mp4", (converter("video_storyboard", "a.jpg"), rival)
    )


def webm() -> Case:
    vp9 = ("-c:v", "libvpx-vp9", "-crf", "32", "-b:v", "0", "-c:a", "libopus")
    rival = plain("plain", "b.webm", FFMPEG, "-i", "IN", "-vf", "scale=-2:720", *vp9, "OUT")
    commands = (converter("video_to_webm", "a.webm", resolution="720p"), rival)
    return Case("1080p to a 720p WebM", "video-1080.mp4", commands, "1280:720")


def photo(source: str) -> Case:
    name = source.partition(".")[0]
    commands = (converter("image_resize", "a.jpg"), plain("plain", "b.jpg", *RESIZE))
    return Case(
        f"{name} to 800x600", source, commands, "800:600:force_original_aspect_ratio=decrease"
    )


CASES = (
    Case("1080p to a 720p preview", "video-1080.mp4",
        (*video(quality="medium", resolution="720p"), SCALED), "1280:720"),
    Case("1080p, no options", "video-1080.mkv", video(), "1920:1080"),
    Case("fitting 720p, 60 s", "fits.mp4", video(), "1280:720"),
    Case("1080p, 720p, 480p, thumbnail and storyboard", "video-1080.mkv",
        ladder("aac"), "1920:1080"),
    Case("the same from H.264", "video-1080.mp4", ladder("copy"), "1920:1080"),
    storyboard(),
    webm(),
    Case("what an hour of video is", "hour.mp4", (converter("media_info", "a.json"),)),
    Case("preview of an hour", "hour.mp4", (converter("video_to_preview", "a.mp4"),)),
    Case("4K to 4K, 3 s", "video-4k.mkv", video(), "3840:2160"),
    Case("thumbnail at 1 s", "hour.mp4", frame("00:00:01"), "1920:1080"),
    Case("thumbnail at 5 min", "hour.mp4", frame("00:05:00")),
    *(photo(name) for name in ("photo-12mp.jpg", "photo-24mp.jpg", "photo-48mp.jpg")),
    Case("hour of FLAC, 30 s preview", "hour.flac", (
        converter("audio_to_mp3", "a.mp3", duration="30"),
        plain("plain", "b.mp3", FFMPEG, "-i", "IN", *MP3, "OUT"),
        plain("plain, -t 30", "c.mp3", FFMPEG, "-i", "IN", "-t", "30", *MP3, "OUT"),
    )),
    Case("ten minutes of FLAC", "ten.flac", (
        converter("audio_to_mp3", "a.mp3"),
        plain("plain", "b.mp3", FFMPEG, "-i", "IN", *MP3, "OUT"),
    )),
    Case("one pixel", "dot.png", (
        converter("image_resize", "a.png"), plain("plain", "b.png", *RESIZE),
    )),
)  # fmt: skip
GOALS = (
    Goal("1080p to 720p preview, against today's command", CASES[0].name, "plain", "time", 2),
    Goal("the same, against today's command with a scaler", CASES[0].name, SCALED.label, "time", 2),
    Goal("already fitting input", "fitting 720p, 60 s", "plain", "time", 50),
    Goal(
        "three sizes, a thumbnail and a storyboard, CPU",
        "1080p, 720p, 480p, thumbnail and storyboard",
        "separate",
        "cpu",
        1 / 0.75,
    ),
    Goal("the same from H.264, CPU", "the same from H.264", "separate", "cpu", 1 / 0.75),
    Goal("thumbnail at 1 s", "thumbnail at 1 s", "plain", "time", 3),
    Goal("thumbnail 5 min into an hour", "thumbnail at 5 min", "plain", "time", 50),
    *(
        Goal(f"{size} megapixels, {of}", f"photo-{size}mp to 800x600", "plain", of, 3)
        for size in (12, 24, 48)
        for of in ("time", "memory")
    ),
    Goal("30 s preview of an hour of audio", "hour of FLAC, 30 s preview", "plain", "time", 10),
)
