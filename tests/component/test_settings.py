"""The operator watches its ConfigMap. A mistake in it changes nothing and is told."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion_operator.api import names
from conversion_operator.controller import settings_watch
from conversion_operator.controller.settings_watch import SETTING_INVALID
from tests.component.running import Running, config_map, phase_of, running, until_phase
from tests.component.support import NAMESPACE, FakeApi, FakeCluster
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job

CONFIG_MAPS: dict[str, Any] = {"resource": "configmaps"}
ROLE = Path(__file__).parents[2] / "deploy/base/operator-role.yaml"


def change(api: FakeApi, **settings: str | None) -> None:
    data = {key.upper(): text for key, text in settings.items()}
    api.patch("configmaps", names.CONFIG_MAP, {"data": data})


async def until_limit(api: FakeApi, op: Running, limit: int) -> None:
    def current() -> int:
        return op.operator.settings.current.converter_max_parallel

    await api.until(lambda: current() == limit, 10, f"the limit {limit}")


def events(api: FakeApi) -> list[str]:
    return [
        event["message"]
        for event in api.objects("events")
        if event["involvedObject"]["kind"] == "ConfigMap"
    ]


@pytest.mark.judged
async def test_a_change_takes_effect_at_once(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(config_map(converter_enabled="false"))
    async with running(api, tmp_path):
        api.create(conversion_job("c"))
        await api.until(
            lambda: api.get("conversionjobs", "c")["status"].get("reason") == "Paused", 20
        )
        before = api.clock.now()
        change(api, converter_enabled="true")
        await until_phase(api, "c", "Succeeded", 20)
        assert (api.clock.now() - before).total_seconds() < 8


@pytest.mark.judged
async def test_a_typo_is_told_and_stops_neither_the_operator_nor_the_other_settings(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "conversion_operator")
    api.create(config_map(converter_max_parallel="four", converter_max_paralel="9"))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        assert op.operator.settings.current.converter_max_parallel == 3
        await api.until(lambda: len(events(api)) == 2, 20)
        change(api, converter_max_parallel="5", converter_max_paralel=None)
        await until_limit(api, op, 5)
        await api.until(lambda: op.metric("converter_settings_invalid") == 0, 10)
        change(api, converter_max_parallel="-1", converter_max_retries="1")
        await api.until(lambda: op.operator.settings.current.converter_max_retries == 1, 10)
        assert op.operator.settings.current.converter_max_parallel == 5
        await api.until(lambda: op.metric("converter_settings_invalid") == 1, 10)
        text = "CONVERTER_MAX_PARALLEL is '-1'. Allowed: 0 to 10000. The value in force is '5'"
        assert op.operator.health.ready
        assert text in op.operator.health.unlisted
        await api.until(lambda: text in events(api), 10)
        api.create(conversion_job("c"))
        await until_phase(api, "c", "Succeeded", 20)
    assert len(events(api)) == 3
    (event,) = [e for e in api.objects("events") if e["message"] == text]
    assert (event["type"], event["reason"]) == ("Warning", SETTING_INVALID)
    about = api.get("configmaps", names.CONFIG_MAP)["metadata"]
    assert event["involvedObject"]["uid"] == about["uid"]
    assert event["involvedObject"]["apiVersion"] == "v1"
    assert caplog.messages.count(f"Invalid setting: {text}") == 1


@pytest.mark.judged
async def test_without_a_config_map_the_environment_is_in_force(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with running(api, tmp_path, has_config_map=False, converter_max_retries=7) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        assert op.operator.settings.current.converter_max_retries == 7
        assert "There is no ConfigMap" in op.operator.health.unlisted
        assert "environment and the defaults are in force" in op.operator.health.unlisted
        await api.until(lambda: op.metric("converter_settings_unread") == 1, 10)
        # Another name, such as one with the suffix of a generator, is not watched.
        api.create(config_map(f"{names.CONFIG_MAP}-h7k2", converter_max_parallel="8"))
        api.create(config_map(converter_max_parallel="5"))
        await until_limit(api, op, 5)
        await api.until(lambda: op.metric("converter_settings_unread") == 0, 10)


@pytest.mark.parametrize("fault", ["forbid", "black_hole"])
async def test_a_start_waits_a_limited_time_for_the_settings(
    api: FakeApi,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """A pause in a ConfigMap that cannot be read yet must not be missed at once."""
    monkeypatch.setattr(settings_watch, "GRACE_SECONDS", 3.0)
    api.create(config_map(converter_enabled="false"))
    api.create(conversion_job("c"))
    with getattr(api.faults, fault)(**CONFIG_MAPS) as unreadable:
        async with running(api, tmp_path) as op:
            await unreadable.wait_hit(1)
            assert not op.operator.health.ready
            assert not api.audit.count(resource="leases")
            await api.until(lambda: op.operator.health.ready, 20)
            assert "Cannot read the ConfigMap" in op.operator.health.unlisted
            await until_phase(api, "c", "Succeeded", 20)


async def test_a_pause_that_is_read_late_is_not_missed(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(config_map(converter_enabled="false"))
    api.create(conversion_job("c"))
    with api.faults.forbid(**CONFIG_MAPS) as unreadable:
        async with running(api, tmp_path):
            await unreadable.wait_hit(2)
            unreadable.times = 0
            await api.until(
                lambda: api.get("conversionjobs", "c")["status"].get("reason") == "Paused", 20
            )
    assert not api.objects("jobs")


async def test_a_config_map_that_is_deleted_or_refused_keeps_the_settings(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    api.create(config_map(converter_max_parallel="7"))
    async with running(api, tmp_path) as op:
        await until_limit(api, op, 7)
        api.delete("configmaps", names.CONFIG_MAP)
        await api.until(lambda: "There is no ConfigMap" in op.operator.health.unlisted, 10)
        assert "The last settings stay in force" in op.operator.health.unlisted
        await until_limit(api, op, 7)
        api.create(config_map(converter_max_parallel="8"))
        await until_limit(api, op, 8)
        with api.faults.forbid(**CONFIG_MAPS) as refused:
            for watch in api.watches(resource="configmaps"):
                watch.close()
            await refused.wait_hit(2)
            await api.until(lambda: "Cannot read the ConfigMap" in op.operator.health.unlisted, 10)
            await until_limit(api, op, 8)
            change(api, converter_max_parallel="9")
        await until_limit(api, op, 9)
        await api.until(lambda: not op.operator.health.unlisted, 10)


async def test_the_role_allows_the_watch_and_the_events(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    role, _ = yaml.safe_load_all(ROLE.read_text(encoding="utf-8"))
    api.create(config_map(converter_max_parallel="five"))
    everywhere = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api.access.grant("", "anonymous", everywhere, "elsewhere")
    api.access.grant("", "anonymous", role["rules"], NAMESPACE)
    async with running(api, tmp_path, watch_namespaces="elsewhere"):
        await api.until(lambda: events(api), 20)
    assert not [r for r in api.audit if r.namespace == NAMESPACE and r.code == 403]
    unused = {(rule.resource, rule.verb) for rule in api.access.unused("")}
    assert not unused & {("configmaps", "list"), ("configmaps", "watch"), ("events", "create")}


async def test_a_signal_stops_the_operator_also_after_the_last_kopf_was_ended(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Each kopf takes over the signals. The one that did so last may be gone."""
    api.add_namespace("other")
    api.create(config_map(watch_namespaces=f"{NAMESPACE},other"))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        change(api, watch_namespaces=NAMESPACE)
        await api.until(lambda: not api.watches(namespace="other"), 20)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(op.task, 20)


async def test_ending_one_kopf_does_not_kill_the_process_later(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """kopf sends SIGKILL ten minutes after its tasks are cancelled, if it is not told otherwise."""
    api.add_namespace("other")
    api.create(config_map(watch_namespaces=f"{NAMESPACE},other"))
    async with running(api, tmp_path) as op:
        await api.until(lambda: op.operator.health.ready, 20)
        change(api, watch_namespaces=NAMESPACE)
        await api.until(lambda: not api.watches(namespace="other"), 20)
        await api.until(lambda: "other" not in op.operator.settings.current.namespaces, 5)
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert not [timer for timer in timers if timer._callback is signal.pthread_kill]


async def test_phases_are_untouched_by_a_setting_of_the_log(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.default = succeed()
    root = logging.getLogger()
    level = root.level
    api.create(config_map(log_level="WARNING"))
    try:
        async with running(api, tmp_path) as op:
            await api.until(lambda: op.operator.health.ready, 20)
            change(api, log_level="DEBUG")
            await api.until(lambda: root.level == logging.DEBUG, 10)
            api.create(conversion_job("c"))
            await until_phase(api, "c", "Succeeded", 20)
            assert phase_of(api, "c") == "Succeeded"
    finally:
        root.setLevel(level)
