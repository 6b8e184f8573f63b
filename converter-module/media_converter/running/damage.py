"""Decides what a damaged input means: a refusal, warnings, or nothing. Does no I/O."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing import packets
from media_converter.probing.chain import Hole
from media_converter.probing.decoded import StreamCounts
from media_converter.probing.packets import PacketReader
from media_converter.task import DamageLimits

_MIN_GAP_SECONDS: Final = 1.0
_EPSILON: Final = 0.01
# Where two recordings were joined, their clocks may be further apart.
_MAX_JOINT_SECONDS: Final = 10.0
_REORDERED: Final = 4
# The packets of one stream may be this far from a hole that another one shows.
_NEAR: Final = 8


class Loss(NamedTuple):
    """What could not be decoded of one stream. ``noun`` is what the packets hold, in the plural.

    ``seconds`` is the longest stretch that is missing. ``is_cut`` says that only the end is.
    ``is_joint`` says that two recordings follow each other there, and perhaps nothing is missing.
    """

    noun: str
    lost: int
    total: int
    seconds: float = 0.0
    is_cut: bool = False
    is_joint: bool = False

    @property
    def share(self) -> float:
        """The lost share, 0 to 1."""
        return self.lost / self.total if self.total else 0.0

    @property
    def in_words(self) -> str:
        """A sentence with the figures."""
        if self.is_joint:
            return f"Up to {self.seconds:.1f} s may be missing where recordings were joined."
        parts = []
        if self.lost:
            percent = "less than 0.1" if self.share < 0.001 else f"{100 * self.share:.1f}"
            parts.append(f"{self.lost} of {self.total} {self.noun} ({percent} %)")
        if self.seconds:
            parts.append(f"up to {self.seconds:.1f} s at a stretch")
        if self.is_cut:
            return f"The input is truncated: {', '.join(parts)} are missing at its end."
        return f"The input is damaged: {', '.join(parts)} could not be decoded."


def loss(noun: str, counts: StreamCounts | None, corrupt: int, leading: int) -> Loss:
    """The loss of a decoded stream.

    ``corrupt`` packets were decoded with faults. The first ``leading`` packets come before the
    first keyframe, so nobody can decode them. Fewer frames than packets are no loss if the
    decoder reports no error: two fields can make one frame, and some frames are never shown.
    """
    if counts is None or counts.frames is None:
        return Loss(noun, 0, 0)
    lost = counts.errors + corrupt
    if counts.errors:
        lost = max(lost, min(counts.packets - counts.frames, 2 * lost))
    lost = max(0, min(lost, counts.packets) - leading)
    return Loss(noun, lost, counts.packets)


def missing_samples(promised: int, sample_rate: int, counts: StreamCounts | None) -> Loss:
    """The loss of audio of which the header says how many samples it has.

    Without an error of the decoder, the header is wrong.
    """
    if counts is None or not counts.errors or not counts.samples:
        return Loss("samples", 0, promised)
    lost = max(0, promised - counts.samples)
    return Loss("samples", lost, promised, lost / sample_rate if lost > sample_rate else 0.0)


def longest_missing(source: list[float], output: list[float], least: float) -> float:
    """The longest time without frames in the output that has frames in the source.

    Takes the sorted times of both. A shorter time than ``least`` is none.
    """
    left = [gap.seconds for gap in packets.gaps(source, least - _MIN_GAP_SECONDS)]
    left.sort(reverse=True)
    for seconds in sorted((gap.seconds for gap in packets.gaps(output, least)), reverse=True):
        if not left or left[0] < seconds - _MIN_GAP_SECONDS:
            return seconds
        left.pop(0)
    # What is missing before the first and after the last frame of the output is between none.
    outside = packets.covered(source, least) - packets.covered(output, least)
    return outside if outside >= least else 0.0


def hole_loss(
    holes: Sequence[Hole],
    listing: PacketReader,
    first: int,
    last: int,
    others: Callable[[], Iterable[PacketReader]] = tuple,
) -> Loss | None:
    """The loss of a range of a file, from the byte ``first`` to ``last``. None without a loss.

    ``others`` lists the packets of the other streams. It is called if ``index`` ends at a hole.
    """
    found = [hole for hole in holes if hole.end > first and hole.start <= last]
    if not found:
        return None
    # A demuxer may give up at a hole. What it did not read is lost too.
    if unread := _unread(found, max(listing.offsets, default=-1), last, others):
        kept = [hole for hole in found if hole.start < unread.start]
        found = [*kept, unread._replace(end=max(last, found[-1].end), kept_bytes=0)]
    joints = [hole for hole in found if not hole.size and not hole.seconds]
    found = [hole for hole in found if hole.size or hole.seconds]
    if not found:
        around = _longest_around(joints, [], listing)
        is_lost = 0 < around <= _MAX_JOINT_SECONDS
        return Loss("bytes", 0, last - first, around, is_joint=True) if is_lost else None
    lost = sum(hole.size for hole in found)
    total = last - first + sum(hole.lost_bytes + max(0, hole.end - last) for hole in found)
    seconds = max(hole.seconds for hole in found)
    around = _longest_around(found, joints, listing)
    return Loss(
        "bytes",
        min(lost, total),
        total,
        max(seconds, around),
        is_cut=all(hole.start >= last for hole in found),
    )


def _unread(
    holes: Sequence[Hole],
    end: int,
    last: int,
    others: Callable[[], Iterable[PacketReader]],
) -> Hole | None:
    """The hole behind which no packet of any stream was read. ``end`` is the last offset, or -1."""

    def first_behind(place: int) -> Hole | None:
        return next((hole for hole in holes if hole.size and place < hole.end < last), None)

    # Without offsets, nobody knows where the packets are. A stream may end before others do.
    if end < 0 or first_behind(end) is None:
        return None
    return first_behind(max([end, *(max(other.offsets, default=-1) for other in others())]))


def _longest_around(holes: Sequence[Hole], others: Sequence[Hole], listing: PacketReader) -> float:
    """The longest time without packets around a hole.

    A time that is as long elsewhere is no loss: the frames of slides are shown for long. The times
    around ``others`` are not compared.
    """
    rows = sorted(row for row in zip(listing.offsets, listing.times, strict=True) if row[0] >= 0)
    places, times = [place for place, _ in rows], [time for _, time in rows]
    # A few packets are not in the order in which they are shown. A clock that starts again is no
    # gap.
    steps = [
        min(times[i : i + _REORDERED]) - max(times[max(0, i - _REORDERED) : i])
        for i in range(1, len(times))
    ]

    def near(found: Sequence[Hole]) -> set[int]:
        numbers: set[int] = set()
        for hole in found:
            first, last = bisect_right(places, hole.start), bisect_left(places, hole.end)
            numbers.update(range(max(0, first - _NEAR), min(len(steps), last + _NEAR)))
        return numbers

    inside = near(holes)
    skipped = inside | near(others)
    around = max((steps[i] for i in inside), default=0.0)
    usual = max((step for i, step in enumerate(steps) if i not in skipped), default=0.0)
    return around if around > max(usual, _MIN_GAP_SECONDS) + _EPSILON else 0.0


def judge(losses: tuple[Loss, ...], limits: DamageLimits) -> tuple[str, ...]:
    """The warnings about a damaged input.

    Raises ConversionError with the reason InputDamaged if more is lost than ``limits`` allows.
    """
    for found in losses:
        too_many = 100 * found.share > limits.max_percent
        too_long = found.seconds >= limits.max_seconds and not found.is_joint
        if (too_many or too_long) and not limits.convert_anyway:
            sentence = found.in_words
            raise ConversionError(
                ExitReason.INPUT_TRUNCATED if found.is_cut else ExitReason.INPUT_DAMAGED,
                f"{sentence[0].lower()}{sentence[1:-1]}; upload the file again, or set "
                "spec.damagedInput to Convert to keep what can be decoded",
            )
    return tuple(found.in_words for found in losses if found.lost or found.seconds)
