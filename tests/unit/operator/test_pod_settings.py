"""The setting CONVERTER_POD_SETTINGS: what it adds, what it refuses, and what it copies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.api import names
from conversion_operator.api.pod_settings import COPIED_MAX_LENGTH, TooMuchCopied
from conversion_operator.controller.settings import Settings
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import Metadata, Policy
from tests.unit.operator.builders import conversion

PAGE = Path(__file__).parents[3] / "docs" / "pod-settings.md"
COMMON = """
labels: {team: media}
annotations: {sidecar.istio.io/inject: "false"}
nodeSelector: {disk: ssd}
tolerations: [{key: dedicated, operator: Equal, value: media, effect: NoSchedule}]
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions: [{key: zone, operator: In, values: [a, b]}]
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 10
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {team: media}}
priorityClassName: batch
runtimeClassName: gvisor
hostUsers: false
imagePullSecrets: [{name: registry}]
schedulerName: other
namespaces:
  tenant:
    labels: {kueue.x-k8s.io/queue-name: tenant}
    nodeSelector: {pool: tenant}
    hostUsers: null
"""


def policy(text: str) -> Policy:
    return Settings.model_validate({"converter_pod_settings": text}).policy()


def built(text: str, namespace: str = "my-network", sweep: bool = False, **source: Any) -> Any:
    subject, meta = conversion(namespace=namespace), Metadata(**source)
    if sweep:
        return build_sweep(subject, policy(text), "m", meta)
    return build_job(subject, 1, policy(text), False, "m", meta)


@pytest.mark.parametrize("sweep", [False, True])
def test_the_job_and_its_pod_get_the_settings(sweep: bool) -> None:
    plain, job = built("", sweep=sweep), built(COMMON, sweep=sweep)
    given = yaml.safe_load(COMMON)
    for before, after in (
        (plain["metadata"], job["metadata"]),
        (plain["spec"]["template"]["metadata"], job["spec"]["template"]["metadata"]),
    ):
        assert after["labels"] == before["labels"] | given["labels"]
        assert before["annotations"].items() <= after["annotations"].items()
        assert given["annotations"].items() <= after["annotations"].items()
    before, after = plain["spec"]["template"]["spec"], job["spec"]["template"]["spec"]
    tolerations = [*before["tolerations"], *given["tolerations"]]
    other = ("namespaces", "labels", "annotations")
    added = {name: value for name, value in given.items() if name not in other}
    assert after == before | added | {"tolerations": tolerations}


def test_a_namespace_has_a_section_of_its_own() -> None:
    pod = built(COMMON, "tenant")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert (labels["team"], labels["kueue.x-k8s.io/queue-name"]) == ("media", "tenant")
    assert pod["spec"]["nodeSelector"] == {"pool": "tenant"}
    assert pod["spec"]["runtimeClassName"] == "gvisor"
    assert "hostUsers" not in pod["spec"]
    assert "kueue.x-k8s.io/queue-name" not in built(COMMON)["metadata"]["labels"]


def test_nothing_that_the_operator_sets_can_be_set() -> None:
    pod = built("")["spec"]["template"]["spec"]
    fields = {*pod, *pod["containers"][0], "hostNetwork", "hostPID", "hostIPC", "initContainers"}
    for field in fields - {"tolerations"}:
        for document in ({field: pod.get(field)}, {"namespaces": {"a": {field: pod.get(field)}}}):
            with pytest.raises(ValueError, match=field):
                policy(json.dumps(document))


def test_the_names_that_the_operator_writes_cannot_be_set_or_copied() -> None:
    job = built(COMMON)
    own = {*built("")["metadata"]["labels"], *job["metadata"]["annotations"]}
    for name in own - {"sidecar.istio.io/inject"}:
        for field, value in (("labels", {name: "x"}), ("copyLabels", [name])):
            with pytest.raises(ValueError, match="the operator uses it"):
                policy(json.dumps({field: value}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodeselector: {}", "there is no field 'nodeselector': write nodeSelector"),
        ("resources: {}", "there is no field 'resources': the fields here are labels, annotations"),
        ("securityContext: {}", "converters are isolated by it"),
        ("namespaces: {a: {namespaces: {}}}", "namespaces.a: there is no field 'namespaces'"),
        ("namespaces: {A: {}}", "'A' is not the name of a namespace"),
        ("labels: {team: true}", "labels.team: write a text here, in quotes"),
        ("labels: {on: x}", "in quotes"),
        ("labels: {a/b/c: x}", "'a/b/c' is not a valid name"),
        ("labels: {-a: x}", "'-a' is not a valid name"),
        (f"labels: {{{'a' * 64}: x}}", "is not a valid name"),
        ("labels: {a: b c}", "labels.a: 'b c' is not a valid value"),
        (f"labels: {{a: {'b' * 64}}}", "is not a valid value"),
        ("labels: [a]", "write a mapping"),
        ("labels: {batch.kubernetes.io/job-name: x}", "the Job controller sets it"),
        ("labels: {controller-uid: x}", "the Job controller sets it"),
        (
            "annotations: {container.apparmor.security.beta.kubernetes.io/converter: unconfined}",
            "isolated by it",
        ),
        ("hostUsers: 'false'", "hostUsers: write true or false, without quotes"),
        ("imagePullSecrets: [registry]", r"imagePullSecrets\[0\]: write a mapping"),
        ("runtimeClassName: A b", "'A b' is not the name of an object"),
        ("tolerations: [{key: a, operator: Exist}]", r"tolerations\[0\].operator"),
        ("tolerations: [{key: a, operator: Exists, value: x}]", "remove the value"),
        ("tolerations: [{effect: NoSchedule}]", "write a key"),
        ("tolerations: [{key: a, tolerationSeconds: 5}]", "needs `effect: NoExecute`"),
        (
            "tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists}]",
            "CONVERTER_UNREACHABLE_SECONDS",
        ),
        ("affinity: {nodeaffinity: {}}", "write nodeAffinity"),
        (
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
            "{nodeSelectorTerms: [{}]}}}",
            "an empty term fits no node",
        ),
        (
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
            "{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: [x]}]}]}}}",
            "needs one number",
        ),
        (
            "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}}",
            "topologyKey: this field is missing",
        ),
        ("a: [", "not valid YAML: line 1"),
        ("labels: {a: b, a: c}", "appears twice"),
        ("labels: &x {a: b}\nannotations: *x", "aliases are not allowed"),
        ("[" * 5000, "nested too deeply"),
        ("x", "write a mapping"),
        ("#" * 65537, "at most 65536 characters"),
        ("copyLabels: [kueue.x-k8s.io/]", "write the full names"),
        ("copyLabels: [sidecar.istio.io/, linkerd.io/]", "write the full names"),
        ("copyLabels: [batch.kubernetes.io/]", "write the full names"),
        ("copyLabels: [batch.kubernetes.io/job-name]", "the Job controller sets it"),
        ("copyLabels: [converter.mynetwork.io/]", "write the full names"),
        ("copyLabels: ['']", "is neither a name"),
        ("copyLabels: ['/']", "is not a prefix"),
        ("copyLabels: [example.com/*]", "is neither a name"),
        ("copyAnnotations: [seccomp.security.alpha.kubernetes.io/pod]", "isolated by it"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        policy(text)


def copied(text: str, **source: Any) -> dict[str, Any]:
    """What the Job has in addition to a Job of a ConversionJob without labels."""
    with_source, without = built(text, **source)["metadata"], built(text)["metadata"]
    return {
        part: {k: v for k, v in with_source[part].items() if without[part].get(k) != v}
        for part in ("labels", "annotations")
    }


def test_labels_and_annotations_are_copied_if_they_are_listed() -> None:
    given = {
        "example.com/team": "a",
        "sub.example.com/team": "b",
        "example.com/inject-proxy": "c",
        "app.kubernetes.io/part-of": "d",
        names.MANAGED_BY_LABEL: "somebody",
        "kueue.x-k8s.io/queue-name": "e",
        "team": "f",
    }
    assert copied("", labels=given, annotations=given) == {"labels": {}, "annotations": {}}
    text = "copyLabels: [example.com/, app.kubernetes.io/]\n"
    text += "copyAnnotations: [team, app.kubernetes.io/]"
    assert copied(text, labels=given, annotations=given) == {
        "labels": {"example.com/team": "a", "app.kubernetes.io/part-of": "d"},
        "annotations": {"app.kubernetes.io/part-of": "d", "team": "f"},
    }
    text = "copyLabels: [example.com/inject-proxy, kueue.x-k8s.io/queue-name]"
    assert copied(text, labels=given)["labels"] == {
        "example.com/inject-proxy": "c",
        "kueue.x-k8s.io/queue-name": "e",
    }


def test_what_is_copied_does_not_replace_what_is_set() -> None:
    text = "labels: {example.com/team: set}\ncopyLabels: [example.com/]"
    assert copied(text, labels={"example.com/team": "copied"})["labels"] == {}


def test_too_much_is_not_copied() -> None:
    text = "copyAnnotations: [a]"
    longest = {"a": "x" * (COPIED_MAX_LENGTH - 1)}
    assert copied(text, annotations=longest)["annotations"] == longest
    with pytest.raises(TooMuchCopied, match="remove some"):
        built(text, annotations={"a": "x" * COPIED_MAX_LENGTH})


def test_the_fingerprint_differs_only_if_the_settings_of_the_namespace_do() -> None:
    def fingerprint(text: str, namespace: str = "my-network") -> str:
        job = built(text, namespace)
        mark: str = job["metadata"]["annotations"].get(names.POD_SETTINGS_ANNOTATION, "")
        assert mark == policy(text).pods.of(namespace).fingerprint
        return mark

    texts = (
        *("", "labels: {a: b}", "labels: {a: c}", "annotations: {a: b}", "hostUsers: false"),
        *("hostUsers: true", "copyLabels: [a]", "copyAnnotations: [a]"),
    )
    assert len({fingerprint(text) for text in texts}) == len(texts)
    assert fingerprint("{}") == fingerprint("# a comment") == fingerprint("labels: {}") == ""
    assert fingerprint("nodeSelector: {a: b, c: d}") == fingerprint("nodeSelector: {c: d, a: b}")
    section = "labels: {a: b}\nnamespaces: {tenant: {labels: {a: c}}}"
    assert fingerprint(section) == fingerprint("labels: {a: b}") != fingerprint(section, "tenant")


def test_the_examples_of_the_page_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        content = yaml.safe_load(block)
        text = content["data"]["CONVERTER_POD_SETTINGS"] if "data" in content else block
        if "operator" in content:
            text = yaml.safe_dump(content["operator"]["settings"]["CONVERTER_POD_SETTINGS"])
        assert policy(text).pods.common.fingerprint
