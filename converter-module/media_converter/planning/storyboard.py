"""Plans video_storyboard: an image of many small frames, the sprite, and when each one counts."""

import re
from bisect import bisect_right
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import quote

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.options import MAX_TILES
from media_converter.planning import image_memory, memory
from media_converter.planning.filters import decoder_options, fit_box, fit_varying, still_filter
from media_converter.planning.image import VIPS
from media_converter.planning.plan import (
    OUTPUT_URL,
    PROGRESS,
    Position,
    ffmpeg_command,
    read_from,
)
from media_converter.probing.media import MediaInfo, VideoStream
from media_converter.step import INPUT, Stdout, Step
from media_converter.typed_options import StoryboardOptions

DEFAULT_COUNT: Final = 100
DEFAULT_SECONDS: Final = 1.0
"""Images are at least so far apart, if neither interval nor count is given."""
MIN_SECONDS: Final = 0.1
"""The shortest time for which an image counts."""
_SHORT_LAST: Final = 0.1
"""A last part of less than this share of the interval belongs to the image before it."""
MAX_PIXELS: Final = 1 << 24
"""Of a sprite. Phones do not show larger images."""
MAX_SIDES: Final = {"jpeg": 65_500, "webp": 16_383}
"""The longest side that the encoder of a format writes, in pixels."""
QUALITY: Final = 80
BYTES_PER_PIXEL: Final = 3
_KEPT_COPIES: Final = 2
"""Of the pixels: the images, and the sprite."""
_SMALL: Final = "A larger image is not shown everywhere."


class Storyboard(NamedTuple):
    """What to make. ``times`` are in milliseconds: when each image begins to count, and the end.

    ``tile`` is the size of each image in pixels, ``sprite`` that of all of them.
    """

    times: tuple[int, ...]
    tile: tuple[int, int]
    columns: int
    output_format: str
    warnings: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many images the sprite has."""
        return len(self.times) - 1

    @property
    def sprite(self) -> tuple[int, int]:
        """Width and height of all images together."""
        rows = -(-self.images // self.columns)
        return self.columns * self.tile[0], rows * self.tile[1]

    def place(self, number: int) -> tuple[int, int]:
        """Where an image is in the sprite: its left and its upper side."""
        row, column = divmod(number, self.columns)
        return column * self.tile[0], row * self.tile[1]

    def part_of(self, time: float) -> int:
        """The number of the image that counts at a given time of the video, in seconds."""
        return max(0, bisect_right(self.times, 1000 * time + 1, hi=self.images) - 1)

    @property
    def tile_bytes(self) -> int:
        """The size of the pixels of one image."""
        return self.tile[0] * self.tile[1] * BYTES_PER_PIXEL

    @property
    def summary(self) -> str:
        """A line for the log."""
        width, height = self.sprite
        return (
            f"storyboard: {self.images} images of {self.tile[0]}x{self.tile[1]} -> "
            f"{self.output_format} {width}x{height}"
        )


class Cue(NamedTuple):
    """One entry of a WebVTT file. Times are in milliseconds, ``box`` is x, y, width, height."""

    start: int
    end: int
    image: str
    box: tuple[int, ...]


def plan_storyboard(
    duration: float, video: VideoStream, options: StoryboardOptions, output_format: str
) -> Storyboard:
    """Plan a storyboard of a video of ``duration`` seconds.

    If the sprite would be too large, it has fewer images or fewer columns, and a warning says so.
    It never has more than MAX_TILES images: each one may take an own run of ffprobe and ffmpeg.
    """
    longest = MAX_SIDES[output_format]
    box = (min(options.size[0], longest), min(options.size[1], longest))
    width, height = tile = fit_box(*video.displayed_size, box)
    warnings = []
    if width * height > MAX_PIXELS:
        scale = (MAX_PIXELS / (width * height)) ** 0.5
        width, height = tile = int(width * scale), int(height * scale)
        warnings.append(f"The images have {width}x{height} pixels. {_SMALL}")
    wanted, step = _wanted(duration, options)
    most_columns = min(longest // width, MAX_PIXELS // (width * height))
    columns = min(options.columns, most_columns)
    most_rows = min(longest // height, MAX_PIXELS // (columns * width * height))
    count = min(wanted, MAX_TILES, columns * most_rows, max(1, int(duration / MIN_SECONDS)))
    if columns < min(options.columns, count):
        warnings.append(f"The sprite has {columns} columns instead of {options.columns}. {_SMALL}")
    if count < wanted:
        why = "Each one counts for 0.1 s at least."
        if count == columns * most_rows:
            why = _SMALL
        elif count == MAX_TILES:
            why = f"A storyboard has at most {MAX_TILES}."
        warnings.append(f"The storyboard has {count} images instead of {wanted}. {why}")
        step = duration / count
    end = max(1, round(1000 * duration))
    times = (*(round(1000 * number * step) for number in range(count)), end)
    return Storyboard(times, tile, min(columns, count), output_format, tuple(warnings))


def _wanted(duration: float, options: StoryboardOptions) -> tuple[int, float]:
    """How many images the options ask for, and the seconds between them."""
    if options.interval is not None:
        count = max(1, -int(-(duration / options.interval - _SHORT_LAST) // 1))
        return count, options.interval
    if options.images is not None:
        return options.images, duration / options.images
    count = max(1, min(DEFAULT_COUNT, int(duration / DEFAULT_SECONDS)))
    return count, duration / count


def needed_memory(video: VideoStream, board: Storyboard) -> int:
    """The memory that a storyboard takes, in bytes."""
    pixels = board.sprite[0] * board.sprite[1]
    held = _KEPT_COPIES * BYTES_PER_PIXEL * pixels
    encoder = image_memory.encoder_bytes(board.output_format) * pixels
    return memory.for_decoding(video) + held + int(encoder)


def check_memory(video: VideoStream, board: Storyboard, limits: Limits) -> None:
    """Raise ConversionError with the reason NeedsMemory if a storyboard does not fit the limit."""
    needed = needed_memory(video, board)
    if limits.memory is None or memory.fits(needed, limits):
        return
    raise ConversionError(
        ExitReason.NEEDS_MEMORY,
        f"a storyboard of {board.sprite[0]}x{board.sprite[1]} pixels of this video needs a memory "
        f"limit of {memory.sufficient_limit(needed)} MiB, but the limit is "
        f"{limits.memory >> 20} MiB; raise the limit, or choose fewer or smaller images",
    )


class Scan(NamedTuple):
    """The video to read. ``size_varies`` says that the size of its frames changes."""

    info: MediaInfo
    video: VideoStream
    background: str
    limits: Limits
    size_varies: bool = False

    @property
    def origin(self) -> float:
        """When the video begins, by the times of a scan.

        If the clock of the file starts again, ffmpeg gives the frames times from 0.
        """
        return 0.0 if self.info.clock_restarts else self.info.start


def scan_step(scan: Scan, board: Storyboard, skip: str) -> Step:
    """Build the step that reads the whole video and writes the first frame of each part.

    ``skip`` is what the decoder leaves out: nokey, all but keyframes; noref, frames that no other
    one needs. Standard error says the time of each written frame.
    """
    seconds = board.times[1] / 1000 if board.images > 1 else board.times[-1] / 1000 + 1
    # ld(0) is one more than the number of the last part that has a frame.
    number = f"min({board.images - 1},floor((t-{scan.origin:.6f}+0.0005)/{seconds:.6f}))"
    select = f"select='if(gte({number},ld(0)),1+0*st(0,{number}+1),0)'"
    options = [] if scan.info.clock_restarts else ["-copyts"]
    options += ["-an", "-sn", "-dn", "-skip_frame", skip]
    return Step("scan", _command(scan, board, options, [select], PROGRESS), Stdout.LINES)


def frame_step(scan: Scan, board: Storyboard, position: Position) -> Step:
    """Build the step that writes the frame at a position."""
    reading = read_from(position)
    options = ["-an", "-sn", "-dn", "-skip_frame", "noref", *reading.input_options]
    last = ("-frames:v", "1")
    return Step("frame", _command(scan, board, options, [*reading.video_filters], last))


def _command(
    scan: Scan,
    board: Storyboard,
    input_options: list[str],
    filters: list[str],
    output_options: tuple[str, ...],
) -> tuple[str, ...]:
    video = scan.video
    argv = ffmpeg_command(
        scan.limits,
        [*input_options, *decoder_options(video)],
        demuxer_options=scan.info.demuxer_options,
    )
    fit = fit_varying(board.tile) if scan.size_varies else []
    # Only blackframe prints the time of a frame.
    filters = [*filters, *fit, still_filter(video, board.tile, "jpeg", scan.background)]
    filters += ["blackframe=amount=0", "scale=in_color_matrix=bt601:in_range=pc", "format=rgb24"]
    argv += ["-map", f"0:{video.stream_index}", "-vf", ",".join(filters), *output_options]
    return (*argv, "-fps_mode", "passthrough", "-f", "rawvideo", OUTPUT_URL)


_TIME: Final = re.compile(r"blackframe_\d+ @ .* frame:\d+ .* t:(-?[\d.]+) ")


def time_of_frame(line: str) -> float | None:
    """The time of a written frame, in seconds of the file. None for other lines."""
    found = _TIME.search(line)
    return float(found[1]) if found else None


def sprite_step(board: Storyboard) -> Step:
    """Build the step that encodes the sprite."""
    argv = [VIPS, "copy", INPUT, f".{board.output_format}[Q={QUALITY},keep=none]"]
    return Step("sprite", tuple(argv), Stdout.OUTPUT)


def means_step(board: Storyboard) -> Step:
    """Build the step that prints a PNG of a written sprite with one pixel for each image."""
    width, height = board.tile
    argv = [VIPS, "shrink", INPUT, ".png", str(width), str(height)]
    return Step("means", tuple(argv), Stdout.CAPTURE)


def write_vtt(board: Storyboard, image: str) -> bytes:
    """The WebVTT file of a storyboard. ``image`` is the name of the sprite, in the same folder."""
    url = quote(image, safe="")
    blocks = ["WEBVTT"]
    for number, (start, end) in enumerate(pairwise(board.times)):
        x, y = board.place(number)
        width, height = board.tile
        times = f"{_stamp(start)} --> {_stamp(end)}"
        blocks.append(f"{times}\n{url}#xywh={x},{y},{width},{height}")
    return ("\n\n".join(blocks) + "\n").encode()


def _stamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


_STAMP: Final = r"(\d\d+):([0-5]\d):([0-5]\d)\.(\d{3})"
_CUE: Final = re.compile(rf"{_STAMP} --> {_STAMP}\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)")


def read_vtt(text: bytes) -> list[Cue] | None:
    """The cues of a WebVTT file of a storyboard. None if it is no such file."""
    try:
        return _read_cues(text.decode())
    except ValueError:
        # Text that is not UTF-8, or a number of thousands of digits.
        return None


def _read_cues(text: str) -> list[Cue] | None:
    head, *blocks = text.rstrip("\n").split("\n\n")
    found = [_CUE.fullmatch(block) for block in blocks]
    if head != "WEBVTT" or not blocks:
        return None
    cues = []
    for match in found:
        if match is None:
            return None
        start, end = (
            1000 * (3600 * int(match[at]) + 60 * int(match[at + 1]) + int(match[at + 2]))
            + int(match[at + 3])
            for at in (1, 5)
        )
        cues.append(Cue(start, end, match[9], tuple(int(match[at]) for at in range(10, 14))))
    return cues


def lie_within(size: tuple[int, int], image: str, cues: list[Cue] | None) -> bool:
    """Whether cues have no gaps, and all point into an image of this name and size.

    This is what can be said of them without the video.
    """
    begin = 0
    for cue in cues or ():
        x, y, width, height = cue.box
        is_inside = min(width, height) > 0 and x + width <= size[0] and y + height <= size[1]
        if cue.start != begin or cue.end <= begin or not is_inside:
            return False
        if cue.image != quote(image, ""):
            return False
        begin = cue.end
    return bool(cues)


def is_right(board: Storyboard, image: str, cues: list[Cue] | None) -> bool:
    """Whether the cues cover the whole video without gaps, and point to the images."""
    if cues is None or len(cues) != board.images:
        return False
    begin = 0
    for number, cue in enumerate(cues):
        box = (*board.place(number), *board.tile)
        if (
            cue.start != begin
            or cue.end <= begin
            or cue.box != box
            or cue.image != quote(image, "")
        ):
            return False
        begin = cue.end
    return begin == board.times[-1]
