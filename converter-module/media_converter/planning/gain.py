"""An audio gain, and the filters that apply it."""

from typing import Final, NamedTuple

_OVERSAMPLING: Final = 4


class Gain(NamedTuple):
    """A gain in dB. If ``ceiling`` is not None, peaks are limited to it, in dBTP."""

    decibels: float
    ceiling: float | None = None

    @property
    def in_words(self) -> str:
        """For the log."""
        text = f"the gain is {self.decibels:+.1f} dB"
        if self.ceiling is None:
            return text
        return f"{text}; it would clip, so peaks are limited to {self.ceiling:.1f} dBTP"

    def filters(self, sample_rate: int) -> list[str]:
        """The filters that apply it to audio of this sample rate."""
        gain = f"volume={self.decibels:.2f}dB:precision=float"
        if self.ceiling is None:
            return [gain]
        return [
            gain,
            f"aresample={sample_rate * _OVERSAMPLING}",
            f"alimiter=limit={10 ** (self.ceiling / 20):.5f}:level=false:attack=5:release=50"
            ":latency=true",
            f"aresample={sample_rate}",
        ]
