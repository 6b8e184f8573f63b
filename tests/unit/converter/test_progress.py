"""Progress, and durations that a header states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import (
    ExitReason,
    Progress,
)
from media_converter.errors import ConversionError
from media_converter.planning.video import plan_video
from media_converter.running import content, copies, verify
from media_converter.running.forecast import Forecast, checks
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import INFO, LIMITS, LISTED, WHITE


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
    assert seen[2].eta_seconds is None
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


class Clock:
    """Goes on by ``step`` seconds at each look."""

    def __init__(self, step: float = 0.5) -> None:
        self.now, self.step = 100.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def etas(blocks: Iterable[tuple[float, float | None]], **changes: Any) -> list[int | None]:
    """The estimates after each block: so many seconds are done, at this speed by ffmpeg."""
    seen: list[Progress] = []
    meter = Meter(100.0, seen.append, now=Clock(), **changes)
    for done, speed in blocks:
        lines = [f"out_time_us={round(done * 1e6)}", "total_size=1000", "progress=continue"]
        for line in [f"speed={speed}x"] * (speed is not None) + lines:
            meter.add_line(line)
    return [progress.eta_seconds for progress in seen]


def test_the_time_before_the_first_output_does_not_count() -> None:
    # After 4 s without output, 2 s of media each second. By ffmpeg's own speed, 100 s are left.
    blocks = [(0.0, 0.0)] * 8 + [(float(done), done / (4 + done / 2)) for done in range(1, 21)]
    assert etas(blocks)[-1] == round((100 - 20) / 2 + 0.4)


def test_the_speed_that_ffmpeg_tells_does_not_count() -> None:
    """It includes the start of ffmpeg, which is most of a run of a second."""
    assert etas([(1.0, 0.1), (6.0, 0.5)]) == [None, round(94 / 10 + 0.4)]
    # What an encoder with a queue has written in half a second says nothing either.
    assert etas([(1.0, 0.1), (6.0, 0.5)], read=lambda: 0.3) == [None, None]


def test_the_mean_counts_and_not_the_scene_of_the_moment() -> None:
    fast = [(2.0 * n, 4.0) for n in range(1, 11)]
    slow = [(20 + 0.5 * n, 2.0) for n in range(1, 21)]
    last = etas(fast + slow)[-1]
    assert last is not None
    assert last == pytest.approx(70 / (28 / 14.5) + 0.4, abs=1)


def test_what_comes_after_the_tool_counts() -> None:
    assert etas([(1.0, 2.0), (2.0, 2.0)], after=30.0)[-1] == round(98 / 2 + 30.4)


def encode(
    frames: int, queue: int, analysis: float, encoding: float
) -> Iterator[tuple[float, float, float, float]]:
    """An encoder with a queue: when, what is written and read as shares, and what is left.

    It analyses each picture for ``analysis`` seconds, and ``queue`` pictures before it writes one.
    """
    end = frames * (analysis + encoding)
    for written in range(1, frames + 1):
        read = min(frames, written + queue)
        now = read * analysis + written * encoding
        yield now, written / frames, read / frames, end - now


@pytest.mark.parametrize("queue", [20, 50, 80])
@pytest.mark.parametrize(("analysis", "encoding"), [(0.1, 0.1), (0.15, 0.05), (0.05, 0.15)])
def test_what_an_encoder_has_read_before_it_writes_is_not_done_again(
    queue: int, analysis: float, encoding: float
) -> None:
    forecast = Forecast(0.0)
    for now, written, read, truth in encode(100, queue, analysis, encoding):
        left = forecast.left(4 * written, 4.0, now, read)
        if left is not None and written < 0.9:
            assert left == pytest.approx(truth, rel=0.15), written


def test_a_tool_that_writes_what_it_reads_goes_on_at_its_mean_speed() -> None:
    forecast, plain = Forecast(0.0), Forecast(0.0)
    for now, written, read, _ in encode(1000, 10, 0.005, 0.005):
        assert forecast.left(written, 1.0, now, read) == plain.left(written, 1.0, now)


def test_pictures_count_when_ffmpeg_does_not_tell_the_time() -> None:
    """As soon as the sound has ended, out_time is N/A."""
    seen: list[Progress] = []
    meter = Meter(10.0, seen.append, now=Clock())
    blocks = [(str(25 * n), str(1_000_000 * n)) for n in range(1, 6)] + [("200", "N/A")]
    for frame, done in (("0", "N/A"), *blocks):
        for line in (f"frame={frame}", f"out_time_us={done}", "progress=continue"):
            meter.add_line(line)
    assert [p.percent for p in seen] == [None, 10, 20, 30, 40, 50, 80]
    assert seen[-1].eta_seconds is not None


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1), st.floats(0.01, 10)), max_size=20),
)
def test_a_forecast_is_never_negative(samples: list[tuple[float, float, float]]) -> None:
    forecast, now = Forecast(0.0), 0.0
    for done, read, step in samples:
        now += step
        left = forecast.left(done, 10.0, now, read)
        assert left is None or left >= 0


@given(st.lists(st.tuples(st.floats(-10, 1e6), st.floats(0, 1e3)), max_size=30))
def test_an_estimate_is_never_negative(blocks: list[tuple[float, float]]) -> None:
    found = etas(blocks)
    assert all(eta is None or eta >= 0 for eta in found)


def test_a_large_output_takes_time_to_be_checked() -> None:
    assert checks(1, 300_000_000, 0.5) == pytest.approx(0.4 + 4)
    assert checks(3, 0, 0.0) == pytest.approx(1.2)


def test_the_check_of_the_picture_is_expected() -> None:
    large = plan_video(INFO, VideoOptions(), LIMITS, WHITE, LISTED)._replace(duration=3600.0)
    small = plan_video(INFO, VideoOptions(resolution=360), LIMITS, WHITE, LISTED)
    assert 0 < content.check_seconds(small) < content.check_seconds(large) < 3
    assert content.check_seconds(large._replace(duration=None)) == 0.0


def test_the_check_of_a_copy_is_expected() -> None:
    copied = plan_video(INFO, VideoOptions(), LIMITS, WHITE, LISTED)
    assert copied.copies_video
    film = copied._replace(duration=3600.0)
    encoded = plan_video(INFO, VideoOptions(resolution=360), LIMITS, WHITE, LISTED)
    assert copies.check_seconds(encoded) == 0.0
    assert 0.5 < copies.check_seconds(copied) < copies.check_seconds(film) < 10
    assert copies.check_seconds(copied._replace(duration=None)) == 0.0
