"""The in-process API server stores and rejects objects as the real one does."""

from __future__ import annotations

from typing import Any, Final

import pytest
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    BatchV1Api,
    CoreV1Api,
    CustomObjectsApi,
)

from tests.component.raw_objects import (
    CJ,
    EMPTY,
    MERGE_PATCH,
    job,
    raw,
    rejected,
    status,
)
from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged


# Names


NAMES: Final[list[Any]] = [
    ("a.b-c", 201),
    ("A", 422),
    ("a_b", 422),
    ("-a", 422),
    ("a" * 253, 201),
    ("a" * 254, 422),
]


async def test_names_are_dns_subdomains(custom: CustomObjectsApi) -> None:
    for name, code in NAMES:
        call = custom.create_namespaced_custom_object(*CJ, conversion_job(name))
        if code == 201:
            await call
        else:
            assert (await rejected(call)).status == code, name


@pytest.mark.parametrize(("length", "good"), [(63, True), (64, False)])
async def test_a_job_name_must_fit_a_label(batch: BatchV1Api, length: int, good: bool) -> None:
    call = batch.create_namespaced_job(NAMESPACE, job("a" * length))
    if good:
        await call
    else:
        error = await rejected(call)
        assert error.status == 422
        assert "spec.template.labels" in str(error.body)


LABELS: Final[list[Any]] = [
    ({"a/b": "C.d_e-f"}, True),
    ({"a": ""}, True),
    ({"a": "x" * 63}, True),
    ({"a": "x" * 64}, False),
    ({"a": "-x"}, False),
    ({"a": "a b"}, False),
    ({"a/b/c": "x"}, False),
    ({"Ä": "x"}, False),
]


async def test_label_rules(custom: CustomObjectsApi) -> None:
    for number, (labels, good) in enumerate(LABELS):
        body = conversion_job("a", metadata={"name": f"a{number}", "labels": labels})
        call = custom.create_namespaced_custom_object(*CJ, body)
        if good:
            await call
        else:
            assert (await rejected(call)).status == 422, labels


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


WRONG_CONTAINERS: Final[list[Any]] = [
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
]


async def test_a_wrong_container_is_rejected(http: ApiClient) -> None:
    for container, word in WRONG_CONTAINERS:
        body = job(template={"spec": {"restartPolicy": "Never", "containers": [container]}})
        code, text = await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)
        assert code == 422, container
        assert word in text


async def test_a_text_that_is_no_quantity_is_rejected(http: ApiClient) -> None:
    container = {"name": "a", "image": "i", "resources": {"limits": {"cpu": "many"}}}
    body = job(template={"spec": {"restartPolicy": "Never", "containers": [container]}})
    code, text = await raw(http, "POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)
    assert code == 400
    assert "quantities must match the regular expression" in text


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


WRONG_SPECS: Final[list[Any]] = [
    ({"conversionType": "video_to_gif"}, "spec.conversionType"),
    ({"priority": 101}, "spec.priority"),
    ({"priority": "5"}, "spec.priority"),
    ({"options": {"resolution": True}}, "spec.options.resolution"),
    ({"options": {"quality": "9" * 21}}, "spec.options.quality"),
    ({"inputFile": ""}, "spec.inputFile"),
]


async def test_the_schema_is_enforced(custom: CustomObjectsApi) -> None:
    for spec, field in WRONG_SPECS:
        body = conversion_job("a", **spec)
        error = await rejected(custom.create_namespaced_custom_object(*CJ, body))
        assert error.status == 422, spec
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
