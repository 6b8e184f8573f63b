"""The admission policy rejects the settings that the operator rejects, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conversion_operator.api.names import CONFIG_MAP
from conversion_operator.cluster.judgement import parse_error
from conversion_operator.controller.settings import Settings
from tests.unit.deploy.policies import problems
from tests.unit.deploy.rendering import OVERLAYS, find

POLICY = "my-network-converter-settings"
UNKNOWN = "my-network-converter-unknown-settings"
NAMES = sorted(
    name
    for field in Settings.model_fields
    if (name := field.upper()) not in Settings.environment_only
)

NOT_IN_CEL = {"CONVERTER_POD_SETTINGS"}
"""The admission policy cannot parse YAML."""

TEXTS = [
    *("", " ", "x", "true", "False", "maybe", "1", "0", "-1", "3.5", "four", "10", "11", "101"),
    *("65532", "604800", "604801", "107374182400", "5\n", "500m", "1.5", "4Gi", "4GB", ".5", "5."),
    *("m", "2Gi ", "1e3", "my-network", "a,b", "a, b,", ",", "a,,b", "A", "a b", "a/b", "*", "-a"),
    *("*,a", "a,*", "**", " *, ", "*,*"),
    *("tenants/{namespace}", "/a/", "a//b", "../x", "a/../b", "...", "..x", ".", "a/.", "{x}"),
    *("input", "input,storage/x", "a b/c", "x" * 63, "x" * 64, "x" * 64 + "/y", "a/b/c/d/e/f/g/h"),
    *("a/b/c/d/e/f/g/h/i", "a/b/c/d/e/f/g/h/i/j", "velero.io/restore-name", "UPPER/x", "x,"),
    *("https://a.example/x", "ftp://x", "http://", "https://u@h/", "https://h:8443/p?q#f"),
    *("http://h\\x", "a.example", "b.example.", "::1", "a:80", "team-a=x", "=x", "team-a=x,y "),
    *("team-a=x team-b=y,z\nteam-c=", "team-a:x", "gvisor", "G", "INFO", "info", "LOUD"),
    *("10000", "10001", "31536000", "31536001", "2147483647", "2147483648", "1125899906842624"),
    *("1125899906842625", "9" * 15, "9" * 16, "9" * 18, "9" * 19, "9" * 400, "1." + "5" * 16),
    *("my-converter:latest", "r.example/i@sha256:" + "0" * 64),
]


def rejected(
    new: dict[str, str], old: dict[str, str] | None = None, name: str = POLICY
) -> list[str]:
    policy = find("kind", "ValidatingAdmissionPolicy", name)
    # The other validations are true: their settings are not in the request.
    chosen = [v for v in policy["spec"]["validations"] if concerns(v, new) or name == UNKNOWN]
    policy = {**policy, "spec": {**policy["spec"], "validations": chosen}}
    before = None if old is None else {"data": old}
    return problems(policy, {"data": new}, before, None, "alice")


def concerns(validation: dict[str, str], data: dict[str, str]) -> bool:
    return any(f"'{name}'" in validation["expression"] for name in data)


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_and_the_operator_judge_the_same(name: str) -> None:
    policy = [bool(rejected({name: text})) for text in TEXTS]
    operator = [bool(parse_error(Settings, name.lower(), text.strip())) for text in TEXTS]
    if name in NOT_IN_CEL:
        assert not any(policy)
        return
    differ = [text for text, a, b in zip(TEXTS, policy, operator, strict=True) if a != b]
    assert differ == []


@pytest.mark.parametrize("name", NAMES)
def test_a_message_names_the_setting_and_says_what_is_allowed(name: str) -> None:
    for message in {m for text in TEXTS for m in rejected({name: text})}:
        assert message.startswith(f"{name} is invalid. ")
        assert len(message) > len(f"{name} is invalid. ") + 5


def test_every_default_is_accepted() -> None:
    data = find("kind", "ConfigMap", CONFIG_MAP)["data"]
    assert rejected(data) == []
    assert rejected(data, name=UNKNOWN) == []
    assert rejected({}) == []


@given(st.sampled_from(NAMES), st.sampled_from(TEXTS), st.sampled_from(TEXTS))
@example("CONVERTER_MAX_PARALLEL", "four", "four")
def test_only_what_a_request_changes_is_checked(name: str, before: str, after: str) -> None:
    """So a pause is possible, whatever else the ConfigMap contains."""
    other = {"CONVERTER_ENABLED": "false"} if name != "CONVERTER_ENABLED" else {}
    assert rejected({name: before, **other}, {name: before}) == []
    if before != after:
        assert rejected({name: after}, {name: before}) == rejected({name: after})


def test_an_unknown_setting_gets_a_warning_and_is_not_rejected() -> None:
    assert rejected({"CONVERTER_MAX_PARALEL": "9"}) == []
    assert rejected({"CONVERTER_MAX_PARALEL": "9"}, name=UNKNOWN)
    assert not rejected({"X": "9", "LOG_LEVEL": "INFO"}, {"X": "9"}, name=UNKNOWN)
    assert rejected({"PROBE_PORT": "9"}, name=UNKNOWN)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(("name", "action"), [(POLICY, "Deny"), (UNKNOWN, "Warn")])
def test_the_policies_hold_for_one_config_map_and_stop_no_pause(
    overlay: str, name: str, action: str
) -> None:
    policy = find(overlay, "ValidatingAdmissionPolicy", name)["spec"]
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["resourceNames"]) == (["configmaps"], [CONFIG_MAP])
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    assert policy["failurePolicy"] == "Ignore"
    binding = find(overlay, "ValidatingAdmissionPolicyBinding", name)["spec"]
    assert binding["validationActions"] == [action]
    chosen = binding["matchResources"]["namespaceSelector"]["matchLabels"]
    assert chosen == {"kubernetes.io/metadata.name": "my-network-converter"}


UNSERVED = "my-network-converter-unserved"


@pytest.mark.parametrize(
    ("labels", "warned"),
    [
        (None, True),
        ({"a": "b"}, True),
        ({"converter.mynetwork.io/operator-namespace": "my-network-converter"}, False),
        ({"converter.mynetwork.io/operator-namespace": "another"}, False),
    ],
)
def test_a_conversion_that_nobody_serves_gets_a_warning(
    labels: dict[str, str] | None, warned: bool
) -> None:
    policy = find("kind", "ValidatingAdmissionPolicy", UNSERVED)
    new: dict[str, Any] = {"metadata": {"name": "a"}}
    assert bool(problems(policy, new, None, labels, "alice")) == warned


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_warning_rejects_nothing(overlay: str) -> None:
    binding = find(overlay, "ValidatingAdmissionPolicyBinding", UNSERVED)["spec"]
    assert binding["validationActions"] == ["Warn"]
    policy = find(overlay, "ValidatingAdmissionPolicy", UNSERVED)["spec"]
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE"], ["conversionjobs"])
    assert policy["failurePolicy"] == "Ignore"
