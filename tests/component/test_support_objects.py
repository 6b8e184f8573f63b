"""The in-process API server stores and rejects objects as the real one does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    BatchV1Api,
    CoordinationV1Api,
    CoreV1Api,
    CustomObjectsApi,
    EventsV1Api,
)

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.errors import StatusError
from tests.component.support.tools import client, conversion_job

pytestmark = pytest.mark.judged

CJ = ("converter.mynetwork.io", "v1alpha1", NAMESPACE, "conversionjobs")
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
EMPTY: Any = {}


@pytest.fixture
async def http(api: FakeApi) -> AsyncIterator[ApiClient]:
    async with client(api.url) as made:
        yield made


@pytest.fixture
def custom(http: ApiClient) -> CustomObjectsApi:
    return CustomObjectsApi(http)


@pytest.fixture
def batch(http: ApiClient) -> BatchV1Api:
    return BatchV1Api(http)


@pytest.fixture
def core(http: ApiClient) -> CoreV1Api:
    return CoreV1Api(http)


def job(name: str = "a", **spec: Any) -> Any:
    """A Job. Its type is Any, because the client accepts dictionaries but does not declare it."""
    container = {"name": "converter", "image": "my-converter:latest"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"backoffLimit": 0, "template": template} | spec
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": body,
    }


def status(phase: str, **more: Any) -> dict[str, Any]:
    return {"phase": phase, "reason": "Test", "message": "", "conditions": []} | more


async def rejected(call: Any) -> ApiException:
    """The error that a call raises."""
    with pytest.raises(ApiException) as caught:
        await call
    return caught.value


# Names


@pytest.mark.parametrize(
    ("name", "code"),
    [("a.b-c", 201), ("A", 422), ("a_b", 422), ("-a", 422), ("a" * 253, 201), ("a" * 254, 422)],
)
async def test_names_are_dns_subdomains(custom: CustomObjectsApi, name: str, code: int) -> None:
    call = custom.create_namespaced_custom_object(*CJ, conversion_job(name))
    if code == 201:
        await call
    else:
        assert (await rejected(call)).status == code


@pytest.mark.parametrize(("length", "good"), [(63, True), (64, False)])
async def test_a_job_name_must_fit_a_label(batch: BatchV1Api, length: int, good: bool) -> None:
    call = batch.create_namespaced_job(NAMESPACE, job("a" * length))
    if good:
        await call
    else:
        error = await rejected(call)
        assert error.status == 422
        assert "spec.template.labels" in str(error.body)


@pytest.mark.parametrize(
    ("labels", "good"),
    [
        ({"a/b": "C.d_e-f"}, True),
        ({"a": ""}, True),
        ({"a": "x" * 63}, True),
        ({"a": "x" * 64}, False),
        ({"a": "-x"}, False),
        ({"a": "a b"}, False),
        ({"a/b/c": "x"}, False),
        ({"Ä": "x"}, False),
    ],
)
async def test_label_rules(custom: CustomObjectsApi, labels: dict[str, str], good: bool) -> None:
    body = conversion_job("a", metadata={"labels": labels})
    call = custom.create_namespaced_custom_object(*CJ, body)
    if good:
        await call
    else:
        assert (await rejected(call)).status == 422


async def test_generate_name_makes_new_names(core: CoreV1Api) -> None:
    body: Any = {"metadata": {"generateName": "c-"}}
    names = [(await core.create_namespaced_config_map(NAMESPACE, body)).metadata for _ in range(2)]
    assert len({meta.name for meta in names if meta}) == 2
    assert (await rejected(core.create_namespaced_config_map(NAMESPACE, EMPTY))).status == 422


# Creation


async def test_the_server_sets_its_own_fields(api: FakeApi, custom: CustomObjectsApi) -> None:
    forged = {"uid": "mine", "generation": 9, "creationTimestamp": "2001-01-01T00:00:00Z"}
    body = conversion_job("a", metadata=forged) | {"status": {"phase": "Succeeded"}}
    made: Any = await custom.create_namespaced_custom_object(*CJ, body)
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["creationTimestamp"] == api.clock.stamp()
    assert made["status"]["phase"] == "Pending"


async def test_create_twice(custom: CustomObjectsApi) -> None:
    await custom.create_namespaced_custom_object(*CJ, conversion_job("a"))
    error = await rejected(custom.create_namespaced_custom_object(*CJ, conversion_job("a")))
    assert (error.status, error.reason) == (409, "Conflict")
    assert '"reason":"AlreadyExists"' in str(error.body)


async def test_create_in_a_missing_or_terminating_namespace_is_rejected(
    api: FakeApi, batch: BatchV1Api
) -> None:
    body: Any = job() | {"metadata": {"name": "a"}}
    assert (await rejected(batch.create_namespaced_job("nowhere", body))).status == 404
    api.create(conversion_job("stays", metadata={"finalizers": ["test.example/hold"]}))
    api.delete_namespace()
    error = await rejected(batch.create_namespaced_job(NAMESPACE, body))
    assert error.status == 403
    assert "because it is being terminated" in str(error.body)


async def test_namespace_of_body_and_url_must_agree(batch: BatchV1Api) -> None:
    assert (await rejected(batch.create_namespaced_job("default", job()))).status == 400


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"backoffLimit": "0"}, 400, "cannot unmarshal"),
        ({"template": {"spec": {"restartPolicy": "Never"}}}, 422, "containers"),
        (
            {"template": {"spec": {"restartPolicy": "Always", "containers": []}}},
            422,
            "restartPolicy",
        ),
    ],
)
async def test_a_wrong_job_is_rejected(
    api: FakeApi, http: ApiClient, change: dict[str, Any], code: int, word: str
) -> None:
    response = await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", job(**change))
    assert response[0] == code
    assert word in response[1]
    assert api.objects("jobs") == []


async def test_unknown_fields_of_a_job_are_dropped_or_rejected(
    api: FakeApi, http: ApiClient
) -> None:
    """By default the server only warns."""
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    wrong = job(backofLimit=0)
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "other"
    names = ("spec.backofLimit", "spec.template.spec.containers[0].imagee")
    code, text = await raw(http, "POST", f"{path}?fieldValidation=Strict", wrong)
    assert code == 400
    assert all(f'unknown field \\"{name}\\"' in text for name in names)
    assert api.objects("jobs") == []
    headers = {"Content-Type": "application/json"}
    url = http.configuration.host + path
    answer = await http.rest_client.request("POST", url, headers, wrong)
    assert answer.status == 201
    warnings = answer.headers.getall("Warning")
    assert all(any(f'unknown field \\"{n}\\"' in w for w in warnings) for n in names)
    assert "backofLimit" not in api.get("jobs", "a")["spec"]


@pytest.mark.parametrize(
    ("container", "word"),
    [
        ({"name": "Bad", "image": "i"}, "name"),
        ({"name": "a"}, "image"),
        (
            {"name": "a", "image": "i", "volumeMounts": [{"name": "x", "mountPath": "/x"}]},
            "Not found",
        ),
        ({"name": "a", "image": "i", "env": [{"name": "1=2"}]}, "env"),
        (
            {
                "name": "a",
                "image": "i",
                "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}},
            },
            "less than or equal to memory limit",
        ),
        ({"name": "a", "image": "i", "resources": {"limits": {"cpu": "-1"}}}, "equal to 0"),
    ],
)
async def test_a_wrong_container_is_rejected(
    http: ApiClient, container: dict[str, Any], word: str
) -> None:
    body = job(template={"spec": {"restartPolicy": "Never", "containers": [container]}})
    code, text = await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)
    assert code == 422
    assert word in text


async def test_a_text_that_is_no_quantity_is_rejected(http: ApiClient) -> None:
    container = {"name": "a", "image": "i", "resources": {"limits": {"cpu": "many"}}}
    body = job(template={"spec": {"restartPolicy": "Never", "containers": [container]}})
    code, text = await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)
    assert code == 400
    assert "quantities must match the regular expression" in text


async def raw(
    http: ApiClient,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = "application/json",
) -> tuple[int, str]:
    """The status code and text of a raw request."""
    rest = http.rest_client
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    response = await rest.request(method, http.configuration.host + path, headers, body)
    return response.status, (await response.read()).decode()


@pytest.mark.parametrize(
    ("subresource", "operation", "code"),
    [
        ("", {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}, 409),
        ("/status", {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}, 409),
        ("/status", {"op": "test", "path": "/metadata/uid", "value": "another"}, 422),
    ],
)
async def test_a_json_patch_with_an_old_version_conflicts(
    http: ApiClient,
    custom: CustomObjectsApi,
    subresource: str,
    operation: dict[str, str],
    code: int,
) -> None:
    """A version is set, not tested: a failed test gets 422, as a rule of the CRD does."""
    await custom.create_namespaced_custom_object(*CJ, conversion_job("a"))
    path = f"/apis/{CJ[0]}/{CJ[1]}/namespaces/{NAMESPACE}/{CJ[3]}/a{subresource}"
    patch = [operation, {"op": "add", "path": "/status", "value": {"phase": "Queued"}}]
    answer, text = await raw(http, "PATCH", path, patch, "application/json-patch+json")
    assert answer == code
    assert ("Conflict" if code == 409 else "Invalid") in text


# The schema of the custom resource


async def test_unknown_fields_are_pruned_or_rejected(http: ApiClient) -> None:
    path = f"/apis/{CJ[0]}/{CJ[1]}/namespaces/{NAMESPACE}/{CJ[3]}"
    body = conversion_job("a", prioritty=5)
    code, text = await raw(http, "POST", path, body)
    assert code == 201
    assert "prioritty" not in text
    code, text = await raw(http, "POST", f"{path}?fieldValidation=Strict", body)
    assert code == 400
    assert 'unknown field \\"spec.prioritty\\"' in text


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"conversionType": "video_to_gif"}, "spec.conversionType"),
        ({"priority": 101}, "spec.priority"),
        ({"priority": "5"}, "spec.priority"),
        ({"options": {"resolution": True}}, "spec.options.resolution"),
        ({"options": {"quality": "9" * 21}}, "spec.options.quality"),
        ({"inputFile": ""}, "spec.inputFile"),
    ],
)
async def test_the_schema_is_enforced(
    custom: CustomObjectsApi, spec: dict[str, Any], field: str
) -> None:
    error = await rejected(custom.create_namespaced_custom_object(*CJ, conversion_job("a", **spec)))
    assert error.status == 422
    assert field in str(error.body)


async def test_null_means_not_given(custom: CustomObjectsApi) -> None:
    body = conversion_job("a", priority=None, options={"resolution": None}, cancel=None)
    made: Any = await custom.create_namespaced_custom_object(*CJ, body)
    absent: Any = await custom.create_namespaced_custom_object(*CJ, conversion_job("b", options={}))
    body["metadata"]["name"] = "c"
    body["spec"]["inputFile"] = None
    error = await rejected(custom.create_namespaced_custom_object(*CJ, body))
    assert "spec.inputFile: Required value" in str(error.body)
    made["spec"]["inputFile"], made["spec"]["outputFile"] = "input/b.mov", "output/b.mp4"
    assert made["spec"] == absent["spec"]


async def test_int_or_string_takes_both(custom: CustomObjectsApi) -> None:
    for name, quality in (("a", 85), ("b", "85")):
        body = conversion_job(
            name, conversionType="image_resize", outputFile="o.jpg", options={"quality": quality}
        )
        await custom.create_namespaced_custom_object(*CJ, body)


async def test_a_missing_required_field(custom: CustomObjectsApi) -> None:
    body = conversion_job("a")
    del body["spec"]["inputFile"]
    error = await rejected(custom.create_namespaced_custom_object(*CJ, body))
    assert "spec.inputFile: Required value" in str(error.body)


async def test_duplicate_conditions_are_rejected(api: FakeApi, custom: CustomObjectsApi) -> None:
    api.create(conversion_job("a"))
    condition = {
        "type": "Finished",
        "status": "False",
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    twice = {"status": status("Queued", conditions=[condition, condition | {"status": "True"}])}
    error = await rejected(
        custom.patch_namespaced_custom_object_status(*CJ, "a", twice, _content_type=MERGE_PATCH)
    )
    assert "status.conditions[1]: Duplicate value" in str(error.body)
    condition["lastTransitionTime"] = "yesterday"
    wrong = {"status": status("Queued", conditions=[condition])}
    error = await rejected(
        custom.patch_namespaced_custom_object_status(*CJ, "a", wrong, _content_type=MERGE_PATCH)
    )
    assert "status.conditions[0].lastTransitionTime" in str(error.body)


@pytest.mark.fake_only("a real API server always validates")
async def test_an_old_invalid_field_does_not_block_a_status(
    api: FakeApi, custom: CustomObjectsApi
) -> None:
    api.create(conversion_job("old", conversionType="video_to_gif"), check=False)
    await custom.patch_namespaced_custom_object_status(
        *CJ, "old", {"status": status("Failed")}, _content_type=MERGE_PATCH
    )
    error = await rejected(
        custom.patch_namespaced_custom_object_status(
            *CJ, "old", {"status": status("Lost")}, _content_type=MERGE_PATCH
        )
    )
    assert error.status == 422


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"priority": 7}, 200),
        ({"ttlSecondsAfterFinished": 60}, 200),
        ({"cancel": True}, 200),
        ({"inputFile": "other.mov"}, 422),
        ({"timeoutSeconds": 5}, 422),
        ({"options": {"quality": "low"}}, 422),
    ],
)
async def test_only_some_of_the_spec_may_change(
    custom: CustomObjectsApi, patch: dict[str, Any], code: int
) -> None:
    await custom.create_namespaced_custom_object(*CJ, conversion_job("a"))
    call = custom.patch_namespaced_custom_object(
        *CJ, "a", {"spec": patch}, _content_type=MERGE_PATCH
    )
    if code == 200:
        made: Any = await call
        assert made["metadata"]["generation"] == 2
    else:
        assert (await rejected(call)).status == code


async def test_a_terminal_phase_never_changes(api: FakeApi, custom: CustomObjectsApi) -> None:
    api.create(conversion_job("a"))

    async def write(new: Any) -> int:
        try:
            await custom.patch_namespaced_custom_object_status(
                *CJ, "a", {"status": new}, _content_type=MERGE_PATCH
            )
        except ApiException as error:
            return int(error.status or 0)
        return 200

    assert await write(status("Running")) == 200
    assert await write(None) == 422
    assert await write({"phase": "Failed"}) == 200
    assert await write({"phase": "Running"}) == 422
    assert await write({"phase": None}) == 422
    assert await write({"reason": "DiskFull"}) == 200


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


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
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
    ],
)
async def test_paths_and_methods(http: ApiClient, method: str, path: str, code: int) -> None:
    body = job() if method in ("PUT", "POST") else None
    assert (await raw(http, method, path, body))[0] == code


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
    assert api.audit.writes_per_object() == {("jobs", NAMESPACE, "a"): 2}


async def test_an_object_that_is_too_large_is_rejected(api: FakeApi) -> None:
    container = {"name": "c", "image": "i", "args": ["y" * 1_600_000]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    with pytest.raises(StatusError, match="etcdserver: request is too large"):
        api.create(pod | {"spec": {"containers": [container]}})
    assert api.objects("pods") == []
