"""Progress, and durations that a header states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import (
    ExitReason,
    Progress,
)
from media_converter.errors import ConversionError
from media_converter.running import verify
from media_converter.running.progress import Meter, max_plausible_duration
from tests.unit.converter.builders import INFO


def test_truncated_plain_audio_has_its_full_duration() -> None:
    wav = INFO._replace(container="wav", size_bytes=1000, duration=10.0)
    assert verify.with_full_duration(wav, 1000).duration == 20.0
    assert verify.with_full_duration(wav, 0) == wav
    assert verify.with_full_duration(INFO, 1000) == INFO


def test_progress_never_goes_back_and_stays_below_100() -> None:
    seen: list[Progress] = []
    meter = Meter(10.0, seen.append)
    for done in ("N/A", "-1", "2000000", "1000000", "9990000", "12000000"):
        for line in (f"out_time_us={done}", "speed=2.0x", "progress=continue"):
            meter.add_line(line)
    assert [p.percent for p in seen] == [None, 0, 20, 20, 99, 99]
    assert seen[2].eta_seconds == 4
    blind = Meter(None, seen.append)
    blind.add_line("out_time_us=5")
    blind.add_line("progress=end")
    assert seen[-1].percent is None


def test_media_that_never_ends_is_damaged() -> None:
    meter = Meter(2.0, lambda progress: None, max_plausible_duration(2.0, 192_000))
    for done in (10, 1984):
        meter.add_line(f"out_time_us={done * 10**6}")
        meter.add_line("progress=continue")
    meter.add_line(f"out_time_us={1985 * 10**6}")
    with pytest.raises(ConversionError, match="never ends") as ended:
        meter.add_line("progress=continue")
    assert ended.value.reason is ExitReason.INPUT_DAMAGED


@pytest.mark.parametrize("microseconds", [2**63 - 1, 2**63 - 1_000_000, -(2**63) + 1])
def test_a_time_that_ffmpeg_does_not_know_yet_is_none(microseconds: int) -> None:
    seen: list[Progress] = []
    meter = Meter(2.0, seen.append, max_plausible_duration(2.0, 192_000))
    meter.add_line(f"out_time_us={microseconds}")
    meter.add_line("progress=continue")
    assert seen == [Progress()]


def test_a_duration_may_be_far_off_before_the_file_counts_as_damaged() -> None:
    # Ten minutes of speech at 6 kbit/s that promise a second; an hour of a slide without a length.
    assert max_plausible_duration(1.0, 600 * 750) > 600
    assert max_plausible_duration(None, 3600 * 10) > 3600
    # An hour of two pictures; ten hours of digital silence as FLAC, 10 bytes a second.
    assert max_plausible_duration(3600.0, 2_000) >= 3600
    assert max_plausible_duration(36_000.0, 360_000) > 36_000


@pytest.mark.parametrize("stated", [1e4, 1e6, 1e12])
def test_a_stated_duration_counts_only_as_far_as_the_file_can_hold_it(stated: float) -> None:
    # 16 kB a second are written, so a file of 2 MB cannot fill more than 7 GB, whatever it states.
    assert max_plausible_duration(stated, 2_000_000) <= 400_000
    assert max_plausible_duration(stated, 1_000) <= 3600


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_lines_are_accepted(lines: list[str]) -> None:
    meter = Meter(1.0, lambda progress: None)
    for line in lines:
        meter.add_line(line)
    meter.add_line("progress=end")
