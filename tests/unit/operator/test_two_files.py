"""An output of two files: both paths belong to the conversion, in all rules and for all others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.reasons import Reason
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus, OutputStatus, Phase
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.core.ended import without_unused
from conversion_operator.core.model import Conversion
from conversion_operator.core.paths import output_at
from conversion_operator.core.profiles import ProfileInvalid, resolve
from converter_gateway.errors import ApiError
from converter_gateway.requests import parse_convert
from converter_gateway.rules import RulesError, parse_rules
from media_converter.contract import OutputState
from tests.unit.operator.builders import T0, conversion
from tests.unit.operator.test_output_rules import body, said
from tests.unit.operator.test_parsing import body as stored
from tests.unit.operator.test_paths import block_of, queue_of, with_status

BOARD = {"conversionType": "video_storyboard", "outputFile": "out/a.jpg"}
THUMB = {"conversionType": "extract_thumbnail", "outputFile": "out/a_thumb.jpg"}


def listed(*paths: str) -> dict[str, Any]:
    """A spec with a storyboard for each of these paths."""
    return {"outputs": [BOARD | {"outputFile": path} for path in paths]}


def made(uid: str, source: str, created: int, **spec: Any) -> Conversion:
    none = {"conversionType": None, "outputFile": None} if "outputs" in spec else BOARD
    made_at = T0 + timedelta(seconds=created)
    return conversion(f"uid-{uid}", created=made_at, **{"inputFile": source, **none, **spec})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (listed("out/a.jpg", "/out/a.webp"), "outputs[1] must not have the same .vtt file as an"),
        (
            listed("out/b.jpg", "out/c.jpg", "out/d.jpg", "out/b.JPEG"),
            "outputs[3] must not have the same .vtt file as an earlier output",
        ),
        (
            {"outputs": [BOARD, THUMB | {"outputFile": "/out/a.vtt/b.jpg"}]},
            "the .vtt file of a video_storyboard must not be a folder of another output",
        ),
        (
            {"outputs": [THUMB | {"outputFile": "out/a.vtt/b.jpg"}, BOARD]},
            "the .vtt file of a video_storyboard must not be a folder of another output",
        ),
    ],
)
def test_no_two_outputs_share_a_file(spec: dict[str, Any], message: str) -> None:
    (found,) = said(**spec)
    assert message in found
    with pytest.raises(ValidationError, match=r"must not have the same .vtt file"):
        ConversionJobSpec.model_validate(body(**spec)["spec"])


@pytest.mark.parametrize(
    "spec",
    [
        BOARD,
        listed("out/a.jpg", "out/b.webp", "b/a.jpg", "a.x/a.jpg"),
        {"outputs": [BOARD, THUMB, THUMB | {"outputFile": "out/a.webp"}]},
        {"outputs": [BOARD | {"outputFile": "out/a.b.jpg"}, BOARD]},
    ],
)
def test_other_outputs_go_together(spec: dict[str, Any]) -> None:
    assert said(**spec) == []
    ConversionJobSpec.model_validate(body(**spec)["spec"])


@pytest.mark.parametrize("source", ["out/a.vtt", "/out/a.vtt"])
def test_the_second_file_is_not_the_input(source: str) -> None:
    message = (
        "the .vtt file of a video_storyboard must not be the inputFile; the input is never changed"
    )
    assert said(**BOARD, inputFile=source) == [message]
    assert said(outputs=[THUMB, BOARD], inputFile=source) == [message]
    asked = {
        "input_file": source,
        "output_file": "out/a.jpg",
        "conversion_type": "video_storyboard",
    }
    with pytest.raises(ApiError, match=r"its .vtt file must not be the input_file"):
        parse_convert(orjson.dumps(asked), ())


def test_both_files_belong_to_the_conversion() -> None:
    parsed = parse_conversion(stored(spec={"inputFile": "a.mov", "outputs": [THUMB, BOARD]}))
    assert parsed.output_paths == ("/out/a_thumb.jpg", "/out/a.jpg", "/out/a.vtt")
    assert parsed.output_types == ("extract_thumbnail", "video_storyboard")
    later = {"inputFile": "a.mov", **BOARD, "options": {"fps": 5}}
    assert parse_conversion(stored(spec=later)).output_paths == ("/out/a.jpg", "/out/a.vtt")
    dry = parse_conversion(stored(spec={"inputFile": "a.mov", **BOARD, "dryRun": True}))
    assert dry.output_paths == ()


def test_two_that_write_the_same_second_file_take_turns() -> None:
    first, second = made("one", "a.mov", 0), made("two", "b.mov", 1, outputFile="/out/a.webp")
    queue = queue_of(first, second)
    assert queue.order == ("uid-one",)
    block = queue.blocks["uid-two"]
    assert (block.reason, "/out/a.vtt" in block.message) == (Reason.PATH_BUSY, True)


def test_whoever_reads_the_second_file_waits_for_it() -> None:
    maker = made("maker", "a.mov", 0, outputs=[THUMB, BOARD])
    reader = conversion("uid-reader", inputFile="out/a.vtt", outputFile="other.mp4")
    block = queue_of(maker, reader).blocks["uid-reader"]
    assert block.reason == Reason.WAITING_FOR_INPUT
    for states, reason in (("Succeeded", None), ("Skipped", Reason.INPUT_NOT_MADE)):
        outputs = [OutputStatus(state=OutputState(state)) for state in ("Succeeded", states)]
        done = with_status(maker, Phase.SUCCEEDED, "Completed", 50)
        assert done.status
        done = without_unused(
            Conversion(
                **{name: getattr(done, name) for name in Conversion.__slots__ if name != "status"},
                status=done.status.model_copy(update={"outputs": outputs}),
            )
        )
        found = block_of("reader", done, reader)
        assert (found.reason if found else None) == reason


def test_the_state_of_an_output_is_that_of_all_its_files() -> None:
    states = [OutputState.SUCCEEDED, OutputState.FAILED, OutputState.PENDING]
    status = ConversionJobStatus.model_construct(
        phase=Phase.RUNNING,
        conditions=[],
        reason="",
        message="",
        outputs=[OutputStatus(state=state) for state in states],
    )
    third = THUMB | {"outputFile": "c.jpg"}
    subject = made("maker", "a.mov", 0, outputs=[THUMB, BOARD, third], status=status)
    found = [
        output_at(subject, path)
        for path in ("/out/a_thumb.jpg", "/out/a.jpg", "/out/a.vtt", "/c.jpg")
    ]
    assert [each.state if each else None for each in found] == [
        OutputState.SUCCEEDED,
        OutputState.FAILED,
        OutputState.FAILED,
        OutputState.PENDING,
    ]
    assert output_at(subject, "/out/b.vtt") is None


@pytest.mark.parametrize(
    ("templates", "source", "words"),
    [
        (("{dir}/{name}.jpg", "{dir}/{name}.webp"), "a/b.mov", r"/a/b\.vtt and /a/b\.vtt"),
        (("{dir}/{name}.jpg",), "a/b.vtt", "has the path of the input"),
    ],
)
def test_a_profile_keeps_the_rule(templates: tuple[str, ...], source: str, words: str) -> None:
    spec = ConversionProfileSpec.model_validate(listed(*templates))
    with pytest.raises(ProfileInvalid, match=words):
        resolve("p", spec, source)


def test_the_http_api_keeps_the_rule() -> None:
    outputs = [
        {"output_file": path, "conversion_type": "video_storyboard"}
        for path in ("out/a.jpg", "out/b.jpg", "/out/a.webp")
    ]
    with pytest.raises(ApiError) as refused:
        parse_convert(orjson.dumps({"input_file": "a.mov", "outputs": outputs}), ())
    assert refused.value.message == (
        "outputs[2].output_file: its .vtt file must not be that of outputs[0]"
    )
    folder = [outputs[0], {"output_file": "out/a.vtt/b.jpg", "conversion_type": "image_resize"}]
    with pytest.raises(ApiError, match=r"must not have the same .vtt file"):
        parse_convert(orjson.dumps({"input_file": "a.mov", "outputs": folder}), ())


def test_content_rules_keep_the_rule() -> None:
    rules = """
rules:
  - name: video
    contentTypes: [video]
    outputs:
      - {conversionType: video_storyboard, suffix: _board.jpg}
      - {conversionType: video_storyboard, suffix: _board.webp}
"""
    with pytest.raises(RulesError, match=r"two video_storyboard have one \.vtt file"):
        parse_rules(rules)
    assert parse_rules(rules.replace("_board.webp", "_large.webp"))


def test_interval_and_count_do_not_go_together() -> None:
    both = BOARD | {"options": {"interval": 5, "count": 9}}
    message = "options.count does not go together with interval; set one of them"
    assert said(**both) == [message]
    assert said(outputs=[both]) == [f"outputs[0]: {message}"]
    asked = {
        "input_file": "a.mov",
        "output_file": "out/a.jpg",
        "conversion_type": "video_storyboard",
        "options": both["options"],
    }
    with pytest.raises(ApiError) as refused:
        parse_convert(orjson.dumps(asked), ())
    assert refused.value.message == message.replace(" does", ": does")
    rule = "{conversionType: video_storyboard, suffix: _b.jpg, options: {interval: 5, count: 9}}"
    text = f"rules: [{{name: v, contentTypes: [video], outputs: [{rule}]}}]"
    with pytest.raises(RulesError, match="does not go together with interval"):
        parse_rules(text)
