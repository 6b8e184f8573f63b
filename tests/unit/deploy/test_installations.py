"""A second installation in a cluster shares nothing with the first one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.api import names
from tests.unit.deploy.rendering import DEPLOY, OPERATOR, of_kind, render

FIRST = ("my-network-converter", "my-network")
SECOND = ("converter-b", "team-b")


@pytest.fixture(scope="module", params=["token", "network"])
def second(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[dict[str, Any], ...]:
    """The overlay for real clusters with two other namespaces, as README describes it."""
    deploy = tmp_path_factory.mktemp(request.param) / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("samples"))
    overlay = deploy / "overlays/storage-class"
    for folder, old, new in zip(("operator", "my-network"), FIRST, SECOND, strict=True):
        _edit(overlay / folder / "kustomization.yaml", f"namespace: {old}", f"namespace: {new}")
    if request.param == "network":
        part = "components:\n"
        _edit(overlay / "kustomization.yaml", part, f"{part}  - ../../network-auth\n")
    return render(str(overlay))


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


CLUSTER_SCOPED = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def _cluster_scoped(objects: tuple[dict[str, Any], ...]) -> set[tuple[str, str]]:
    return {(o["kind"], o["metadata"]["name"]) for o in objects if o["kind"] in CLUSTER_SCOPED}


def _values(value: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _values(inner, key)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _values(inner, key)


def test_no_cluster_scoped_object_has_the_same_name(second: tuple[dict[str, Any], ...]) -> None:
    assert _cluster_scoped(second) & _cluster_scoped(render("storage-class")) == set()
    assert {name for kind, name in _cluster_scoped(second) if kind == "Namespace"} == set(SECOND)


def test_only_cluster_scoped_objects_have_no_namespace(second: tuple[dict[str, Any], ...]) -> None:
    for item in second:
        assert ("namespace" in item["metadata"]) == (item["kind"] not in CLUSTER_SCOPED), item


def test_every_namespace_of_conversions_names_its_installation(
    second: tuple[dict[str, Any], ...],
) -> None:
    labels = {o["metadata"]["name"]: o["metadata"]["labels"] for o in of_kind(second, "Namespace")}
    assert labels[SECOND[1]][names.OPERATOR_NAMESPACE_LABEL] == SECOND[0]
    assert names.OPERATOR_NAMESPACE_LABEL not in labels[SECOND[0]]


def test_every_policy_is_bound(second: tuple[dict[str, Any], ...]) -> None:
    bound = {b["spec"]["policyName"] for b in of_kind(second, "ValidatingAdmissionPolicyBinding")}
    assert (
        bound
        == {p["metadata"]["name"] for p in of_kind(second, "ValidatingAdmissionPolicy")}
        != set()
    )


def test_nothing_refers_to_the_namespaces_of_the_first(second: tuple[dict[str, Any], ...]) -> None:
    assert set(_values(second, "namespace")) == set(SECOND)


def test_every_binding_binds_a_role_of_its_own_to_an_account_of_its_own(
    second: tuple[dict[str, Any], ...],
) -> None:
    known = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in second}
    bindings = [*of_kind(second, "RoleBinding"), *of_kind(second, "ClusterRoleBinding")]
    for binding in bindings:
        role, namespace = binding["roleRef"], binding["metadata"].get("namespace")
        assert (role["kind"], namespace, role["name"]) in known
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["namespace"], subject["name"]) in known
    # The operator can use the Lease in its own namespace.
    assert (SECOND[0], OPERATOR) in {
        (b["metadata"].get("namespace"), b["roleRef"]["name"]) for b in bindings
    }


def test_a_token_for_the_api_of_the_first_is_not_valid_at_the_second(
    second: tuple[dict[str, Any], ...],
) -> None:
    (audience,) = set(_values(second, "GATEWAY_AUDIENCE"))
    assert audience == SECOND[0]
