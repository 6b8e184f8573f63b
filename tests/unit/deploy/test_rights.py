"""The roles grant exactly the permissions listed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conversion_operator.api.names import CONFIG_MAP
from conversion_operator.controller import leadership
from tests.unit.deploy.rendering import (
    GATEWAY,
    OPERATOR,
    OVERLAYS,
    all_namespaces,
    find,
    of_kind,
    render,
)

OPERATOR_NAMESPACE = "my-network-converter"

REVIEWS = "my-network-converter-gateway-reviews"

IN_CONVERSIONS = {
    ("converter.mynetwork.io", "conversionjobs"): {"get", "list", "watch", "delete"},
    ("converter.mynetwork.io", "conversionjobs/status"): {"patch"},
    ("converter.mynetwork.io", "conversionprofiles"): {"get"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "delete"},
    ("", "pods"): {"get", "list", "watch", "delete"},
    ("", "pods/log"): {"get"},
    ("", "events"): {"create", "list"},
    ("", "persistentvolumeclaims"): {"get"},
}


def granted(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """The verbs by API group and resource."""
    rights: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_permissions_of_the_operator_in_a_namespace_of_conversions(overlay: str) -> None:
    assert granted(find(overlay, "Role", OPERATOR, "my-network")) == IN_CONVERSIONS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_in_its_own_namespace_the_operator_may_use_its_lease_and_read_its_settings(
    overlay: str,
) -> None:
    role = find(overlay, "Role", OPERATOR, OPERATOR_NAMESPACE)
    assert granted(role) == {
        ("coordination.k8s.io", "leases"): {"create", "get", "update"},
        ("", "configmaps"): {"list", "watch"},
        ("", "events"): {"create"},
        ("converter.mynetwork.io", "conversionqueues"): {"list", "watch"},
        ("converter.mynetwork.io", "conversionqueues/status"): {"patch"},
    }
    named = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]
    assert named == [[leadership.NAME], [CONFIG_MAP]]
    assert find(overlay, "ConfigMap", CONFIG_MAP, OPERATOR_NAMESPACE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_permissions_of_the_http_api(overlay: str) -> None:
    conversions = find(overlay, "Role", GATEWAY, "my-network")
    assert granted(conversions) == {
        ("converter.mynetwork.io", "conversionjobs"): {"get", "list", "watch", "create", "patch"}
    }
    assert granted(find(overlay, "Role", GATEWAY, OPERATOR_NAMESPACE)) == {
        ("converter.mynetwork.io", "conversionqueues"): {"get", "list", "patch"}
    }
    assert granted(find(overlay, "ClusterRole", REVIEWS)) == {
        ("authentication.k8s.io", "tokenreviews"): {"create"},
        ("authorization.k8s.io", "subjectaccessreviews"): {"create"},
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_other_roles_are_bound(overlay: str) -> None:
    objects = render(overlay)
    bindings = [*of_kind(objects, "RoleBinding"), *of_kind(objects, "ClusterRoleBinding")]
    bound = {
        (b["metadata"].get("namespace"), b["roleRef"]["kind"], b["roleRef"]["name"]): [
            (s["kind"], s["namespace"], s["name"]) for s in b["subjects"]
        ]
        for b in bindings
    }
    assert bound == {
        ("my-network", "Role", OPERATOR): [_account(OPERATOR)],
        (OPERATOR_NAMESPACE, "Role", OPERATOR): [_account(OPERATOR)],
        ("my-network", "Role", GATEWAY): [_account(GATEWAY)],
        (OPERATOR_NAMESPACE, "Role", GATEWAY): [_account(GATEWAY)],
        (None, "ClusterRole", REVIEWS): [_account(GATEWAY)],
    }
    assert len(bound) == len(bindings)
    assert len(of_kind(objects, "Role")) == 4


def test_in_all_namespaces_the_rights_are_those_in_one(tmp_path: Path) -> None:
    overlay = str(all_namespaces(tmp_path))
    for account in (OPERATOR, GATEWAY):
        in_all = find(overlay, "ClusterRole", f"{account}-all-namespaces")
        assert granted(in_all) == granted(find(overlay, "Role", account, "my-network"))
        assert in_all["rules"] == find(overlay, "Role", account, "my-network")["rules"]
    bound = [
        (binding["roleRef"]["name"], binding["subjects"][0]["name"])
        for binding in of_kind(render(overlay), "ClusterRoleBinding")
    ]
    assert sorted(bound) == [
        (f"{GATEWAY}-all-namespaces", GATEWAY),
        (REVIEWS, GATEWAY),
        (f"{OPERATOR}-all-namespaces", OPERATOR),
    ]


def _account(name: str) -> tuple[str, str, str]:
    return ("ServiceAccount", OPERATOR_NAMESPACE, name)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_roles_for_people_do_not_include_the_status(overlay: str) -> None:
    roles = [
        role
        for role in of_kind(render(overlay), "ClusterRole")
        if role["metadata"]["name"] != REVIEWS
    ]
    aims = {
        label
        for role in roles
        for label in role["metadata"].get("labels", ())
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert aims == {
        "rbac.authorization.k8s.io/aggregate-to-edit",
        "rbac.authorization.k8s.io/aggregate-to-view",
    }
    ours = ("jobs", "profiles", "queues")
    allowed = {("converter.mynetwork.io", f"conversion{each}") for each in ours}
    for role in roles:
        assert set(granted(role)) <= allowed
    view = find(overlay, "ClusterRole", "my-network-converter-view")
    assert granted(view).popitem()[1] == {"get", "list", "watch"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_role_has_a_wildcard(overlay: str) -> None:
    objects = render(overlay)
    for role in (*of_kind(objects, "Role"), *of_kind(objects, "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
