"""What is found out about an input before it is converted, and how often its packets are listed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from media_converter.probing.packets import PacketReader
from media_converter.running import survey
from media_converter.running.run import Known, Run
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
