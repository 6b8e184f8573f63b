"""deploy/monitoring: the rules and the dashboard use metrics that exist, and each alert has a page.

tests/e2e/test_monitoring.py runs them in a real Prometheus.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.core.queue_status import MISSING
from hack.metrics_page import metrics_of_api, metrics_of_operator
from tests.support.rule_cases import ALERTS, OF_THE_KUBELET, RECORDS, named
from tests.unit.deploy.charts import chart_objects
from tests.unit.deploy.rendering import DEPLOY, GATEWAY, OPERATOR, ROOT, of_kind, render
from tests.unit.deploy.test_chart import RELEASE, STORAGE_CLASS, assert_equal

FOLDER = DEPLOY / "monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))
GROUPS: list[dict[str, Any]] = RULES["spec"]["groups"]
BY_ALERT = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
BY_RECORD = {
    rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule
}
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
PAGE = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")


def series() -> dict[str, set[str]]:
    """The labels of each time series that the programs have, by its name in Prometheus."""
    found: dict[str, set[str]] = {}
    for registry in (metrics_of_operator(), metrics_of_api()):
        for collector in registry._collector_to_names:
            labels = set(getattr(collector, "_labelnames", ()))
            for family in collector.collect():
                found |= dict.fromkeys(names_of(family.name, family.type), labels)
    return found


def names_of(name: str, kind: str) -> set[str]:
    if kind == "counter":
        return {f"{name}_total"}
    if kind == "histogram":
        return {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return {name}


EXPRESSIONS = [rule["expr"] for rule in (*BY_ALERT.values(), *BY_RECORD.values())] + QUERIES


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_expression_uses_series_that_exist(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= {*series(), *BY_RECORD, *OF_THE_KUBELET}


def test_each_rule_has_cases_in_which_it_fires_and_in_which_it_does_not() -> None:
    assert set(ALERTS) == set(BY_ALERT)
    assert set(RECORDS) == set(BY_RECORD)
    for name, case in ALERTS.items():
        assert case.fires, name
        assert case.quiet, name
        assert bool(case.early) == ("for" in BY_ALERT[name]), name
    for name, record in RECORDS.items():
        assert record.result, name
        assert record.nothing, name


def test_the_words_in_expressions_are_those_of_the_code() -> None:
    assert f'queue="{MISSING}"' in BY_ALERT["ConverterQueueMissing"]["expr"]
    for expression in EXPRESSIONS:
        for job in re.findall(r'job="([^"]+)"', expression):
            assert job == OPERATOR


@pytest.mark.parametrize("name", BY_ALERT)
def test_each_alert_has_a_section_that_its_annotation_names(name: str) -> None:
    rule = BY_ALERT[name]
    address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert address.endswith("/docs/alerts.md")
    assert anchor == name.lower()
    assert rule["labels"]["severity"] in {"critical", "warning"}
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/alerts.md has no section {name}"
    for part in ("**Meaning.**", "**Look at.**", "**Do.**"):
        assert part in section[1], f"{name} lacks {part}"


def test_no_section_is_left_of_an_alert_that_does_not_exist() -> None:
    assert re.findall(r"^## (Converter\w+)$", PAGE, re.MULTILINE) == list(BY_ALERT)


def test_the_reasons_and_settings_of_the_page_exist() -> None:
    known = (ROOT / "docs/reasons.md").read_text("utf-8") + (ROOT / "docs/settings.md").read_text(
        "utf-8"
    )
    for name in re.findall(r"`((?:CONVERTER|GATEWAY|WATCH|SHARED)_\w+)`", PAGE):
        assert f"`{name}`" in known, name


def test_the_dashboard_is_the_same_in_the_file_and_in_the_config_map() -> None:
    body = yaml.safe_load((FOLDER / "dashboard.yaml").read_text(encoding="utf-8"))
    assert body["metadata"]["labels"] == {"grafana_dashboard": "1"}
    (text,) = body["data"].values()
    assert json.loads(text) == DASHBOARD


def test_the_panels_do_not_overlap_and_choose_the_data_source() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24, panel["title"]
        cells |= own
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'namespace=~"$namespace"' in target["expr"]
    # A long page says nothing "within a minute".
    assert "Now" in DASHBOARD["panels"][0]["title"]


def test_no_panel_adds_a_series_or_adds_up_installations() -> None:
    for expression in QUERIES:
        # Without `on()`, the series without labels is added to those with labels.
        assert " or vector(" not in expression
        if "converter_queue_" in expression:
            assert "by (namespace, queue)" in expression


def test_the_legend_names_all_that_the_series_of_a_query_differ_in() -> None:
    """Two installations in one dashboard must not have two numbers with the same name."""
    found = set()
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            grouped = re.search(r"\bby \(([^)]+)\)", target["expr"])
            labels = set(grouped[1].split(", ")) - {"le"} if grouped else {"namespace"}
            found.add(panel["title"])
            named_by = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert labels == named_by, f"{panel['title']}: {target['legendFormat']}"
        if panel["type"] == "stat":
            # What an administrator sees first.
            assert all("{{namespace}}" in t["legendFormat"] for t in panel["targets"])
    assert len(found) > 15


def with_monitoring(tmp_path: Path) -> str:
    deploy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("samples"))
    overlay = deploy / "overlays/storage-class"
    page = overlay / "operator/kustomization.yaml"
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}components:\n  - ../../../monitoring\n", encoding="utf-8")
    return str(overlay)


def test_the_chart_equals_the_component(tmp_path: Path) -> None:
    objects = chart_objects(RELEASE, STORAGE_CLASS | {"monitoring": {"enabled": True}})
    assert_equal(objects, render(with_monitoring(tmp_path)), RELEASE)


def test_the_monitors_find_the_pods_and_the_port_of_their_metrics(tmp_path: Path) -> None:
    objects = render(with_monitoring(tmp_path))
    monitors = {each["metadata"]["name"]: each for each in of_kind(objects, "PodMonitor")}
    assert set(monitors) == {OPERATOR, GATEWAY}
    scraped = (FOLDER / "scrape.yaml").read_text(encoding="utf-8")
    for name, monitor in monitors.items():
        (deployment,) = (d for d in of_kind(objects, "Deployment") if d["metadata"]["name"] == name)
        pod = deployment["spec"]["template"]
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= pod["metadata"]["labels"].items()
        assert monitor["spec"]["jobLabel"] in pod["metadata"]["labels"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        ports = [p["name"] for c in pod["spec"]["containers"] for p in c["ports"]]
        assert endpoint["port"] in ports
        (keep,) = re.findall(r"regex: (\S+)", scraped)
        assert re.fullmatch(keep, f"{name};{endpoint['port']}")
        assert monitor["metadata"]["namespace"] == deployment["metadata"]["namespace"]


def test_the_chart_has_no_monitoring_by_default_and_takes_labels_and_runbooks() -> None:
    kinds = ("PodMonitor", "PrometheusRule")
    assert not any(of_kind(chart_objects(RELEASE, {}), kind) for kind in kinds)
    values = {
        "monitoring": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbooks": "https://wiki.example.com/alerts",
            "serviceMonitor": {"enabled": True},
        },
        "gateway": {"enabled": False},
    }
    objects = chart_objects(RELEASE, values)
    # The ServiceMonitor scrapes the operator, so that nothing is scraped twice.
    assert not of_kind(objects, "PodMonitor")
    (rules,) = of_kind(objects, "PrometheusRule")
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    links = {
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert links == {f"https://wiki.example.com/alerts#{name.lower()}" for name in BY_ALERT}


def test_what_counts_as_a_series() -> None:
    """What ``named`` finds, so that the tests above can fail."""
    assert named("rate(converter_none_total[5m]) / namespace:converter_x:ratio30m") == {
        "converter_none_total",
        "namespace:converter_x:ratio30m",
    }
    assert "converter_none_total" not in series()
