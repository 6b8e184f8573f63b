"""An API server in the test's own process, strict enough to be trusted, and a world around it.

kmock 0.8, an emulator by kopf's author, was read first and is not used: by its own words it works
"very simplistically", and has no resource versions, no conflicts, no 410, no selectors on lists and
watches, no JSON Patch, no status subresource, no validation and no garbage collection, which are
what the tests here are about. This one is aiohttp.web over a store of its own.

::

    async def test_a_conversion_succeeds(api: FakeApi, world: World) -> None:
        world.script("holiday", evicted(), succeed(size=12))
        api.create(conversion_job("holiday"))
        async with running_operator(api.url):
            await api.until(lambda: phase(api, "holiday") == "Succeeded")
        check_i1(api)
        check_i2(api, limit=3)

Not modelled: server-side apply, strategic merge patch, CEL (see ``schema``), managedFields,
sendInitialEvents, dryRun, Tables, protobuf. What is not modelled answers 501, or is an error in the
test, never a silent success.
"""

from tests.component.support.api import CLAIM, NAMESPACE, FakeApi
from tests.component.support.invariants import (
    check_all,
    check_events,
    check_final,
    check_i1,
    check_i2,
    check_i3,
    check_i5,
    check_no_leaks,
    check_one_job_per_attempt,
    check_statuses,
    check_writes,
)
from tests.component.support.world import World

__all__ = [
    "CLAIM",
    "NAMESPACE",
    "FakeApi",
    "World",
    "check_all",
    "check_events",
    "check_final",
    "check_i1",
    "check_i2",
    "check_i3",
    "check_i5",
    "check_no_leaks",
    "check_one_job_per_attempt",
    "check_statuses",
    "check_writes",
]
