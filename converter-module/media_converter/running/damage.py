"""Decides what a damaged input means: a refusal, warnings, or nothing. Does no I/O."""

from __future__ import annotations

from typing import Final, NamedTuple

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing.decoded import StreamCounts
from media_converter.probing.packets import Gap
from media_converter.task import DamageLimits

_MIN_GAP_SECONDS: Final = 1.0


class Loss(NamedTuple):
    """What could not be decoded of one stream. ``noun`` is what the packets hold, in the plural.

    ``seconds`` is the longest stretch that is missing.
    """

    noun: str
    lost: int
    total: int
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """The lost share, 0 to 1."""
        return self.lost / self.total if self.total else 0.0

    @property
    def in_words(self) -> str:
        """A sentence with the figures."""
        parts = []
        if self.lost:
            percent = "less than 0.1" if self.share < 0.001 else f"{100 * self.share:.1f}"
            parts.append(f"{self.lost} of {self.total} {self.noun} ({percent} %)")
        if self.seconds:
            parts.append(f"up to {self.seconds:.1f} s at a stretch")
        return f"The input is damaged: {', '.join(parts)} could not be decoded."


def loss(noun: str, counts: StreamCounts | None, corrupt: int, leading: int) -> Loss:
    """The loss of a decoded stream.

    ``corrupt`` packets were decoded with faults. The first ``leading`` packets come before the
    first key picture, so nobody can decode them. Fewer frames than packets are no loss if the
    decoder reports no error: two fields can make one frame, and some frames are never shown.
    """
    if counts is None or counts.frames is None:
        return Loss(noun, 0, 0)
    lost = counts.errors + corrupt
    if counts.errors:
        lost = max(lost, min(counts.packets - counts.frames, 2 * lost))
    lost = max(0, min(lost, counts.packets) - leading)
    return Loss(noun, lost, counts.packets)


def longest_missing(source: list[Gap], output: list[Gap]) -> float:
    """The longest time without pictures in the output, of those that the source does not have."""
    left = sorted((gap.seconds for gap in source), reverse=True)
    longest = 0.0
    for seconds in sorted((gap.seconds for gap in output), reverse=True):
        if left and left[0] >= seconds - _MIN_GAP_SECONDS:
            left.pop(0)
        else:
            longest = max(longest, seconds)
    return longest


def judge(losses: tuple[Loss, ...], limits: DamageLimits) -> tuple[str, ...]:
    """The warnings about a damaged input.

    Raises ConversionError with the reason InputDamaged if more is lost than ``limits`` allows.
    """
    for found in losses:
        too_many = 100 * found.share > limits.max_percent
        if (too_many or found.seconds >= limits.max_seconds) and not limits.convert_anyway:
            sentence = found.in_words
            raise ConversionError(
                ExitReason.INPUT_DAMAGED,
                f"{sentence[0].lower()}{sentence[1:-1]}; upload the file again, or set "
                "spec.damagedInput to Convert to keep what can be decoded",
            )
    return tuple(found.in_words for found in losses if found.lost or found.seconds)
