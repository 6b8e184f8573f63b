"""How a waveform is measured and drawn, and when it is discarded."""

from __future__ import annotations

import hashlib
import json
import math
import os
from itertools import pairwise
from pathlib import Path

import pytest

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.waveform import MAX_BLOCKS, Columns, as_byte, block_samples, rows
from media_converter.running import waveform
from media_converter.running.waveform import Levels, PeakReader, PeaksDocument, is_wrong
from media_converter.typed_options import WaveformOptions
from tests.unit.converter.builders import AUDIO


def test_a_column_is_a_line_from_its_highest_to_its_lowest_sample() -> None:
    drawn = list(rows([(-1.0, 1.0), (0.0, 0.0), (-0.5, 0.0)], (3, 5)))
    assert [list(row) for row in drawn] == [[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("count", [1, 2, 7, 100, MAX_BLOCKS - 1, MAX_BLOCKS, 5 * MAX_BLOCKS // 2])
def test_columns_cover_all_blocks(count: int) -> None:
    """The levels rise, so each column is higher than the one before it."""
    columns = Columns()
    for number in range(count):
        columns.add(-(number + 1) / count, (number + 1) / count)
    assert len(columns) <= MAX_BLOCKS
    found = columns.of(10)
    assert found[-1] == (-1.0, 1.0)
    assert all(before[1] <= after[1] for before, after in pairwise(found))
    assert columns.of(1) == [(-1.0, 1.0)]


def test_a_drawing_has_several_blocks_for_each_column() -> None:
    options = WaveformOptions()
    for seconds in (0.5, 60.0, 36000.0):
        block = block_samples(AUDIO, seconds, options, "png")
        blocks = seconds * AUDIO.sample_rate / block
        assert blocks >= 4 * options.size[0] or block == 64
        assert blocks < 8 * options.size[0]
    assert block_samples(AUDIO, None, options, "png") == 4096
    for seconds in (1e7, 1e12):  # a header may say anything
        assert block_samples(AUDIO, seconds, options, "png") == 1 << 19
    assert block_samples(AUDIO, 60.0, options, "json") == 256


def test_levels_have_8_bits() -> None:
    values = [(-1.0, -128), (-2.0, -128), (1.0, 127), (2.0, 127), (0.5, 64), (0.0, 0)]
    for level, wanted in values:
        assert as_byte(level) == wanted


def test_lines_that_are_no_levels_are_no_peaks() -> None:
    found: list[tuple[float, float]] = []
    reader = PeakReader(1.0, lambda low, high: found.append((low, high)), None, print, 100)
    for line in (
        "frame:0    pts:0       pts_time:0", "lavfi.astats.Overall.Min_level=-0.5",
        "lavfi.astats.Overall.Max_level=0.25", "lavfi.astats.Overall.Min_level=nan",
        "lavfi.astats.Overall.Max_level=-inf",
    ):  # fmt: skip
        reader.add_line(line)
    assert found == [(-0.5, 0.25), (0.0, 0.0)]
    assert reader.seconds == 2.0


def test_levels_above_full_scale_are_clipped_as_the_other_measurement_does() -> None:
    loud = Levels(0.1)
    loud.add(-20.0, 20.0)
    assert loud.near(0, 0.1) == 0.0


def test_levels_of_a_very_long_sound_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveform, "_MAX_LEVELS", 8)
    long = Levels(0.1)
    for number in range(100):
        long.add(0.0, 1.0 if number == 60 else 0.01)
    assert len(long._levels) <= 10
    assert long.near(5.9, 6.2) == 0.0
    assert long.near(0.0, 1.0) == pytest.approx(-40)


def levels(level: float) -> Levels:
    made = Levels(0.05)
    for _ in range(400):
        made.add(-level, level)
    return made


PLACES = (1.0, 5.0, 9.0, 13.0, 17.0)


@pytest.mark.parametrize(
    ("drawn", "measured", "wrong"),
    [
        (0.5, (-6.0,) * 5, False),
        (0.0, (-6.0,) * 5, True),
        (0.0, (-6.0, -6.0, -6.0, -80.0, -80.0), True),
        (0.5, (-6.0, -6.0, -30.0, -30.0, -30.0), False),
        (1.0, (-40.0,) * 5, True),
        (0.0, (-80.0,) * 5, False),
        (0.0, (-math.inf,) * 5, False),
        (0.25, (-6.0,) * 5, False),
        (0.1, (-6.0, -6.0, -20.0, -20.0, -20.0), False),
    ],
)
def test_a_waveform_unlike_another_measurement_is_wrong(
    drawn: float, measured: tuple[float, ...], wrong: bool
) -> None:
    assert is_wrong(levels(drawn), list(zip(PLACES, measured, strict=True))) is wrong


def test_the_document_is_read_back(tmp_path: Path) -> None:
    def written(damage: bytes = b"") -> str:
        fd = os.open(tmp_path / "a.json", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            document = PeaksDocument(fd, AUDIO, 256)
            for number in range(30_000):
                document.add(-number / 30_000, number / 30_000)
            if damage:
                # The volume has lost what was written before.
                os.pwrite(fd, damage, 200)
            return document.finish(lambda: None)
        finally:
            os.close(fd)

    found = written()
    data = (tmp_path / "a.json").read_bytes()
    assert found == hashlib.sha256(data).hexdigest()
    assert json.loads(data)["length"] == 30_000
    with pytest.raises(ConversionError, match="is not what was written") as refused:
        written(b"\0\0\0")
    assert refused.value.reason is ExitReason.IO_ERROR
