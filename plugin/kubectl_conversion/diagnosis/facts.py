"""Looks at the cluster for ``doctor``. What could not be looked at is kept as that."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from kubectl_conversion import data, installation, kubectl
from kubectl_conversion.kubectl import Failure, Kubectl, KubectlError, Obj
from kubectl_conversion.model import dig, text_at, time_at

T = TypeVar("T")
_AT_ONCE: Final = 8
_NAME_LABEL: Final = "app.kubernetes.io/name"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was found, or why nobody could look. Something that does not exist is found as None."""

    value: T | None = None
    problem: KubectlError | None = None

    @property
    def known(self) -> bool:
        """Whether the API server has answered."""
        return self.problem is None

    @property
    def why(self) -> str:
        """Why it is not known."""
        return self.problem.message if self.problem else ""


Right = tuple[str, str, str]
"""Group, resource (with its subresource) and verb."""
CALLER_RIGHTS: Final[tuple[Right, ...]] = tuple(
    (group, resource, verb)
    for group, resource, verbs in (
        ("converter.mynetwork.io", "conversionjobs", "create get list watch patch"),
        ("converter.mynetwork.io", "conversionprofiles", "get"),
        ("", "pods", "list"),
        ("", "pods/log", "get"),
    )
    for verb in verbs.split()
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks know.

    ``operator`` is the namespace of the installation, empty if it is not known.
    """

    namespace: str
    operator: str
    config: Answer[Obj] = field(default_factory=Answer)
    review: Answer[Obj] = field(default_factory=Answer)
    schema: Answer[Obj] = field(default_factory=Answer)
    place: Answer[Obj] = field(default_factory=Answer)
    deployments: Answer[list[Obj]] = field(default_factory=Answer)
    installations: Mapping[str, Answer[Obj]] = field(default_factory=dict)
    deployment: Answer[Obj] = field(default_factory=Answer)
    pods: Answer[list[Obj]] = field(default_factory=Answer)
    lease: Answer[Obj] = field(default_factory=Answer)
    settings: Answer[Obj] = field(default_factory=Answer)
    events: Answer[list[Obj]] = field(default_factory=Answer)
    gateway: Answer[Obj] = field(default_factory=Answer)
    claim: Answer[Obj] = field(default_factory=Answer)
    storage: Answer[Obj] = field(default_factory=Answer)
    nodes: Answer[list[Obj]] = field(default_factory=Answer)
    quotas: Answer[list[Obj]] = field(default_factory=Answer)
    policies: Answer[list[Obj]] = field(default_factory=Answer)
    operator_policies: Answer[list[Obj]] = field(default_factory=Answer)
    jobs: Answer[list[Obj]] = field(default_factory=Answer)
    caller_rights: Mapping[Right, Answer[bool]] = field(default_factory=dict)
    operator_rights: Mapping[Right, Answer[bool]] = field(default_factory=dict)

    @property
    def now(self) -> datetime | None:
        """The time of the API server, which has just created the review."""
        return time_at(self.review.value, "metadata", "creationTimestamp")

    @property
    def user(self) -> str:
        """Who asks."""
        return text_at(self.review.value, "status", "userInfo", "username")

    def setting(self, name: str) -> str:
        """The text of a setting of the installation, or the operator's default."""
        return installation.setting(self.settings.value, name)


def ask(look: Callable[[], T]) -> Answer[T]:
    """The answer of one request. What does not exist is None."""
    try:
        return Answer(look())
    except KubectlError as error:
        if error.failure is Failure.NOT_FOUND:
            return Answer()
        return Answer(problem=error)


def connect(asker: Kubectl, namespace: str) -> Facts:
    """Whether there is a context, and whether the API server knows the caller."""
    config = ask(asker.config)
    place = namespace or ("" if config.known else asker.namespace_of_pod())
    place = place or kubectl.namespace_in(config.value)
    facts = Facts(namespace=place, operator="", config=config)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    url = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    if not config.known and "KUBERNETES_SERVICE_HOST" not in os.environ:
        return facts
    return replace(facts, review=ask(lambda: asker.create(url, body)))


def look(asker: Kubectl, facts: Facts, operator: str) -> Facts:
    """Everything else. Requests run side by side, because each of them starts a kubectl."""
    place = ask(lambda: asker.get(kubectl.api_path("api/v1", "namespaces", "", facts.namespace)))
    label = data.load()["operatorNamespaceLabel"]
    home = operator or text_at(place.value, "metadata", "labels", label)
    deployments = ask(lambda: operators(asker))
    facts = replace(facts, place=place, operator=home, deployments=deployments)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        others = {
            name: pool.submit(ask, _settings(asker, name)) for name in installations_in(facts)
        }
        found_in = {name: future.result() for name, future in others.items()}
        home = home or installation.choose(facts.namespace, readable(found_in))
        facts = replace(facts, operator=home, installations=found_in)
        asked = {name: pool.submit(ask, each) for name, each in _requests(asker, facts).items()}
        found: dict[str, Any] = {name: future.result() for name, future in asked.items()}
        facts = replace(facts, **found)
        claim = facts.setting("SHARED_VOLUME_CLAIM")
        url = kubectl.api_path("api/v1", "persistentvolumeclaims", facts.namespace, claim)
        mine = pool.submit(_rights, asker, facts, CALLER_RIGHTS, "")
        account = f"system:serviceaccount:{home}:{data.OPERATOR}"
        needed = [(rule[0], rule[1], rule[2]) for rule in data.load()["operatorRules"]]
        theirs = pool.submit(_rights, asker, facts, needed, account)
        claimed = ask(lambda: asker.get(url))
        return replace(
            facts,
            claim=claimed,
            storage=ask(lambda: _storage_class(asker, claimed.value)),
            caller_rights=mine.result(),
            operator_rights=theirs.result(),
        )


def _requests(asker: Kubectl, facts: Facts) -> dict[str, Callable[[], object]]:
    """The requests whose answers are fields of the facts."""
    home, place = facts.operator, facts.namespace

    def nobody() -> object:
        raise _not_known(facts)

    def one(api: str, plural: str, name: str) -> Callable[[], object]:
        return lambda: asker.get(kubectl.api_path(api, plural, home, name)) if home else nobody()

    def all_(api: str, plural: str, where: str, **query: str) -> Callable[[], object]:
        return lambda: asker.get_list(kubectl.api_path(api, plural, where, **query))["items"]

    def theirs(api: str, plural: str, **query: str) -> Callable[[], object]:
        return all_(api, plural, home, **query) if home else nobody

    config_map = data.load()["configMap"]
    about = f"involvedObject.kind=ConfigMap,involvedObject.name={config_map}"
    labels = {"labelSelector": f"{_NAME_LABEL}={data.OPERATOR}"}
    return {
        "schema": lambda: asker.get(f"/openapi/v3/apis/{data.api_version()}"),
        "deployment": one("apis/apps/v1", "deployments", data.OPERATOR),
        "pods": theirs("api/v1", "pods", **labels),
        "lease": one("apis/coordination.k8s.io/v1", "leases", data.OPERATOR),
        "settings": one("api/v1", "configmaps", config_map),
        "events": theirs("api/v1", "events", fieldSelector=about),
        "gateway": one("apis/apps/v1", "deployments", data.GATEWAY),
        "nodes": all_("api/v1", "nodes", ""),
        "quotas": all_("api/v1", "resourcequotas", place),
        "policies": all_("apis/networking.k8s.io/v1", "networkpolicies", place),
        "operator_policies": theirs("apis/networking.k8s.io/v1", "networkpolicies"),
        "jobs": lambda: asker.get_list(kubectl.path(data.JOBS, place))["items"],
    }


def installations_in(facts: Facts) -> list[str]:
    """The namespaces that have an operator."""
    found = set(installation.homes(facts.deployments.value or []))
    return sorted(found | ({facts.operator} if facts.operator else set()))


def readable(found: Mapping[str, Answer[Obj]]) -> dict[str, Obj | None]:
    """The settings of the installations. None for those that nobody could read."""
    return {name: (each.value or {}) if each.known else None for name, each in found.items()}


def _storage_class(asker: Kubectl, claim: Obj | None) -> Obj:
    """The storage class of a claim. Raises KubectlError if there is none."""
    name = text_at(claim, "spec", "storageClassName")
    if not name:
        raise KubectlError(Failure.NOT_FOUND, "the claim has no storage class")
    return asker.get(kubectl.api_path("apis/storage.k8s.io/v1", "storageclasses", "", name))


def operators(asker: Kubectl) -> list[Obj]:
    """The Deployments of all operators. One list request."""
    labels = f"{_NAME_LABEL}={data.OPERATOR}"
    url = kubectl.api_path("apis/apps/v1", "deployments", "", labelSelector=labels)
    found: list[Obj] = asker.get_list(url)["items"]
    return found


def _not_known(facts: Facts) -> KubectlError:
    return KubectlError(Failure.OTHER, installation.not_known(facts.namespace))


def _settings(asker: Kubectl, namespace: str) -> Callable[[], Obj]:
    url = kubectl.api_path("api/v1", "configmaps", namespace, data.load()["configMap"])
    return lambda: asker.get(url)


def _rights(
    asker: Kubectl, facts: Facts, rights: Sequence[Right], user: str
) -> dict[Right, Answer[bool]]:
    """Which rights the caller, or another user, has in the namespace."""
    if user and not facts.operator:
        return dict.fromkeys(rights, Answer(problem=_not_known(facts)))
    reviews = [_review(facts, right, user) for right in rights]
    answer = ask(lambda: asker.create_all(reviews))
    if not answer.known or answer.value is None:
        return dict.fromkeys(rights, Answer(problem=answer.problem))
    if len(answer.value) != len(rights):
        problem = KubectlError(Failure.OTHER, "kubectl has not answered all reviews")
        return dict.fromkeys(rights, Answer(problem=problem))
    allowed = [dig(each, "status", "allowed") is True for each in answer.value]
    return {right: Answer(found) for right, found in zip(rights, allowed, strict=True)}


def _review(facts: Facts, right: Right, user: str) -> Obj:
    group, resource, verb = right
    plural, _, sub = resource.partition("/")
    spec: dict[str, object] = {
        "resourceAttributes": {
            "namespace": facts.namespace,
            "group": group,
            "resource": plural,
            "subresource": sub,
            "verb": verb,
        }
    }
    if user:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{facts.operator}"]
        spec |= {"user": user, "groups": [*groups, "system:authenticated"]}
    kind = "SubjectAccessReview" if user else "SelfSubjectAccessReview"
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
