"""Who may do what: tokens, RBAC rules, and the review APIs that ask about them.

Off until a test gives the first token; from then on a request without a known token is answered
401, and one without the right 403::

    api.access.grant("token-1", "system:serviceaccount:ops:operator", rules, namespace="my-network")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.component.support.audit import Request
from tests.component.support.errors import ApiError, Obj, bad_request

AUDIENCE: Final = "https://kubernetes.default.svc"
_GROUPS: Final = ("system:authenticated",)


@dataclass(frozen=True, slots=True)
class Rule:
    """One right: verbs on a resource (``pods/log``) of a group, in one namespace or in all."""

    namespace: str | None
    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def allows(self, asked: Rule) -> bool:
        """Whether a request for ``asked`` is within this right."""
        return (
            self.namespace in (None, asked.namespace)
            and self.group in ("*", asked.group)
            and self.resource in ("*", asked.resource)
            and self.verb in ("*", asked.verb)
            and (not self.names or any(name in self.names for name in asked.names))
        )


@dataclass(slots=True)
class User:
    """Who a token speaks for."""

    name: str
    groups: tuple[str, ...] = _GROUPS
    audiences: tuple[str, ...] = (AUDIENCE,)
    rules: list[Rule] = field(default_factory=list)
    used: set[Rule] = field(default_factory=set)


class Access:
    """The tokens that are valid now and what they give."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}

    def grant(
        self,
        token: str,
        name: str,
        rules: list[Obj] | None = None,
        namespace: str | None = None,
        audiences: tuple[str, ...] = (AUDIENCE,),
    ) -> User:
        """Makes a token valid, or adds the ``rules`` of a Role (or ClusterRole) to it."""
        user = self.users.setdefault(token, User(name, audiences=audiences))
        for rule in rules or []:
            user.rules += [
                Rule(namespace, group, resource, verb, tuple(rule.get("resourceNames", ())))
                for group in rule.get("apiGroups", [])
                for resource in rule.get("resources", [])
                for verb in rule.get("verbs", [])
            ]
        return user

    def revoke(self, token: str) -> None:
        """The token is answered 401 from now on."""
        del self.users[token]

    def replace(self, old: str, new: str) -> None:
        """Token rotation: same user, another token."""
        self.users[new] = self.users.pop(old)

    def check(self, request: Request) -> None:
        """401 or 403, unless the request may be made."""
        if not self.users:
            return
        user = self.users.get(request.token or "")
        if user is None or AUDIENCE not in user.audiences:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if request.kind is None:
            return
        resource = "/".join(filter(None, (request.kind.plural, request.subresource)))
        names = (request.name,) if request.name else ()
        asked = Rule(request.namespace, request.kind.group, resource, request.verb, names)
        if not self.allows(user, asked):
            raise _refusal(user, asked, request.name)

    def allows(self, user: User, asked: Rule) -> bool:
        """Whether one of the user's rules allows it; notes which."""
        for rule in user.rules:
            if rule.allows(asked):
                user.used.add(rule)
                return True
        return False

    def unused(self, token: str) -> list[Rule]:
        """Rights that no request has needed yet."""
        user = self.users[token]
        return [rule for rule in user.rules if rule not in user.used]

    # The review APIs

    def review(self, path: str, body: Obj) -> Obj | None:
        """The answer to a POST of a review; None if the path is none."""
        answers = {
            "/apis/authentication.k8s.io/v1/tokenreviews": self._token_review,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews": self._subject_review,
        }
        answer = answers.get(path)
        if answer is None:
            return None
        if not isinstance(body.get("spec"), dict):
            raise bad_request("spec: Required value")
        return body | {"status": answer(body["spec"])}

    def _token_review(self, spec: Obj) -> Obj:
        user = self.users.get(spec.get("token", ""))
        wanted = tuple(spec.get("audiences") or (AUDIENCE,))
        shared = [a for a in wanted if user is not None and a in user.audiences]
        if user is None or not shared:
            return {"authenticated": False, "error": "invalid bearer token", "user": {}}
        info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
        return {"authenticated": True, "user": info, "audiences": shared}

    def _subject_review(self, spec: Obj) -> Obj:
        asked = spec.get("resourceAttributes") or {}
        name = asked.get("name")
        resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
        rule = Rule(
            asked.get("namespace") or None,
            asked.get("group", ""),
            resource,
            asked.get("verb", ""),
            (name,) if name else (),
        )
        users = [user for user in self.users.values() if user.name == spec.get("user")]
        return {"allowed": any(self.allows(user, rule) for user in users)}


def _refusal(user: User, asked: Rule, name: str) -> ApiError:
    resource, group = asked.resource, asked.group
    plural = resource.split("/")[0]
    qualified = f"{plural}.{group}" if group else plural
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    named = f' "{name}"' if name else ""
    message = (
        f'{qualified}{named} is forbidden: User "{user.name}" cannot {asked.verb} resource '
        f'"{resource}" in API group "{group}"{where}'
    )
    details = {"name": name, "group": group, "kind": plural}
    return ApiError(403, "Forbidden", message, details)
