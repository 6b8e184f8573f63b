"""Records which namespaces are watched, and which of their lists the API server has answered.

A list that was refused or not answered says nothing: the objects may exist. A namespace is synced
while each of its lists is known, or each list of all namespaces. No decision about a namespace is
made before that, because a missing object would prove nothing.

What is watched is a scope: one namespace, or ALL_NAMESPACES.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.reflector import place, watch_cure

GRACE_SECONDS: Final = 30.0
"""How long all namespaces wait for the lists of one namespace after the operator became leader."""

_CHILDREN: Final = (Resource.JOBS, Resource.PODS)


class NamespaceSync:
    """The lists of the watched scopes. The reflectors report them.

    A scope that is leaving is watched until nothing of ours runs there. Nothing starts there.
    ``on_request`` gets the name of each list that is requested, for example "pods in my-network".
    ``on_synced`` gets a scope when it becomes synced, or when its lists first allow admissions
    in this term. ``relist`` makes the reflectors of Jobs and pods list again.
    """

    def __init__(
        self,
        namespaces: Iterable[str] = (),
        on_request: Callable[[str], None] = lambda _: None,
        on_synced: Callable[[str], None] = lambda _: None,
        relist: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Each watched scope, and whether it is leaving.
        self._scopes = dict.fromkeys(namespaces, False)
        self._on_request, self._on_synced = on_request, on_synced
        self._relist, self._clock = relist, clock
        # When the last answered list was requested. Absent: never answered, or refused since then.
        self._requested_at: dict[tuple[Resource, str], float] = {}
        self._refused: dict[tuple[Resource, str], str] = {}
        # Since when a list of the scope is refused without an answer in between.
        self._refused_since: dict[str, float] = {}
        self._started_at = clock()
        self._term_began_at = clock()
        # The scopes whose Jobs and pods were listed in this term.
        self._counted: set[str] = set()
        self._was_synced = False
        # The scopes that the others wait for. One that is added in a term keeps none waiting:
        # nothing of ours runs there.
        self._awaited = set(self._scopes)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The scopes that are watched, with those that are leaving."""
        return tuple(self._scopes)

    @property
    def serves_all(self) -> bool:
        """True if all namespaces are served, as far as the API server allows it."""
        return self._scopes.get(ALL_NAMESPACES) is False

    def is_watched(self, namespace: str) -> bool:
        """True if the namespace is watched, by its name or with all others."""
        return namespace in self._scopes or ALL_NAMESPACES in self._scopes

    def serve(self, namespace: str) -> None:
        """Watch a scope, or keep one that was leaving."""
        was_leaving = self._scopes.get(namespace, False)
        self._scopes[namespace] = False
        if was_leaving and self.synced(namespace):
            self._on_synced(namespace)

    def leave(self, namespace: str) -> None:
        """Start nothing more in a scope, and watch it until nothing of ours runs there."""
        self._scopes[namespace] = True

    def forget(self, namespace: str) -> None:
        """Forget a scope that is no longer watched."""
        self._scopes.pop(namespace, None)
        self._refused_since.pop(namespace, None)
        self._counted.discard(namespace)
        self._awaited.discard(namespace)
        for resource in Resource:
            self._requested_at.pop((resource, namespace), None)
            self._refused.pop((resource, namespace), None)

    def is_leaving(self, namespace: str) -> bool:
        """True if nothing may start in the namespace, because it is no longer in the settings."""
        if self.serves_all and self.lists_known(ALL_NAMESPACES):
            return False
        return self._scopes.get(namespace, self._scopes.get(ALL_NAMESPACES, False))

    def refused_for(self, namespace: str) -> float:
        """For how many seconds lists of the scope are refused. 0 if none is."""
        since = self._refused_since.get(namespace)
        return 0.0 if since is None else self._clock() - since

    def begin_term(self) -> None:
        """Require new lists of Jobs and pods: a former leader may have created some meanwhile."""
        self._term_began_at = self._clock()
        self._counted.clear()
        self._awaited = set(self._scopes)
        self._relist()

    def requested(self, resource: Resource, namespace: str) -> None:
        """Report that a list is about to be requested."""
        self._on_request(f"{resource} in {place(namespace)}")

    def answered(self, resource: Resource, namespace: str, requested_at: float) -> None:
        """Report a list that was requested at this time and answered."""
        before = self.lists_known(namespace), self.lists_current(namespace)
        self._requested_at[resource, namespace] = requested_at
        self._refused.pop((resource, namespace), None)
        if not any(name == namespace for _, name in self._refused):
            self._refused_since.pop(namespace, None)
        after = self.lists_known(namespace), self.lists_current(namespace)
        if after[1]:
            self._counted.add(namespace)
        if after > before:
            self._on_synced(namespace)

    def refused(self, resource: Resource, namespace: str, reason: str) -> None:
        """Report that the API server does not allow a list. What was known before may be old."""
        self._requested_at.pop((resource, namespace), None)
        self._refused[resource, namespace] = reason
        self._refused_since.setdefault(namespace, self._clock())

    def synced(self, namespace: str) -> bool:
        """True while each list of the namespace is known. A missing object then does not exist."""
        return self.lists_known(namespace) or self.lists_known(ALL_NAMESPACES)

    def lists_known(self, scope: str) -> bool:
        """True while each list of this scope itself is known."""
        return all((resource, scope) in self._requested_at for resource in Resource)

    def lists_current(self, scope: str) -> bool:
        """True if each list of this scope itself is known, those of Jobs and pods in this term."""
        return self.lists_known(scope) and all(
            self._requested_at[resource, scope] >= self._term_began_at for resource in _CHILDREN
        )

    def all_listed_by_name(self) -> bool:
        """True if the lists of each single namespace that is served are current."""
        served = (scope for scope, leaving in self._scopes.items() if not leaving)
        return all(self.lists_current(scope) for scope in served if scope != ALL_NAMESPACES)

    def all_synced(self) -> bool:
        """True while each list of each watched namespace is known."""
        return all(self.synced(namespace) for namespace in self.namespaces)

    def admissible(self, namespace: str) -> bool:
        """True if conversions may start: synced, with Jobs and pods listed in this term."""
        return self.lists_current(namespace) or self.lists_current(ALL_NAMESPACES)

    def must_wait(self) -> bool:
        """True while all namespaces must wait, because the slots of one are not known yet.

        If its lists are refused later in the term, its slots remain known: only this operator
        creates Jobs.
        """
        in_grace = self._clock() - self._term_began_at < GRACE_SECONDS
        is_counted = ALL_NAMESPACES in self._counted or self._counted >= self._awaited
        return in_grace and not is_counted

    def ready(self) -> bool:
        """True if the operator can work: each namespace was synced, or was refused for long.

        A namespace that is added later changes nothing about the others.
        """
        self._was_synced = self._was_synced or self.all_synced()
        if self._was_synced:
            return True
        known = {namespace for _, namespace in (*self._requested_at, *self._refused)}
        return self._clock() - self._started_at >= GRACE_SECONDS and bool(known)

    def age(self) -> float:
        """Seconds since the request of the oldest list that was answered.

        Lists that are not known do not count. If none is known: since the start. Visits the watched
        scopes, for each request of Prometheus, in its thread.
        """
        known = tuple(self._requested_at.values())
        return self._clock() - min(known, default=self._started_at)

    def problem(self) -> str:
        """Which lists are not known, as text for people. "" if all are known."""
        missing = [
            f"{resource} in {place(scope)} ({self._refused.get((resource, scope), 'no answer')})"
            for scope in self.namespaces
            for resource in Resource
            if (resource, scope) not in self._requested_at
        ]
        return f"Cannot list {', '.join(missing)}" if missing else ""

    def refusal_of_all(self) -> str:
        """Which rights are missing while all namespaces are to be served. "" if none is known."""
        refused = [name for name in Resource if (name, ALL_NAMESPACES) in self._refused]
        if not self.serves_all or not refused:
            return ""
        return (
            f"WATCH_NAMESPACES is *, but the API server does not allow this operator to list "
            f"{', '.join(refused)} of all namespaces. Nothing starts in namespaces that are not "
            f"watched by their names. {watch_cure(ALL_NAMESPACES)}"
        )
