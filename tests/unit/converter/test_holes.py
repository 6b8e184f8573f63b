"""Where the structure of a file breaks, something is lost. Files made of bytes, without a tool."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import structure
from media_converter.probing import chain, holes, isobmff, ogg
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


def page(
    number: int, content: bytes = b"\x55" * 1000, flags: int = 0, position: int | None = None
) -> bytes:
    place = struct.pack("<q", 960 * number if position is None else position)
    lacing = [255] * (len(content) // 255) + [len(content) % 255]
    head = b"OggS\0" + bytes([flags]) + place + struct.pack("<III", 7, number, 0)
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


def test_no_bytes_are_missing_behind_a_hole_in_the_middle() -> None:
    assert holes.missing_bytes((Hole(100, 200),), 10_000) == 0


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


def test_a_live_stream_starts_with_stored_headers() -> None:
    headers = [page(0, flags=2), page(1, position=-1), page(2, position=0)]
    live = [page(number) for number in range(8000, 8020)]
    assert find(b"".join(headers + live)) == ()
    assert len(find(b"".join(headers + live[:10] + live[13:]))) == 1
    # The next song of the same stream starts like that too.
    assert find(b"".join(headers + live + headers + live)) == ()


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


def id3(length: int, stated: int | None = None, flags: int = 0) -> bytes:
    size = length if stated is None else stated
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0" + bytes([flags]) + digits + b"\x33" * length


@pytest.mark.parametrize("magic", [b"fLaC", b"MAC ", b"TTA1", b"MPCK", b"wvpk", b"else"])
def test_a_tag_before_another_format_is_no_hole(magic: bytes) -> None:
    assert find(id3(3000) + magic + b"\x55" * 400_000) == ()
    # Such a format may have bytes that look like a frame.
    frame = b"\xff\xf8\x4c\x80\x7d\x1f" + b"\x55" * 994
    assert find(id3(3000) + magic + frame + b"\x55" * 400_000) == ()


def test_a_cut_inside_of_a_tag_is_a_hole() -> None:
    data = id3(500) + id3(300_000)
    assert find(data[:-1000]) == (Hole(len(data) - 1000, len(data)),)


def test_a_single_frame_is_another_format() -> None:
    assert find(b"\xff\xf8\xc9\x08\x7d\x1f" + b"\x55" * 400_000) == ()


@pytest.mark.parametrize("name", ["mp3", "adts", "ac3"])
def test_bytes_between_a_tag_and_the_first_frame_are_no_hole(name: str) -> None:
    pieces = FORMATS[name]()
    song = b"".join(pieces)
    assert find(id3(3000) + id3(500) + bytes(8000) + song) == ()
    assert find(id3(300_000, stated=500) + song) == ()
    # A hole behind them still counts, also if the tag has a footer.
    broken = b"".join([*pieces[:10], bytes(20_000), *pieces[10:]])
    (found,) = find(id3(3000) + bytes(8000) + broken)
    assert found == Hole(11_010 + 10 * len(pieces[0]), 31_010 + 10 * len(pieces[0]))
    assert len(find(id3(3000, flags=0x10) + b"3DI" + bytes(7) + broken)) == 1


def test_a_joint_warns_and_never_refuses() -> None:
    listed = index(*((i * 100, i * 0.1 + (8 if i > 50 else 0)) for i in range(100)))
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
    both = index(
        *((i * 100, i * 0.1 + (6 if i > 20 else 0) + (8 if i > 50 else 0)) for i in range(100))
    )
    found = hole_loss((Hole(2050, 2050, 188), Hole(5050, 5050)), both, 0, 10_000)
    assert found is not None
    assert found.seconds == pytest.approx(6.1)


def test_a_packet_without_content_announces_another_number() -> None:
    announcement = bytes([0x47, 1, 0, 0x20, 183, 0x80]) + bytes(182)
    silent = bytes([0x47, 1, 0, 0x20, 183, 0x00]) + bytes(182)
    first, rest = [packet(n) for n in range(10)], [packet(n) for n in range(15, 30)]
    assert find(b"".join([*first, announcement, *rest])) == ()
    assert len(find(b"".join([*first, silent, *rest]))) == 1


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


def table(kind: bytes, *numbers: int) -> bytes:
    return box(kind, bytes(4) + b"".join(struct.pack(">I", number) for number in numbers))


def indexed(stsz: bytes, stsc: bytes, stco: bytes, media: int) -> bytes:
    """A file that starts with an index and has one track."""
    trak = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsz + stsc + stco))))
    return box(b"moov", trak) + box(b"mdat", bytes(media))


ROWS = {
    # Chunks of 300 samples, the last of 100 samples.
    "equal": table(b"stsz", 4, 1000),
    "listed": table(b"stsz", 0, 1000, *[4] * 1000),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_cut_inside_of_the_samples_of_an_index_is_a_hole(name: str) -> None:
    stsc = table(b"stsc", 2, 1, 300, 1, 4, 100, 1)
    stco = table(b"stco", 4, 8000, 9200, 10_400, 11_600)
    data = indexed(ROWS[name], stsc, stco, 20_000)
    # The samples end before the box does.
    assert find(data[:12_000]) == ()
    assert find(data[:11_999]) == (Hole(11_999, 12_000),)
    assert find(data[:9000]) == (Hole(9000, 12_000),)
    # A track with too few chunks contradicts itself.
    assert find(indexed(ROWS[name], stsc, table(b"stco", 2, 8000, 9200), 20_000)[:9000]) == ()


def test_an_index_that_claims_any_number_of_samples_costs_nothing() -> None:
    most = 0xFFFFFFFF
    stco = table(b"stco", 1, 200)
    claimed = indexed(table(b"stsz", 1, most), table(b"stsc", 1, 1, most, 1), stco, 20_000)
    # No sample is behind the last box.
    assert find(claimed[:9000]) == (Hole(9000, len(claimed)),)
    read = lambda at, count: claimed[at : at + count]  # noqa: E731
    assert isobmff.tracks(read, len(claimed), with_samples=True) == ()
    repeated = table(b"stsc", 20_000, *[1, 1, 1] * 20_000)
    many = table(b"stco", 20_000, *range(20_000))
    for first in (table(b"stsz", 1, 100), table(b"stsz", 0, 100, *[1] * 100)):
        data = indexed(first, repeated, many, 20_000)
        assert find(data[:-9000]) == ()


def test_boxes_in_each_other_end_at_a_depth() -> None:
    nested = b""
    for _ in range(3000):
        nested = box(b"trak", nested)
    data = box(b"moov", nested) + box(b"mdat", bytes(20_000))
    assert find(data[:-9000]) == ()


def test_a_header_may_name_any_offset(tmp_path: Path) -> None:
    for size in (2**63 - 16, 2**63 - 1, 2**64 - 1):
        properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(100)
        head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<Q", size)
        path = tmp_path / "film.wmv"
        path.write_bytes(head + bytes(6) + properties)
        with path.open("rb") as file:
            read = structure.reader(file.fileno())
            assert holes.find(read, path.stat().st_size) == ()


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


@pytest.mark.parametrize("missing", [1, 4])
def test_the_last_tag_of_an_flv_may_lack_its_size(missing: int) -> None:
    data = b"".join(flv())
    assert find(data[:-missing]) == ()
    assert find(data[:-5]) == (Hole(len(data) - 5, len(data)),)


def test_the_number_of_a_stream_in_an_flv_does_not_matter() -> None:
    numbered = [flv()[0], *(tag[:10] + b"\1" + tag[11:] for tag in flv()[1:])]
    assert find(b"".join(numbered)) == ()
    data = b"".join([*flv()[:10], b"\x08" * 5000, *flv()[1:]])
    assert find(data) == (Hole(13 + 9 * 1015, 13 + 9 * 1015 + 5000),)


@pytest.mark.parametrize(("scale", "seconds"), [(None, 0.8), (1_000_000, 0.8), (100_000, 0.08)])
def test_the_clock_of_a_matroska_file_counts(scale: int | None, seconds: float) -> None:
    ticks = b"" if scale is None else b"\x2a\xd7\xb1\x84" + struct.pack(">I", scale)
    info = b"\x15\x49\xa9\x66" + vint(7 + len(ticks)) + b"\x4d\x80\x84test" + ticks
    head = b"\x1a\x45\xdf\xa3" + vint(4) + bytes(4) + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    blocks = [
        b"\xa3" + vint(1000) + b"\x81" + struct.pack(">h", 200 * n) + b"\x80" + bytes(996)
        for n in range(10)
    ]
    cluster = b"\x1f\x43\xb6\x75" + vint(10 * len(blocks[0])) + b"".join(blocks[:5])
    (found,) = find(head + info + cluster)
    assert found.seconds == pytest.approx(seconds)


def test_zeros_between_the_lists_of_an_avi_are_no_hole() -> None:
    def riff(between: bytes) -> bytes:
        chunks = b"".join(avi()[1:])
        header = b"LIST" + struct.pack("<I", 104) + b"hdrl" + bytes(100)
        movi = b"LIST" + struct.pack("<I", 4 + len(chunks)) + b"movi" + chunks
        parts = [header, movi, b"idx1" + struct.pack("<I", 160) + bytes(160)]
        body = b"AVI " + b"".join(part + between for part in parts)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    assert find(riff(bytes(4))) == ()
    assert find(riff(bytes(4096))) == ()
    assert len(find(riff(b"\xaa" * 4))) == 2
    assert len(find(riff(bytes(5000)))) == 2


@pytest.mark.parametrize("padding", [b"", b"\0", b"0"])
def test_a_chunk_of_odd_length_may_lack_its_padding(padding: bytes) -> None:
    first = avi()[0]
    chunk = b"00dc" + struct.pack("<I", 1001) + b"\x55" * 1001 + padding
    assert find(first + PIECES * chunk) == ()
    (found,) = find(first + 25 * chunk + bytes(5000) + 25 * chunk)
    assert 5000 - 1 <= found.size <= 5001


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


def test_flagged_packets_that_follow_each_other_are_one_hole() -> None:
    flagged = [packet(n, pid=0x8100) for n in range(10)]
    (found,) = find(b"".join([*transport()[:9], *flagged, *transport()[10:]]))
    assert found == Hole(9 * 188, 19 * 188)


def asf(packet_bytes: int, count: int) -> bytes:
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(76)
    properties += struct.pack("<II", packet_bytes, packet_bytes)
    length = 30 + len(properties)
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<Q", length)
    media = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c") + bytes(24)
    packets = (b"\x82" + bytes(packet_bytes - 1)) * count
    return head + bytes(6) + properties + media + struct.pack("<Q", count) + bytes(2) + packets


def test_asf_packets_of_a_few_bytes_are_nonsense() -> None:
    whole = asf(1000, 40)
    assert find(whole) == ()
    start = len(whole) - 40_000
    broken = whole[: start + 5000] + bytes(7000) + whole[start + 12_000 :]
    assert find(broken) == (Hole(start + 5000, start + 12_000),)
    tiny = asf(40, 1000)
    assert find(tiny[:-30_000] + bytes(20_000) + tiny[-10_000:]) == ()


class Copied(bytes):
    """Bytes that count how many of them are copied by slices, also by slices of slices."""

    total = 0

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, int):
            return part
        Copied.total += len(part)
        return Copied(part)


def test_long_lists_of_samples_and_segments_are_not_copied_for_each_entry() -> None:
    samples = fragment(20_000, 1)
    sidx = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 20_000) + bytes(12 * 20_000)
    for data in (samples[:-5], box(b"ftyp", b"isom") + box(b"sidx", sidx) + samples):
        Copied.total = 0
        find(Copied(data))
        assert Copied.total < 20 * len(data)


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


def test_what_another_stream_has_behind_a_hole_was_read() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(300)))
    longer = index(*((i * 1000, i * 1.0) for i in range(90)))
    gap = (Hole(50_000, 50_500),)
    found = hole_loss(gap, listed, 0, 100_000, lambda: (longer,))
    assert found is not None
    assert found.lost == 500
    # Behind a later hole, no stream has packets.
    both = (*gap, Hole(95_000, 95_100))
    found = hole_loss(both, listed, 0, 100_000, lambda: (longer, index()))
    assert found is not None
    assert found.lost == 500 + 5000
    # A stream that goes on behind the holes needs no look at the others.
    assert hole_loss(gap, longer, 0, 100_000, lambda: pytest.fail("needless look")) is not None


def test_a_joint_behind_the_last_packet_is_no_loss() -> None:
    listed = index(*((i * 100, i * 0.1) for i in range(300)))
    assert hole_loss((Hole(50_000, 50_000),), listed, 0, 100_000) is None


def test_packets_without_places_say_nothing_about_what_was_read() -> None:
    listed = index(*((-1, i * 0.1 + (8 if i > 296 else 0)) for i in range(300)))
    found = hole_loss((Hole(50_000, 50_500),), listed, 0, 100_000)
    assert found is not None
    assert (found.lost, found.seconds) == (500, 0)


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
