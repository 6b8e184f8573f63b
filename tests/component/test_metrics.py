"""What the operator counts while it works."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.component.running import running, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.scripts import fail, succeed
from tests.component.support.tools import conversion_job


async def test_the_metrics_of_queues_follow_the_conversions(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.default = succeed(hold=True)
    async with running(api, tmp_path, converter_max_parallel=1) as operator:
        api.create(conversion_job("runs"))
        await until_phase(api, "runs", "Running")
        api.create(conversion_job("waits"))
        api.create(conversion_job("lost", queue="nobody-made-it"))

        def numbers(queue: str) -> list[float]:
            names = ("queued", "blocked", "running", "limit", "may_start")
            return [operator.metric(f'converter_queue_{n}{{queue="{queue}"}}') for n in names]

        await api.until(lambda: numbers("default") == [1, 0, 1, 1, 1])
        room = 'converter_queue_has_room{queue="default"}'
        assert operator.metric(room) == 0
        await api.until(lambda: numbers("(missing)") == [0, 1, 0, 0, 0])
        assert not any(numbers("nobody-made-it"))
        assert operator.metric("converter_start_seconds_count") == 1
        assert operator.metric("converter_start_seconds_sum") < 5
        cluster.finish("runs")
        await until_phase(api, "waits", "Running")
        assert operator.metric("converter_start_seconds_count") == 2
        assert operator.metric("converter_end_to_status_seconds_count") == 1
        assert operator.metric("converter_output_bytes_total{") > 0


async def test_requests_to_the_api_server_are_counted_by_verb_and_code(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.script("bad", fail("InputEmpty"))
    async with running(api, tmp_path) as operator:
        api.create(conversion_job("bad"))
        await until_phase(api, "bad", "Failed")
        assert 0 < operator.metric("converter_store_age_seconds") < 30
        for verb, code in (("list", 200), ("watch", 200), ("create", 201), ("patch", 200)):
            line = f'converter_kube_requests_total{{code="{code}",verb="{verb}"}}'
            await api.until(partial(operator.metric, line), what=line)
        claim = 'converter_volume_claim_info{persistentvolumeclaim="my-network-shared"}'
        assert operator.metric(claim) == 1
        operator.configure(shared_volume_claim="other")
        assert operator.metric(claim.replace("my-network-shared", "other")) == 1
        assert operator.metric(claim) == 0
