"""Every option at its bounds, through the CRD, the HTTP API and the converter: one answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from converter_gateway.errors import ApiError
from converter_gateway.requests import parse_convert
from media_converter.contract import ConversionType
from media_converter.options import GRAMMAR, OptionError, parse
from tests.support.option_values import CASES, DECIMALS, Case
from tests.unit.operator.crd_answers import job_schema, rejections


def crd_says(case: Case) -> list[str]:
    """What the API server has against a new ConversionJob."""
    return rejections(job_schema(), case.manifest("a", "default"))


def gateway_says(case: Case) -> str:
    body = {
        "input_file": "input/a",
        "output_file": case.output_file,
        "conversion_type": case.kind,
        "options": case.options,
    }
    try:
        parse_convert(orjson.dumps(body), ())
    except ApiError as rejection:
        return rejection.message
    return ""


def converter_says(case: Case) -> str:
    try:
        parse(ConversionType(case.kind), case.options)
    except OptionError as rejection:
        return str(rejection)
    return ""


def test_every_row_of_the_grammar_is_walked() -> None:
    walked = {(case.kind, case.option) for case in CASES if case.accepted}
    assert walked == {(kind, option.name) for option in GRAMMAR for kind in option.types}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_three_agree(case: Case) -> None:
    crd, http, converter = crd_says(case), gateway_says(case), converter_says(case)
    if case.accepted:
        assert (crd, http, converter) == ([], "", "")
        return
    field, _, sentence = http.partition(": ")
    assert field == f"options.{case.option}"
    # After an error about the type or the length, the API server checks no rule.
    checks_rules = not list(job_schema().causes(case.manifest("a", "default")))
    assert any(message.endswith(sentence) for message in crd) is checks_rules, crd
    assert sentence in converter or sentence.startswith("belongs to")
    assert converter.startswith(f"option {case.option} ")


@pytest.mark.parametrize(
    ("kind", "option", "value", "what_to_write"),
    [
        ("video_to_mp4", "resolution", 1081, "240p, 360p, 480p, 720p, 1080p, 1440p or 2160p"),
        ("audio_to_mp3", "bitrate", 129, "112k, 128k, 160k, 192k, 224k, 256k or 320k"),
        ("image_resize", "size", 800, "WIDTHxHEIGHT, such as 800x600"),
        ("image_resize", "size", "800X600", "WIDTHxHEIGHT, such as 800x600"),
        ("video_to_mp4", "start", "1:30", '"HH:MM:SS.mmm" (such as "00:01:30")'),
        ("extract_thumbnail", "time", "1:30", '"HH:MM:SS.mmm" (such as "00:01:30")'),
        ("video_to_mp4", "quality", 85, "low, medium or high"),
        ("image_resize", "quality", "high", "an integer from 1 to 100"),
    ],
)
def test_every_refusal_says_what_to_write(
    kind: str, option: str, value: Any, what_to_write: str
) -> None:
    case = Case(kind, option, value, accepted=False)
    (message,) = crd_says(case)
    assert what_to_write in message
    assert what_to_write in gateway_says(case)
    assert what_to_write in converter_says(case)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"inputFile": "a//b.mov"},
            "inputFile must be the path of a file, such as input/holiday.mov, without // and",
        ),
        (
            {"outputFile": "a/"},
            "outputFile must be the path of a file, such as output/holiday.mp4, without // and",
        ),
        ({"notify": {"url": "https://a/ b"}}, "notify.url must be printable ASCII"),
        ({"notify": {"url": "https://a\\b"}}, "notify.url must be printable ASCII"),
        ({"resources": {"limits": {"memory": "lots"}}}, "for example 512Mi or 2Gi"),
        ({"resources": {"limits": {"memory": 0}}}, "for example 512Mi or 2Gi"),
        ({"resources": {"requests": {"cpu": -1}}}, "for example 500m or 2"),
    ],
)
def test_other_refusals_are_in_words_too(spec: dict[str, Any], message: str) -> None:
    body = Case("audio_to_mp3", "bitrate", 128, accepted=True).manifest("a", "default")
    said = rejections(job_schema(), body | {"spec": body["spec"] | spec})
    assert any(message in line for line in said), said
    assert not any("should match" in line for line in said), said


@pytest.mark.parametrize("case", DECIMALS, ids=str)
def test_numbers_with_decimals_are_seconds_but_not_in_the_crd(case: Case) -> None:
    assert crd_says(case)
    assert not gateway_says(case)
    assert not converter_says(case)


@pytest.mark.parametrize(
    ("option", "value", "stored"),
    [
        ("time", 2.5, "2.5"),
        ("time", 2.0, 2),
        ("time", 0.1 + 0.2, "0.3"),
        ("time", 1e-7, "0"),
        ("time", 1e17 + 0.5, None),
        ("time", 604800.5, None),
        ("quality", 85.5, None),
        ("quality", 85.0, 85),
        ("size", 1.5, None),
    ],
)
def test_the_http_api_stores_what_kubernetes_can_hold(option: str, value: Any, stored: Any) -> None:
    body = {
        "input_file": "a.mov",
        "output_file": "a.jpg",
        "conversion_type": "extract_thumbnail",
        "options": {option: value},
    }
    if stored is None:
        with pytest.raises(ApiError, match=f"options.{option}: must be"):
            parse_convert(orjson.dumps(body), ())
        return
    options = parse_convert(orjson.dumps(body), ()).spec.options
    assert options is not None
    assert options.to_json() == {option: stored}


@pytest.mark.parametrize("case", [case._replace(value=None) for case in CASES[::20]], ids=str)
def test_null_is_absent(case: Case) -> None:
    assert not gateway_says(case)
    assert not converter_says(case)


@pytest.mark.parametrize("name", ["a.flac", "a.WAV", "b.ogg/a.flac"])
def test_an_option_of_other_extensions_is_refused_in_the_same_words(name: str) -> None:
    body = Case("audio_convert", "bitrate", 128, accepted=True).manifest("a", "default")
    sentence = "of audio_convert applies to .m4a, .opus or .ogg only"

    def said(name: str) -> list[str]:
        return rejections(job_schema(), body | {"spec": body["spec"] | {"outputFile": name}})

    assert said(name) == [f"options.bitrate {sentence}"]
    request = {
        "input_file": "input/a",
        "output_file": name,
        "conversion_type": "audio_convert",
        "options": {"bitrate": 128},
    }
    with pytest.raises(ApiError) as refused:
        parse_convert(orjson.dumps(request), ())
    assert refused.value.message == f"options.bitrate: {sentence}"
    assert not said("a.Ogg")
