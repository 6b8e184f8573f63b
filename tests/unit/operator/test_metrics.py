"""The metrics and their page."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

from conversion_operator.controller.metrics import DRY_RUN, SEVERAL_OUTPUTS, Metrics
from hack.metrics_page import render_metrics
from media_converter.contract import ConversionType


def test_queries_use_metrics_that_exist() -> None:
    table, _, rest = render_metrics().partition("PromQL queries")
    queries = rest.partition("## The HTTP API")[0]
    named = set(re.findall(r"converter_\w+", queries))
    assert {re.sub(r"_(sum|count)$", "", name) for name in named} <= set(
        re.findall(r"`(converter_\w+)`", table)
    )


def test_a_former_leader_shows_no_numbers_of_its_term() -> None:
    metrics = Metrics(CollectorRegistry())
    names = ("queued", "blocked", "running", "foreign_children")
    for name in names:
        getattr(metrics, name).set(3)
    metrics.forget_term()
    value = metrics.registry.get_sample_value
    assert [value(f"converter_{name}") for name in names] == [0] * 4


def test_the_first_crash_of_a_decoder_is_an_increase() -> None:
    """A series that begins with 1 never increases, so its alert would not fire."""
    page = generate_latest(Metrics(CollectorRegistry()).registry).decode()
    for kind in (*ConversionType, SEVERAL_OUTPUTS, DRY_RUN):
        assert f'converter_decoder_crashes_total{{conversion_type="{kind}"}} 0.0' in page
        for end in ('phase="Failed",reason="DecoderCrashed"', 'phase="Succeeded",reason="Comp'):
            assert f'converter_conversions_finished_total{{conversion_type="{kind}",{end}' in page
