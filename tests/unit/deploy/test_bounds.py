"""What deploy/ bounds fits what the operator creates and reads."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.controller.settings import Settings
from conversion_operator.core.manifest import build_job, build_sweep, parse_quantity
from tests.component.support.tools import conversion_job
from tests.unit.deploy.policies import problems
from tests.unit.deploy.rendering import OVERLAYS, find, of_kind, render
from tests.unit.operator.builders import conversion

POLICY = Settings.model_validate({}).policy()
METADATA = "my-network-converter-metadata"


def limits(overlay: str) -> dict[str, dict[str, str]]:
    (found,) = of_kind(render(overlay), "LimitRange")
    assert found["metadata"]["namespace"] == "my-network"
    (container,) = found["spec"]["limits"]
    assert container["type"] == "Container"
    return dict(container)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_limit_range_allows_what_the_settings_allow_and_no_more(overlay: str) -> None:
    found = limits(overlay)
    assert found["max"] == {"cpu": POLICY.max_cpu, "memory": POLICY.max_memory}
    assert (found["default"], found["defaultRequest"]) == (POLICY.limits, POLICY.requests)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_limit_range_admits_attempts_retries_and_sweeps(overlay: str) -> None:
    most = {"cpu": POLICY.max_cpu, "memory": POLICY.max_memory}
    largest = conversion(resources={"limits": most, "requests": most})
    for body in (
        build_job(conversion(), 1, POLICY, False, "m"),
        build_job(conversion(), 2, POLICY, True, "m"),
        build_job(largest, 2, POLICY, True, "m"),
        build_sweep(largest, POLICY, "m"),
    ):
        (container,) = body["spec"]["template"]["spec"]["containers"]
        for kind in ("requests", "limits"):
            for name, amount in container["resources"][kind].items():
                assert parse_quantity(amount) <= parse_quantity(limits(overlay)["max"][name])


def test_the_quota_counts_conversionjobs() -> None:
    (quota,) = of_kind(render("storage-class"), "ResourceQuota")
    assert quota["metadata"]["namespace"] == "my-network"
    assert quota["spec"]["hard"] == {f"count/{names.PLURAL}.{names.GROUP}": "10000"}
    # On a new cluster, a quota rejects ConversionJobs for up to five minutes.
    assert not of_kind(render("kind"), "ResourceQuota")


def large(**metadata: Any) -> dict[str, Any]:
    return conversion_job("a", metadata={"name": "a"} | metadata)


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "x" * 200, "uid": "y" * 36}
SMALL = large(annotations={"a/b": "x" * 32_000}, labels={"a": "b"}, finalizers=["a/b"])
TOO_LARGE = [
    large(annotations={"a/b": "x" * 255_000}),
    large(annotations={f"a/{number}": "x" * 1000 for number in range(40)}),
    large(labels={f"a/{number:060}": "x" * 63 for number in range(300)}),
    large(finalizers=[f"a/{number:060}" for number in range(600)]),
    large(ownerReferences=[OWNER] * 150),
]


@pytest.mark.parametrize("new", TOO_LARGE)
def test_large_metadata_is_rejected(new: dict[str, Any]) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", METADATA)
    assert problems(policy, new, None, None, "alice") != []
    assert problems(policy, new, SMALL, None, "alice") != []
    # It was stored before the policy: it can still be cancelled.
    assert problems(policy, new, new, None, "alice") == []


@pytest.mark.parametrize("new", [conversion_job("a"), SMALL])
def test_ordinary_metadata_is_allowed(new: dict[str, Any]) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", METADATA)
    assert problems(policy, new, None, None, "alice") == []
    assert problems(policy, new, TOO_LARGE[0], None, "alice") == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policy_of_the_metadata_denies_every_kind_of_write(overlay: str) -> None:
    policy = find(overlay, "ValidatingAdmissionPolicy", METADATA)["spec"]
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == ([names.GROUP], [names.PLURAL])
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    binding = find(overlay, "ValidatingAdmissionPolicyBinding", METADATA)["spec"]
    assert binding["validationActions"] == ["Deny"]
    assert "matchResources" not in binding
