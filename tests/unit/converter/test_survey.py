"""What is found out about an input before it is converted, and how often its packets are listed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from media_converter.planning.plan import ConversionPlan, Expected
from media_converter.probing.decoded import LogReader
from media_converter.probing.media import Unread
from media_converter.probing.packets import PacketReader
from media_converter.running import lacking, survey
from media_converter.running.run import Known, Run
from media_converter.step import Step
from tests.unit.converter.builders import INFO, VIDEO


def of_lines(*lines: str) -> PacketReader:
    reader = PacketReader()
    for line in lines:
        reader.add_line(line)
    return reader


class Input:
    """An input with these packets. Counts how often they are listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
        self.listed: list[tuple[object, ...]] = []
        self.lines = lines
        self.run = cast("Run", SimpleNamespace(known=Known()))
        monkeypatch.setattr(survey, "list_packets", self.list_packets)

    def list_packets(self, run: Run, info: object, *place: Any) -> PacketReader:
        self.listed.append(place)
        return of_lines(*self.lines)


def test_packets_are_listed_once_for_all_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Input(monkeypatch, "0,1.0,1.0,0.04,9,48,K_")
    for _ in range(3):
        survey.list_part(source.run, INFO, 0, None)
        survey.list_part(source.run, INFO, 0, (1.0, 2.0))
    assert source.listed == [(0,), (0, 1.0, 3.0)]
    survey.list_part(source.run, INFO, 1, None)
    assert len(source.listed) == 3, "another stream has other packets"


@pytest.mark.parametrize(
    ("changes", "lines", "seconds"),
    [
        ({"duration": 10.0}, ("0,1,1,1,9,0,K_",), 10.0),
        ({"duration": None, "start": 1.4}, ("0,1.4,1.4,0.04,9,0,K_", "0,9.4,9.4,0.5,9,9,__"), 8.5),
        # ffprobe estimates the duration of a raw stream from its bit rate.
        ({"duration": 99.0, "container": "h264"}, ("0,N/A,N/A,0.04,9,0,K_",) * 50, 2.0),
    ],
)
def test_a_recording_without_a_length_has_that_of_its_packets(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], lines: tuple[str, ...], seconds: float
) -> None:
    source = Input(monkeypatch, *lines)
    found = survey.video_duration(source.run, INFO._replace(**changes), VIDEO)
    assert found == pytest.approx(seconds)


JOINED = [*range(10), *range(20)]
"""Two recordings of 10 s and 20 s whose clocks both start at 0."""


def joined(stream: int = 0) -> list[str]:
    return [f"{stream},{time},{time},1.0,9,{at * 100},K_" for at, time in enumerate(JOINED)]


@pytest.mark.parametrize(
    ("part", "first", "last"),
    [((0.0, 8.0), 0, 7), ((12.0, 15.0), 12, 14), ((12.0, float("inf")), 12, 29)],
)
def test_a_part_behind_a_clock_that_starts_again(
    monkeypatch: pytest.MonkeyPatch, part: tuple[float, float], first: int, last: int
) -> None:
    source = Input(monkeypatch, *joined())
    listed = survey.list_part(source.run, INFO._replace(clock_restarts=True), 0, part)
    assert list(listed.times) == list(range(first, last + 1))
    assert (listed.offsets[0], listed.offsets[-1]) == (first * 100, last * 100)
    assert source.listed == [(0,)], "all of the file is listed, since a seek finds another place"


def test_frames_out_of_order_are_no_new_clock() -> None:
    times = [0.0, 0.12, 0.04, 0.08, 0.6, 0.2, 9.0, 8.6]
    listed = of_lines(*(f"0,{time},{time},0.04,9,0,K_" for time in times)).unwrapped()
    assert list(listed.times) == pytest.approx(times)
    later = of_lines(*(f"0,{time},{time},0.5,9,0,K_" for time in (1.0, 9999.0, 9999.5, 2.0)))
    assert list(later.unwrapped().times) == pytest.approx([1.0, 1.5, 2.0, 2.5])


class Looks:
    """An input of which ffprobe prints these lines. Counts how often it reads all of the file."""

    def __init__(self, *lines: str) -> None:
        self.steps: list[Step] = []
        self.lines = lines
        self.read = lambda place, count: b""
        self.known = Known()

    def run_tool(self, step: Step, on_line: Callable[[str], None]) -> None:
        self.steps.append(step)
        for line in self.lines:
            on_line(line)


def test_one_look_answers_for_all_streams() -> None:
    looks = Looks("0,100", "1,N/A", "7,500", "0,900", "1,300", "")
    run = cast("Run", looks)
    unread = tuple(Unread("audio", "aac", index) for index in range(1, 201))
    info = INFO._replace(unread=unread)
    kept = tuple(survey._with_packets(run, info))
    assert [stream.stream_index for stream in kept] == [1, 7]
    found = survey.places(run, info)
    assert (found.first[0], found.last[0]) == (100, 900)
    assert (found.first[1], found.last[1]) == (-1, 300)
    assert len(looks.steps) == 1
    survey.places(run, info._replace(demuxer_options=("-probesize", "9")))
    assert len(looks.steps) == 2, "another way to read it may find other streams"


@pytest.mark.parametrize(("second", "is_lacking"), [(800, False), (950, True)])
def test_another_program_that_begins_later_is_told_after_one_look(
    second: int, *, is_lacking: bool
) -> None:
    looks = Looks("0,100", "0,900", f"2,{second}", "2,1200")
    videos = tuple(VIDEO._replace(stream_index=index) for index in (0, 2, 4, 6))
    info = INFO._replace(video=videos, programs=(frozenset({0}), frozenset({2, 4, 6})))
    plan = ConversionPlan(Step("encode", ()), Expected("mp4"), "", video_index=0)
    warnings = lacking.rest(cast("Run", looks), info, plan, LogReader().result())
    assert bool(warnings) == is_lacking
    assert len(looks.steps) == 1
    assert not looks.known.listings, "a list of packets takes memory until all outputs are written"
