"""Holes that only one container has, and its oddities that are no holes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from media_converter.files import structure
from media_converter.probing import holes, isobmff
from media_converter.probing.chain import Hole
from tests.unit.converter.hole_files import (
    FORMATS,
    PIECES,
    ROWS,
    Copied,
    asf,
    avi,
    box,
    find,
    flv,
    fragment,
    fragments,
    id3,
    indexed,
    ogg_pages,
    packet,
    page,
    table,
    transport,
    vint,
)


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


def test_a_packet_without_content_announces_another_number() -> None:
    announcement = bytes([0x47, 1, 0, 0x20, 183, 0x80]) + bytes(182)
    silent = bytes([0x47, 1, 0, 0x20, 183, 0x00]) + bytes(182)
    first, rest = [packet(n) for n in range(10)], [packet(n) for n in range(15, 30)]
    assert find(b"".join([*first, announcement, *rest])) == ()
    assert len(find(b"".join([*first, silent, *rest]))) == 1


def test_a_last_box_without_a_length_is_no_hole() -> None:
    data = b"".join([*fragments()[:3], fragment(1, 100_000)])
    at = data.rindex(b"mdat") - 4
    assert find(data[:at] + bytes(4) + data[at + 4 :]) == ()


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


def test_flagged_packets_that_follow_each_other_are_one_hole() -> None:
    flagged = [packet(n, pid=0x8100) for n in range(10)]
    (found,) = find(b"".join([*transport()[:9], *flagged, *transport()[10:]]))
    assert found == Hole(9 * 188, 19 * 188)


def test_asf_packets_of_a_few_bytes_are_nonsense() -> None:
    whole = asf(1000, 40)
    assert find(whole) == ()
    start = len(whole) - 40_000
    broken = whole[: start + 5000] + bytes(7000) + whole[start + 12_000 :]
    assert find(broken) == (Hole(start + 5000, start + 12_000),)
    tiny = asf(40, 1000)
    assert find(tiny[:-30_000] + bytes(20_000) + tiny[-10_000:]) == ()


def test_long_lists_of_samples_and_segments_are_not_copied_for_each_entry() -> None:
    samples = fragment(20_000, 1)
    sidx = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 20_000) + bytes(12 * 20_000)
    for data in (samples[:-5], box(b"ftyp", b"isom") + box(b"sidx", sidx) + samples):
        Copied.total = 0
        find(Copied(data))
        assert Copied.total < 20 * len(data)
