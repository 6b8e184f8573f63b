"""When an output is discarded because its content was lost. The measurements are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.planning.plan import ConversionPlan, Expected
from media_converter.probing.decoded import level
from media_converter.running import content
from media_converter.running.process import Files, ProcessResult
from media_converter.running.run import Run
from media_converter.step import Step
from tests.converter.rawfiles import RGB, png
from tests.unit.converter.builders import INFO, LIMITS, value_of

INPUT, OUTPUT = 3, 4
START = 100.0
PLAN = ConversionPlan(Step("encode", ()), Expected("mp4"), "", start=START)
SOUND, PICTURE = PLAN._replace(audio_index=1), PLAN._replace(video_index=0)

Measure = Callable[[float], float | None]


class FakeRun:
    """Answers measurements. A measurement of None prints nothing."""

    def __init__(self, made: Measure, given: Measure, peak: float | None = None) -> None:
        self.limits = LIMITS
        self.source = SimpleNamespace(fd=INPUT)
        self.measured: list[int] = []
        self._values = {OUTPUT: made, INPUT: given}
        self._peak = peak

    def make_temporary(self) -> SimpleNamespace:
        return SimpleNamespace(fd=OUTPUT)

    def run_tool(
        self, step: Step, files: Files, on_error_line: Callable[[str], None] = print
    ) -> ProcessResult:
        self.measured.append(files.source)
        time = float(value_of(step.argv, "-ss")) if "-ss" in step.argv else 0.0
        time -= START if files.source == INPUT else 0.0
        assert 0 <= time < (INFO.duration or 0), "the same places of the part are compared"
        value = self._values[files.source](time)
        if value is None:
            return ProcessResult(1, b"", "")
        if step.name == "level":
            on_error_line(f"[Parsed_volumedetect_0 @ 0x1] [info] mean_volume: {value:.1f} dB")
            peak = value if self._peak is None else self._peak
            on_error_line(f"[Parsed_volumedetect_0 @ 0x1] [info] max_volume: {peak:.1f} dB")
            return ProcessResult(0, b"", "")
        return ProcessResult(0, bytes([16, 16 + int(value)]), "")


def always(value: float | None) -> Measure:
    return lambda _: value


def check(run: FakeRun, plan: ConversionPlan) -> str:
    """Why the output is discarded. Empty if it is kept."""
    try:
        content.check(cast("Run", run), INFO, plan, INFO)
    except ConversionError as error:
        return f"{error.reason}: {error.message}"
    return ""


@pytest.mark.parametrize(
    ("made", "given", "word"),
    [
        (-91.0, -20.0, "silent"),
        (-85.0, -59.0, "silent"),
        # Almost silent, and almost audible.
        (-84.0, -20.0, ""),
        (-91.0, -60.0, ""),
        (-91.0, -91.0, ""),
        (-0.1, -20.0, "noise"),
        (-4.0, -16.0, "noise"),
        # Loud music, and an input that is loud itself.
        (-5.0, -30.0, ""),
        (-0.1, -15.0, ""),
        (-0.1, -0.1, ""),
        # What printed nothing was not measured.
        (None, -20.0, ""),
        (-91.0, None, ""),
        (-0.1, None, ""),
        (None, None, ""),
    ],
)
def test_when_sound_is_lost(made: float | None, given: float | None, word: str) -> None:
    message = check(FakeRun(always(made), always(given)), SOUND)
    assert word in message
    assert message.startswith(ExitReason.VERIFICATION_FAILED if word else "")
    assert bool(message) == bool(word)


@pytest.mark.parametrize(
    ("made", "given", "is_lost"),
    [
        (0, 200, True),
        (6, 25, True),
        (7, 200, False),
        (0, 24, False),
        (0, 0, False),
        (None, 200, False),
        (0, None, False),
        (None, None, False),
    ],
)
def test_when_a_picture_is_lost(made: int | None, given: int | None, is_lost: bool) -> None:
    assert ("one colour" in check(FakeRun(always(made), always(given)), PICTURE)) == is_lost


@pytest.mark.parametrize(
    ("made", "given", "is_lost"),
    [
        ([0, 6], 25, True),
        ([0, 7], 200, False),
        ([0, 6], 24, False),
        ([-math.inf, -math.inf], 200, False),
        ([0], None, False),
    ],
)
def test_when_the_pictures_of_a_preview_are_lost(
    made: list[float], given: int | None, is_lost: bool
) -> None:
    run = cast("Run", FakeRun(always(0), always(given)))
    expected = pytest.raises(ConversionError, match="one colour") if is_lost else nullcontext()
    with expected:
        content.check_frames(run, 0, iter(made), [START + 1, START + 2])


@pytest.mark.parametrize("plan", [SOUND, PICTURE])
def test_an_input_whose_clock_starts_again_is_read_from_its_start(plan: ConversionPlan) -> None:
    """A search for a time finds another place, where the sound or the picture differs."""
    steps: list[Step] = []

    class Reads(FakeRun):
        def run_tool(
            self, step: Step, files: Files, on_error_line: Callable[[str], None] = print
        ) -> ProcessResult:
            if files.source != INPUT:
                return super().run_tool(step, files, on_error_line)
            steps.append(step)
            return ProcessResult(1, b"", "")

    run = cast("Run", Reads(always(-91.0 if plan is SOUND else 0.0), always(None)))
    content.check(run, INFO._replace(clock_restarts=True), plan, INFO)
    content.check_frames(run, 0, [0.0], [START + 5.0], from_start=True)
    assert steps
    assert not any("-ss" in step.argv for step in steps)
    first = value_of(steps[0].argv, "-af" if plan is SOUND else "-vf")
    assert first.startswith(
        "atrim=start=105.000000:duration=2," if plan is SOUND else "select='gte(t,104.9995"
    )


class PageRun(FakeRun):
    """Answers with what libvips would print about a frame."""

    def __init__(self, code: int, printed: bytes) -> None:
        super().__init__(always(0), always(0))
        self.steps: list[Step] = []
        self._result = ProcessResult(code, printed, "")

    def run_tool(
        self, step: Step, files: Files, on_error_line: Callable[[str], None] = print
    ) -> ProcessResult:
        assert files.source == OUTPUT
        self.steps.append(step)
        return self._result


def test_the_detail_of_a_frame() -> None:
    two = png(2, 1, 8, RGB, bytes((255, 255, 255, 0, 0, 0)))
    run = PageRun(0, two)
    assert content.detail_of_page(cast("Run", run), 7) == pytest.approx(255)
    assert "[page=7]" in run.steps[0].argv[2]
    red = png(2, 1, 8, RGB, bytes((200, 0, 0) * 2))
    assert content.detail_of_page(cast("Run", PageRun(0, red)), 0) == 0
    assert content.detail_of_page(cast("Run", PageRun(1, two)), 0) == -math.inf
    assert content.detail_of_page(cast("Run", PageRun(0, b"")), 0) == -math.inf


def test_content_at_one_place_is_enough() -> None:
    late = lambda time: -20.0 if time > 8 else -91.0  # noqa: E731
    assert not check(FakeRun(late, always(-20.0)), SOUND)
    assert "silent" in check(FakeRun(always(-91.0), late), SOUND)
    assert not check(FakeRun(lambda time: 90 if time > 8 else 0, always(90)), PICTURE)
    assert "colour" in check(FakeRun(always(0), lambda time: 90 if time > 8 else 0), PICTURE)


def test_a_loud_passage_is_no_noise() -> None:
    passage = lambda time: -0.1 if 2 < time < 6 else -20.0  # noqa: E731
    assert not check(FakeRun(passage, always(-20.0), peak=0.0), SOUND)
    assert "noise" in check(FakeRun(lambda t: -0.1 if t > 2 else -20.0, always(-20.0)), SOUND)


def test_an_ordinary_output_is_measured_once_and_the_input_never() -> None:
    run = FakeRun(always(-20.0), always(-20.0), peak=0.0)
    assert not check(run, SOUND)
    assert run.measured == [OUTPUT]


def test_a_stream_that_the_output_does_not_have_is_not_measured() -> None:
    run = FakeRun(always(-91.0), always(-20.0))
    assert not check(run, PLAN)
    assert not run.measured


def test_a_level_that_was_not_printed_is_unknown() -> None:
    assert level("") == (-math.inf, -math.inf)
    assert level("mean_volume: -27.3 dB\nmax_volume: 0.0 dB") == (-27.3, 0.0)
