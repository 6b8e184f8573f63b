"""The operator as it ships, run in the test's process against the API server of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
from prometheus_client import generate_latest

from conversion_operator.api import names
from conversion_operator.app import Operator
from conversion_operator.callbacks.loop import CallbackConfig
from conversion_operator.cluster.client import Cluster
from conversion_operator.cluster.objects import Resource
from conversion_operator.cluster.settings import LiveSettings, read_folder
from conversion_operator.controller.settings import Settings
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import configuration


@dataclass
class Running:
    """One operator. ``kill`` stops it without any of its farewells, as SIGKILL would."""

    operator: Operator
    cluster: Cluster
    task: asyncio.Task[None]
    stop: asyncio.Event
    config: Path
    environment: dict[str, str]

    def configure(self, **settings: Any) -> None:
        """Change settings; they are judged again at once."""
        write_settings(self.config, settings)
        self.environment |= read_folder(self.config)
        self.operator.take_settings()

    async def reconcile_all(self) -> None:
        """Have it look at everything now: after the server's clock was set, timers lag behind."""
        await self.cluster.list_all(Resource.JOBS, NAMESPACE)  # the answer carries the time
        changed = "WARNING" if self.operator.settings.current.log_level == "INFO" else "INFO"
        self.configure(log_level=changed)

    def metric(self, line_start: str) -> float:
        """The value of the metric whose line starts so; 0 if there is none."""
        for line in generate_latest(self.operator.registry).decode().splitlines():
            if line.startswith(line_start):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    async def kill(self) -> None:
        """Cut its connections first, so that nothing it does on the way out arrives."""
        await self.cluster.close()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep settings for the environment of the operators that use the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in settings.items():
        (folder / name.upper()).write_text(str(value))


def config_map(name: str = names.CONFIG_MAP, **settings: str) -> dict[str, Any]:
    """A ConfigMap with settings in the operator's namespace."""
    data = {key.upper(): text for key, text in settings.items()}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@asynccontextmanager
async def running(
    api: FakeApi,
    config: Path,
    identity: str = "op-a",
    url: str | None = None,
    callbacks: CallbackConfig | None = None,
    has_config_map: bool = True,
    **settings: Any,
) -> AsyncIterator[Running]:
    """An operator that is up until the block ends, then stopped as by SIGTERM.

    Its settings are in its environment. The ConfigMap is empty if the test has created none.
    """
    if has_config_map and api.find("configmaps", names.CONFIG_MAP) is None:
        api.create(config_map())
    write_settings(config, {"pod_namespace": NAMESPACE} | settings)
    server = url or api.url
    environment = read_folder(config)
    live = LiveSettings(Settings, environment)
    manager = names.MANAGER_PREFIX + live.current.pod_namespace
    cluster = Cluster(configuration(server), user_agent=identity, field_manager=manager)

    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=server)

    operator = Operator(cluster, live, identity, login, callbacks)
    stop = asyncio.Event()
    task = asyncio.create_task(operator.run(stop), name=identity)
    try:
        yield Running(operator, cluster, task, stop, config, environment)
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        await cluster.close()


def events_about(api: FakeApi, name: str) -> list[dict[str, Any]]:
    """The Events about an object of this name."""
    return api.objects("events", NAMESPACE, fields=f"involvedObject.name={name}")


def status_of(api: FakeApi, name: str) -> dict[str, Any]:
    """The stored status of a ConversionJob; empty if there is none."""
    found = api.find("conversionjobs", name) or {}
    status: dict[str, Any] = found.get("status") or {}
    return status


def phase_of(api: FakeApi, name: str) -> str | None:
    """The stored phase of a ConversionJob."""
    return status_of(api, name).get("phase")


async def until_phase(api: FakeApi, name: str, phase: str, seconds: float = 30) -> None:
    """Wait until the stored phase of a ConversionJob is ``phase``."""
    await api.until(lambda: phase_of(api, name) == phase, seconds, f"{name} to be {phase}")


def attempts_of(api: FakeApi, name: str) -> list[str | None]:
    """How each attempt that is kept ended, oldest first."""
    return [attempt.get("reason") for attempt in status_of(api, name).get("attempts", [])]
