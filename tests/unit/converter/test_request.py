"""What a run must do, from the environment: one conversion or several outputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from media_converter.contract import ConversionType, ExitReason
from media_converter.errors import ConversionError
from media_converter.options import MAX_SIDE, STAGES
from media_converter.request import name_output, output_paths, read_request
from media_converter.typed_options import ImageOptions, VideoOptions

SHA256 = "a" * 64
THUMB = {"conversionType": "extract_thumbnail", "outputFile": "/out/a.jpg"}
FILM = {"conversionType": "video_to_mp4", "outputFile": "out/b.mp4"}


def environment(*outputs: Any, **more: str) -> dict[str, str]:
    return {
        "INPUT_FILE": "/in/a.mov",
        "OUTPUTS": json.dumps(list(outputs)),
        "CONVERSION_UID": "uid",
        **more,
    }


def test_each_output_has_a_task() -> None:
    options = {"resolution": "720p", "duration": 3}
    film = {**FILM, "options": options, "optional": True, "sha256": SHA256}
    request = read_request(environment(THUMB, film, TIMEOUT_SECONDS="60", OVERWRITE="false"))
    assert (request.is_list, request.dry_run) == (True, False)
    one, two = request.tasks
    assert (one.conversion_type, one.output_file, one.output_format) == (
        ConversionType.EXTRACT_THUMBNAIL,
        "/out/a.jpg",
        "jpeg",
    )
    assert two.options == VideoOptions(resolution=720, duration=3.0)
    assert [task.optional for task in request.tasks] == [False, True]
    assert [task.reported_sha256 for task in request.tasks] == ["", SHA256]
    assert [task.label for task in request.tasks] == [
        "outputs[0] (/out/a.jpg)",
        "outputs[1] (out/b.mp4)",
    ]
    assert {(t.timeout_seconds, t.overwrites, t.conversion_uid) for t in request.tasks} == {
        (60, False, "uid")
    }
    assert all(task.marks_output for task in request.tasks)
    again = read_request(environment(THUMB, OVERWRITE="true", DRY_RUN="true"))
    assert again.dry_run
    assert again.tasks[0].marks_output, "a retry needs the mark, also if files are replaced"


def test_one_conversion_is_as_before() -> None:
    single = {
        "INPUT_FILE": "/in/a.mov",
        "CONVERSION_TYPE": "video_to_mp4",
        "OUTPUT_FILE": "/out/a.mp4",
        "CONVERSION_UID": "uid",
    }
    request = read_request(single)
    assert not request.is_list
    (task,) = request.tasks
    assert (task.label, task.optional, task.marks_output) == ("", False, False)
    assert read_request({**single, "OVERWRITE": "false"}).tasks[0].marks_output
    error = ConversionError(ExitReason.IO_ERROR, "why")
    assert name_output(task, error) is error
    assert output_paths(single) == ("/out/a.mp4",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "OUTPUTS is not JSON"),
        ("[" * 100_000, "OUTPUTS is not JSON"),
        ("{}", "array of 1 to 8"),
        ("[]", "array of 1 to 8"),
        (json.dumps([THUMB] * 9), "array of 1 to 8"),
        (json.dumps([THUMB, 1]), "outputs[1] must be a JSON object"),
    ],
)
def test_what_is_no_list_of_outputs_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConversionError) as refused:
        read_request({**environment(), "OUTPUTS": text})
    assert refused.value.reason is ExitReason.INVALID_OPTIONS
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conversionType": None}, "needs the field conversionType"),
        ({"conversionType": 1}, "needs the field conversionType"),
        ({"conversionType": "video_to_gif"}, "conversionType video_to_gif is unknown"),
        ({"outputFile": ""}, "needs the field outputFile"),
        ({"outputFile": ["/a.mp4"]}, "needs the field outputFile"),
        ({"outputFile": "/out/b.jpg"}, "must end in .mp4"),
        ({"outputFile": "/out/b"}, "must end in .mp4"),
        ({"outputFile": "/out/\n.mp4"}, "must not contain control characters"),
        ({"outputFile": "/out/\0.mp4"}, "must not contain control characters"),
        ({"outputFile": "/out/\ud800.mp4"}, "must not contain control characters"),
        ({"options": []}, "options must be a JSON object"),
        ({"options": "{}"}, "options must be a JSON object"),
        ({"options": {"bitrate": "128k"}}, "option bitrate does not belong"),
        ({"options": {"resolution": "4k"}}, "option resolution must be"),
        ({"optional": 0}, "optional must be true or false"),
        ({"optional": "true"}, "optional must be true or false"),
        ({"sha256": ""}, "sha256 must be"),
        ({"sha256": "A" * 64}, "sha256 must be"),
        ({"sha256": 1}, "sha256 must be"),
        ({"outputfile": "/x.mp4"}, "unknown field 'outputfile'"),
        ({"outputFile": "out/a.jpg", "conversionType": "image_resize"}, "same path as outputs[0]"),
        ({"outputFile": "/out//a.jpg/b.mp4"}, "the file of one is a folder of the other"),
    ],
)
def test_an_invalid_output_is_refused_by_its_number(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversionError) as refused:
        read_request(environment(THUMB, {**FILM, **change}))
    assert refused.value.reason is ExitReason.INVALID_OPTIONS
    assert words in refused.value.message
    assert "outputs[1]" in refused.value.message


def test_what_holds_for_all_outputs_together() -> None:
    for change, words in (
        ({"OUTPUTS": json.dumps([{**FILM, "optional": True}])}, "all outputs are optional"),
        ({"CONVERSION_UID": ""}, "CONVERSION_UID is missing"),
        ({"INPUT_FILE": ""}, "INPUT_FILE is missing"),
        ({"DRY_RUN": "1"}, "DRY_RUN must be true or false"),
    ):
        with pytest.raises(ConversionError) as refused:
            read_request({**environment(FILM), **change})
        assert refused.value.reason is ExitReason.INVALID_OPTIONS
        assert words in refused.value.message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("out/a.webp", "outputs[1] (out/a.webp) has the same .vtt file as outputs[0]"),
        ("out/a.vtt/b.jpg", "the file of one is a folder of the other"),
    ],
)
def test_the_second_file_of_an_output_counts(path: str, words: str) -> None:
    board = {"conversionType": "video_storyboard", "outputFile": "/out/a.jpg"}
    with pytest.raises(ConversionError) as refused:
        read_request(environment(board, board | {"outputFile": path}))
    assert words in refused.value.message
    assert read_request(environment(board)).tasks[0].files == ("/out/a.jpg", "/out/a.vtt")


def test_a_long_path_is_shortened_in_messages() -> None:
    path = f"/{'f' * 200}/{'n' * 60}.mp4"
    label = read_request(environment({**FILM, "outputFile": path})).tasks[0].label
    assert len(label) < 120
    assert label.endswith(f"{'n' * 60}.mp4)")


def test_a_sweep_needs_only_the_paths() -> None:
    assert output_paths(environment({"outputFile": "/a"}, {"outputFile": "b/c"})) == ("/a", "b/c")
    with pytest.raises(ConversionError):
        output_paths(environment({}))


def test_every_type_has_a_stage() -> None:
    assert set(STAGES) == set(ConversionType)


def test_an_image_without_a_size_keeps_its_own() -> None:
    item = {"conversionType": "image_resize", "outputFile": "/out/a.jpg", "options": {"quality": 5}}
    (task,) = read_request(environment(item)).tasks
    assert task.options == ImageOptions(MAX_SIDE, MAX_SIDE, 5)
    (task,) = read_request(environment(item | {"options": {"size": None}})).tasks
    assert task.options == ImageOptions(MAX_SIDE, MAX_SIDE)
    (task,) = read_request(environment(item | {"options": {"size": "80x60"}})).tasks
    assert task.options == ImageOptions(80, 60)
