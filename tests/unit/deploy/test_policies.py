"""The admission policies allow and reject what they should."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.api import names
from conversion_operator.core.manifest import build_job
from conversion_operator.core.model import Policy
from tests.unit.deploy.policies import problems
from tests.unit.deploy.rendering import GATEWAY, OPERATOR, OVERLAYS, find
from tests.unit.operator.builders import conversion as a_conversion

LABELS = {names.OPERATOR_NAMESPACE_LABEL: "my-network-converter"}
API = f"system:serviceaccount:my-network-converter:{GATEWAY}"
ALICE = "alice@example.com"


def conversion(caller: str | None) -> dict[str, Any]:
    annotations = {"other": "x"} if caller is None else {names.CALLER_ANNOTATION: caller}
    return {"metadata": {"name": "a", "annotations": annotations}}


PLAIN: dict[str, Any] = {"metadata": {"name": "a"}}


@pytest.mark.parametrize(
    ("user", "new", "old", "labels", "allowed"),
    [
        (API, conversion("bob"), None, LABELS, True),
        (API, conversion("bob"), PLAIN, LABELS, True),
        (ALICE, PLAIN, None, LABELS, True),
        (ALICE, conversion(None), None, LABELS, True),
        (ALICE, conversion("bob"), conversion("bob"), LABELS, True),
        (ALICE, conversion(None), PLAIN, None, True),
        # Somebody else sets, changes, empties or removes it.
        (ALICE, conversion("bob"), None, LABELS, False),
        (ALICE, conversion("bob"), PLAIN, LABELS, False),
        (ALICE, conversion("eve"), conversion("bob"), LABELS, False),
        (ALICE, conversion(""), conversion("bob"), LABELS, False),
        (ALICE, conversion(None), conversion("bob"), LABELS, False),
        (ALICE, PLAIN, conversion("bob"), LABELS, False),
        # The API of another installation, and accounts with similar names.
        (f"system:serviceaccount:other:{GATEWAY}", conversion("bob"), None, LABELS, False),
        (f"system:serviceaccount:my-network:{GATEWAY}", conversion("bob"), None, LABELS, False),
        (API + "2", conversion("bob"), None, LABELS, False),
        # A namespace that no installation serves.
        (API, conversion("bob"), None, None, False),
        (API, conversion("bob"), None, {"a": "b"}, False),
        (f"system:serviceaccount::{GATEWAY}", conversion("bob"), None, None, False),
    ],
)
def test_who_may_say_who_the_caller_is(
    user: str,
    new: dict[str, Any],
    old: dict[str, Any] | None,
    labels: dict[str, str] | None,
    allowed: bool,
) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", "my-network-converter-caller")
    assert (problems(policy, new, old, labels, user) == []) == allowed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policy_of_the_caller_denies_every_kind_of_write(overlay: str) -> None:
    policy = find(overlay, "ValidatingAdmissionPolicy", "my-network-converter-caller")["spec"]
    assert policy["failurePolicy"] == "Fail"
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == ([names.GROUP], [names.PLURAL])
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    binding = find(overlay, "ValidatingAdmissionPolicyBinding", "my-network-converter-caller")
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert "matchResources" not in binding["spec"]


THE_OPERATOR = f"system:serviceaccount:my-network-converter:{OPERATOR}"
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
CONTROLLER_MANAGER = "system:kube-controller-manager"
CRON_JOB_CONTROLLER = "system:serviceaccount:kube-system:cronjob-controller"

OURS: dict[str, Any] = build_job(a_conversion(), 1, Policy(), False, "m")
"""A Job of the operator."""

ANOTHER: dict[str, Any] = {
    "metadata": {"name": "a", "labels": {"a": "b"}},
    "spec": {"template": {"metadata": {}, "spec": {}}},
}


def job(**changes: str | None) -> dict[str, Any]:
    """The operator's Job with other labels. None removes a label."""
    return {**OURS, "metadata": _with(OURS["metadata"], changes)}


def template(base: dict[str, Any], **changes: str | None) -> dict[str, Any]:
    """The Job with other labels in its pod template."""
    metadata = _with(base["spec"]["template"]["metadata"], changes)
    return {**base, "spec": {"template": {"metadata": metadata}}}


def _with(metadata: dict[str, Any], changes: dict[str, str | None]) -> dict[str, Any]:
    keys = {
        "managed_by": names.MANAGED_BY_LABEL,
        "uid": names.UID_LABEL,
        "attempt": names.ATTEMPT_LABEL,
        "mark": names.MARK_ANNOTATION,
    }
    result = {**metadata}
    for field in ("labels", "annotations"):
        values = dict(metadata.get(field) or {})
        for name, value in changes.items():
            if (name == "mark") == (field == "annotations"):
                values[keys[name]] = value
        result[field] = {key: value for key, value in values.items() if value is not None}
    return result


SUSPENDED = {**OURS, "spec": {**OURS["spec"], "suspend": True}}
FOREIGN: dict[str, str | None] = {"managed_by": "helm", "uid": None, "mark": None}
HELM = template(job(**FOREIGN), **FOREIGN)
NO_TEMPLATE_METADATA = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {}}}}


@pytest.mark.parametrize(
    ("user", "new", "old", "labels", "allowed"),
    [
        (THE_OPERATOR, OURS, None, LABELS, True),
        (ALICE, ANOTHER, None, LABELS, True),
        (ALICE, NO_TEMPLATE_METADATA, None, LABELS, True),
        (ALICE, NO_TEMPLATE_METADATA, NO_TEMPLATE_METADATA, LABELS, True),
        (ALICE, HELM, {**HELM, "metadata": {"name": "a"}}, LABELS, True),
        (ALICE, ANOTHER, NO_TEMPLATE_METADATA, LABELS, True),
        (ALICE, SUSPENDED, OURS, LABELS, True),
        ("system:serviceaccount:kube-system:generic-garbage-collector", OURS, OURS, LABELS, True),
        # Somebody else creates one, or a Job whose pods would have the label.
        (ALICE, OURS, None, LABELS, False),
        (JOB_CONTROLLER, OURS, None, LABELS, False),
        (ALICE, template(ANOTHER, managed_by=names.MANAGED_BY), None, LABELS, False),
        (CRON_JOB_CONTROLLER, template(ANOTHER, managed_by=names.MANAGED_BY), None, LABELS, False),
        # Somebody else adds, changes or removes what tells it apart.
        (ALICE, template(ANOTHER, uid="u"), None, LABELS, False),
        (ALICE, template(ANOTHER, mark="m"), None, LABELS, False),
        (ALICE, {**HELM, "metadata": job(managed_by=None)["metadata"]}, None, LABELS, False),
        (
            ALICE,
            {**HELM, "metadata": job(**FOREIGN | {"uid": "u"})["metadata"]},
            None,
            LABELS,
            False,
        ),
        (
            ALICE,
            {**HELM, "metadata": job(**FOREIGN | {"mark": "m"})["metadata"]},
            HELM,
            LABELS,
            False,
        ),
        (ALICE, OURS, ANOTHER, LABELS, False),
        (ALICE, ANOTHER, OURS, LABELS, False),
        (ALICE, job(managed_by=None), OURS, LABELS, False),
        (ALICE, job(uid="another"), OURS, LABELS, False),
        (ALICE, job(attempt="2"), OURS, LABELS, False),
        (ALICE, job(mark=None), OURS, LABELS, False),
        (ALICE, template(OURS, managed_by=None), OURS, LABELS, False),
        (ALICE, template(ANOTHER, managed_by=names.MANAGED_BY), ANOTHER, LABELS, False),
        (THE_OPERATOR, job(mark=None), OURS, LABELS, True),
        # Another installation, and accounts with similar names.
        (f"system:serviceaccount:other:{OPERATOR}", OURS, None, LABELS, False),
        (f"system:serviceaccount:my-network:{OPERATOR}", OURS, None, LABELS, False),
        (THE_OPERATOR + "2", OURS, None, LABELS, False),
        (f"system:serviceaccount::{OPERATOR}", OURS, None, {}, False),
    ],
)
def test_who_may_create_and_change_our_jobs(
    user: str,
    new: dict[str, Any],
    old: dict[str, Any] | None,
    labels: dict[str, str] | None,
    allowed: bool,
) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", "my-network-converter-jobs")
    assert (problems(policy, new, old, labels, user) == []) == allowed


POD: dict[str, Any] = OURS["spec"]["template"]
"""A pod that the Job controller made from the Job's template."""
PLAIN_SPEC = {"containers": [{"name": "a", "image": "a"}]}
ANOTHER_POD: dict[str, Any] = {"metadata": {"name": "a"}, "spec": PLAIN_SPEC}


def a_pod(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": metadata, "spec": PLAIN_SPEC}


@pytest.mark.parametrize(
    ("user", "new", "old", "allowed"),
    [
        (JOB_CONTROLLER, POD, None, True),
        (CONTROLLER_MANAGER, POD, None, True),
        (ALICE, ANOTHER_POD, None, True),
        (ALICE, ANOTHER_POD, ANOTHER_POD, True),
        (ALICE, POD, POD, True),
        (ALICE, POD, None, False),
        (THE_OPERATOR, POD, None, False),
        ("system:serviceaccount:kube-system:replicaset-controller", POD, None, False),
        ("system:serviceaccount:my-network:job-controller", POD, None, False),
        (ALICE, a_pod(_with({"name": "a"}, {"uid": "u"})), None, False),
        (ALICE, a_pod(_with({"name": "a"}, {"mark": "m"})), None, False),
        (ALICE, a_pod(_with(POD["metadata"], {"managed_by": "helm"})), None, False),
        (ALICE, POD, ANOTHER_POD, False),
        (ALICE, ANOTHER_POD, POD, False),
        (ALICE, {**POD, "metadata": _with(POD["metadata"], {"mark": "x"})}, POD, False),
    ],
)
def test_who_may_create_and_change_our_pods(
    user: str, new: dict[str, Any], old: dict[str, Any] | None, allowed: bool
) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", "my-network-converter-pods")
    assert (problems(policy, new, old, LABELS, user) == []) == allowed


def with_image(pod: dict[str, Any], kind: str, image: str) -> dict[str, Any]:
    """The pod with this image in its first container of a kind."""
    first, *others = pod["spec"].get(kind) or [{"name": "sidecar", "image": "proxy"}]
    return {**pod, "spec": {**pod["spec"], kind: [{**first, "image": image}, *others]}}


def test_nobody_changes_the_image_of_our_pods() -> None:
    """Kubernetes allows it, and starts the container again. It would write the report."""
    policy = find("kind", "ValidatingAdmissionPolicy", "my-network-converter-pods")

    def allowed(new: dict[str, Any], old: dict[str, Any], user: str = ALICE, *groups: str) -> bool:
        return problems(policy, new, old, LABELS, user, ("system:authenticated", *groups)) == []

    with_sidecar = with_image(POD, "initContainers", "proxy")
    for user in (ALICE, THE_OPERATOR):
        assert not allowed(with_image(POD, "containers", "evil"), POD, user)
    # A webhook rewrites the image when the Job controller removes its finalizer from the pod.
    group = "system:serviceaccounts:kube-system"
    assert allowed(with_image(POD, "containers", "mirror"), POD, JOB_CONTROLLER, group)
    assert not allowed(with_image(with_sidecar, "initContainers", "evil"), with_sidecar)
    assert not allowed(with_sidecar, POD)
    assert allowed(with_sidecar, with_sidecar)
    assert allowed(with_image(ANOTHER_POD, "containers", "evil"), ANOTHER_POD)
    # Other fields of the spec may change, for example tolerations.
    assert allowed({**POD, "spec": {**POD["spec"], "tolerations": [{"key": "a"}]}}, POD)


COMPLETE = [{"type": "Complete", "status": "True"}]
EXITED = [{"name": "converter", "state": {"terminated": {"exitCode": 0, "message": "{}"}}}]
STARTING = [{"name": "converter", "state": {"waiting": {}}}]
UNREADY = [{"type": "Ready", "status": "False"}]
JOB_STATUSES: list[tuple[Any, Any, bool]] = [
    # Kueue resets the start of a suspended Job.
    ({}, {"startTime": "2026-01-01T00:00:00Z"}, True),
    ({"conditions": COMPLETE, "active": 1}, {"conditions": COMPLETE}, True),
    ({"conditions": COMPLETE}, {}, False),
    ({"conditions": COMPLETE}, None, False),
    ({"conditions": []}, {"conditions": COMPLETE}, False),
    ({}, {"conditions": COMPLETE}, False),
]
POD_STATUSES: list[tuple[Any, Any, bool]] = [
    # A load balancer, or a scheduler.
    ({"phase": "Pending", "conditions": UNREADY}, {"phase": "Pending"}, True),
    (
        {"phase": "Running", "containerStatuses": EXITED, "podIP": "10.0.0.1"},
        {"phase": "Running", "containerStatuses": EXITED},
        True,
    ),
    ({"phase": "Succeeded"}, {"phase": "Running"}, False),
    ({"phase": "Succeeded"}, {}, False),
    ({"phase": "Running", "containerStatuses": EXITED}, {"phase": "Running"}, False),
    ({"containerStatuses": EXITED}, {"containerStatuses": STARTING}, False),
    ({}, {"containerStatuses": EXITED}, False),
    (None, {"phase": "Running"}, False),
]
NODE = ("system:node:a", ("system:nodes", "system:authenticated"))
POD_GC = (
    "system:serviceaccount:kube-system:pod-garbage-collector",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system"),
)
OTHERS: list[tuple[str, tuple[str, ...]]] = [
    (ALICE, ("system:authenticated",)),
    (ALICE, ()),
    (THE_OPERATOR, ("system:serviceaccounts:my-network-converter",)),
    ("system:serviceaccount:my-network:job-controller", ("system:serviceaccounts:my-network",)),
    ("system:nodes", ("nodes",)),
]


@pytest.mark.parametrize(
    ("kind", "ours", "another", "new", "old", "same_end"),
    [("jobs", OURS, ANOTHER, *case) for case in JOB_STATUSES]
    + [("pods", POD, ANOTHER_POD, *case) for case in POD_STATUSES],
)
def test_only_kubernetes_says_how_our_jobs_and_pods_end(
    kind: str, ours: dict[str, Any], another: dict[str, Any], new: Any, old: Any, same_end: bool
) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", f"my-network-converter-{kind}")

    def allowed(base: dict[str, Any], user: str, groups: tuple[str, ...]) -> bool:
        before, after = (
            base if status is None else {**base, "status": status} for status in (old, new)
        )
        return problems(policy, after, before, LABELS, user, groups) == []

    for user, groups in OTHERS:
        assert allowed(ours, user, groups) == same_end
        assert allowed(another, user, groups)
    for user, groups in (NODE, POD_GC, (CONTROLLER_MANAGER, ())):
        assert allowed(ours, user, groups)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(("group", "resource"), [("batch", "jobs"), ("", "pods")])
def test_the_policies_of_jobs_and_pods_hold_where_conversions_run(
    overlay: str, group: str, resource: str
) -> None:
    name = f"my-network-converter-{resource}"
    policy = find(overlay, "ValidatingAdmissionPolicy", name)["spec"]
    assert policy["failurePolicy"] == "Fail"
    (rule,) = policy["matchConstraints"]["resourceRules"]
    # A write of the status may change labels and annotations, too.
    assert rule["apiGroups"] == [group]
    assert rule["resources"] == [resource, f"{resource}/status"]
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    binding = find(overlay, "ValidatingAdmissionPolicyBinding", name)["spec"]
    assert binding["validationActions"] == ["Deny"]
    (selector,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selector == {"key": names.OPERATOR_NAMESPACE_LABEL, "operator": "Exists"}
    namespace = find(overlay, "Namespace", "my-network")["metadata"]["labels"]
    assert namespace[names.OPERATOR_NAMESPACE_LABEL] == "my-network-converter"
