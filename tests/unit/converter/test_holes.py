"""Holes in the bytes of a file: the same questions to every container."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.probing import chain, holes
from media_converter.probing.chain import Hole
from tests.unit.converter.hole_files import (
    FORMATS,
    find,
    packet,
)


@pytest.mark.parametrize("name", FORMATS)
def test_an_intact_file_has_no_hole(name: str) -> None:
    whole = b"".join(FORMATS[name]())
    assert find(whole) == ()
    assert find(whole + b"some trailing bytes") == ()


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_in_the_middle_are_a_hole(name: str) -> None:
    whole = b"".join(FORMATS[name]())
    first, last = len(whole) * 2 // 5, len(whole) * 3 // 5
    found = find(whole[:first] + bytes(last - first) + whole[last:])
    assert len(found) == 1
    assert first - 1100 <= found[0].start <= first + 1100
    # Reading goes on at the next element that has a mark.
    assert last - 1100 <= found[0].end <= last + 5100


@pytest.mark.parametrize("name", FORMATS)
def test_a_walk_may_end_anywhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_MARGIN_BYTES", 0)
    whole = b"".join(FORMATS[name]())
    for until in range(0, len(whole), 97):
        assert holes.find(lambda at, count: whole[at : at + count], len(whole), until) == (), until


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_has_the_holes_before_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_MARGIN_BYTES", 0)
    whole = b"".join(FORMATS[name]())
    tenth = len(whole) // 10
    data = whole[: 2 * tenth] + bytes(tenth) + whole[3 * tenth : 7 * tenth] + bytes(tenth)
    data += whole[8 * tenth :]
    first, second = find(data)
    found = holes.find(lambda at, count: data[at : at + count], len(data), 5 * tenth)
    assert found == ((first, second) if name in ("avi", "fragments") else (first,))


def test_a_part_of_a_long_transport_stream_reads_no_more_than_its_end() -> None:
    data = b"".join(packet(number) for number in range(1 << 15))
    places: list[int] = []

    def read(offset: int, count: int) -> bytes:
        places.append(offset + count)
        return data[offset : offset + count]

    holes.find(read, len(data), 1_000_000)
    assert 1_000_000 < max(places) < len(data) / 2
    assert not holes.can_miss_bytes(read)


CUT = [name for name in FORMATS if name not in ("transport stream", "mp3", "adts", "ac3")]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_inside_of_an_element_is_a_hole(name: str) -> None:
    pieces = FORMATS[name]()
    whole = b"".join(pieces)
    data = whole[: -len(pieces[-1]) // 2]
    (found,) = find(data)
    assert found.start == len(data)
    assert found.end > len(data)
    assert holes.missing_bytes((found,), len(data)) > 0


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=300), st.integers(0, 2000))
def test_any_bytes_do_no_harm(name: str, noise: bytes, place: int) -> None:
    whole = b"".join(FORMATS[name]()[:6])
    for data in (whole[:place] + noise + whole[place:], whole[:40] + noise):
        for hole in find(data):
            assert 0 <= hole.start <= len(data)
            assert hole.size >= 0


@pytest.mark.parametrize("name", FORMATS)
def test_many_holes_cost_no_more_than_the_file(name: str) -> None:
    pieces = FORMATS[name]()
    group = b"".join(pieces[1:5]) + b"\xaa\xbb\xcc"
    data = b"".join(pieces) + 500 * group
    count = 0

    def read(offset: int, size: int) -> bytes:
        nonlocal count
        part = data[offset : offset + size]
        count += len(part)
        return part

    found = holes.find(read, len(data))
    assert name in ("matroska", "mp3", "adts", "ac3") or len(found) > 100
    # A read has at least 4 KiB.
    assert count < 5 * len(data) + 500 * 4 * 4096


def test_holes_that_touch_are_one() -> None:
    assert chain.collect([Hole(10, 20), Hole(20, 30, 5)], 100) == [Hole(10, 30, 5)]
    apart = [Hole(10, 20), Hole(20, 20), Hole(20, 20, 4), Hole(90, 100), Hole(100, 110)]
    assert chain.collect(apart, 100) == apart


def test_countless_holes_are_told_as_one() -> None:
    many = [Hole(10 * i, 10 * i + 2, seconds=i / 1000) for i in range(30_000)]
    found = chain.collect([*many, Hole(300_000, 300_500)], 300_000)
    assert len(found) == 10_001
    assert found[-1] == Hole(300_000, 300_500)
    assert found[-2][:2] == (99_990, 299_992)
    assert found[-2].seconds == pytest.approx(29.999)
    assert sum(hole.size for hole in found) == 2 * 30_000 + 500
