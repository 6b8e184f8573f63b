"""What docs/gitops.md says about tools that apply ConversionJobs again and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from conversion_operator.api import names
from tests.component.running import phase_of, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.errors import StatusError
from tests.component.support.invariants import check_all
from tests.component.support.kinds import CONVERSIONJOBS
from tests.component.support.real.api import RealApi
from tests.component.support.real.storage import path_of
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job
from tests.support.argo_cd import PAGE

pytestmark = pytest.mark.judged
Obj = dict[str, Any]
NAME: Final = "guitar-mp3"
APPLY: Final = "application/apply-patch+yaml"
IN_GIT: Final = conversion_job(NAME, metadata={"labels": {"team": "music"}})


def of_a_person() -> Obj:
    """The part of a ConversionJob that the page applies with another field manager."""
    command, _, rest = PAGE.read_text(encoding="utf-8").rpartition(" -f - <<'EOF'\n")
    assert command.endswith("kubectl apply --server-side --field-manager=anna")
    body: Obj = yaml.safe_load(rest.partition("EOF\n")[0])
    assert body["metadata"] == {"name": NAME, "namespace": NAMESPACE}
    return body


def apply(api: RealApi, manager: str, body: Obj) -> Obj:
    """Server-side apply, without force. Raises StatusError for a conflict."""
    path = path_of(CONVERSIONJOBS, NAMESPACE, NAME)
    return api.real.request("PATCH", f"{path}?fieldManager={manager}", body, APPLY)


def owned(obj: Obj, manager: str) -> list[tuple[str, Obj]]:
    """The subresource and the fields of each entry of a manager."""
    return [
        (entry.get("subresource", ""), entry["fieldsV1"])
        for entry in obj["metadata"]["managedFields"]
        if entry["manager"] == manager
    ]


async def test_two_managers_and_the_operator_share_a_conversion(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The operator writes the status and nothing else, so nobody gets a conflict."""
    if not isinstance(api, RealApi):
        pytest.skip("the fake API server has no field managers")
    cluster.script(NAME, succeed(hold=True))
    apply(api, "flux", IN_GIT)
    apply(api, "anna", of_a_person())
    async with running(api, tmp_path):
        await until_phase(api, NAME, "Running")
        apply(api, "flux", IN_GIT)
        apply(api, "anna", of_a_person())
        cluster.finish(NAME)
        await until_phase(api, NAME, "Succeeded")
        apply(api, "flux", IN_GIT)
        made = apply(api, "anna", of_a_person())
        assert made["spec"]["priority"] == 10
        with pytest.raises(StatusError, match='conflict with "anna"') as conflict:
            apply(api, "flux", IN_GIT | {"spec": IN_GIT["spec"] | {"priority": 1}})
        assert conflict.value.code == 409
    operator = names.MANAGER_PREFIX + NAMESPACE
    entries = [entry["manager"] for entry in made["metadata"]["managedFields"]]
    assert set(entries) == {"flux", "anna", operator}
    for subresource, fields in owned(made, operator):
        assert (subresource, set(fields)) == ("status", {"f:status"})
    for manager in ("flux", "anna"):
        assert "f:status" not in json.dumps(owned(made, manager))
    check_all(api, limit=3)


async def test_what_is_applied_again_after_its_time_to_live_is_converted_again(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path):
        uids = set()
        for _ in range(2):
            made = api.create(conversion_job(NAME, ttlSecondsAfterFinished=0))
            uids.add(made["metadata"]["uid"])
            await api.until(lambda: phase_of(api, NAME) is None, 30, "it to be deleted")
    owners = {
        change.new.obj["metadata"]["uid"]
        for change in api.storage.tables[CONVERSIONJOBS].log
        if change.new.obj["status"]["phase"] == "Succeeded"
    }
    assert len(owners) == 2
    assert owners == uids
    check_all(api, limit=3)


async def test_a_conversion_cannot_be_changed_into_another_one(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(conversion_job(NAME))
    with pytest.raises(StatusError, match="immutable") as refused:
        api.patch("conversionjobs", NAME, {"spec": {"outputFile": "output/other.mp4"}})
    assert refused.value.code == 422
    assert "outputFile" in str(refused.value)
