"""What the settings allow in a spec, and the constant bounds of the CRD."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.api.status import Phase
from conversion_operator.controller.settings import Settings
from conversion_operator.core.admission import Obstacles
from conversion_operator.core.bounds import violation
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import Policy
from tests.component.support.tools import conversion_job
from tests.unit.operator.builders import (
    at,
    children,
    conversion,
    job,
    running,
    spec,
    step,
)
from tests.unit.operator.crd_answers import job_schema, rejections
from tests.unit.operator.queueing import build_queue

POLICY = Policy(
    max_cpu="4",
    max_memory="4Gi",
    max_priority=10,
    max_timeout=3600,
    retries_allowed=3,
    read_only_folders=("/input", "/archive/2026"),
)
TOO_MUCH: list[tuple[dict[str, Any], str]] = [
    ({"resources": {"limits": {"cpu": "4001m"}}}, "limits.cpu is 4001m|CPU allows at most 4"),
    ({"resources": {"requests": {"cpu": 5}}}, "requests.cpu is 5|CPU allows at most 4"),
    (
        {"resources": {"limits": {"memory": "9Ti"}}},
        "limits.memory is 9Ti|MEMORY allows at most 4Gi",
    ),
    ({"resources": {"requests": {"memory": "4.1Gi"}}}, "requests.memory is 4.1Gi|MEMORY allows"),
    ({"resources": {"limits": {"memory": "0"}}}, "limits.memory must be more than 0"),
    ({"resources": {"limits": {"cpu": "0.0"}}}, "limits.cpu must be more than 0"),
    (
        {"resources": {"limits": {"cpu": 1}, "requests": {"cpu": "1001m"}}},
        "requests.cpu is 1001m|the limit is 1: lower",
    ),
    (
        {"resources": {"requests": {"memory": "2Gi"}}},
        "requests.memory is 2Gi|the limit is 1Gi (from the setting CONVERTER_LIMITS_MEMORY)",
    ),
    ({"priority": 11}, "priority is 11|PRIORITY allows at most 10"),
    ({"timeoutSeconds": 3601}, "timeoutSeconds is 3601|TIMEOUT_SECONDS allows at most 3600"),
    ({"maxRetries": 4}, "maxRetries is 4|RETRIES_ALLOWED allows at most 3"),
    ({"outputFile": "input/a.mp4"}, "outputFile is in /input|CONVERTER_READ_ONLY_FOLDERS makes"),
    (
        {
            "conversionType": None,
            "outputFile": None,
            "outputs": [
                {"conversionType": "audio_to_mp3", "outputFile": "a.mp3"},
                {"conversionType": "video_to_mp4", "outputFile": "input/a.mp4"},
            ],
        },
        "outputs[1].outputFile is in /input|CONVERTER_READ_ONLY_FOLDERS makes",
    ),
    ({"outputFile": "/archive/2026/b/a.mp4"}, "outputFile is in /archive/2026|_FOLDERS makes"),
]
"""A spec, and the two parts of the message: the value, and what is allowed."""
ALLOWED: list[dict[str, Any]] = [
    {"resources": {"limits": {"cpu": 4, "memory": "4Gi"}, "requests": {"cpu": "4000m"}}},
    {"resources": {"limits": {"memory": "4294967296"}}},
    {"resources": {"limits": {"memory": "64Mi"}}},
    {"priority": 10},
    {"priority": -100},
    {"timeoutSeconds": 3600, "maxRetries": 3},
    {"outputFile": "inputs/a.mp4"},
    {"outputFile": "archive/2027/a.mp4"},
]


@pytest.mark.parametrize(("fields", "said"), TOO_MUCH)
def test_what_a_setting_does_not_allow_fails_and_never_holds_a_slot(
    fields: dict[str, Any], said: str
) -> None:
    subject = conversion(**fields)
    message = violation(spec(**fields), POLICY)
    assert all(part in message for part in said.split("|"))
    queue = build_queue([subject], {}, Obstacles(), at(5), POLICY)
    assert (queue.order, queue.blocks) == ((), {})
    plan, _ = step(subject, children(), policy=POLICY)
    assert plan.status
    assert (plan.status.phase, plan.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert plan.status.message == message


@pytest.mark.parametrize("fields", ALLOWED)
def test_what_the_settings_allow_waits_for_a_slot(fields: dict[str, Any]) -> None:
    subject = conversion(**fields)
    assert violation(spec(**fields), POLICY) == ""
    assert build_queue([subject], {}, Obstacles(), at(5), POLICY).order == (subject.key.uid,)


def test_without_bounds_every_amount_is_allowed() -> None:
    most = {"cpu": "1000", "memory": "100Ti"}
    unbounded = Policy(max_cpu="", max_memory="", limits=most)
    for fields, said in TOO_MUCH:
        if not said.endswith("more than 0") and "the limit is 1:" not in said:
            assert violation(spec(**fields), unbounded) == ""


def test_a_lowered_setting_does_not_end_an_attempt_in_progress() -> None:
    subject = conversion(timeoutSeconds=3601)
    plan, _ = step(subject, children(job(), running()), policy=POLICY)
    assert plan.status
    assert plan.status.phase is Phase.RUNNING


def test_a_cancelled_conversion_is_cancelled_rather_than_invalid() -> None:
    plan, _ = step(conversion(priority=11, cancel=True), children(), policy=POLICY)
    assert plan.status
    assert plan.status.phase is Phase.CANCELLED


def test_an_unsatisfiable_conversion_keeps_no_path_busy() -> None:
    large = conversion(resources={"limits": {"cpu": "5"}})
    other = replace(conversion("0b3f0d52-7d1c-4a8e-9d0a-000000000002"), created=at(1))
    queue = build_queue([large, other], {}, Obstacles(), at(5), POLICY)
    assert queue.order == (other.key.uid,)


@pytest.mark.parametrize("kind", ["requests", "limits"])
@pytest.mark.parametrize(
    ("name", "amount", "accepted"),
    [
        *[("cpu", amount, True) for amount in (1, 999, "1", "0.5", "500m", "999999m")],
        *[("cpu", amount, False) for amount in (1000, 100000, "1000", "0", "0m", "1Ti", "0.0001")],
        *[("memory", amount, True) for amount in (1, 10**13, "1Gi", "99Ti", "1.5Gi", "300M")],
        *[("memory", amount, False) for amount in (10**14, "999999Ti", "100Ti", "0", "0Gi", "1m")],
    ],
)
def test_the_crd_refuses_impossible_amounts(
    kind: str, name: str, amount: object, accepted: bool
) -> None:
    said = rejections(job_schema(), conversion_job("a", resources={kind: {name: amount}}))
    assert (said == []) is accepted
    assert accepted or said[0].startswith(f"resources.{kind}.{name} must be more than 0 and less")


def pod(policy: Policy, sweep: bool = False, **fields: Any) -> Any:
    subject = conversion(**fields)
    body = build_sweep(subject, policy, "m") if sweep else build_job(subject, 1, policy, False, "m")
    return body["spec"]["template"]["spec"]


def mounts(policy: Policy, sweep: bool = False) -> list[dict[str, Any]]:
    (container,) = pod(policy, sweep)["containers"]
    return [mount for mount in container["volumeMounts"] if mount["name"] == "shared"]


@pytest.mark.parametrize("sweep", [False, True])
def test_a_namespace_sees_only_its_folder(sweep: bool) -> None:
    policy = Policy(volume_folder="tenants/{namespace}", read_only_folders=("/input",))
    writable = {"name": "shared", "mountPath": "/workspace", "subPath": "tenants/my-network"}
    read_only = {
        "name": "shared",
        "mountPath": "/workspace/input",
        "subPath": "tenants/my-network/input",
        "readOnly": True,
    }
    assert mounts(policy, sweep) == [writable, read_only]


def test_the_whole_volume_with_a_read_only_folder() -> None:
    policy = Policy(read_only_folders=("/input",))
    (whole, read_only) = mounts(policy)
    assert whole == {"name": "shared", "mountPath": "/workspace"}
    assert (read_only["mountPath"], read_only["subPath"]) == ("/workspace/input", "input")


def test_overwrite_false_tells_the_converter_and_names_the_conversion() -> None:
    def environment(**fields: Any) -> dict[str, str]:
        (container,) = pod(Policy(), **fields)["containers"]
        return {entry["name"]: entry["value"] for entry in container["env"]}

    told = environment(overwrite=False)
    assert (told["OVERWRITE"], told["CONVERSION_UID"]) == ("false", conversion().key.uid)
    for fields in ({}, {"overwrite": True}):
        assert not {"OVERWRITE", "CONVERSION_UID"} & set(environment(**fields))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("converter_volume_folder", v) for v in ("..", "a/../b", "a//b", "a b", "{name}", "./a")],
        *[("converter_read_only_folders", v) for v in ("..", "/", "a,b/..", "{namespace}", "a\nb")],
        ("converter_pod_settings", "runtimeClassName: A b"),
        ("converter_max_cpu", "many"),
        ("converter_max_priority", "101"),
        ("converter_max_timeout_seconds", "0"),
        ("converter_max_retries_allowed", "11"),
    ],
)
def test_settings_that_are_not_valid(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.model_validate({name: value})


def test_the_settings_reach_the_policy() -> None:
    given = {
        "converter_max_cpu": "8",
        "converter_max_memory": "16Gi",
        "converter_max_priority": "5",
        "converter_max_timeout_seconds": "60",
        "converter_max_retries_allowed": "1",
        "converter_volume_folder": "/tenants/{namespace}/",
        "converter_read_only_folders": "input, /archive/2026/",
        "converter_pod_settings": "runtimeClassName: gvisor",
    }
    policy = Settings.model_validate(given).policy()
    assert (policy.max_cpu, policy.max_memory) == ("8", "16Gi")
    assert (policy.max_priority, policy.max_timeout, policy.retries_allowed) == (5, 60, 1)
    assert policy.volume_folder == "tenants/{namespace}"
    assert policy.read_only_folders == ("/input", "/archive/2026")
    assert policy.pods.of("any").spec == {"runtimeClassName": "gvisor"}
