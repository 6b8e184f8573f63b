"""Broadcasts whose pixels change their shape: squares stay squares, in one size."""

from __future__ import annotations

import pytest

from media_converter.contract import OutputState
from tests.converter import several
from tests.converter.harness import VIDEO, WEBM, Converter
from tests.converter.kitchen import X264, Kitchen, colour, tone
from tests.converter.lab import Lab
from tests.converter.several import Wanted
from tests.converter.siblings.inputs import box_of

BLUE = (0, 0, 254)
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3")
NARROW, WIDE = "4:3", "16:9"
# A square of 144 lines in 352x288 pixels.
COLUMNS = {NARROW: 132, WIDE: 99}


def part(kitchen: Kitchen, name: str, aspect: str, *encoder: str, size: str = "352x288") -> str:
    """Two seconds with a blue square."""
    columns = COLUMNS[aspect] * int(size.split("x", maxsplit=1)[0]) // 352
    return kitchen.ffmpeg(
        f"shape-{aspect.replace(':', '-')}-{size}-{name}", *colour("gray", size), "-vf",
        f"drawbox=60:60:{columns}:144:blue:fill", "-aspect", aspect, *(encoder or MPEG2),
    )  # fmt: skip


def broadcast(kitchen: Kitchen, name: str, *aspects: str, encoder: tuple[str, ...] = ()) -> str:
    parts = [kitchen.read(part(kitchen, name, aspect, *encoder)) for aspect in aspects]
    return kitchen.write(f"shapes-{len(aspects)}-{name}", b"".join(parts))


def assert_squares(lab: Lab, path: object, times: tuple[float, ...]) -> None:
    for at in times:
        wide, high = box_of(lab.frame(str(path), at), BLUE)
        assert abs(wide / high - 1) <= 0.06, (at, wide, high)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("a.ts", MPEG2),
        ("a.vob", (*MPEG2, "-f", "vob")),
        ("a.m2ts", (*MPEG2, "-mpegts_m2ts_mode", "1", "-f", "mpegts")),
        ("h264.ts", X264),
        ("h264-bframes.ts", ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p")),
    ],
)
def test_squares_stay_squares(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str, encoder: tuple[str, ...]
) -> None:
    source = broadcast(kitchen, name, NARROW, WIDE, encoder=encoder)
    run = converter.convert(VIDEO, source, "o.mp4")
    assert lab.media(run.path).size == (384, 288)
    assert abs(lab.frames(run.path) - 100) <= 3
    assert_squares(lab, run.path.relative_to(lab.workspace.root), (0.5, 1.7, 2.3, 3.5))


def test_the_shape_changes_and_changes_back(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = broadcast(kitchen, "back.ts", WIDE, NARROW, WIDE)
    run = converter.convert(WEBM, source, "o.webm", resolution="240p")
    assert lab.media(run.path).size == (426, 240)
    assert_squares(lab, run.path.relative_to(lab.workspace.root), (0.5, 1.7, 2.3, 3.5, 4.3, 5.5))


def test_a_part_behind_the_change(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    """One recording, whose times go on."""
    first, second = (part(kitchen, "part.ts", aspect) for aspect in (NARROW, WIDE))
    later = kitchen.ffmpeg("shape-later.ts", "-i", second, "-c", "copy", "-output_ts_offset", "2")
    source = kitchen.write("shapes-part.ts", kitchen.read(first) + kitchen.read(later))
    for start, times in ((2.6, (0.2, 1.0)), (1.2, (0.4, 1.4, 2.2))):
        run = converter.convert(VIDEO, source, "o.mp4", start=start)
        assert_squares(lab, run.path.relative_to(lab.workspace.root), times)


def test_the_colours_change_with_the_shape(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """An old programme of Europe, and a new one of America."""

    def of(name: str, aspect: str, matrix: str, transfer: str) -> bytes:
        tags = ("-colorspace", matrix, "-color_primaries", matrix, "-color_trc", transfer)
        return kitchen.read(part(kitchen, name, aspect, *MPEG2, *tags))

    first = of("pal.ts", NARROW, "bt470bg", "gamma28")
    second = of("ntsc.ts", WIDE, "smpte170m", "smpte170m")
    run = converter.convert(VIDEO, kitchen.write("shapes-colours.ts", first + second), "o.mp4")
    assert abs(lab.frames(run.path) - 100) <= 3
    assert_squares(lab, run.path.relative_to(lab.workspace.root), (0.5, 1.7, 2.3, 3.5))


def test_a_part_after_the_clock_starts_again(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    source = broadcast(kitchen, "again.ts", NARROW, WIDE)
    run = converter.convert(VIDEO, source, "o.mp4", start=3)
    assert_squares(lab, run.path.relative_to(lab.workspace.root), (0.2, 0.7))


def test_the_size_changes_with_the_shape(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    first = part(kitchen, "size.ts", NARROW)
    second = part(kitchen, "size.ts", NARROW, size="704x288")
    source = kitchen.write("shapes-size.ts", kitchen.read(first) + kitchen.read(second))
    run = converter.convert(VIDEO, source, "o.mp4")
    assert lab.media(run.path).size == (384, 288)
    assert_squares(lab, run.path.relative_to(lab.workspace.root), (0.5, 1.5, 2.5, 3.5))


def test_several_outputs(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    folder = converter.workspace.scratch("shapes")
    wanted = [
        Wanted(VIDEO, f"{folder}/{name}.mp4", {"resolution": name}) for name in ("360p", "240p")
    ]
    done = several.run(converter, broadcast(kitchen, "a.ts", NARROW, WIDE), wanted)
    assert done.states == [OutputState.SUCCEEDED] * 2, done.log
    for one in wanted:
        assert_squares(lab, one.target, (0.5, 1.7, 2.3, 3.5))


def test_one_shape_is_copied_as_before(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.ffmpeg(
        "shape-copied.ts", *colour("gray", "352x288"), *tone(seconds=2), *X264, "-g", "10",
        "-c:a", "aac",
    )  # fmt: skip
    run = converter.convert(VIDEO, source, "o.mp4")
    assert "video: h264 352x288, copied unchanged" in run.report.logs
    assert "shape of the pixels" not in run.report.logs
