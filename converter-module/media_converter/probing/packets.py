"""Lists the packets of a stream without decoding them, to compare a conversion with this listing.

Answers which frame a player shows at a given time, and where the frames of a video have gaps.
"""

from array import array
from itertools import pairwise
from typing import Final, NamedTuple

from media_converter.probing.ffprobe import FFPROBE
from media_converter.step import INPUT, Stdout, Step

_MAX_STEP_BACK: Final = 1.0
"""Seconds. Frames are not stored in the order in which they are shown."""
_MAX_STEP_AHEAD: Final = 10.0
"""Seconds. ffmpeg takes a longer step for a new clock."""
_FIELDS: Final = "stream_index,pts_time,dts_time,duration_time,size,pos,flags"


class Frame(NamedTuple):
    """A frame as its packet describes it. Times are those of the file, in seconds."""

    time: float
    duration: float
    is_key: bool


class Gap(NamedTuple):
    """A time without a new frame, in seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """The length of the gap."""
        return self.end - self.start


def step(
    stream_index: int, start: float | None, end: float | None, demuxer_options: tuple[str, ...]
) -> Step:
    """Build the step that lists the packets of a stream between two times of the file."""
    argv = [FFPROBE, "-v", "level+error", "-hide_banner", "-protocol_whitelist", "file"]
    argv += demuxer_options
    argv += ["-select_streams", str(stream_index), "-show_entries", f"packet={_FIELDS}"]
    if start is not None or end is not None:
        begin, until = ("" if time is None else f"{time:.6f}" for time in (start, end))
        argv += ["-read_intervals", f"{begin}%{until}"]
    argv += ["-of", "csv=p=0", f"file:{INPUT}"]
    return Step("packets", tuple(argv), Stdout.LINES)


def places_step(demuxer_options: tuple[str, ...]) -> Step:
    """Build the step that says where the packets of all streams are."""
    argv = [
        FFPROBE,
        "-v",
        "level+error",
        "-hide_banner",
        "-protocol_whitelist",
        "file",
        *demuxer_options,
    ]
    argv += ["-show_entries", "packet=stream_index,pos", "-of", "csv=p=0", f"file:{INPUT}"]
    return Step("places", tuple(argv), Stdout.LINES)


class Places:
    """Reads the lines of ``places_step``: offsets in bytes, by the index of the stream.

    ``first`` has that of the first packet of each stream that has one, -1 if it is not known.
    ``last`` has the largest one.
    """

    def __init__(self) -> None:
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def add_line(self, line: str) -> None:
        """Add one packet."""
        index, _, rest = line.partition(",")
        if not index.isdigit():
            return
        place = rest.partition(",")[0]
        stream, offset = int(index), int(place) if place.isdigit() else -1
        self.first.setdefault(stream, offset)
        self.last[stream] = max(offset, self.last.get(stream, -1))


class PacketReader:
    """Reads the lines that the step prints.

    ``offsets`` are where the packets are in the file, in bytes, -1 if this is not known. ``sizes``
    are in bytes. The bytes of packets without a time count for the packet before them.
    """

    def __init__(self) -> None:
        self.times = array("d")
        self.durations = array("d")
        self.sizes = array("q")
        self.offsets = array("q")
        self.keys = bytearray()
        self.discarded = 0
        self.corrupt = 0
        self.untimed = 0
        self._untimed_bytes = 0

    def add_line(self, line: str) -> None:
        """Add one packet."""
        fields = line.split(",")
        if len(fields) < 7:
            return
        _, pts, dts, duration, length, place, flags = fields[:7]
        size = int(length) if length.isdigit() else 0
        self.discarded += "D" in flags
        self.corrupt += "C" in flags
        if pts == "N/A":
            pts = dts
        if pts == "N/A":
            self.untimed += 1
            if self.sizes:
                self.sizes[-1] += size
            else:
                self._untimed_bytes += size
            return
        self.times.append(float(pts))
        self.durations.append(0.0 if duration == "N/A" else float(duration))
        self.sizes.append(size + self._untimed_bytes)
        self._untimed_bytes = 0
        self.offsets.append(int(place) if place.isdigit() else -1)
        self.keys.append("K" in flags)

    def unwrapped(self) -> "PacketReader":
        """The same packets with the times of ffmpeg if the clock starts again.

        It moves all times behind a jump, so that they follow those before it.
        """
        moved = PacketReader()
        moved.durations, moved.sizes, moved.offsets = self.durations, self.sizes, self.offsets
        moved.keys, moved.untimed = self.keys, self.untimed
        moved.discarded, moved.corrupt = self.discarded, self.corrupt
        shift, latest = 0.0, None
        for time, duration in zip(self.times, self.durations, strict=True):
            step = 0.0 if latest is None else time + shift - latest
            if latest is not None and not -_MAX_STEP_BACK <= step <= _MAX_STEP_AHEAD:
                shift = latest + duration - time
            moved.times.append(time + shift)
            latest = time + shift if latest is None else max(latest, time + shift)
        return moved

    def drop_first(self) -> None:
        """Forget the first packet with a time."""
        del self.times[:1], self.durations[:1], self.sizes[:1], self.offsets[:1], self.keys[:1]

    def between(self, start: float, end: float) -> "PacketReader":
        """Only the packets that are shown from ``start`` to ``end``."""
        part = PacketReader()
        for i, time in enumerate(self.times):
            if start <= time < end:
                part.times.append(time)
                part.durations.append(self.durations[i])
                part.sizes.append(self.sizes[i])
                part.offsets.append(self.offsets[i])
                part.keys.append(self.keys[i])
        part.discarded, part.corrupt = self.discarded, self.corrupt
        return part

    @property
    def packets(self) -> int:
        """How many packets the stream has."""
        return len(self.times) + self.untimed

    @property
    def leading(self) -> int:
        """How many packets come before the first keyframe."""
        return max(0, self.keys.find(1))

    def frames(self) -> list[Frame]:
        """All frames with a time, in the order in which they are shown."""
        rows = zip(self.times, self.durations, self.keys, strict=True)
        return sorted(Frame(time, duration, bool(key)) for time, duration, key in rows)


def covered(times: list[float], most: float) -> float:
    """The time from the first to the last frame, each gap shortened to at most ``most`` seconds."""
    return sum(min(b - a, most) for a, b in pairwise(times))


def gaps(times: list[float], least: float) -> list[Gap]:
    """The times between two frames that are at least ``least`` seconds apart."""
    return [Gap(a, b) for a, b in pairwise(times) if b - a >= least]
