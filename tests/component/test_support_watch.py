"""Lists and watches of the in-process API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from kubernetes.aio.client import ApiException, CustomObjectsApi
from kubernetes.aio.watch import Watch as ClientWatch

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import client, conversion_job

pytestmark = pytest.mark.judged

PATH = f"/apis/converter.mynetwork.io/v1alpha1/namespaces/{NAMESPACE}/conversionjobs"
CJ = ("converter.mynetwork.io", "v1alpha1", NAMESPACE, "conversionjobs")


class Lines:
    """Reads the events of one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, seconds: float = 30) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            line = await self.response.content.readline()
        if not line:
            raise EOFError
        event: dict[str, Any] = json.loads(line)
        return event

    async def next_change(self) -> tuple[str, str]:
        """The type and the object's name of the next event."""
        event = await self.next()
        return event["type"], event["object"]["metadata"].get("name", "")


@asynccontextmanager
async def watching(url: str, path: str = PATH, **query: str) -> AsyncIterator[Lines]:
    timeout = aiohttp.ClientTimeout(total=120)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url + path, params={"watch": "true"} | query) as response,
    ):
        assert response.status == 200, await response.text()
        yield Lines(response)


async def get(url: str, path: str = PATH, **query: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url + path, params=query) as response,
    ):
        return response.status, await response.json()


async def version(api: FakeApi) -> str:
    _, listed = await get(api.url)
    found: str = listed["metadata"]["resourceVersion"]
    return found


# Lists


async def test_all_pages_of_a_list_show_the_same_moment(api: FakeApi) -> None:
    for name in "abcde":
        api.create(conversion_job(name))
    _, first = await get(api.url, limit="2")
    api.delete("conversionjobs", "d")
    api.create(conversion_job("f"))
    _, second = await get(api.url, limit="2", **{"continue": first["metadata"]["continue"]})
    _, last = await get(api.url, limit="2", **{"continue": second["metadata"]["continue"]})
    items = first["items"] + second["items"] + last["items"]
    assert [item["metadata"]["name"] for item in items] == list("abcde")
    assert last["metadata"]["continue"] == ""
    assert last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert second["metadata"]["remainingItemCount"] == 1


@pytest.mark.fake_only("a test cannot make a real API server forget versions")
async def test_a_continue_token_expires(api: FakeApi) -> None:
    for name in "ab":
        api.create(conversion_job(name))
    _, first = await get(api.url, limit="1")
    api.compact()
    code, status = await get(api.url, limit="1", **{"continue": first["metadata"]["continue"]})
    assert (code, status["reason"]) == (410, "Expired")


async def test_items_of_built_in_lists_carry_no_type(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    _, custom = await get(api.url)
    _, claims = await get(api.url, f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims")
    assert custom["items"][0]["kind"] == "ConversionJob"
    assert claims["kind"] == "PersistentVolumeClaimList"
    assert "continue" not in claims["metadata"]
    assert "kind" not in claims["items"][0]


async def test_selectors_of_a_list(api: FakeApi) -> None:
    for name, labels in {"a": {"x": "1"}, "b": {"x": "2"}, "c": {"y": "1"}}.items():
        api.create(conversion_job(name, metadata={"labels": labels}))
    expected = {
        "x": "ab",
        "!x": "c",
        "x=1": "a",
        "x==2": "b",
        "x!=1": "bc",
        "x in (1, 2)": "ab",
        "x notin (1)": "bc",
        "x,x!=2": "a",
        "x=1,y": "",
    }
    for selector, names in expected.items():
        _, listed = await get(api.url, labelSelector=selector)
        assert "".join(i["metadata"]["name"] for i in listed["items"]) == names, selector
    _, listed = await get(api.url, fieldSelector="metadata.name=b")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["b"]
    for selector, names in {
        "status.phase=Pending": "abc",
        "status.reason!=Pending": "",
        "spec.conversionType=video_to_mp4": "abc",
    }.items():
        _, listed = await get(api.url, fieldSelector=selector)
        assert "".join(i["metadata"]["name"] for i in listed["items"]) == names, selector
    code, _ = await get(api.url, fieldSelector="spec.priority=1")
    assert code == 400


async def test_lists_of_one_and_of_all_namespaces(api: FakeApi) -> None:
    api.add_namespace("other")
    api.create(conversion_job("a"))
    api.create(conversion_job("b", namespace="other"))
    _, one = await get(api.url)
    _, every = await get(api.url, "/apis/converter.mynetwork.io/v1alpha1/conversionjobs")
    assert [len(one["items"]), len(every["items"])] == [1, 2]


async def test_a_future_version_is_rejected(api: FakeApi) -> None:
    code, status = await get(api.url, resourceVersion="999999")
    assert (code, status["reason"]) == (504, "Timeout")


# Watches


async def test_a_watch_continues_from_a_list(api: FakeApi) -> None:
    api.create(conversion_job("before"))
    since = await version(api)
    api.create(conversion_job("between"))
    async with watching(api.url, resourceVersion=since) as lines:
        api.create(conversion_job("after"))
        api.patch("conversionjobs", "before", {"spec": {"priority": 1}})
        api.delete("conversionjobs", "between")
        assert [await lines.next_change() for _ in range(4)] == [
            ("ADDED", "between"),
            ("ADDED", "after"),
            ("MODIFIED", "before"),
            ("DELETED", "between"),
        ]


@pytest.mark.parametrize("since", ["", "0"])
async def test_a_watch_without_version_starts_with_the_current_objects(
    api: FakeApi, since: str
) -> None:
    api.create(conversion_job("a"))
    async with watching(api.url, resourceVersion=since) as lines:
        assert await lines.next_change() == ("ADDED", "a")
        api.create(conversion_job("b"))
        assert await lines.next_change() == ("ADDED", "b")


async def test_a_deletion_carries_a_version_of_its_own(api: FakeApi) -> None:
    made = api.create(conversion_job("a"))
    async with watching(api.url, resourceVersion=await version(api)) as lines:
        api.delete("conversionjobs", "a")
        event = await lines.next()
    assert event["type"] == "DELETED"
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(
        made["metadata"]["resourceVersion"]
    )


async def test_objects_that_start_or_stop_matching_are_added_or_deleted(api: FakeApi) -> None:
    api.create(conversion_job("a"))
    since = await version(api)
    async with watching(api.url, resourceVersion=since, labelSelector="x=1") as lines:
        for labels in ({"x": "1"}, {"x": "1", "y": "1"}, {"x": None}, {"z": "1"}):
            api.patch("conversionjobs", "a", {"metadata": {"labels": labels}})
        api.create(conversion_job("b", metadata={"labels": {"x": "1"}}))
        assert [await lines.next_change() for _ in range(4)] == [
            ("ADDED", "a"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
            ("ADDED", "b"),
        ]


async def test_a_watch_of_one_namespace_and_of_all(api: FakeApi) -> None:
    api.add_namespace("other")
    since = await version(api)
    every = "/apis/converter.mynetwork.io/v1alpha1/conversionjobs"
    async with (
        watching(api.url, resourceVersion=since) as one,
        watching(api.url, every, resourceVersion=since) as both,
    ):
        api.create(conversion_job("far", namespace="other"))
        api.create(conversion_job("near"))
        assert await one.next_change() == ("ADDED", "near")
        assert [await both.next_change() for _ in range(2)] == [("ADDED", "far"), ("ADDED", "near")]


async def test_timeout_seconds_end_a_watch(api: FakeApi) -> None:
    async with watching(api.url, resourceVersion=await version(api), timeoutSeconds="1") as lines:
        with pytest.raises(EOFError):
            await lines.next()


@pytest.mark.fake_only("a real API server sends bookmarks once a minute")
async def test_only_watches_that_ask_for_bookmarks_get_them(api: FakeApi) -> None:
    api.server.bookmark_seconds = 0.05
    since = await version(api)
    async with (
        watching(api.url, resourceVersion=since, allowWatchBookmarks="true") as asked,
        watching(api.url, resourceVersion=since) as silent,
    ):
        api.add_claim(name="elsewhere")
        event = await asked.next()
        while event["object"]["metadata"]["resourceVersion"] != str(api.storage.rv):
            event = await asked.next()
        for _ in range(3):
            assert (await asked.next())["type"] == "BOOKMARK"
        api.create(conversion_job("a"))
        assert await silent.next_change() == ("ADDED", "a")


@pytest.mark.fake_only("a test cannot make a real API server forget versions")
async def test_410_in_the_stream(api: FakeApi) -> None:
    since = await version(api)
    api.compact("conversionjobs")
    async with watching(api.url, resourceVersion=since) as lines:
        event = await lines.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert event["object"]["reason"] == "Expired"
        with pytest.raises(EOFError):
            await lines.next()
    async with watching(api.url, resourceVersion=await version(api)) as lines:
        api.create(conversion_job("a"))
        assert await lines.next_change() == ("ADDED", "a")


@pytest.mark.fake_only("a test cannot make a real API server forget versions")
async def test_410_as_status(api: FakeApi) -> None:
    since = await version(api)
    api.compact("conversionjobs", as_status=True)
    code, status = await get(api.url, watch="true", resourceVersion=since)
    assert (code, status["reason"]) == (410, "Expired")
    _, jobs = await get(api.url, f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")
    async with watching(api.url, resourceVersion=jobs["metadata"]["resourceVersion"]):
        pass


@pytest.mark.fake_only("a test cannot make a real API server forget versions")
async def test_the_official_watch_sees_410(api: FakeApi) -> None:
    since = await version(api)
    api.compact()
    async with client(api.url) as http:
        watch = ClientWatch()
        stream = watch.stream(
            CustomObjectsApi(http).list_namespaced_custom_object,
            *CJ,
            resource_version=since,
            timeout_seconds=60,
        )
        with pytest.raises(ApiException) as caught:
            await anext(stream)
        assert caught.value.status == 410
        await watch.close()


async def test_the_official_watch_follows(api: FakeApi) -> None:
    since = await version(api)
    async with client(api.url) as http:
        watch = ClientWatch()
        stream = watch.stream(
            CustomObjectsApi(http).list_namespaced_custom_object,
            *CJ,
            resource_version=since,
            timeout_seconds=60,
        )
        api.create(conversion_job("a"))
        event: Any = await anext(stream)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
        await watch.close()


@pytest.mark.fake_only("what the fake API server does not know is never a success")
async def test_an_unsupported_parameter_gets_501(api: FakeApi) -> None:
    code, _ = await get(api.url, watch="true", sendInitialEvents="true")
    assert code == 501


# What a test may do to a watch


@pytest.mark.fake_only("a real API server has no such switches")
async def test_a_test_can_inject_into_close_expire_and_abort_a_watch(api: FakeApi) -> None:
    old = api.create(conversion_job("a"))
    api.patch("conversionjobs", "a", {"spec": {"priority": 1}})
    since = await version(api)

    async def only() -> Any:
        return await api.until(lambda: api.watches(resource="conversionjobs"))

    async with watching(api.url, resourceVersion=since) as lines:
        (watch,) = await only()
        watch.inject("MODIFIED", old)
        event = await lines.next()
        assert event["object"] == old
        api.replay("conversionjobs", "a", chosen=lambda obj: "priority" not in obj["spec"])
        assert (await lines.next())["object"] == old
        watch.close()
        with pytest.raises(EOFError):
            await lines.next()
    async with watching(api.url, resourceVersion=since) as lines:
        (await only())[0].expire()
        assert (await lines.next())["object"]["code"] == 410
        with pytest.raises(EOFError):
            await lines.next()
    async with watching(api.url, resourceVersion=since) as lines:
        (await only())[0].abort()
        with pytest.raises(aiohttp.ClientError):
            await lines.next()
    assert api.watches() == []


async def names_at(api: FakeApi, version: str, match: str = "Exact") -> list[str]:
    """The names in a list that asks for a version."""
    query: dict[str, Any] = {"resource_version": version, "resource_version_match": match}
    async with client(api.url) as made:
        listing: Any = await CustomObjectsApi(made).list_namespaced_custom_object(*CJ, **query)
    return [item["metadata"]["name"] for item in listing["items"]]


async def test_a_list_can_show_exactly_one_version(api: FakeApi) -> None:
    first = api.create(conversion_job("a"))["metadata"]["resourceVersion"]
    second = api.create(conversion_job("b"))["metadata"]["resourceVersion"]
    api.delete("conversionjobs", "a")
    third = await version(api)
    versions = (first, second, third)
    assert [await names_at(api, asked) for asked in versions] == [["a"], ["a", "b"], ["b"]]


@pytest.mark.parametrize("asked", ["0", ""])
async def test_a_list_of_exactly_no_version_is_rejected(api: FakeApi, asked: str) -> None:
    with pytest.raises(ApiException) as caught:
        await names_at(api, asked)
    assert caught.value.status == 422
    assert "resourceVersionMatch: Forbidden" in str(caught.value.body)


@pytest.mark.fake_only("a test cannot make a real API server forget versions")
@pytest.mark.parametrize(("match", "code"), [("Exact", 410), ("NotOlderThan", 501)])
async def test_a_list_of_a_forgotten_version_is_rejected(
    api: FakeApi, match: str, code: int
) -> None:
    asked = await version(api)
    api.compact("conversionjobs")
    with pytest.raises(ApiException) as caught:
        await names_at(api, asked, match)
    assert caught.value.status == code
