"""What ffprobe prints, also of odd files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.probing import ffprobe

STREAM = {
    "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
    "r_frame_rate": "0/0", "avg_frame_rate": "N/A", "duration": "N/A", "bit_rate": "",
    "sample_aspect_ratio": "0:1", "field_order": "unknown", "tags": {"DURATION": "00:00:03.5"},
}  # fmt: skip


def document(*streams: object, frames: object = ()) -> bytes:
    return json.dumps(
        {"streams": streams, "frames": frames, "format": {"format_name": "mov", "duration": "N/A"}}
    ).encode()


def test_nonsense_in_a_header_is_accepted() -> None:
    found = ffprobe.parse(document(STREAM))
    assert found
    assert found.duration is None
    assert found.video[0].r_frame_rate is None
    assert found.video[0].sample_aspect_ratio == (1, 1)
    assert found.video[0].duration == 3.5


@pytest.mark.parametrize(
    ("rate", "accepted"),
    [
        *(("0", False), ("1", False), ("999", False), ("3000001", False)),
        *(("1000", True), ("8000", True), ("2822400", True)),
    ],
)
def test_sample_rates_that_are_not_in_use_are_not_accepted(rate: str, accepted: bool) -> None:
    sound = {"index": 0, "codec_type": "audio", "codec_name": "aac", "channels": 1}
    found = ffprobe.parse(document({**sound, "sample_rate": rate}))
    assert found
    assert bool(found.audio) is accepted


def test_the_rotation_is_found_in_the_stream_or_in_its_first_frame() -> None:
    matrix = {"side_data_type": "Display Matrix", "rotation": -90, "displaymatrix": ""}
    frame = {
        "stream_index": 0,
        "side_data_list": [{**matrix, "side_data_type": "3x3 displaymatrix"}],
    }
    for made in (
        document({**STREAM, "side_data_list": [matrix]}),
        document(STREAM, frames=[frame]),
    ):
        found = ffprobe.parse(made)
        assert found
        assert found.video[0].rotation == 90
        assert found.video[0].displayed_size == (360, 640)


def test_covers_and_undecodable_and_unknown_streams_are_distinguished() -> None:
    found = ffprobe.parse(
        document(
            {**STREAM, "disposition": {"attached_pic": 1}},
            {"index": 1, "codec_type": "audio", "sample_rate": "48000", "channels": 2},
            {"index": 2, "codec_type": "audio", "codec_name": "aac", "codec_tag_string": "apac",
             "sample_rate": "48000", "channels": 2},
            {"index": 3, "codec_type": "audio", "codec_name": "aac", "sample_rate": "48000",
             "channels": 2},
            {"index": 4, "codec_type": "data"},
        )
    )  # fmt: skip
    assert found
    assert not found.video
    assert [pic.stream_index for pic in found.attached_pics] == [0]
    assert [track.stream_index for track in found.audio] == [3]
    assert found.undecodable == ("audio unknown", "audio aac")


FIELDS = st.sampled_from(sorted(STREAM))
ODD: st.SearchStrategy[object] = (
    st.none() | st.text(max_size=8) | st.integers() | st.floats() | st.just({})
)


@given(st.dictionaries(FIELDS, ODD, max_size=6))
def test_any_field_may_be_odd(fields: dict[str, object]) -> None:
    body = {**STREAM, **{k: v for k, v in fields.items() if k not in ("tags", "codec_type")}}
    ffprobe.parse(document(body))


@given(st.binary(max_size=100))
def test_output_that_is_not_a_description_is_none(data: bytes) -> None:
    assert ffprobe.parse(data) is None
