"""What an output lacks of its input is in the status and in a Warning Event."""

from __future__ import annotations

from pathlib import Path

from media_converter.report_json import dump_report, parse_report
from tests.component.running import running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.scripts import exit_with, report
from tests.component.support.tools import conversion_job

WARNING = "The input is damaged: 3 of 90 frames (3.3 %) could not be decoded."


async def test_a_success_with_warnings_is_told(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    made = parse_report(report())
    assert made
    text = dump_report(made._replace(warnings=(WARNING,))).decode()
    cluster.default = exit_with(0, text)
    async with running(api, tmp_path):
        api.create(conversion_job("a"))
        await until_phase(api, "a", "Succeeded")
        assert status_of(api, "a")["output"]["warnings"] == [WARNING]
        await api.until(lambda: bool(_warnings(api)), 10, "a Warning Event")
        assert _warnings(api) == [("OutputIncomplete", WARNING)]


def _warnings(api: FakeApi) -> list[tuple[str, str]]:
    return [
        (event["reason"], event["message"])
        for event in api.objects("events")
        if event["type"] == "Warning"
    ]
