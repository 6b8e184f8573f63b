"""The Job: its constant parts, and where the fields of a spec go."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from conversion_operator.core.manifest import build_job, build_sweep, job_name
from conversion_operator.core.model import Conversion
from tests.unit.operator.builders import POLICY, UID, conversion


def build(subject: Conversion | None = None, attempt: int = 1, doubled: bool = False) -> Any:
    return build_job(subject or conversion(), attempt, POLICY, doubled, "m")


def container(job: Any) -> Any:
    return job["spec"]["template"]["spec"]["containers"][0]


def environment(job: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(job)["env"]}


def test_name_owner_and_labels() -> None:
    job = build(attempt=2)
    meta = job["metadata"]
    assert meta["name"] == job_name(UID, 2)
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "converter.mynetwork.io/v1alpha1",
            "kind": "ConversionJob",
            "name": "c-0001",
            "uid": UID,
            "controller": True,
        }
    ]
    assert meta["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert meta["labels"]["converter.mynetwork.io/conversion-uid"] == UID
    assert meta["labels"]["converter.mynetwork.io/attempt"] == "2"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("film", "film"),
        ("my.film-1", "my.film-1"),
        ("a" * 63, "a" * 63),
        ("a" * 64, "a" * 52 + "-ffe054fe7a"),
        ("a" * 51 + "." + "b" * 201, "a" * 51 + "-6b3303d51f"),
    ],
)
def test_jobs_and_pods_can_be_selected_by_the_name_of_the_conversion(name: str, label: str) -> None:
    subject = conversion()
    job = build(replace(subject, key=replace(subject.key, name=name)))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["converter.mynetwork.io/conversion-name"] == label
    assert len(label) <= 63
    assert job["metadata"]["annotations"]["converter.mynetwork.io/conversion"] == name


def test_the_job_controller_never_retries() -> None:
    spec = build()["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in spec
    assert "activeDeadlineSeconds" not in spec


def test_the_pod_is_restricted_and_has_no_token() -> None:
    job = build()
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [v["name"] for v in pod["volumes"]] == ["shared", "tmp"]
    assert "command" not in container(job)
    assert "args" not in container(job)


def test_time_limits() -> None:
    job = build(conversion(timeoutSeconds=100))
    assert environment(job)["TIMEOUT_SECONDS"] == "100"
    assert environment(job)["STALL_SECONDS"] == "300"
    assert environment(job)["MAX_OUTPUT_BYTES"] == str(100 * 1024**3)
    assert environment(job)["MAX_DAMAGED_PERCENT"] == "10"
    assert environment(job)["MAX_MISSING_SECONDS"] == "5"
    # A backstop only: the start and the converter's own ending must fit before it.
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 100 + 300 + 60


def test_the_converter_learns_which_log_it_keeps() -> None:
    job = build_job(conversion(), 3, replace(POLICY, log_retention=60), False, "m")
    assert environment(job)["LOG_NAME"] == f"{conversion().key.uid}/3"
    assert environment(job)["LOG_RETENTION_SECONDS"] == "60"
    without = (
        build_job(conversion(), 3, replace(POLICY, log_retention=0), False, "m"),
        build_job(conversion(dryRun=True), 3, POLICY, False, "m"),
        build_sweep(conversion(), POLICY, "m"),
    )
    for job in without:
        assert not {"LOG_NAME", "LOG_RETENTION_SECONDS"} & {*environment(job)}


def test_the_damage_limits_are_settings() -> None:
    policy = replace(POLICY, max_damaged_percent=3, max_missing_seconds=60)
    job = build_job(conversion(), 1, policy, False, "m")
    assert environment(job)["MAX_DAMAGED_PERCENT"] == "3"
    assert environment(job)["MAX_MISSING_SECONDS"] == "60"


def test_the_spec_goes_into_the_environment() -> None:
    env = environment(
        build(conversion(options={"quality": "high", "duration": 30, "start": "1.5"}))
    )
    assert env["JOB_ID"] == "c-0001"
    assert env["CONVERSION_TYPE"] == "video_to_mp4"
    assert (env["INPUT_FILE"], env["OUTPUT_FILE"]) == ("/input/a.mov", "/output/a.mp4")
    assert json.loads(env["CONVERSION_OPTIONS"]) == {
        "quality": "high",
        "duration": 30,
        "start": "1.5",
    }


def test_damaged_input_fails_unless_the_spec_says_otherwise() -> None:
    assert environment(build())["DAMAGED_INPUT"] == "Fail"
    assert environment(build(conversion(damagedInput="Convert")))["DAMAGED_INPUT"] == "Convert"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a b.mov", "/a b.mov"),
        ("/a.mov", "/a.mov"),
        ("$(id).mov", "/$$(id).mov"),
        ("$(JOB_ID)$$.mov", "/$$(JOB_ID)$$$$.mov"),
        ("日本.mov", "/日本.mov"),
        ("-x.mov", "/-x.mov"),
    ],
)
def test_paths_arrive_unchanged(path: str, expected: str) -> None:
    # Kubernetes turns $$ back into $, and would expand $(NAME).
    assert environment(build(conversion(inputFile=path)))["INPUT_FILE"] == expected


def test_default_resources_keep_requests_apart_from_limits() -> None:
    assert container(build())["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        (
            {"limits": {"memory": "64Mi"}},
            {"cpu": "100m", "memory": "64Mi"},
            {"cpu": "1", "memory": "64Mi"},
        ),
        (
            {"requests": {"cpu": "400m"}, "limits": {"cpu": "500m"}},
            {"cpu": "400m", "memory": "256Mi"},
            {"cpu": "500m", "memory": "1Gi"},
        ),
        (
            {"requests": {"memory": "512Mi"}},
            {"cpu": "100m", "memory": "512Mi"},
            {"cpu": "1", "memory": "1Gi"},
        ),
    ],
)
def test_given_resources(given: Any, requests: Any, limits: Any) -> None:
    resources = container(build(conversion(resources=given)))["resources"]
    assert resources == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("limit", "doubled"),
    [("1Gi", 2 * 1024**3), ("64Mi", 128 * 1024**2), ("3Gi", 4 * 1024**3), ("8Gi", 8 * 1024**3)],
)
def test_memory_is_doubled_within_bounds(limit: str, doubled: int) -> None:
    subject = conversion(resources={"limits": {"memory": limit}})
    resources = container(build(subject, doubled=True))["resources"]
    assert resources["limits"]["memory"] == str(doubled)


def test_an_invalid_spec_makes_no_job() -> None:
    with pytest.raises(ValueError, match="no valid spec: why"):
        build(replace(conversion(), spec=None, spec_error="why"))
