"""Where the shape of the pixels changes, and the filters that keep squares square."""

from __future__ import annotations

import pytest

from media_converter.planning.filters import fit_shapes
from media_converter.planning.video import plan_video
from media_converter.probing.pixel_shapes import (
    Seen,
    ShapeReader,
    Shapes,
    frame,
    sequence_header,
    shapes,
    spans,
)
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import INFO, LIMITS, LISTED, WHITE

NARROW, WIDE = (12, 11), (16, 11)
SMALL, LARGE = (352, 288), (704, 288)
HEADER = b"\0\0\1\xb3\x16\x01\x20\x23\xff\xff"


def ts_packet(payload: bytes, pid: int = 0x100) -> bytes:
    stuffing = 184 - len(payload)
    head = bytes((0x47, pid >> 8, pid & 0xFF, 0x30, stuffing - 1))
    return (head + b"\xff" * (stuffing - 1) + payload)[:188].ljust(188, b"\0")


def test_the_sequence_header_of_mpeg_2() -> None:
    assert sequence_header(b"pes" + HEADER, "mpeg", "mpeg2video") == b"\x16\x01\x20\x23"
    assert sequence_header(b"pes" + HEADER[:6], "mpeg", "mpeg2video") is None
    assert sequence_header(b"pes" + HEADER, "mpeg", "vc1") is None


@pytest.mark.parametrize("padding", [0, 4, 16])
def test_a_header_across_packets_of_a_transport_stream(padding: int) -> None:
    packets = [ts_packet(b"pes\0\0\1"), ts_packet(b"sound", 0x101), ts_packet(HEADER[3:])]
    data = b"".join(packet + bytes(padding) for packet in packets)
    assert sequence_header(data, "mpegts", "mpeg2video") == b"\x16\x01\x20\x23"


def test_the_parameter_set_of_h264() -> None:
    data = b"\0\0\0\1\x09\xf0\0\0\0\1\x67abcdefgh\0\0\0\1\x68xy"
    assert sequence_header(data, "mpeg", "h264") == b"abcdefgh"


def test_lines_of_ffprobe() -> None:
    assert frame("1.44,352,288,12:11,") == Seen(1.44, SMALL, NARROW)
    assert frame("N/A,352,288,N/A") == Seen(None, SMALL, (1, 1))
    assert frame("[error] 1,2") is None
    assert frame("x,352,288,1:1") is None


def read(first: float | None = None) -> ShapeReader:
    reader = ShapeReader(first)
    for number in range(10):
        reader.add_line(f"{number},352,288,{'16:11' if 4 <= number < 7 else '12:11'}")
    return reader


def test_changes_are_counted_from_the_first_picture_of_the_part() -> None:
    assert shapes(read().changes, NARROW) == Shapes(((0, NARROW), (4, WIDE), (7, NARROW)))
    assert shapes(read(2).changes, NARROW) == Shapes(((0, NARROW), (2, WIDE), (5, NARROW)))
    assert shapes(read(5).changes, NARROW) == Shapes(((0, WIDE), (2, NARROW)))
    assert shapes(read(8).changes, NARROW) is None
    assert shapes(read(8).changes, WIDE) == Shapes(((0, NARROW),))
    assert shapes((), NARROW) is None


def test_sizes_and_shapes_that_change_together() -> None:
    found = [(0, Seen(0, SMALL, NARROW)), (5, Seen(1, LARGE, (6, 11)))]
    assert shapes(found, NARROW) == Shapes(by_size=((SMALL, NARROW), (LARGE, (6, 11))))
    with pytest.raises(ValueError, match="does not follow"):
        shapes([*found, (9, Seen(2, SMALL, WIDE))], NARROW)


def test_each_shape_has_its_pictures() -> None:
    runs = ((0, NARROW), (4, WIDE), (7, NARROW))
    assert list(spans(runs)) == [(NARROW, [(0, 4), (7, None)]), (WIDE, [(4, 7)])]


def test_the_filters_for_each_shape() -> None:
    chain = fit_shapes((384, 288), Shapes(((0, NARROW), (50, WIDE))))
    assert chain.startswith("split=2[in0][in1];[in0]scale='max(2,iw*max(1,12/11))'")
    assert chain.endswith("[fit0][fit1]overlay=format=auto:enable='gte(n,50)'")
    assert "split" not in fit_shapes((384, 288), Shapes(((0, WIDE),)))
    assert "if(eq(iw,352)*eq(ih,288),12/11,1)" in fit_shapes(
        (384, 288), Shapes(by_size=((SMALL, NARROW),))
    )


def test_a_video_with_several_shapes_is_not_copied() -> None:
    assert plan_video(INFO, VideoOptions(), LIMITS, WHITE, LISTED).copies_video
    plan = plan_video(
        INFO, VideoOptions(), LIMITS, WHITE, LISTED._replace(shapes=Shapes(((0, WIDE),)))
    )
    assert not plan.copies_video
    assert "iw*max(1,16/11)" in " ".join(plan.step.argv)
