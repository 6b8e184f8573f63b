"""Objects that were stored under another CRD: unchecked ones, and those of each release."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from conversion_operator.controller import problems
from tests.component.running import running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.api import crd_of_this_release
from tests.component.support.tools import conversion_job
from tests.component.test_compatibility import Obj, jobs_made, warnings

pytestmark = [
    pytest.mark.judged,
    pytest.mark.real_only("only a real API server knows what a CRD lets pass later"),
]
FILES: Final = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
ENDS: Final = {"Succeeded", "Failed", "Cancelled"}
VALID: Final[Obj] = conversion_job("c")["spec"]
UNCHECKED: Final[dict[str, Any]] = {
    "a-text": "a",
    "a-list": [1],
    "empty": {},
    "no-input": {name: text for name, text in VALID.items() if name != "inputFile"},
    "no-boolean": VALID | {"cancel": "yes"},
}


def crd_without_rules() -> Obj:
    """A relaxed CRD: it checks neither the spec nor the status."""
    crd = crd_of_this_release()
    version = crd["spec"]["versions"][0]
    del version["selectableFields"]
    root = version["schema"]["openAPIV3Schema"]
    del root["x-kubernetes-validations"]
    anything = {"x-kubernetes-preserve-unknown-fields": True}
    root["properties"] |= {"spec": anything, "status": {"type": "object"} | anything}
    return crd


async def test_what_was_stored_unchecked_is_told_and_stops_nobody(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, or a Warning Event says that its status is rejected. It can be deleted."""
    monkeypatch.setattr(problems, "REJECTIONS_BEFORE_REPORT", 2)
    await api.use_crd(crd_without_rules())
    for name, spec in UNCHECKED.items():
        api.create(conversion_job(name) | {"spec": spec})
    await api.use_crd(crd_of_this_release())
    async with running(api, tmp_path) as op:

        def told() -> set[str]:
            ended = {name for name in UNCHECKED if status_of(api, name).get("phase") == "Failed"}
            rejected = warnings(api, "StatusRejected")
            return ended | {event["involvedObject"]["name"] for event in rejected}

        api.create(conversion_job("good"))
        await until_phase(api, "good", "Succeeded")
        await api.until(lambda: told() == UNCHECKED.keys(), 60, f"all to be told: {told()}")
        gauge = 'converter_stuck_conversions{cause="StatusRejected"}'
        assert op.metric(gauge) == len(warnings(api, "StatusRejected"))
        assert jobs_made(api) == 1
        for name in UNCHECKED:
            api.delete("conversionjobs", name)
        await api.until(lambda: op.metric(gauge) == 0)
        left = {obj["metadata"]["name"] for obj in api.objects("conversionjobs")}
        assert left == {"good"}


def finished_objects(now: datetime) -> dict[str, Obj]:
    """The golden objects of all releases that have ended, by release and name.

    They ended in the last two hours. Otherwise their time to live would be over.
    """
    hour = f"{now - timedelta(hours=1):%Y-%m-%dT%H:}"
    found = {
        f"{file.stem}-{obj['metadata']['name']}": obj
        for file in FILES
        for obj in json.loads(file.read_text(encoding="utf-8").replace("2026-01-01T12:", hour))
    }
    return {
        name: obj
        for name, obj in found.items()
        # The result of a callback is still to be written.
        if obj["status"]["phase"] in ENDS and "notify" not in obj["spec"]
    }


async def test_what_has_ended_under_any_release_is_left_as_it_is(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    objects = finished_objects(api.clock.now())
    assert {obj["status"]["phase"] for obj in objects.values()} == ENDS
    await api.use_crd(crd_without_rules())
    for name, obj in objects.items():
        api.create(conversion_job(name) | {"spec": obj["spec"]})
        api.patch("conversionjobs", name, {"status": obj["status"]}, subresource="status")
    await api.use_crd(crd_of_this_release())
    before = {name: status_of(api, name) for name in objects}
    assert before == {name: obj["status"] for name, obj in objects.items()}
    async with running(api, tmp_path) as op:
        api.create(conversion_job("good"))
        await until_phase(api, "good", "Succeeded")
        await op.reconcile_all()
        api.create(conversion_job("last"))
        await until_phase(api, "last", "Succeeded")
    assert {name: status_of(api, name) for name in objects} == before
    assert jobs_made(api) == 2
