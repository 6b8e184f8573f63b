"""Every option at its bounds, through the CRD, the HTTP API and the converter: one answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from conversion_operator.api.crd import build_crd
from conversion_operator.api.names import VERSION
from converter_gateway.errors import ApiError
from converter_gateway.requests import parse_convert
from media_converter.contract import ConversionType
from media_converter.options import GRAMMAR, OptionError, parse
from tests.component.support.schema import CustomSchema
from tests.support.option_values import CASES, CONVERTER_ONLY, Case


@cache
def definition() -> tuple[CustomSchema, list[tuple[Any, str]]]:
    """The schema, and the rules that look at a new object with their messages."""
    environment = cel.NewEnv(
        variables={"self": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()]
    )
    schema = CustomSchema(build_crd(), VERSION)
    rules = schema.root["properties"]["spec"]["x-kubernetes-validations"]
    return schema, [
        (environment.compile(rule["rule"]), rule["message"])
        for rule in rules
        if "oldSelf" not in rule["rule"]
    ]


def crd_says(case: Case) -> list[str]:
    """What the API server has against a new ConversionJob."""
    schema, rules = definition()
    body = case.manifest("a", "default")
    said = [f"{where}: {problem}" for where, problem in schema.causes(body)]
    for rule, message in rules:
        # A rule that ends in an error rejects, too.
        if rule.eval(data={"self": body["spec"]}).plain_value() is not True:
            said.append(message)
    return said


def gateway_says(case: Case) -> str:
    body = {
        "input_file": "input/a",
        "output_file": case.output_file,
        "conversion_type": case.kind,
        "options": {case.option: case.value},
    }
    try:
        parse_convert(orjson.dumps(body), ())
    except ApiError as rejection:
        return rejection.message
    return ""


def converter_says(case: Case) -> str:
    try:
        parse(ConversionType(case.kind), {case.option: case.value})
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
    assert any(message.endswith(sentence) for message in crd), crd
    assert sentence in converter or sentence.startswith("belongs to")
    assert converter.startswith(f"option {case.option} ")


@pytest.mark.parametrize("case", CONVERTER_ONLY, ids=str)
def test_what_the_converter_alone_accepts(case: Case) -> None:
    assert crd_says(case)
    assert gateway_says(case)
    assert not converter_says(case)


@pytest.mark.parametrize("case", [case._replace(value=None) for case in CASES[::20]], ids=str)
def test_null_is_absent(case: Case) -> None:
    assert not gateway_says(case)
    assert not converter_says(case)
