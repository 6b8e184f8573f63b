"""The plan of a storyboard, and what its WebVTT file must say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.limits import Limits
from media_converter.options import MAX_TILES, output_files
from media_converter.planning.plan import Position
from media_converter.planning.storyboard import (
    MAX_PIXELS,
    MAX_SIDES,
    Cue,
    Scan,
    Storyboard,
    check_memory,
    frame_step,
    is_right,
    plan_storyboard,
    read_vtt,
    scan_step,
    time_of_frame,
    write_vtt,
)
from media_converter.running.existing import MAX_BESIDE_BYTES
from media_converter.running.storyboard import is_like
from media_converter.typed_options import StoryboardOptions
from tests.unit.converter.builders import INFO, LIMITS, VIDEO, WHITE, value_of


def planned(duration: float, output_format: str = "jpeg", **options: Any) -> Storyboard:
    return plan_storyboard(duration, VIDEO, StoryboardOptions()._replace(**options), output_format)


@pytest.mark.parametrize(
    ("duration", "options", "images", "second"),
    [
        (3600, {}, 100, 36_000),
        (60, {}, 60, 1000),
        (2, {}, 2, 1000),
        (0.5, {}, 1, 500),
        (3600, {"interval": 10.0}, 360, 10_000),
        (61, {"interval": 10.0}, 6, 10_000),
        (65, {"interval": 10.0}, 7, 10_000),
        (5, {"interval": 10.0}, 1, 5000),
        (60, {"images": 7}, 7, 8571),
        (1, {"images": 1000}, 10, 100),
        (7200, {"interval": 0.1, "size": (16, 16)}, 1000, 7200),
        (7200, {"interval": 7.2, "size": (16, 16)}, 1000, 7200),
        (604_800, {"interval": 0.1}, 1000, 604_800),
        (604_800, {"interval": 0.1, "size": (320, 180)}, 290, 2_085_517),
    ],
)
def test_how_many_pictures_there_are(
    duration: float, options: dict[str, Any], images: int, second: int
) -> None:
    board = planned(duration, **options)
    assert (board.images, board.times[1]) == (images, second)
    assert board.times[-1] == 1000 * duration


@given(
    duration=st.floats(0.001, 700_000),
    size=st.tuples(st.integers(1, 16_384), st.integers(1, 16_384)),
    source=st.tuples(st.integers(1, 9000), st.integers(1, 4000)),
    columns=st.integers(1, 100),
    wish=st.one_of(st.none(), st.integers(1, 1000), st.floats(1e-6, 604_800)),
    output_format=st.sampled_from(sorted(MAX_SIDES)),
)
def test_a_sprite_has_a_bounded_size_and_cues_cover_the_film(
    duration: float,
    size: tuple[int, int],
    source: tuple[int, int],
    columns: int,
    wish: float | None,
    output_format: str,
) -> None:
    options = StoryboardOptions(
        interval=wish if isinstance(wish, float) else None,
        images=wish if isinstance(wish, int) else None,
        columns=columns,
        size=size,
    )
    video = VIDEO._replace(width=source[0], height=source[1])
    board = plan_storyboard(duration, video, options, output_format)
    assert max(board.sprite) <= MAX_SIDES[output_format]
    assert board.sprite[0] * board.sprite[1] <= MAX_PIXELS
    assert board.images <= MAX_TILES
    assert board.columns <= min(columns, board.images)
    assert all(one < following for one, following in pairwise(board.times))
    assert is_right(board, "a.jpg", read_vtt(write_vtt(board, "a.jpg")))


def test_what_is_reduced_is_told() -> None:
    assert planned(3600, interval=1.0, size=(320, 180)).warnings == (
        "The storyboard has 290 images instead of 3600. A larger image is not shown everywhere.",
    )
    assert planned(7200, interval=0.1, size=(16, 16)).warnings == (
        "The storyboard has 1000 images instead of 72000. A storyboard has at most 1000.",
    )
    assert planned(1, images=1000).warnings == (
        "The storyboard has 10 images instead of 1000. Each one counts for 0.1 s at least.",
    )
    assert planned(7200, interval=7.2, size=(16, 16)).warnings == ()
    (columns,) = planned(100, "webp", columns=100, size=(320, 180)).warnings
    assert columns.startswith("The sprite has 51 columns instead of 100.")
    large = VIDEO._replace(width=7680, height=4320)
    board = plan_storyboard(9, large, StoryboardOptions(size=(9000, 9000)), "jpeg")
    assert board.images == 1
    assert board.warnings[0].startswith("The images have 5461x3072 pixels.")


def test_the_memory_of_a_storyboard_is_checked() -> None:
    board = planned(3600, interval=1.0, size=(320, 180))
    with pytest.raises(ConversionError) as refused:
        check_memory(VIDEO, board, Limits(1, 128 << 20))
    assert refused.value.reason is ExitReason.NEEDS_MEMORY
    assert "needs a memory limit of 320 MiB" in refused.value.message
    check_memory(VIDEO, board, Limits(1, 320 << 20))
    check_memory(VIDEO, board, Limits(1, None))


def test_the_cues_of_a_film() -> None:
    board = planned(4000, images=3, columns=2)
    assert write_vtt(board, "a b#é&-->.jpg").decode() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:22:13.333\na%20b%23%C3%A9%26--%3E.jpg#xywh=0,0,160,90\n\n"
        "00:22:13.333 --> 00:44:26.667\na%20b%23%C3%A9%26--%3E.jpg#xywh=160,0,160,90\n\n"
        "00:44:26.667 --> 01:06:40.000\na%20b%23%C3%A9%26--%3E.jpg#xywh=0,90,160,90\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WEBVTT", "WEBVTX"),
        ("00:00:00.000", "00:00:00.001"),
        ("00:00:01.000 --> 00:00:02.000", "00:00:01.000 --> 00:00:01.500"),
        ("00:00:03.000\na", "00:00:02.900\na"),
        ("xywh=160,0", "xywh=161,0"),
        ("xywh=320,0,160,90", "xywh=320,0,160,91"),
        ("a.jpg#xywh=160", "b.jpg#xywh=160"),
        ("\n\n00:00:02.000 --> 00:00:03.000\na.jpg#xywh=320,0,160,90", ""),
        ("00:00:02.000 --> 00:00:03.000", "00:00:02.000 -> 00:00:03.000"),
    ],
)
def test_a_webvtt_file_other_than_planned_is_wrong(old: str, new: str) -> None:
    board = planned(3)
    text = write_vtt(board, "a.jpg").decode()
    assert is_right(board, "a.jpg", read_vtt(text.encode()))
    assert old in text
    assert not is_right(board, "a.jpg", read_vtt(text.replace(old, new).encode()))


def test_cues_are_read_back() -> None:
    cues = read_vtt(write_vtt(planned(4000, images=2), "a.jpg"))
    assert cues
    assert cues[1] == Cue(2_000_000, 4_000_000, "a.jpg", (160, 0, 160, 90))


def test_a_retry_reads_the_whole_of_the_largest_webvtt_file() -> None:
    board = planned(359_999_999, interval=0.1, size=(16, 16), columns=1)
    assert len(write_vtt(board, "é" * 127 + "a")) <= MAX_BESIDE_BYTES


def test_a_scan_reads_key_pictures_and_keeps_the_first_of_each_part() -> None:
    scan = Scan(INFO._replace(start=1.4), VIDEO, WHITE, LIMITS)
    argv = scan_step(scan, planned(60, images=4), "nokey").argv
    assert value_of(argv, "-skip_frame") == "nokey"
    assert "-copyts" in argv
    assert "min(3,floor((t-1.400000+0.0005)/15.000000))" in value_of(argv, "-vf")
    single = frame_step(scan, planned(60), Position(20.0, 19.9, 0.04, 18.0, 1.4)).argv
    assert value_of(single, "-ss") == "18.000000"
    assert value_of(single, "-frames:v") == "1"


def test_the_time_of_a_picture_is_in_the_log() -> None:
    line = (
        "[Parsed_blackframe_3 @ 0x55d0] [info] frame:12 pblack:0 pts:640 t:25.600000 type:I "
        "last_keyframe:12"
    )
    assert time_of_frame(line) == 25.6
    assert time_of_frame("[libx264 @ 0x55d0] [info] frame I:12") is None


def test_a_time_belongs_to_one_part() -> None:
    board = planned(3)
    assert [board.part_of(time) for time in (-1, 0, 0.9, 0.9999, 1, 2.5, 3, 99)] == [
        *(0, 0, 0, 1, 1, 2, 2, 2)
    ]


def test_pictures_with_another_mean_colour_differ() -> None:
    assert is_like((100, 100, 100), (103.0, 97.5, 100.0))
    assert not is_like((100, 100, 100), (100.0, 100.0, 113.0))
    assert not is_like(b"", (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("kind", "path", "files"),
    [
        ("video_storyboard", "a/b.jpg", ("a/b.jpg", "a/b.vtt")),
        ("video_storyboard", "/a.b/c.d.WEBP", ("/a.b/c.d.WEBP", "/a.b/c.d.vtt")),
        ("video_storyboard", "a.b/c", ("a.b/c", "a.b/c.vtt")),
        ("extract_thumbnail", "a/b.jpg", ("a/b.jpg",)),
        ("", "", ("",)),
    ],
)
def test_the_files_of_an_output(kind: str, path: str, files: tuple[str, ...]) -> None:
    assert output_files(kind, path) == files
