"""The in-process API server updates objects and answers paths as the real one does."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from kubernetes.aio.client import (
    ApiClient,
    BatchV1Api,
    CoordinationV1Api,
    CoreV1Api,
    CustomObjectsApi,
    EventsV1Api,
)

from tests.component.raw_objects import (
    CJ,
    JSON_PATCH,
    MERGE_PATCH,
    job,
    raw,
    rejected,
    status,
)
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.errors import StatusError
from tests.component.support.tools import client, conversion_job

pytestmark = pytest.mark.judged


# Updates


async def test_each_subresource_writes_only_its_own_part(
    api: FakeApi, custom: CustomObjectsApi
) -> None:
    before = api.create(conversion_job("a"))
    both = {"spec": {"priority": 3}, "status": status("Queued")}
    made: Any = await custom.patch_namespaced_custom_object(
        *CJ, "a", both, _content_type=MERGE_PATCH
    )
    assert made["spec"]["priority"] == 3
    assert made["status"]["phase"] == "Pending"
    assert made["metadata"]["generation"] == 2
    more = {
        "metadata": {"labels": {"x": "y"}, "uid": "foreign"},
        "spec": {"priority": 4},
        "status": status("Queued"),
    }
    made = await custom.patch_namespaced_custom_object_status(
        *CJ, "a", more, _content_type=MERGE_PATCH
    )
    assert made["spec"]["priority"] == 3
    assert made["status"] == status("Queued")
    assert made["metadata"]["generation"] == 2
    assert made["metadata"]["uid"] == before["metadata"]["uid"]
    assert "labels" not in made["metadata"]


async def test_a_write_with_a_wrong_uid_is_rejected(api: FakeApi, custom: CustomObjectsApi) -> None:
    made = api.create(conversion_job("a"))
    patch = {"metadata": {"uid": "foreign"}}
    error = await rejected(
        custom.patch_namespaced_custom_object(*CJ, "a", patch, _content_type=MERGE_PATCH)
    )
    assert error.status == 422
    made["metadata"]["uid"] = "foreign"
    assert (await rejected(custom.replace_namespaced_custom_object(*CJ, "a", made))).status == 409
    operations: Any = [
        {"op": "test", "path": "/metadata/uid", "value": "foreign"},
        {"op": "add", "path": "/status", "value": {"phase": "Queued"}},
    ]
    error = await rejected(
        custom.patch_namespaced_custom_object_status(*CJ, "a", operations, _content_type=JSON_PATCH)
    )
    assert error.status == 422
    assert "the server rejected our request due to an error in our request" in str(error.body)
    assert api.get("conversionjobs", "a")["status"]["phase"] == "Pending"


async def test_a_json_patch_applies_if_its_test_passes(
    api: FakeApi, custom: CustomObjectsApi
) -> None:
    uid = api.create(conversion_job("a"))["metadata"]["uid"]
    operations: Any = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status", "value": status("Queued", queuePosition=3)},
    ]
    await custom.patch_namespaced_custom_object_status(
        *CJ, "a", operations, _content_type=JSON_PATCH
    )
    operations[1]["value"] = status("Running")
    await custom.patch_namespaced_custom_object_status(
        *CJ, "a", operations, _content_type=JSON_PATCH
    )
    assert api.get("conversionjobs", "a")["status"] == status("Running")


async def test_a_write_that_changes_nothing_is_no_write(
    api: FakeApi, custom: CustomObjectsApi
) -> None:
    """The first write stores the default status on a real API server, so it is a write there."""
    api.create(conversion_job("a"))
    same = {"spec": {"conversionType": "video_to_mp4"}}
    versions = []
    for _ in range(3):
        answer: Any = await custom.patch_namespaced_custom_object(
            *CJ, "a", same, _content_type=MERGE_PATCH
        )
        versions.append(answer["metadata"]["resourceVersion"])
    assert versions[1] == versions[2]
    assert [r.changed for r in api.audit.writes()][-1] is False


async def test_a_stale_version_is_a_conflict(api: FakeApi, custom: CustomObjectsApi) -> None:
    stale = api.create(conversion_job("a"))
    api.patch("conversionjobs", "a", {"spec": {"priority": 1}})
    assert (await rejected(custom.replace_namespaced_custom_object(*CJ, "a", stale))).status == 409
    version = {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}}
    for call in (
        custom.patch_namespaced_custom_object,
        custom.patch_namespaced_custom_object_status,
    ):
        error = await rejected(call(*CJ, "a", version, _content_type=MERGE_PATCH))
        assert error.status == 409
    del stale["metadata"]["resourceVersion"]
    assert (await rejected(custom.replace_namespaced_custom_object(*CJ, "a", stale))).status == 422


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("application/strategic-merge-patch+json", 415),
        pytest.param(
            *("application/apply-patch+yaml", 501),
            marks=pytest.mark.fake_only("the fake API server has no server-side apply"),
        ),
    ],
)
async def test_patch_types_of_a_custom_resource(
    api: FakeApi, custom: CustomObjectsApi, content_type: str, code: int
) -> None:
    api.create(conversion_job("a"))
    error = await rejected(
        custom.patch_namespaced_custom_object(*CJ, "a", {}, _content_type=content_type)
    )
    assert error.status == code


async def test_a_jobs_template_is_immutable(api: FakeApi, batch: BatchV1Api) -> None:
    api.create(job())
    patch: Any = [{"op": "add", "path": "/spec/template/spec/containers/0/image", "value": "other"}]
    error = await rejected(
        batch.patch_namespaced_job("a", NAMESPACE, patch, _content_type=JSON_PATCH)
    )
    assert error.status == 422


async def test_the_server_sets_the_defaults_of_a_job(api: FakeApi, batch: BatchV1Api) -> None:
    await batch.create_namespaced_job(NAMESPACE, job())
    made = api.get("jobs", "a")
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "a"
    assert labels["batch.kubernetes.io/controller-uid"] == made["metadata"]["uid"]
    assert made["spec"]["podReplacementPolicy"] == "TerminatingOrFailed"
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePolicy"] == "File"


# Leases and Events


@pytest.mark.parametrize(
    ("stamp", "code"),
    [("2026-01-01T00:00:00.000000Z", 201), ("2026-01-01T00:00:00Z", 400), ("now", 400)],
)
async def test_a_lease_needs_microseconds(http: ApiClient, stamp: str, code: int) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    lease = {"metadata": {"name": "a"}, "spec": {"renewTime": stamp}}
    assert (await raw(http, "POST", path, lease))[0] == code


async def test_only_one_of_two_updates_of_a_lease_wins(api: FakeApi, http: ApiClient) -> None:
    leases = CoordinationV1Api(http)
    bare: Any = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "z"}}
    made = await leases.create_namespaced_lease(NAMESPACE, bare)
    first: Any = made.to_dict() | {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 15}}
    await leases.replace_namespaced_lease("a", NAMESPACE, first)
    second: Any = made.to_dict() | {"spec": {"holderIdentity": "y"}}
    assert (await rejected(leases.replace_namespaced_lease("a", NAMESPACE, second))).status == 409
    assert (await rejected(leases.replace_namespaced_lease("a", NAMESPACE, bare))).status == 422
    assert api.get("leases", "a")["spec"]["holderIdentity"] == "x"


async def test_both_event_apis_show_the_same_events(
    api: FakeApi, http: ApiClient, core: CoreV1Api
) -> None:
    about = {"kind": "ConversionJob", "name": "a", "namespace": NAMESPACE, "uid": "u"}
    old: Any = {
        "metadata": {"name": "old"},
        "involvedObject": about,
        "reason": "Queued",
        "message": "waiting",
        "type": "Normal",
    }
    await core.create_namespaced_event(NAMESPACE, old)
    new: Any = {
        "metadata": {"name": "new", "namespace": NAMESPACE},
        # For whole seconds the official client omits the fraction, and the server rejects that.
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "converter.mynetwork.io/operator",
        "reportingInstance": "pod",
        "action": "Admit",
        "reason": "Admitted",
        "type": "Normal",
        "regarding": about,
        "note": "its turn",
    }
    await EventsV1Api(http).create_namespaced_event(NAMESPACE, new)
    listed = await core.list_namespaced_event(
        NAMESPACE, field_selector="involvedObject.uid=u,reason=Admitted"
    )
    assert [event.message for event in listed.items] == ["its turn"]
    path = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
    regarding = json.loads((await raw(http, "GET", f"{path}?fieldSelector=regarding.uid=u"))[1])
    assert {event["note"] for event in regarding["items"]} == {"its turn", "waiting"}
    assert {event["metadata"]["name"]: event["eventTime"] for event in regarding["items"]} == {
        "new": "2026-01-01T00:00:00.000001Z",
        "old": None,
    }
    del new["action"]
    new["metadata"] = {"name": "bad", "namespace": NAMESPACE}
    code, text = await raw(http, "POST", path, new)
    assert code == 422
    assert "action" in text


async def test_an_event_is_about_its_own_namespace(http: ApiClient) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Job", "name": "a", "namespace": "default"},
    }
    code, text = await raw(http, "POST", f"/api/v1/namespaces/{NAMESPACE}/events", event)
    assert code == 422
    assert "does not match event.namespace" in text


# Paths, headers and the audit log


PATHS: Final[list[Any]] = [
    ("GET", "/version", 200),
    ("GET", "/apis", 200),
    ("GET", "/api/v1", 200),
    ("GET", "/readyz", 200),
    ("GET", "/apis/batch/v2", 404),
    ("GET", "/apis/batch/v1/widgets", 404),
    ("GET", "/apis/batch/v1/namespaces/my-network/jobs/none", 404),
    ("GET", "/apis/batch/v1/namespaces/my-network/jobs/none/scale", 404),
    ("PUT", "/apis/batch/v1/namespaces/my-network/jobs", 405),
    ("POST", "/apis/batch/v1/jobs", 405),
    ("GET", "/api/v1/pods?fieldSelector=spec.volumes=x", 400),
    ("GET", "/api/v1/pods?labelSelector=a%20is%20b", 400),
]


async def test_paths_and_methods(http: ApiClient) -> None:
    for method, path, code in PATHS:
        body = job() if method in ("PUT", "POST") else None
        assert (await raw(http, method, path, body))[0] == code, path


@pytest.mark.fake_only("what the fake API server does not know is never a success")
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/my-network/secrets", 404),
        ("DELETE", "/apis/batch/v1/namespaces/my-network/jobs/none?dryRun=All", 501),
    ],
)
async def test_what_is_not_modelled_is_rejected(
    http: ApiClient, method: str, path: str, code: int
) -> None:
    assert (await raw(http, method, path))[0] == code


@pytest.mark.fake_only("the clock of a real API server cannot be set")
async def test_the_date_header_goes_by_the_servers_clock(api: FakeApi, core: CoreV1Api) -> None:
    api.clock.freeze()
    api.clock.advance(3600)
    answer = await core.list_namespaced_pod_with_http_info(NAMESPACE)
    assert answer.headers is not None
    assert answer.headers["Date"] == api.clock.http_date()


async def test_the_audit_log_knows_who_did_what(api: FakeApi, http: ApiClient) -> None:
    other = await api.add_endpoint("other")
    http.set_default_header("User-Agent", "converter-operator/1")
    await BatchV1Api(http).create_namespaced_job(NAMESPACE, job())
    async with client(other) as second:
        await rejected(BatchV1Api(second).create_namespaced_job(NAMESPACE, job()))
    first, last = api.audit.requests
    assert (first.verb, first.plural, first.name, first.code) == ("create", "jobs", "a", 201)
    assert first.user_agent == "converter-operator/1"
    assert first.uid == api.get("jobs", "a")["metadata"]["uid"]
    assert (last.endpoint, last.code, last.changed) == ("other", 409, False)
    assert api.audit.count(endpoint="other") == 1
    assert len(api.audit.writes(resource="jobs", name="a")) == 2


async def test_an_object_that_is_too_large_is_rejected(api: FakeApi) -> None:
    container = {"name": "c", "image": "i", "args": ["y" * 1_600_000]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    with pytest.raises(StatusError, match="etcdserver: request is too large"):
        api.create(pod | {"spec": {"containers": [container]}})
    assert api.objects("pods") == []
