"""Whether the clock of a stream starts again, by times at a few places."""

from __future__ import annotations

import pytest

from media_converter.probing import clock

SECOND = 90_000
WRAP = 1 << 33


def stamp(ticks: int) -> bytes:
    """A time of 33 bits in five bytes."""
    bits = (2 << 36) | (ticks >> 30) << 33 | 1 << 32
    return (bits | (ticks >> 15 & 0x7FFF) << 17 | 1 << 16 | (ticks & 0x7FFF) << 1 | 1).to_bytes(5)


def packet(pid: int, ticks: int) -> bytes:
    unit = b"\0\0\1\xe0\0\0\x80\x80\5" + stamp(ticks)
    return (b"\x47" + (0x4000 | pid).to_bytes(2) + b"\x10" + unit).ljust(188, b"\xff")


def pack(ticks: int) -> bytes:
    bits = 1 << 46 | (ticks >> 30) << 43 | 1 << 42 | (ticks >> 15 & 0x7FFF) << 27 | 1 << 26
    bits |= (ticks & 0x7FFF) << 11 | 1 << 10
    return (b"\0\0\1\xba" + bits.to_bytes(6)).ljust(2048, b"\xff")


def restarts(data: bytes) -> bool:
    return clock.restarts(lambda at, count: data[at : at + count], len(data))


RISING = [number * SECOND for number in range(100)]
WRAPPED = [(WRAP - 50 * SECOND + ticks) % WRAP for ticks in RISING]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        (RISING, False),
        (WRAPPED, False),
        # Pictures are not in the order in which they are shown.
        ([ticks + (-1) ** at * SECOND // 4 for at, ticks in enumerate(RISING, 1)], False),
        (RISING + RISING, True),
        (WRAPPED + WRAPPED, True),
        ([], False),
    ],
)
def test_a_clock_that_goes_back_starts_again(times: list[int], *, wanted: bool) -> None:
    times = [max(0, ticks) for ticks in times]
    assert restarts(b"".join(packet(256, ticks) for ticks in times)) == wanted
    assert restarts(b"".join(pack(ticks) for ticks in times)) == wanted


def test_the_clock_of_another_stream_does_not_count() -> None:
    """The programs of a broadcast have clocks of their own."""
    data = [packet(256, ticks) + packet(512, ticks + 500 * SECOND) for ticks in RISING]
    assert not restarts(b"".join(data))


def broadcast(*pids: int | None) -> bytes:
    """A megabyte for each place, with a time of one stream. Each stream has a clock of its own."""
    filler = (b"\x47\x1f\xff\x10" + bytes(184)) * 5_000
    return b"".join(
        filler if pid is None else packet(pid, (10_000 - pid + number) * SECOND) + filler
        for number, pid in enumerate(pids)
    )


A, B = 256, 512


@pytest.mark.parametrize(
    ("pids", "wanted"),
    [
        ([A] * 20 + [B] + [A] * 20, False),
        ([A, A, B, None, B, A] * 8, False),
        # A stream of which there is no time behind the last place.
        ([A] * 40 + [B], False),
        # The next recording has other streams.
        ([A] * 20 + [B] * 20, True),
    ],
)
def test_only_times_of_one_clock_are_compared(pids: list[int | None], *, wanted: bool) -> None:
    assert restarts(broadcast(*pids)) == wanted


def test_other_formats_have_no_clock() -> None:
    assert not restarts(b"\x1a\x45\xdf\xa3" + bytes(5000))
    assert not restarts(b"")
