"""Tokens, RBAC rules, and the review APIs that ask about them.

Access control is off until a test grants the first token. From then on a request without a known
token gets 401, and a request without permission gets 403::

    api.access.grant("token-1", "system:serviceaccount:ops:operator", rules, namespace="my-network")
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from tests.component.support.audit import Request
from tests.component.support.errors import Obj, StatusError, bad_request

AUDIENCE: Final = "https://kubernetes.default.svc"
_BY_NAME: Final = re.compile("metadata.name=([^,]+)")
_GROUPS: Final = ("system:authenticated",)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Permission for one verb on a resource (``pods/log``) of a group.

    ``namespace`` None means all namespaces. Empty ``names`` mean all objects.
    """

    namespace: str | None
    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def allows(self, asked: PolicyRule) -> bool:
        """Whether this rule allows the request."""
        return (
            self.namespace in (None, asked.namespace)
            and self.group in ("*", asked.group)
            and self.resource in ("*", asked.resource)
            and self.verb in ("*", asked.verb)
            and (not self.names or any(name in self.names for name in asked.names))
        )


@dataclass(slots=True)
class User:
    """The user that a token belongs to."""

    name: str
    groups: tuple[str, ...] = _GROUPS
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict)
    audiences: tuple[str, ...] = (AUDIENCE,)
    rules: list[PolicyRule] = field(default_factory=list)
    used: set[PolicyRule] = field(default_factory=set)


class Access:
    """The valid tokens and their permissions."""

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
        """Makes a token valid, or adds the ``rules`` of a Role (or ClusterRole) to its user."""
        user = self.users.setdefault(token, User(name, audiences=audiences))
        for rule in rules or []:
            user.rules += [
                PolicyRule(namespace, group, resource, verb, tuple(rule.get("resourceNames", ())))
                for group in rule.get("apiGroups", [])
                for resource in rule.get("resources", [])
                for verb in rule.get("verbs", [])
            ]
        return user

    def revoke(self, token: str) -> None:
        """Makes a token invalid: its requests get 401 from now on."""
        del self.users[token]

    def replace(self, old: str, new: str) -> None:
        """Rotates a token: the user stays the same."""
        self.users[new] = self.users.pop(old)

    def check(self, request: Request) -> None:
        """Raises 401 or 403 if the request is not allowed."""
        if not self.users:
            return
        user = self.users.get(request.token or "")
        if user is None or AUDIENCE not in user.audiences:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if request.kind is None:
            return
        resource = "/".join(filter(None, (request.kind.plural, request.subresource)))
        # Like the API server, take a field selector of one name for this name.
        named = _BY_NAME.fullmatch(request.query.get("fieldSelector", ""))
        name = request.name or (named[1] if named else "")
        names = (name,) if name else ()
        asked = PolicyRule(request.namespace, request.kind.group, resource, request.verb, names)
        if not self.allows(user, asked):
            raise _rejection(user, asked, request.name)

    def allows(self, user: User, asked: PolicyRule) -> bool:
        """Whether one of the user's rules allows the request. Marks that rule as used."""
        for rule in user.rules:
            if rule.allows(asked):
                user.used.add(rule)
                return True
        return False

    def unused(self, token: str) -> list[PolicyRule]:
        """Rules that no request has used yet."""
        user = self.users[token]
        return [rule for rule in user.rules if rule not in user.used]

    # The review APIs

    def review(self, path: str, body: Obj) -> Obj | None:
        """The answer to a POST of a review; None if the path is not that of a review."""
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
        info |= {"uid": user.uid} if user.uid else {}
        info |= {"extra": user.extra} if user.extra else {}
        return {"authenticated": True, "user": info, "audiences": shared}

    def _subject_review(self, spec: Obj) -> Obj:
        asked = spec.get("resourceAttributes") or {}
        name = asked.get("name")
        resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
        rule = PolicyRule(
            asked.get("namespace") or None,
            asked.get("group", ""),
            resource,
            asked.get("verb", ""),
            (name,) if name else (),
        )
        # An authorizer may decide by any of these, so a review must carry all of them.
        given = (spec.get("user"), spec.get("uid", ""), spec.get("groups"), spec.get("extra") or {})
        users = [
            user
            for user in self.users.values()
            if (user.name, user.uid, list(user.groups), user.extra) == given
        ]
        return {"allowed": any(self.allows(user, rule) for user in users)}


def _rejection(user: User, asked: PolicyRule, name: str) -> StatusError:
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
    return StatusError(403, "Forbidden", message, details)
