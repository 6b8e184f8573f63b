"""Where the shape of the pixels changes, and the filters that keep squares square."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.filters import fit_shapes
from media_converter.planning.plan import COPY_ALL
from media_converter.planning.video import plan_video
from media_converter.probing.decoded import Decoded
from media_converter.probing.media import Ratio
from media_converter.probing.packets import PacketReader
from media_converter.probing.pixel_shapes import (
    Seen,
    ShapeReader,
    Shapes,
    UnsupportedShapesError,
    frame,
    sequence_header,
    shapes,
    spans,
)
from media_converter.running import shapes as shapes_of_run
from media_converter.running import survey, videos
from media_converter.running.run import Run
from media_converter.running.transcode import Source, learn
from media_converter.step import Step
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import INFO, LIMITS, LISTED, VIDEO, WHITE, value_of

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
    colours = ("tv", "bt709")
    line = "1.44,352,288,yuv420p,12:11,tv,bt709"
    assert frame(line) == Seen(1.44, SMALL, NARROW, "yuv420p", colours)
    line = "N/A,352,288,yuv420p,N/A,tv,bt709"
    assert frame(line) == Seen(None, SMALL, (1, 1), "yuv420p", colours)
    assert frame("[error] 1,2") is None
    assert frame("x,352,288,yuv420p,1:1,tv,bt709") is None


def line(time: float, pixel: str, *, pixel_format: str = "yuv420p", matrix: str = "bt709") -> str:
    return f"{time},352,288,{pixel_format},{pixel},tv,{matrix}"


def read(first: float | None = None) -> ShapeReader:
    reader = ShapeReader(first)
    for number in range(10):
        reader.add_line(line(number, "16:11" if 4 <= number < 7 else "12:11"))
    return reader


def runs(*found: tuple[int, Ratio]) -> Shapes:
    return Shapes(found, keeps_filters=True)


def test_changes_are_counted_from_the_first_picture_of_the_part() -> None:
    assert shapes(read().changes, NARROW) == runs((0, NARROW), (4, WIDE), (7, NARROW))
    assert shapes(read(2).changes, NARROW) == runs((0, NARROW), (2, WIDE), (5, NARROW))
    assert shapes(read(5).changes, NARROW) == runs((0, WIDE), (2, NARROW))
    assert shapes(read(8).changes, NARROW) is None
    assert shapes(read(8).changes, WIDE) == Shapes(((0, NARROW),))
    assert shapes((), NARROW) is None


def test_sizes_and_shapes_that_change_together() -> None:
    found = [(0, Seen(0, SMALL, NARROW)), (5, Seen(1, LARGE, (6, 11)))]
    assert shapes(found, NARROW) == Shapes(by_size=((SMALL, NARROW), (LARGE, (6, 11))))
    with pytest.raises(UnsupportedShapesError, match="change independently"):
        shapes([*found, (9, Seen(2, SMALL, WIDE))], NARROW)


def test_each_shape_has_its_pictures() -> None:
    found = ((0, NARROW), (4, WIDE), (7, NARROW))
    assert list(spans(found)) == [(NARROW, [(0, 4), (7, None)]), (WIDE, [(4, 7)])]


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


def test_a_clock_that_starts_again_goes_on() -> None:
    """Four seconds of one shape and four of another, both from 1.4 s on. The part begins at 5 s."""
    reader = ShapeReader(1.4 + 5, restarts=True)
    for pixel in ("12:11", "16:11"):
        for number in range(100):
            reader.add_line(line(1.4 + number / 25, pixel))
    assert shapes(reader.changes, NARROW) == Shapes(((0, WIDE),))


@pytest.mark.parametrize(("restarts", "begins"), [(True, 6.5), (False, 62.5)])
def test_a_jump_ahead_is_taken_out_only_where_ffmpeg_does_it(restarts: bool, begins: float) -> None:
    reader = ShapeReader(begins, restarts=restarts)
    for start, pixel in ((0, "12:11"), (2, "12:11"), (60, "12:11"), (62, "16:11")):
        for number in range(50):
            reader.add_line(line(start + number / 25, pixel))
    assert shapes(reader.changes, NARROW) == Shapes(((0, WIDE),))


def looks(first: float | None, *lines: str) -> Shapes | None:
    reader = ShapeReader(first)
    for each in lines:
        reader.add_line(each)
    return shapes(reader.changes, NARROW, has_one_layout=reader.has_one_layout)


def test_ffmpeg_keeps_its_filters_where_the_colours_change() -> None:
    other = line(2, "16:11", matrix="smpte170m")
    assert looks(None, line(0, "12:11"), line(1, "16:11"), other) == runs((0, NARROW), (1, WIDE))
    plan = plan_video(
        INFO, VideoOptions(), LIMITS, WHITE, LISTED._replace(shapes=runs((0, NARROW), (1, WIDE)))
    )
    argv = plan.step.argv
    assert value_of(argv, "-reinit_filter:v") == "0"
    assert argv.index("-reinit_filter:v") < argv.index("-i")


def test_filters_that_must_be_built_again_within_the_part_are_refused() -> None:
    planar = line(2, "16:11", pixel_format="yuv422p")
    with pytest.raises(UnsupportedShapesError, match="format or colours"):
        looks(None, line(0, "12:11"), line(1, "12:11"), planar)
    before = line(0, "12:11", pixel_format="yuv422p")
    assert looks(1, before, line(1, "12:11"), line(2, "16:11")) == Shapes(((0, NARROW), (1, WIDE)))


def test_there_are_not_too_many_shapes() -> None:
    def found(count: int) -> list[tuple[int, Seen]]:
        return [(number, Seen(number, SMALL, (number + 1, 1))) for number in range(count)]

    most = shapes(found(16), NARROW)
    assert most is not None
    assert len(most.runs) == 16
    with pytest.raises(UnsupportedShapesError, match="more than 16"):
        shapes(found(17), NARROW)


def test_there_are_not_too_many_changes() -> None:
    reader = ShapeReader(None)
    pixels = ("12:11", "16:11")
    for number in range(1000):
        reader.add_line(line(number, pixels[number % 2]))
    assert len(reader.changes) == 1000
    with pytest.raises(UnsupportedShapesError, match="more than 1000"):
        reader.add_line(line(1000, pixels[0]))


class FakeRun:
    """A stream with two keyframes, and what ffprobe prints of it."""

    def __init__(self, data: tuple[bytes, bytes], lines: tuple[str, ...] = ()) -> None:
        self.data, self.lines = data, lines
        self.limits = LIMITS._replace(threads=3)
        self.source = SimpleNamespace(fd=3)
        self.runner = self
        self.checks = 0
        self.steps: list[Step] = []

    def check(self) -> None:
        self.checks += 1

    def read(self, offset: int, _count: int) -> bytes:
        return self.data[offset]

    def log(self, _line: str) -> None:
        pass

    def run_tool(self, step: Step, _files: object, on_line: Callable[[str], None]) -> None:
        self.steps.append(step)
        for each in self.lines:
            on_line(each)


def find(run: FakeRun, codec: str) -> Shapes | None:
    listing = PacketReader()
    for number in range(2):
        listing.add_line(f"0,{number},{number},1,9,{number},K__")
    info = INFO._replace(container="mpegts")
    video = VIDEO._replace(codec=codec, sample_aspect_ratio=NARROW)
    return shapes_of_run.find(cast("Run", run), info, video, listing, None)


NEXT = HEADER.replace(b"\x23", b"\x33")


def test_a_stream_is_decoded_only_if_its_keyframes_may_differ() -> None:
    lines = (line(0, "12:11"), line(1, "16:11"))
    run = FakeRun((ts_packet(HEADER), ts_packet(NEXT)), lines)
    assert find(run, "mpeg2video") == runs((0, NARROW), (1, WIDE))
    assert value_of(run.steps[0].argv, "-threads") == "3"
    assert run.checks == 2, "reading the keyframes can be stopped"
    for data, codec in (((HEADER, HEADER), "mpeg2video"), ((HEADER, NEXT), "vc1")):
        run = FakeRun((ts_packet(data[0]), ts_packet(data[1])), lines)
        assert find(run, codec) is None
        assert not run.steps


def test_too_many_shapes_are_refused() -> None:
    lines = tuple(line(number, f"{number + 1}:1") for number in range(17))
    with pytest.raises(ConversionError) as ended:
        find(FakeRun((ts_packet(HEADER), ts_packet(NEXT)), lines), "mpeg2video")
    assert ended.value.reason is ExitReason.UNSUPPORTED_FORMAT


def test_a_change_of_the_size_teaches_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the video is encoded again with the same filters."""

    def give(value: object) -> Callable[..., object]:
        return lambda *_: value

    monkeypatch.setattr(survey, "probe", give(INFO))
    monkeypatch.setattr(videos, "survey_input", give(Source(INFO, None)))
    monkeypatch.setattr(videos, "copyable", give(COPY_ALL))
    monkeypatch.setattr(shapes_of_run, "find", give(runs((0, NARROW), (1, WIDE))))
    nothing: list[Any] = [None] * len(Run._fields)
    run = Run(*nothing)._replace(task=cast("Any", SimpleNamespace(options=VideoOptions())))
    _, _, evidence = videos._survey(run)
    assert learn(evidence, {}, Decoded({}, reconfigured=frozenset({"video"}))) == evidence
