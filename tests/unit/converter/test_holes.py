"""Where the structure of a file breaks, something is lost. Files made of bytes, without a tool."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing import holes, ogg
from media_converter.probing.chain import Hole
from media_converter.probing.packets import PacketReader
from media_converter.running.damage import hole_loss, judge
from media_converter.task import DamageLimits

PIECES = 40


def vint(number: int) -> bytes:
    return (number | 1 << 28).to_bytes(4, "big")


def matroska(known: bool = True) -> list[bytes]:
    head = b"\x1a\x45\xdf\xa3" + vint(4) + bytes(4) + b"\x18\x53\x80\x67"
    block = b"\xa3" + vint(1000) + b"\x81\x00\x10\x80" + b"\x55" * 996
    cluster = b"\x1f\x43\xb6\x75" + (vint(5 * len(block)) if known else b"\x01" + b"\xff" * 7)
    clusters = [cluster + 5 * block for _ in range(PIECES // 5)]
    return [head + b"\x01" + b"\xff" * 7, *clusters]


def flv() -> list[bytes]:
    body = b"\x17\x01" + b"\x55" * 998
    tag = b"\x09" + struct.pack(">I", len(body))[1:] + bytes(7) + body
    return [b"FLV\x01\x05\0\0\0\x09" + bytes(4), *[tag + struct.pack(">I", len(tag))] * PIECES]


def avi() -> list[bytes]:
    chunks = [b"00dc" + struct.pack("<I", 1000) + b"\x55" * 1000] * PIECES
    movi = struct.pack("<I", 4 + sum(map(len, chunks)))
    size = struct.pack("<I", 16 + sum(map(len, chunks)))
    return [b"RIFF" + size + b"AVI LIST" + movi + b"movi", *chunks]


def program_stream() -> list[bytes]:
    pack = b"\0\0\1\xba\x44" + bytes(8) + b"\xf8"
    return [pack + b"\0\0\1\xe0" + struct.pack(">H", 2000) + b"\x55" * 2000] * PIECES


def page(number: int, content: bytes = b"\x55" * 1000, flags: int = 0) -> bytes:
    lacing = [255] * (len(content) // 255) + [len(content) % 255]
    head = b"OggS\0" + bytes([flags]) + bytes(8) + struct.pack("<III", 7, number, 0)
    made = head + bytes([len(lacing), *lacing]) + content
    return made[:22] + struct.pack("<I", ogg.checksum(made)) + made[26:]


def ogg_pages() -> list[bytes]:
    return [page(number, flags=2 if number == 0 else 0) for number in range(PIECES)]


def packet(number: int, pid: int = 0x100, flags: int = 0x10) -> bytes:
    return bytes([0x47, pid >> 8, pid & 255, flags | number & 15]) + b"\x55" * 184


def transport() -> list[bytes]:
    return [packet(number) for number in range(PIECES)]


def mp3() -> list[bytes]:
    return [b"\xff\xfb\xe0\x44" + b"\x55" * 1040] * PIECES  # 320 kbit/s, 44.1 kHz


def adts() -> list[bytes]:
    head = bytes([0xFF, 0xF1, 0x4C, 0x80 | 1000 >> 11, 1000 >> 3 & 255, (1000 & 7) << 5 | 0x1F])
    return [head + b"\x55" * 994] * PIECES


def ac3() -> list[bytes]:
    return [b"\x0b\x77\x00\x00\x14\x40" + b"\x55" * 762] * PIECES  # 192 kbit/s, 48 kHz


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def fragment(samples: int = 10, size: int = 100) -> bytes:
    """One second of a track with 10 samples per second."""

    def moof(offset: int) -> bytes:
        tfhd = box(b"tfhd", struct.pack(">II", 0x20000, 1))
        rows = struct.pack(">II", 100, size) * samples
        trun = box(b"trun", struct.pack(">IIi", 0x301, samples, offset) + rows)
        return box(b"moof", box(b"mfhd", bytes(8)) + box(b"traf", tfhd + trun))

    offset = len(moof(0)) + 8
    return moof(offset) + box(b"mdat", b"\x55" * (samples * size))


def fragments() -> list[bytes]:
    tkhd = box(b"tkhd", bytes(12) + struct.pack(">I", 1) + bytes(68))
    mdhd = box(b"mdhd", bytes(12) + struct.pack(">I", 1000) + bytes(8))
    trex = box(b"trex", bytes(4) + struct.pack(">IIIII", 1, 1, 100, 100, 0))
    moov = box(b"moov", box(b"trak", tkhd + box(b"mdia", mdhd)) + box(b"mvex", trex))
    return [box(b"ftyp", b"isom") + moov, *[fragment()] * PIECES]


FORMATS: dict[str, Callable[[], list[bytes]]] = {
    "matroska": matroska,
    "live matroska": lambda: matroska(known=False),
    "flv": flv,
    "avi": avi,
    "program stream": program_stream,
    "ogg": ogg_pages,
    "transport stream": transport,
    "mp3": mp3,
    "adts": adts,
    "ac3": ac3,
    "fragments": fragments,
}


def find(data: bytes) -> tuple[Hole, ...]:
    return holes.find(lambda at, count: data[at : at + count], len(data))


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


@pytest.mark.parametrize("name", ["live matroska", "flv", "program stream", "ogg", "fragments"])
def test_a_recording_that_simply_ends_has_no_hole(name: str) -> None:
    assert find(b"".join(FORMATS[name]()[:-3])) == ()


def test_the_seconds_of_a_cut_fragment_are_known() -> None:
    data = b"".join(fragments())
    (found,) = find(data[:-450])
    assert found.size == 450
    assert found.seconds == pytest.approx(0.5)


def test_a_page_out_of_turn_is_a_hole() -> None:
    pages = ogg_pages()
    (found,) = find(b"".join(pages[:10] + pages[13:]))
    assert found.lost_bytes == pytest.approx(3 * len(pages[1]), rel=0.2)
    # A second song starts with its own numbers.
    assert find(b"".join(pages + pages)) == ()


def test_one_changed_bit_of_a_page_is_a_hole() -> None:
    pages = ogg_pages()
    data = bytearray(b"".join(pages))
    data[len(data) // 2] ^= 1
    (found,) = find(bytes(data))
    assert found.size == len(pages[1])


def test_a_packet_out_of_turn_is_a_hole() -> None:
    packets = transport()
    (found,) = find(b"".join(packets[:10] + packets[13:]))
    assert found == Hole(10 * 188, 10 * 188, 3 * 188)
    # The same number twice is a packet that was sent twice.
    assert find(b"".join(packets[:10] + packets[9:])) == ()


def test_a_joint_of_two_transport_streams_is_no_hole() -> None:
    first = [packet(n) for n in range(21)]
    table = bytes([0x47, 0x40, 0, 0x10]) + bytes(184)
    begin = bytes([0x47, 0x41, 0, 0x10]) + bytes(184)
    rest = [packet(n) for n in range(1, 20)]
    (joint,) = find(b"".join([*first, table, begin, *rest]))
    assert joint.size == 0
    for pause, is_lost in ((0.0, False), (8.0, True), (3600.0, False)):
        listed = index(*((i * 100, i * 0.1 + (pause if i > 50 else 0)) for i in range(100)))
        assert (hole_loss((Hole(5050, 5050),), listed, 0, 10_000) is not None) == is_lost
    assert len(find(b"".join([*first, table, *rest[5:]]))) == 1


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=300), st.integers(0, 2000))
def test_any_bytes_do_no_harm(name: str, noise: bytes, place: int) -> None:
    whole = b"".join(FORMATS[name]()[:6])
    for data in (whole[:place] + noise + whole[place:], whole[:40] + noise):
        for hole in find(data):
            assert 0 <= hole.start <= len(data)
            assert hole.size >= 0


def test_a_last_box_without_a_length_is_no_hole() -> None:
    data = b"".join([*fragments()[:3], fragment(1, 100_000)])
    at = data.rindex(b"mdat") - 4
    assert find(data[:at] + bytes(4) + data[at + 4 :]) == ()


def index(*rows: tuple[int, float]) -> PacketReader:
    reader = PacketReader()
    for place, time in rows:
        reader.add_line(f"0,{time:f},{time:f},0.04,{place},K__")
    return reader


def test_a_hole_lasts_as_long_as_the_packets_around_it_are_apart() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(1000) if not 300 <= i < 360))
    found = hole_loss((Hole(30_000, 36_000),), listed, 0, 100_000)
    assert found is not None
    assert (found.lost, found.total, found.is_cut) == (6000, 100_000, False)
    assert found.seconds == pytest.approx(6.1)
    # Elsewhere, slides stand as long as that.
    slides = index(*((i * 100, i * 7.0) for i in range(1000)))
    found = hole_loss((Hole(30_010, 30_020),), slides, 0, 100_000)
    assert found is not None
    assert found.seconds == 0


def test_what_a_demuxer_leaves_unread_is_lost() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(300)))
    found = hole_loss((Hole(30_000, 30_500),), listed, 0, 100_000)
    assert found is not None
    assert found.lost == 70_000
    with pytest.raises(ConversionError) as error:
        judge((found,), DamageLimits())
    assert error.value.reason is ExitReason.INPUT_DAMAGED


def test_only_holes_of_the_part_count() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(1000)))
    assert hole_loss((Hole(30_000, 36_000),), listed, 40_000, 100_000) is None
    assert hole_loss((Hole(100_000, 136_000),), listed, 0, 90_000) is None


def test_a_cut_file_is_truncated_by_the_same_limits() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(1000)))
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
