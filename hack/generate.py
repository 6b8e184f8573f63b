"""Generates the CRD, the reference pages and the chart's templates from the code and deploy/.

``python hack/generate.py DIR`` writes them below DIR. A unit test compares them with the committed
files.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from conversion_operator.api import names
from conversion_operator.api.crd import render_crds
from conversion_operator.api.reasons import render_reasons
from conversion_operator.controller.settings import Settings, render_settings
from conversion_operator.controller.settings_policy import render_policy
from converter_gateway import settings as gateway
from converter_gateway.app import render_openapi
from converter_gateway.rules import render_rules
from hack.chart import CHART, chart_files, settings
from hack.chart_schema import render_schema
from hack.metrics_page import render_metrics
from hack.monitoring import monitoring_files
from hack.plugin_data import PATH as PLUGIN_DATA
from hack.plugin_data import render_plugin_data


@cache
def generated_files() -> dict[str, str]:
    """Path in the repository → content."""
    files = {
        **{f"crds/{plural}.{names.GROUP}.yaml": text for plural, text in render_crds().items()},
        "docs/reasons.md": render_reasons(),
        "deploy/policies/settings.yaml": render_policy(Settings),
        "docs/settings.md": render_settings() + gateway.render_settings(),
        "deploy/gateway/content-rules.yaml": render_rules(),
        "docs/openapi.json": render_openapi(),
        "docs/metrics.md": render_metrics(),
        **monitoring_files(),
        f"{CHART}/values.schema.json": render_schema(settings()),
        PLUGIN_DATA: render_plugin_data(),
    }
    return files | chart_files(render_crds(), files)


def main(root: Path) -> None:
    """Write them all, and delete the templates of files of deploy/ that no longer exist."""
    for name in generated_files():
        if name.startswith(f"{CHART}/templates/"):
            for path in (root / name).parent.glob("*"):
                path.unlink()
    for name, content in generated_files().items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
