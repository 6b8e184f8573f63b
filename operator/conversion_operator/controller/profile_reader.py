"""Reads the ConversionProfiles that conversions wait for.

A conversion needs the profile as it is when, or after, the operator has first seen the conversion:
``kubectl apply`` of a profile and of a ConversionJob must not find the profile before the change.
So an answer counts only for the conversions that waited when its request was sent. One request
serves all of them. No task watches profiles: nothing happens to a profile that nobody waits for.

A profile that is missing or cannot be read is asked for again every RECHECK_SECONDS, however many
conversions wait for it. The conversions are reconciled only if the answer has changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.reasons import Reason
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError, Unavailable
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Block, ProfileAnswer

RECHECK_SECONDS: Final = 10.0
"""How often to ask again for a profile that is missing, or that cannot be read."""
FRESH_SECONDS: Final = 0.5
"""The shortest time between two requests for a profile that exists."""
RETRY_SECONDS: Final = 2.0
"""How long after a request without an answer the next one follows."""
FAILURES_BEFORE_REPORT: Final = 3
"""After this many requests in a row without an answer, the status of the conversions says so."""
_SPACING: Final = 0.05
"""The shortest time between two requests in one namespace: a namespace may name many profiles."""
_AT_ONCE: Final = 4
"""How many requests are under way at the same time."""
_STANDBY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Profile:
    """One profile, and the uids of the conversions that wait for it.

    ``unanswered`` are those that were not waiting when the last answered request was sent.
    """

    waiting: dict[str, None] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    answer: ProfileAnswer | None = None
    asked_at: float = float("-inf")
    failures: int = 0

    @property
    def found(self) -> bool:
        """True if the profile exists and could be read."""
        return isinstance(self.answer, ConversionProfileSpec)

    def count_failure(self, name: str, error: Exception) -> None:
        """Count a request without an answer. That says nothing about the profile."""
        self.failures += 1
        if self.failures >= FAILURES_BEFORE_REPORT:
            self.answer = _unknown(name, error)


class _Namespace:
    """The profiles of one namespace, and when to ask for each.

    Each delay has a queue of names, the earliest first. A new name goes before those that are asked
    for again.
    """

    def __init__(self) -> None:
        self.profiles: dict[str, _Profile] = {}
        self.changed = asyncio.Event()
        self._due: dict[float, OrderedDict[str, float]] = {
            delay: OrderedDict() for delay in (FRESH_SECONDS, RETRY_SECONDS, RECHECK_SECONDS)
        }

    def schedule(self, name: str, delay: float, since: float) -> None:
        """Ask for a profile so long after ``since``."""
        for names in self._due.values():
            names.pop(name, None)
        self._due[delay][name] = since + delay
        self.changed.set()

    def next(self) -> tuple[str, float] | None:
        """The name to ask for next, and the time until then. None if there is none."""
        now = time.monotonic()
        heads = [next(iter(names.items())) for names in self._due.values() if names]
        if not heads:
            return None
        name, due = min(heads, key=lambda head: max(now, head[1]))
        return name, max(0.0, due - now)

    def take(self, name: str) -> _Profile:
        """The profile that is due. It has no next time until it is scheduled again."""
        for names in self._due.values():
            names.pop(name, None)
        return self.profiles[name]


class ProfileReader:
    """Answers what a profile says. Calls ``enqueue`` with the uids for which there is an answer.

    ``leads`` returns True while this operator is the leader. ``on_error`` is called for each
    request without an answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        leads: Callable[[], bool],
        enqueue: Callable[[str], None],
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster, self._leads = cluster, leads
        self._enqueue, self._on_error = enqueue, on_error
        self._namespaces: dict[str, _Namespace] = {}
        self._waits_for: dict[str, tuple[str, str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Run until cancelled. Ends the tasks of the namespaces."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in (tasks := list(self._tasks.values())):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def find(self, conversion: Conversion, name: str) -> ProfileAnswer | None:
        """What the profile of this conversion says. None: ask again when it is enqueued."""
        uid, namespace = conversion.key.uid, conversion.key.namespace
        known = self._namespaces.setdefault(namespace, _Namespace())
        profile = known.profiles.get(name)
        if profile is None:
            profile = known.profiles[name] = _Profile()
            known.schedule(name, FRESH_SECONDS, profile.asked_at)
        if uid not in profile.waiting:
            profile.waiting[uid] = None
            profile.unanswered.add(uid)
            self._waits_for[uid] = (namespace, name)
            if profile.found:
                known.schedule(name, FRESH_SECONDS, profile.asked_at)
        self._start(namespace)
        return None if profile.found and uid in profile.unanswered else profile.answer

    def forget(self, uid: str) -> None:
        """Forget a conversion that does not wait for a profile, or no longer."""
        namespace, name = self._waits_for.pop(uid, ("", ""))
        if known := self._namespaces.get(namespace):
            known.profiles[name].waiting.pop(uid, None)
            known.profiles[name].unanswered.discard(uid)

    def _start(self, namespace: str) -> None:
        if namespace not in self._tasks:
            task = asyncio.create_task(self._read(namespace), name=f"profiles of {namespace}")
            self._tasks[namespace] = task

    async def _read(self, namespace: str) -> None:
        """Ask for the profiles of a namespace until nobody waits, one at a time."""
        known = self._namespaces[namespace]
        while (due := known.next()) is not None:
            name, delay = due
            if delay > 0 or not self._leads():
                await _wait(known.changed, delay if delay > 0 else _STANDBY_SECONDS)
                continue
            profile = known.take(name)
            if not profile.waiting:
                del known.profiles[name]
                continue
            if profile.found and not profile.unanswered:
                # They are about to be reconciled. Look later whether nobody is left.
                known.schedule(name, RECHECK_SECONDS, time.monotonic())
                continue
            pause = await self._ask(namespace, name, profile)
            await asyncio.sleep(pause)
        del self._namespaces[namespace], self._tasks[namespace]

    async def _ask(self, namespace: str, name: str, profile: _Profile) -> float:
        """Send one request, and enqueue those for whom the answer is new. Returns a pause."""
        before, pause = profile.answer, _SPACING
        async with self._at_once:
            profile.asked_at = time.monotonic()
            asked = frozenset(profile.unanswered)  # others may come before the response
            try:
                profile.answer = await self._cluster.get_profile(namespace, name)
                profile.failures = 0
                profile.unanswered -= asked
            except Exception as error:
                # One profile that causes an unexpected error must not stop the others.
                unexpected = not isinstance(error, ClusterError)
                text = "Cannot read ConversionProfile %s/%s: %s"
                logger.warning(text, namespace, name, error, exc_info=unexpected)
                self._on_error()
                profile.count_failure(name, error)
                if isinstance(error, Unavailable) and error.retry_after:
                    pause = error.retry_after
        delay = RETRY_SECONDS if profile.failures else RECHECK_SECONDS
        if profile.found and profile.unanswered and not profile.failures:
            delay = FRESH_SECONDS
        self._namespaces[namespace].schedule(name, delay, time.monotonic())
        if profile.found or _kind(before) != _kind(profile.answer):
            # Visits those that wait for this profile, once for each change.
            for uid in profile.waiting:
                if not (profile.found and uid in profile.unanswered):
                    self._enqueue(uid)
        return pause


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    changed.clear()
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass


def _unknown(name: str, error: Exception) -> Block:
    return Block(
        Reason.PROFILE_UNREADABLE,
        f"the API server has not said whether there is a ConversionProfile {name}. The operator "
        f"asks again. The last response is: {error}",
    )


def _kind(answer: ProfileAnswer | None) -> str:
    """The kind of an answer. The texts of errors differ from one to the next."""
    return answer.reason if isinstance(answer, Block) else type(answer).__name__
