"""Writes the files of deploy/monitoring that are made from others.

They are the Grafana dashboard, as a file to import and as a ConfigMap, and the rules as Prometheus
reads them without the Prometheus Operator. dashboard_panels.py has the panels of the dashboard.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from hack.dashboard_panels import ROWS, Panel

FOLDER: Final = "deploy/monitoring"
ROOT: Final = Path(__file__).parents[1]
_MADE: Final = "# Written by hack/monitoring.py, `make crds`.\n"
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_HEIGHT: Final = 7


def monitoring_files() -> dict[str, str]:
    """Path in the repository → content."""
    dashboard = json.dumps(render_dashboard(), indent=2) + "\n"
    rules = yaml.safe_load((ROOT / FOLDER / "rules.yaml").read_text(encoding="utf-8"))
    plain = yaml.safe_dump(rules["spec"], sort_keys=False, width=100)
    return {
        f"{FOLDER}/dashboard.json": dashboard,
        f"{FOLDER}/dashboard.yaml": _config_map(dashboard),
        f"{FOLDER}/plain-rules.yaml": _MADE + plain,
    }


def _config_map(dashboard: str) -> str:
    indented = "".join(f"    {line}\n" for line in dashboard.splitlines())
    return (
        f"{_MADE}# The sidecar of Grafana's chart finds it by its label.\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: my-network-converter-dashboard\n"
        '  labels:\n    grafana_dashboard: "1"\n'
        f"data:\n  my-network-converter.json: |\n{indented}"
    )


def render_dashboard() -> dict[str, Any]:
    """The dashboard as Grafana 10 and later import it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append(_row(title, top, len(panels) + 1))
        left, top = 0, top + 1
        for panel in row:
            if left + panel.width > _WIDTH:
                left, top = 0, top + _HEIGHT
            panels.append(_panel(panel, left, top, len(panels) + 1))
            left += panel.width
        top += _HEIGHT
    return {
        "uid": "my-network-converter",
        "title": "MY Network converter",
        "tags": ["my-network-converter"],
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "schemaVersion": 39,
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    query = "label_values(converter_build_info, namespace)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace of the operator",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": query, "refId": "A"},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _row(title: str, top: int, number: int) -> dict[str, Any]:
    place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}


def _panel(panel: Panel, left: int, top: int, number: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "gridPos": {"h": _HEIGHT, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for place, query in enumerate(panel.queries)
        ],
    }
