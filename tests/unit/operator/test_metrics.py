"""The metrics and their page."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

from conversion_operator.cluster.objects import Event
from conversion_operator.controller.metrics import DRY_RUN, SEVERAL_OUTPUTS, Metrics
from conversion_operator.controller.problems import Problem, Problems
from hack.metrics_page import render_metrics
from media_converter.contract import ConversionType
from tests.unit.operator.builders import conversion


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


def test_only_a_leader_has_problems() -> None:
    """A reconcile that began in the term may end after it."""
    metrics, leads, posted = Metrics(CollectorRegistry()), [True], list[Event]()
    problems = Problems(metrics, posted.append, lambda: leads[0])

    def stuck() -> float | None:
        name = "converter_stuck_conversions"
        return metrics.registry.get_sample_value(name, {"cause": "StatusRejected"})

    problems.report(conversion(), Problem.STATUS_REJECTED, "why")
    assert stuck() == 1
    leads[0] = False
    problems.end_term()
    assert stuck() == 0
    problems.report(conversion(), Problem.STATUS_REJECTED, "late")
    assert stuck() == 0
    leads[0] = True
    problems.report(conversion(), Problem.STATUS_REJECTED, "again")
    assert stuck() == 1
    # The API server refuses the second Event: it has the name of the first.
    assert len({event.name for event in posted}) == 1


def test_the_first_crash_of_a_decoder_is_an_increase() -> None:
    """A series that begins with 1 never increases, so its alert would not fire."""
    page = generate_latest(Metrics(CollectorRegistry()).registry).decode()
    for kind in (*ConversionType, SEVERAL_OUTPUTS, DRY_RUN):
        assert f'converter_decoder_crashes_total{{conversion_type="{kind}"}} 0.0' in page
        for end in ('phase="Failed",reason="DecoderCrashed"', 'phase="Succeeded",reason="Comp'):
            assert f'converter_conversions_finished_total{{conversion_type="{kind}",{end}' in page
