"""What packets, logs and headers say about a file, without any file."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.probing import nal, packets
from media_converter.probing.decoded import LogReader, StreamCounts, errors_only
from media_converter.probing.encryption import by_structure
from media_converter.probing.isobmff import Edit, Samples, Track
from media_converter.probing.packets import Gap, PacketReader
from media_converter.running.damage import Loss, judge, longest_missing, loss, missing_samples
from media_converter.task import DamageLimits

SPS, PPS = (
    bytes.fromhex("6742c00cda05067e7c0440000003004000000c83c50aa8"),
    bytes.fromhex("68ce0fc8"),
)
IDR = b"\x65\x88\x84" + b"\x11" * 40  # first macroblock 0, type 7, parameter set 0
SLICE = b"\x41\x9a\x02" + b"\x22" * 40
AVCC = (
    b"avcC\x01\x42\xc0\x0c\xff\xe1" + struct.pack(">H", len(SPS)) + SPS
    + b"\x01" + struct.pack(">H", len(PPS)) + PPS
)  # fmt: skip


def sized(*units: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def inspect(*samples: bytes, entries: int = 1) -> nal.Inspection:
    data = b"".join(samples)
    sizes = tuple(len(sample) for sample in samples)
    offsets = tuple(sum(sizes[:i]) for i in range(len(sizes)))
    track = Track(b"vide", ((b"avc1", AVCC),) * entries, (), Samples(sizes, offsets))
    return nal.inspect(track, lambda offset, count: data[offset : offset + count])


def test_intact_packets_have_no_fault() -> None:
    assert inspect(sized(SPS, PPS, IDR), sized(SLICE)) == nal.Inspection()
    assert inspect(sized(b"\x09\xf0", SPS, PPS + b"\0", IDR)).fault == ""


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ((sized(IDR), bytes(50)), "packet 2 of 2 is damaged"),
        ((sized(IDR)[:-1] + b"", sized(SLICE)), "is damaged"),
        ((sized(IDR), sized(SLICE[:20] + bytes(9) + SLICE[20:])), "is damaged"),
        ((sized(IDR), sized(b"\xc1" + SLICE[1:])), "is damaged"),
        ((sized(IDR), sized(b"\x67\x64" + SPS[2:], IDR)), "changes the parameter sets"),
        ((sized(IDR), sized(b"\x41\x9a\x52" + SLICE[3:], b"")), "is damaged"),
        ((sized(IDR), sized(b"\x41\x99\x22" + SLICE[3:])), "damaged slice"),
        ((sized(IDR), sized(SLICE, SLICE)), "2 frames"),
        ((sized(IDR), sized(b"\x09\xf0")), "0 frames"),
        ((sized(SLICE),), "not a keyframe"),
        ((b"",), "0 frames"),
    ],
)
def test_a_fault_is_found_without_decoding(samples: tuple[bytes, ...], words: str) -> None:
    assert words in inspect(*samples).fault


def test_two_configurations_are_a_fault() -> None:
    assert "configuration" in inspect(sized(IDR), entries=2).fault


def test_units_with_other_data_are_found_and_replaced() -> None:
    secret = b"\x06\x05\x10GPS48.8577N002.2950E\x80"
    found = inspect(sized(IDR), sized(secret, SLICE)).foreign
    assert found == ((len(sized(IDR)) + 4, len(secret)),)
    assert inspect(sized(IDR), sized(nal.filler(len(secret)), SLICE)) == nal.Inspection()
    assert [len(nal.filler(size)) for size in (1, 2, 3, 100)] == [1, 2, 3, 100]


SUMMARY = (
    "[in#0/mov @ 0x1] [verbose]   Input stream #0:0 (video): 6000 packets read (9 bytes); "
    "3953 frames decoded; 2047 decode errors; \n"
    "[in#0/mov @ 0x1] [verbose]   Input stream #0:1 (audio): 300 packets read (9 bytes); \n"
    "[in#1/mjpeg @ 0x1] [verbose]   Input stream #1:0 (video): 1 packets read (9 bytes); "
)


def test_the_counts_of_ffmpeg_are_read() -> None:
    reader = LogReader()
    log = (
        "[vist#0:0/h264 @ 0x1] [warning] corrupt decoded frame\n"
        "    Last message repeated 4 times\n"
        "[h264 @ 0x1] [error] no frame!\n"
        "    Last message repeated 70 times\n"
        "[af#0:0 @ 0x1] [info] Reconfiguring filter graph because audio parameters changed to x\n"
    )
    for line in (log + SUMMARY).splitlines():
        reader.add_line(line)
    decoded = reader.result()
    assert decoded.streams == {0: StreamCounts(6000, 3953, 2047), 1: StreamCounts(300)}
    assert decoded.corrupt == 5
    assert decoded.wrong_checksums == 0
    assert decoded.reconfigured == {"audio"}
    assert errors_only(log) == "[h264 @ 0x1] [error] no frame!"


def test_changes_of_the_streams_are_read() -> None:
    why = "[vf#0:0 @ 0x1] [info] Reconfiguring filter graph because "
    for line, wanted in (
        (why + "video parameters changed to yuv420p(tv), 640x360", {"video"}),
        (why + "display matrix changed, ", {"video"}),
        (why + "hwaccel changed, ", set()),
        (
            "[in#0/mpegts @ 0x1] [warning] New audio stream with index 1 at pos:376 and DTS:90s",
            set(),
        ),
    ):
        reader = LogReader()
        reader.add_line(line)
        assert reader.result().reconfigured == wanted, line
        assert reader.result().appeared == ({"audio"} if "New" in line else set())


def test_a_file_that_was_not_read_to_its_end() -> None:
    reader = LogReader()
    # Damage is counted elsewhere.
    reader.add_line("[in#0/ogg @ 0x1] [error] Error during demuxing: Invalid data found")
    assert not reader.result().stopped
    reader.add_line("[in#0/ogg @ 0x1] [error] Error during demuxing: Not yet implemented")
    assert reader.result().stopped


def test_the_samples_and_checksums_of_flac_are_read() -> None:
    reader = LogReader()
    reader.add_line("[flac @ 0x1] [error] CRC error at PTS 4096")
    reader.add_line(
        "[in#0/flac @ 0x1] [verbose]   Input stream #0:0 (audio): 163 packets read (262442 bytes); "
        "166 frames decoded; 1 decode errors (761856 samples); "
    )
    decoded = reader.result()
    assert decoded.wrong_checksums == 1
    assert decoded.streams == {0: StreamCounts(163, 166, 1, 761856)}
    assert missing_samples(960000, 48000, decoded.streams[0]).lost == 198144
    assert missing_samples(960000, 48000, decoded.streams[0]).seconds == pytest.approx(4.1, abs=0.1)
    # Without an error, the header is wrong.
    assert missing_samples(960000, 48000, StreamCounts(163, 166, 0, 761856)).lost == 0


def test_what_is_lost_is_counted() -> None:
    assert loss("frames", StreamCounts(100, 100, 0), 0, 0).lost == 0
    assert loss("frames", StreamCounts(100, 60, 40), 0, 0).lost == 40
    assert loss("frames", StreamCounts(100, 97, 3), 5, 0).lost == 8
    # Two fields make one frame, and nothing is wrong with that.
    assert loss("frames", StreamCounts(100, 50, 0), 0, 0).lost == 0
    # Nobody can decode what comes before the first key picture.
    assert loss("frames", StreamCounts(100, 70, 30), 0, 30).lost == 0
    assert loss("frames", StreamCounts(100), 0, 0).lost == 0


@pytest.mark.parametrize(
    ("found", "limits", "refused"),
    [
        (Loss("frames", 10, 100), DamageLimits(), False),
        (Loss("frames", 11, 100), DamageLimits(), True),
        (Loss("frames", 11, 100), DamageLimits(max_percent=12), False),
        (Loss("frames", 1, 1000, 4.9), DamageLimits(), False),
        (Loss("frames", 1, 1000, 5.0), DamageLimits(), True),
        (Loss("frames", 1, 1000, 5.0), DamageLimits(max_seconds=6), False),
        (Loss("frames", 99, 100, 99.0), DamageLimits(convert_anyway=True), False),
    ],
)
def test_both_limits_have_two_sides(found: Loss, limits: DamageLimits, refused: bool) -> None:
    if refused:
        with pytest.raises(ConversionError) as error:
            judge((found,), limits)
        assert error.value.reason is ExitReason.INPUT_DAMAGED
        assert "spec.damagedInput" in error.value.message
    else:
        (warning,) = judge((found,), limits)
        assert str(found.total) in warning
        assert "\n" not in warning
    assert judge((Loss("frames", 0, 100),), limits) == ()


def every(start: float, end: float, step: float = 0.2) -> list[float]:
    return [start + step * i for i in range(round((end - start) / step))]


def test_a_picture_that_stands_in_the_input_is_no_gap() -> None:
    whole, stands = every(0, 30), [*every(0, 10), *every(17, 30)]
    assert longest_missing(whole, whole, 5) == 0
    assert longest_missing(stands, stands, 5) == 0
    assert longest_missing(whole, stands, 5) == pytest.approx(7, abs=0.5)
    assert longest_missing(whole, stands, 8) == 0
    two = [*every(0, 9.8), *every(17, 18), *every(27, 30)]
    assert longest_missing(stands, two, 5) == pytest.approx(9.2, abs=0.5)


def test_what_is_missing_outside_of_the_output_counts() -> None:
    whole = every(0, 30)
    assert longest_missing(whole, every(0, 23), 5) == pytest.approx(7, abs=0.5)
    assert longest_missing(whole, every(0, 26), 5) == 0
    # The clock of a recording may jump, and the output continues all the same.
    assert longest_missing([*every(0, 15), *every(3600, 3615)], whole, 5) == 0


def test_packets_are_listed_in_the_order_of_the_screen() -> None:
    reader = PacketReader()
    for line in (
        "0,0.000000,0.000000,0.040000,9,100,K__",
        "0,0.120000,0.040000,0.040000,5,200,___,",
        "0,0.040000,0.080000,N/A,6,300,_D_",
        "0,N/A,0.080000,0.040000,7,N/A,__C",
        "0,N/A,N/A,0.040000,20,500,___",
        "",
    ):
        reader.add_line(line)
    assert [frame.time for frame in reader.frames()] == [0.0, 0.04, 0.08, 0.12]
    assert (reader.packets, reader.discarded, reader.corrupt, reader.untimed) == (5, 1, 1, 1)
    assert reader.leading == 0
    assert list(reader.offsets) == [100, 200, 300, -1]
    assert list(reader.between(0.04, 0.12).times) == [0.04, 0.08]
    assert list(reader.sizes) == [9, 5, 6, 27], "bytes without a time count for the packet before"
    assert list(reader.between(0.04, 0.12).sizes) == [6, 27]
    assert packets.gaps([0.0, 1.0, 8.0], 5.0) == [Gap(1.0, 8.0)]


def test_an_edit_list_that_plays_everything_once_is_plain() -> None:
    def plain(*edits: Edit) -> bool:
        return Track(b"vide", (), edits).plain_edits

    assert plain()
    assert plain(Edit(500, -1, 1), Edit(3000, 1024, 1))
    assert not plain(Edit(500, 0, 1), Edit(3000, 51200, 1))
    assert not plain(Edit(500, 0, 0))


def is_encrypted(data: bytes) -> bool:
    return by_structure(lambda at, n: data[at : at + n], len(data))


@pytest.mark.parametrize(
    ("kind", "crc", "wanted"),
    [(0xDB, "1ee348b4", True), (0xDB, "00000000", False), (0x1B, "", False)],
)
def test_a_program_map_with_encrypted_samples_is_recognized(
    kind: int, crc: str, *, wanted: bool
) -> None:
    head = bytes([2, 0xB0, 18, 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 0, kind, 0xE1, 0, 0xF0, 0])
    section = head + (bytes.fromhex(crc) if crc else bytes(4))
    packet = b"\x47\x50\x00\x10\0" + section.ljust(183, b"\xff")
    assert is_encrypted(packet * 5) == wanted


@pytest.mark.parametrize(("scrambled", "wanted"), [(0, False), (1, False), (30, True)])
def test_a_scrambled_dvd_is_recognized(scrambled: int, *, wanted: bool) -> None:
    def pack(flags: int) -> bytes:
        head = b"\0\0\1\xba" + bytes(9) + b"\xf8"
        return (head + b"\0\0\1\xe0\x07\xec" + bytes([0x80 | flags])).ljust(2048, b"\0")

    data = pack(0) * (100 - scrambled) + pack(0x10) * scrambled
    assert is_encrypted(data) == wanted


def test_a_scrambled_transport_stream_is_recognized() -> None:
    def stream(flags: int) -> bytes:
        packet = bytes([0x47, 0x01, 0x00, flags | 0x10]) + bytes(184)
        return packet * 20

    for flags, wanted in ((0x00, False), (0x80, True), (0xC0, True)):
        data = stream(flags)
        assert by_structure(lambda at, n, data=data: data[at : at + n], len(data)) == wanted  # type: ignore[misc]
