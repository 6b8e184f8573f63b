"""deploy/monitoring in a real Prometheus: its rules, and each query of the dashboard."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.e2e.support.commands import Kubectl, until
from tests.e2e.support.conversions import Conversions
from tests.e2e.support.prometheus import (
    FOLDER,
    Prometheus,
    build_image,
    prometheus_in_cluster,
    promtool,
)
from tests.support.rule_cases import OF_THE_KUBELET, named, promtool_tests

RULE_FILE: Final = "plain-rules.yaml"
GROUPS: Final = yaml.safe_load((FOLDER / RULE_FILE).read_text(encoding="utf-8"))["groups"]
GATEWAY: Final = "my-network-converter-gateway"
API: Final = f"/api/v1/namespaces/my-network-converter/services/{GATEWAY}:http/proxy"


@pytest.fixture(scope="module")
def image() -> None:
    """The image with Prometheus and promtool exists."""
    build_image()


@pytest.fixture(scope="module")
def prometheus(kubectl: Kubectl, image: None) -> Iterator[Prometheus]:
    """Prometheus, which has scraped each target."""
    with prometheus_in_cluster(kubectl) as running:
        until(lambda: jobs_up(running) == 2, "the operator and the HTTP API are scraped")
        kubectl.attempt("get", "--raw", f"{API}/api/v1/converter/active")  # 401 counts, too
        yield running


def jobs_up(prometheus: Prometheus) -> int:
    targets = prometheus.targets()
    up = {t["labels"]["job"] for t in targets if t["health"] == "up"}
    return len(up) if all(t["health"] == "up" for t in targets) else 0


def without_data(prometheus: Prometheus, expressions: Iterable[str]) -> list[str]:
    """The expressions that return nothing, also after some scrapes."""
    empty = list(expressions)
    for _ in range(20):
        empty = [each for each in empty if not prometheus.query(each)]
        if not empty:
            break
        time.sleep(0.5)
    return empty


def judge(groups: Any, folder: Path) -> str:
    """What promtool says about all cases with these rules. "" if each is as expected."""
    folder.chmod(0o755)
    rules, cases = {"groups": groups}, promtool_tests(GROUPS, RULE_FILE)
    (folder / RULE_FILE).write_text(yaml.safe_dump(rules), encoding="utf-8")
    (folder / "cases.yaml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    done = promtool(folder, "test", "rules", "cases.yaml")
    return done.stdout + done.stderr if done.returncode else ""


def test_each_rule_fires_when_it_must_and_only_then(image: None, tmp_path: Path) -> None:
    assert judge(GROUPS, tmp_path) == ""


def test_no_rule_could_be_replaced_by_one_that_never_fires(image: None, tmp_path: Path) -> None:
    rules = [rule for group in GROUPS for rule in group["rules"]]
    never = [
        {**group, "rules": [{**rule, "expr": "vector(1) > 2"} for rule in group["rules"]]}
        for group in GROUPS
    ]
    said = judge(never, tmp_path)
    for rule in rules:
        assert rule.get("alert", rule.get("record")) in said


def test_prometheus_accepts_what_to_scrape_and_evaluates_each_rule(
    prometheus: Prometheus, conversions: Conversions
) -> None:
    conversions.make("scraped").succeeded()
    ended = "converter_conversions_finished_total"
    until(lambda: bool(prometheus.query(f'{ended}{{phase="Succeeded"}}')), "its end is scraped", 20)
    # increase() needs a number before and after.
    conversions.make("scraped-again").succeeded()
    names = {rule.get("alert", rule.get("record")) for g in GROUPS for rule in g["rules"]}

    def evaluated() -> bool:
        found = prometheus.rules()
        return {rule["name"] for rule in found} == names and all(
            rule["health"] != "unknown" for rule in found
        )

    until(evaluated, "each rule is evaluated")
    assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
    expressions = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    series = set[str]().union(*map(named, expressions)) - OF_THE_KUBELET
    assert without_data(prometheus, (f"count({each})" for each in sorted(series))) == []
    # Targets have the labels that the alerts and the dashboard use.
    for target in prometheus.targets():
        assert target["labels"]["namespace"] == "my-network-converter"
        assert target["labels"]["pod"].startswith(target["labels"]["job"])


def test_each_query_of_the_dashboard_returns_data(
    prometheus: Prometheus, conversions: Conversions
) -> None:
    conversions.make("drawn").succeeded()
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    expressions = [
        target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    assert len(expressions) > 30
    assert without_data(prometheus, expressions) == []


def test_what_prometheus_shows_is_what_has_happened(
    prometheus: Prometheus, conversions: Conversions
) -> None:
    def count(expression: str) -> float:
        return sum(float(sample["value"][1]) for sample in prometheus.query(expression))

    ended = 'sum(converter_conversions_finished_total{phase="Succeeded"})'
    before = count(ended)
    conversions.make("seen").succeeded()
    until(lambda: count(ended) == before + 1, "the conversion is counted", 20)
    assert count("sum(converter_queue_may_start)") >= 1
    assert count("namespace:converter_slots:used_ratio") <= 1
