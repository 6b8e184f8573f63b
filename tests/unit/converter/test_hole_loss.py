"""What a hole costs: seconds of each stream, and refusals by the damage limits."""

from __future__ import annotations

import pytest

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing.chain import Hole
from media_converter.probing.packets import PacketReader
from media_converter.running.damage import hole_loss, judge
from media_converter.task import DamageLimits
from tests.unit.converter.hole_files import (
    find,
    packet,
)


def test_a_joint_of_two_transport_streams_is_no_hole() -> None:
    first = [packet(n) for n in range(21)]
    table = bytes([0x47, 0x40, 0, 0x10]) + bytes(184)
    begin = bytes([0x47, 0x41, 0, 0x10]) + bytes(184)
    rest = [packet(n) for n in range(1, 20)]
    (joint,) = find(b"".join([*first, table, begin, *rest]))
    assert joint.size == 0
    for pause, is_lost in ((0.0, False), (8.0, True), (3600.0, False)):
        listed = listing(*((i * 100, i * 0.1 + (pause if i > 50 else 0)) for i in range(100)))
        assert (hole_loss((Hole(5050, 5050),), listed, 0, 10_000) is not None) == is_lost
    assert len(find(b"".join([*first, table, *rest[5:]]))) == 1


def test_a_joint_warns_and_never_refuses() -> None:
    listed = listing(*((i * 100, i * 0.1 + (8 if i > 50 else 0)) for i in range(100)))
    joint = hole_loss((Hole(5050, 5050),), listed, 0, 10_000)
    assert joint is not None
    (warning,) = judge((joint,), DamageLimits(max_seconds=5))
    assert "joined" in warning
    assert "8.1 s" in warning
    # A lost packet elsewhere in the file does not make it a loss.
    found = hole_loss((Hole(2050, 2050, 188), Hole(5050, 5050)), listed, 0, 10_000)
    assert found is not None
    assert (found.lost, found.seconds) == (188, 0)
    assert judge((found,), DamageLimits(max_seconds=5))
    # The pause at the joint is not what is usual in this file.
    both = listing(
        *((i * 100, i * 0.1 + (6 if i > 20 else 0) + (8 if i > 50 else 0)) for i in range(100))
    )
    found = hole_loss((Hole(2050, 2050, 188), Hole(5050, 5050)), both, 0, 10_000)
    assert found is not None
    assert found.seconds == pytest.approx(6.1)


def listing(*rows: tuple[int, float]) -> PacketReader:
    reader = PacketReader()
    for place, time in rows:
        reader.add_line(f"0,{time:f},{time:f},0.04,9,{place},K__")
    return reader


def test_a_hole_lasts_as_long_as_the_packets_around_it_are_apart() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(1000) if not 300 <= i < 360))
    found = hole_loss((Hole(30_000, 36_000),), listed, 0, 100_000)
    assert found is not None
    assert (found.lost, found.total, found.is_cut) == (6000, 100_000, False)
    assert found.seconds == pytest.approx(6.1)
    # Elsewhere, slides stand as long as that.
    slides = listing(*((i * 100, i * 7.0) for i in range(1000)))
    found = hole_loss((Hole(30_010, 30_020),), slides, 0, 100_000)
    assert found is not None
    assert found.seconds == 0


def test_what_a_demuxer_leaves_unread_is_lost() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(300)))
    found = hole_loss((Hole(30_000, 30_500),), listed, 0, 100_000)
    assert found is not None
    assert found.lost == 70_000
    with pytest.raises(ConversionError) as error:
        judge((found,), DamageLimits())
    assert error.value.reason is ExitReason.INPUT_DAMAGED


def test_what_another_stream_has_behind_a_hole_was_read() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(300)))
    longer = listing(*((i * 1000, i * 1.0) for i in range(90)))
    gap = (Hole(50_000, 50_500),)
    found = hole_loss(gap, listed, 0, 100_000, lambda: (longer,))
    assert found is not None
    assert found.lost == 500
    # Behind a later hole, no stream has packets.
    both = (*gap, Hole(95_000, 95_100))
    found = hole_loss(both, listed, 0, 100_000, lambda: (longer, listing()))
    assert found is not None
    assert found.lost == 500 + 5000
    # A stream that goes on behind the holes needs no look at the others.
    assert hole_loss(gap, longer, 0, 100_000, lambda: pytest.fail("needless look")) is not None


def test_a_joint_behind_the_last_packet_is_no_loss() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(300)))
    assert hole_loss((Hole(50_000, 50_000),), listed, 0, 100_000) is None


def test_packets_without_places_say_nothing_about_what_was_read() -> None:
    listed = listing(*((-1, i * 0.1 + (8 if i > 296 else 0)) for i in range(300)))
    found = hole_loss((Hole(50_000, 50_500),), listed, 0, 100_000)
    assert found is not None
    assert (found.lost, found.seconds) == (500, 0)


def test_only_holes_of_the_part_count() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(1000)))
    assert hole_loss((Hole(30_000, 36_000),), listed, 40_000, 100_000) is None
    assert hole_loss((Hole(100_000, 136_000),), listed, 0, 90_000) is None


def test_a_cut_file_is_truncated_by_the_same_limits() -> None:
    listed = listing(*((i * 100, i * 0.1) for i in range(1000)))
    small = hole_loss((Hole(100_000, 105_000),), listed, 0, 100_000)
    assert small is not None
    (warning,) = judge((small,), DamageLimits())
    assert "truncated" in warning
    assert "5000 of 105000" in warning
    for hole in (Hole(100_000, 150_000), Hole(100_000, 100_001, seconds=6)):
        large = hole_loss((hole,), listed, 0, 100_000)
        assert large is not None
        with pytest.raises(ConversionError) as error:
            judge((large,), DamageLimits())
        assert error.value.reason is ExitReason.INPUT_TRUNCATED
