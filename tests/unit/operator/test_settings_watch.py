"""The watch of the settings goes on, whatever a ConfigMap contains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import ConfigMap
from conversion_operator.controller.settings_watch import SettingsWatch
from conversion_operator.core.model import Key

KEY = Key("ns", "settings", "uid")


class _Responses:
    """Lists a ConfigMap that cannot be used, and then watches ``later``."""

    def __init__(self, later: Mapping[str, str]) -> None:
        self._later = later

    async def find_config_map(self, namespace: str, name: str) -> tuple[ConfigMap | None, str]:
        return ConfigMap(KEY, {"A": "broken"}), "1"

    async def watch_config_map(
        self, namespace: str, name: str, version: str
    ) -> AsyncIterator[ConfigMap | None]:
        yield ConfigMap(KEY, self._later)
        await asyncio.Event().wait()


@pytest.mark.parametrize("later", ["corrected", "broken"])
async def test_settings_that_cannot_be_taken_do_not_end_the_watch(later: str) -> None:
    seen: list[str] = []
    both = asyncio.Event()

    def take(config: Mapping[str, str]) -> None:
        seen.append(config["A"])
        if len(seen) == 2:
            both.set()
        if config["A"] == "broken":
            raise TypeError("a mistake")

    watch = SettingsWatch(cast("Cluster", _Responses({"A": later})), "ns", take)
    run = asyncio.create_task(watch.run())
    try:
        await asyncio.wait({run, asyncio.create_task(both.wait())}, return_when="FIRST_COMPLETED")
        await asyncio.sleep(0)
        assert not run.done()
        assert seen == ["broken", later]
        assert ("Cannot use the ConfigMap" in watch.problem) == (later == "broken")
    finally:
        run.cancel()
