"""The admission policies allow and reject what they should."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.api import names
from tests.unit.deploy.policies import problems
from tests.unit.deploy.rendering import GATEWAY, OVERLAYS, find

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
