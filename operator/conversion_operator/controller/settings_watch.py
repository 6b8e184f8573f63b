"""Watches the operator's ConfigMap, and tells what is wrong with the settings.

A ConfigMap that cannot be read is unknown, not empty: the settings in force stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from conversion_operator.api import names
from conversion_operator.cluster.backoff import Backoff
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.errors import ClusterError
from conversion_operator.cluster.judgement import SettingProblem
from conversion_operator.cluster.objects import ConfigMap, Event
from conversion_operator.controller.metrics import Metrics
from conversion_operator.core.model import Key

GRACE_SECONDS: Final = 30.0
"""How long a start waits for the first response."""
RELIST_SECONDS: Final = 60.0
MAX_EVENTS: Final = 10
"""How many problems get an Event. The metric counts all."""
SETTING_INVALID: Final = "SettingInvalid"
"""The reason of the Event for an invalid or unknown setting."""
CLUSTER_ROLE_MISSING: Final = "ClusterRoleMissing"
"""The reason of the Event if all namespaces are to be served without the right to list them."""

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
_AT_START: Final = "The settings of the environment and the defaults are in force"
_LATER: Final = "The last settings stay in force"

logger = logging.getLogger(__name__)


class SettingsWatch:
    """Gives ``take`` the texts of the ConfigMap, at the start and after each change.

    ``about`` is the ConfigMap, None before it was read. ``problem`` says why it cannot be read, ""
    if it can.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, take: Callable[[Mapping[str, str]], None]
    ) -> None:
        self._cluster, self._namespace, self._take = cluster, namespace, take
        self._answered = asyncio.Event()
        self.about: Key | None = None
        self.problem = ""

    async def first_answer(self) -> None:
        """Wait until the API server has said what the ConfigMap contains, or until grace is over.

        A start without it could start conversions although they are paused.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), GRACE_SECONDS)
        if not self._answered.is_set():
            self._set_problem(self.problem or self._unreadable("no answer"))

    async def run(self) -> None:
        """Run until cancelled."""
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        while True:
            try:
                found, version = await self._cluster.find_config_map(
                    self._namespace, names.CONFIG_MAP
                )
            except ClusterError as error:
                self._set_problem(self._unreadable(str(error)))
                await asyncio.sleep(backoff.next())
                continue
            self._use(found)
            try:
                await self._follow(version)
                backoff.reset()
            except ClusterError as error:
                # The list is known. Without a watch, it is repeated more often.
                logger.debug("The watch of the settings ended: %s", error)
                await asyncio.sleep(backoff.next())

    async def _follow(self, version: str) -> None:
        """Watch until the server ends the watch, or until the next list is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RELIST_SECONDS):
                async for state in self._cluster.watch_config_map(
                    self._namespace, names.CONFIG_MAP, version
                ):
                    self._use(state)

    def _use(self, config_map: ConfigMap | None) -> None:
        if config_map is None:
            self._set_problem(
                f"There is no ConfigMap {names.CONFIG_MAP} in {self._namespace}. "
                f"{self._consequence()}. Create it. If a kustomize generator makes it, set "
                "disableNameSuffixHash: true there"
            )
        else:
            self.about = config_map.key
            try:
                self._take(config_map.data)
                self._set_problem("")
            except Exception as error:
                # The watch goes on, so that a corrected ConfigMap is used.
                logger.debug("The settings cannot be used", exc_info=True)
                self._set_problem(
                    f"Cannot use the ConfigMap {names.CONFIG_MAP} in {self._namespace} "
                    f"({type(error).__name__}). Undo its last change"
                )
        self._answered.set()

    def _unreadable(self, why: str) -> str:
        return (
            f"Cannot read the ConfigMap {names.CONFIG_MAP} in {self._namespace}: {why}. "
            f"{self._consequence()}"
        )

    def _consequence(self) -> str:
        return _LATER if self.about else _AT_START

    def _set_problem(self, problem: str) -> None:
        """Log a problem once in a row, and its end."""
        if problem != self.problem:
            if problem:
                logger.error("%s", problem)
            else:
                logger.info("The ConfigMap %s is read again", names.CONFIG_MAP)
        self.problem = problem


class SettingsReport:
    """Tells problems of settings in Events on the ConfigMap and in metrics."""

    def __init__(self, metrics: Metrics, post: Callable[[Event], None]) -> None:
        self._metrics, self._post = metrics, post
        self._told: frozenset[SettingProblem] = frozenset()
        self._refusal = self._refusal_told = ""

    def tell(
        self, problems: tuple[SettingProblem, ...], watch: SettingsWatch, *, leads: bool
    ) -> None:
        """Set the metrics, and post an Event for each new problem. Only the leader may post."""
        self._metrics.settings_invalid.set(len(problems))
        self._metrics.settings_unread.set(bool(watch.problem))
        if not leads or watch.about is None:
            return
        for problem in problems[:MAX_EVENTS]:
            if problem not in self._told:
                self._post(
                    Event(
                        watch.about,
                        "Warning",
                        SETTING_INVALID,
                        problem.text,
                        kind=names.CONFIG_MAP_KIND,
                    )
                )
        self._told = frozenset(problems)

    def tell_refusal(self, refusal: str, about: Key | None, *, leads: bool) -> None:
        """Log a missing right to list all namespaces, and post an Event. "" if it is not missing.

        Called once a second. Only the leader may post.
        """
        if refusal and refusal != self._refusal:
            logger.error("%s", refusal)
        self._refusal = refusal
        if leads and about is not None:
            if refusal and refusal != self._refusal_told:
                kind = names.CONFIG_MAP_KIND
                self._post(Event(about, "Warning", CLUSTER_ROLE_MISSING, refusal, kind=kind))
            self._refusal_told = refusal

    @staticmethod
    def summary(problems: tuple[SettingProblem, ...]) -> str:
        """The problems as one text for the body of readiness. "" if there are none."""
        return ". ".join(problem.text for problem in problems[:MAX_EVENTS])
