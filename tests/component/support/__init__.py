"""A strict Kubernetes API server in the test's process, and a simulated cluster around it.

We do not use kmock 0.8, an emulator by kopf's author: it has no resource versions, no conflicts, no
410, no selectors on lists and watches, no JSON Patch, no status subresource, no validation and no
garbage collection. Our tests are about exactly these. This server is aiohttp.web over an object
storage of its own.

::

    async def test_a_conversion_succeeds(api: FakeApi, cluster: FakeCluster) -> None:
        cluster.script("holiday", evicted(), succeed(size=12))
        api.create(conversion_job("holiday"))
        async with running_operator(api.url):
            await api.until(lambda: phase(api, "holiday") == "Succeeded")
        check_all(api, limit=3)

Not modelled: server-side apply, strategic merge patch, CEL (see ``schema``), managedFields (only
who has written a status), sendInitialEvents, dryRun, Tables, protobuf. A request that needs one of
these gets 501, or fails the test. It never succeeds silently.
"""

from tests.component.support.api import CLAIM, NAMESPACE, FakeApi
from tests.component.support.cluster import FakeCluster
from tests.component.support.invariants import (
    check_all,
    check_all_finished,
    check_events,
    check_final,
    check_no_leaks,
    check_no_warnings,
    check_one_job_per_attempt,
    check_one_live_pod_each,
    check_outputs,
    check_parallel_limit,
    check_statuses,
    check_writes,
)

__all__ = [
    "CLAIM",
    "NAMESPACE",
    "FakeApi",
    "FakeCluster",
    "check_all",
    "check_all_finished",
    "check_events",
    "check_final",
    "check_no_leaks",
    "check_no_warnings",
    "check_one_job_per_attempt",
    "check_one_live_pod_each",
    "check_outputs",
    "check_parallel_limit",
    "check_statuses",
    "check_writes",
]
