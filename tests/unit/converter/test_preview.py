"""The plan of a preview: its parts, its command and its memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.planning import memory
from media_converter.planning.plan import Position
from media_converter.planning.preview import (
    Look,
    Part,
    most_parts,
    most_threads,
    needed_memory,
    places,
    plan_preview,
    preview_size,
)
from media_converter.running.preview import until_detailed
from media_converter.typed_options import PreviewOptions
from tests.unit.converter.builders import INFO, LIMITS, VIDEO, WHITE, value_of

LOOK = Look((640, 360), "mp4", WHITE)


def parts(*begins: float, seconds: float = 1.5) -> list[Part]:
    return [Part(Position(begin, begin, 0.04, begin - 1, 0.0), seconds) for begin in begins]


@given(
    duration=st.floats(0.01, 1e6),
    seconds=st.integers(3, 10),
    segments=st.integers(1, 10),
    most=st.integers(1, 10),
)
def test_parts_never_overlap(duration: float, seconds: int, segments: int, most: int) -> None:
    found = places(duration, PreviewOptions(seconds, segments=segments), most)
    assert 1 <= len(found) <= min(segments, most)
    assert sum(place.seconds for place in found) == pytest.approx(min(duration, seconds))
    for place, following in pairwise(found):
        assert max(place.candidates) + place.seconds <= min(following.candidates) + 0.002
    last = found[-1]
    assert min(found[0].candidates) >= 0
    assert max(last.candidates) + last.seconds <= duration + 0.002


def test_places_are_spread_over_the_film() -> None:
    found = places(100, PreviewOptions(4, segments=4), 4)
    assert [place.candidates[0] for place in found] == [12, 37, 62, 87]
    assert found[0].candidates == (12, 16, 20)
    assert [place.candidates[0] for place in places(11, PreviewOptions(6), 4)] == [2.5]
    assert places(2.5, PreviewOptions(6), 4)[0].seconds == 2.5


def test_each_part_is_an_input_that_begins_at_a_key_picture() -> None:
    plan = plan_preview(INFO, VIDEO, parts(10, 20, 30, 40), LOOK, LIMITS)
    argv = plan.step.argv
    assert argv.count("-i") == argv.count("-max_pixels") == 4
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-ss"] == [
        *("9.000000", "19.000000", "29.000000", "39.000000")
    ]
    assert "-an" in argv
    graph = value_of(argv, "-filter_complex")
    assert graph.endswith("[0][1][2][3]concat=n=4[all]")
    assert [word for word in graph.replace("]", ",").replace("[", ",").split(",")
            if word.startswith("trim")] == [
        *("trim=end_frame=38", "trim=end_frame=37", "trim=end_frame=37", "trim=end_frame=38")
    ]  # fmt: skip
    assert plan.duration == 6.0
    assert value_of(argv, "-force_key_frames") == "0.000000,1.520000,3.000000,4.480000"


@pytest.mark.parametrize(
    ("rate", "output_format", "used"),
    [
        ((25, 1), "mp4", "fps=25/1"),
        ((30000, 1001), "mp4", "fps=30000/1001"),
        ((60, 1), "mp4", "fps=30/1"),
        ((1, 8), "mp4", "fps=30/1"),
        (None, "mp4", "fps=30/1"),
        ((25, 1), "webp", "fps=10/1"),
        ((8, 1), "webp", "fps=8/1"),
    ],
)
def test_frame_rates(rate: tuple[int, int] | None, output_format: str, used: str) -> None:
    video = VIDEO._replace(avg_frame_rate=rate, r_frame_rate=rate)
    look = LOOK._replace(output_format=output_format)
    plan = plan_preview(INFO, video, parts(1), look, LIMITS)
    assert used in value_of(plan.step.argv, "-filter_complex")


def test_an_animation_of_one_frame_is_a_still() -> None:
    look = LOOK._replace(output_format="webp")
    one = plan_preview(INFO, VIDEO, parts(0, seconds=0.04), look, LIMITS)
    assert value_of(one.step.argv, "-c:v") == "libwebp"
    assert one.expected.frames == 1
    many = plan_preview(INFO, VIDEO, parts(0, seconds=1), look, LIMITS)
    assert value_of(many.step.argv, "-c:v") == "libwebp_anim"


def test_sizes() -> None:
    odd = VIDEO._replace(width=405, height=721)
    assert preview_size(odd, PreviewOptions(size=(9999, 9999)), "mp4") == (404, 720)
    assert preview_size(odd, PreviewOptions(size=(9999, 9999)), "webp") == (405, 721)
    assert preview_size(VIDEO, PreviewOptions(), "mp4") == (640, 360)


def test_each_part_has_a_decoder() -> None:
    large = VIDEO._replace(width=3840, height=2160)
    one, two = (needed_memory(large, (640, 360), "mp4", count) for count in (1, 2))
    assert two - one == 16 * 3840 * 2160 * 1.5
    assert most_parts(large, (640, 360), "mp4", 10, Limits(1, 1 << 30)) == 4
    assert most_parts(large, (640, 360), "mp4", 10, Limits(1, None)) == 10
    with pytest.raises(ConversionError) as refused:
        most_parts(large, (640, 360), "mp4", 10, Limits(1, 128 << 20))
    assert refused.value.reason is ExitReason.NEEDS_MEMORY
    assert "needs a memory limit of 320 MiB" in refused.value.message


def test_threads_take_memory() -> None:
    """First the encoder has fewer threads, then the preview has fewer parts."""
    full = (1920, 1080)
    large = VIDEO._replace(width=1920, height=1080)
    pixels = 1920 * 1080
    one, four = (needed_memory(large, full, "mp4", 2, threads) for threads in (1, 4))
    assert four - one == 3 * 22 * pixels * 3 // 2
    limit = memory.sufficient_limit(one) << 20
    assert most_threads(large, full, "mp4", 2, Limits(16, limit)) == 1
    assert most_parts(large, full, "mp4", 2, Limits(16, limit)) == 2
    enough = Limits(16, memory.sufficient_limit(four) << 20)
    assert 4 <= most_threads(large, full, "mp4", 2, enough) < 6
    assert most_threads(large, full, "mp4", 2, Limits(16, None)) == 16
    look = Look(full, "mp4", WHITE)
    argv = plan_preview(INFO, large, parts(1, 5), look, Limits(16, limit)).step.argv
    assert value_of(argv, "-threads:v") == "1"


@pytest.mark.parametrize("output_format", ["mp4", "webp"])
def test_each_part_has_its_own_tone_mapping(output_format: str) -> None:
    hdr = VIDEO._replace(color_transfer="smpte2084")
    size = (640, 360)
    for count in (1, 3):
        needed = [needed_memory(video, size, output_format, count) for video in (hdr, VIDEO)]
        assert needed[0] - needed[1] == count * 15 * 640 * 360 * 3 // 2


def test_all_frames_of_an_animation_are_looked_at_until_one_has_detail() -> None:
    """An encoder merges equal frames, so most frames may be of a part that has one colour."""
    looked: list[float] = []

    def details() -> Iterator[float]:
        for each in (0.0, 2.0, 90.0, 0.0):
            looked.append(each)
            yield each

    assert max(until_detailed(details())) == 90
    assert looked == [0, 2, 90]
