"""The API server validates manifests with the CRD, and explains every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conversion_operator.api.names import CONFIG_MAP
from tests.e2e.support.commands import ROOT, Kubectl, Result
from tests.e2e.support.conversions import NAMESPACE, Conversion, Conversions, manifest
from tests.e2e.support.watches import Watches
from tests.support.option_values import CASES, DECIMALS

VIDEO, AUDIO, IMAGE, THUMBNAIL = "video_to_mp4", "audio_to_mp3", "image_resize", "extract_thumbnail"


def rejection(kubectl: Kubectl, body: Any) -> str:
    """The error of `kubectl create` for a manifest; "" if it is accepted."""
    done = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=json.dumps(body))
    return done.err if done.code else ""


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (VIDEO, {"conversionType": "video_to_gif"}, 'spec.conversionType: Unsupported value: "v'),
        (VIDEO, {"conversionType": None}, "spec.conversionType: Required value"),
        (VIDEO, {"inputFile": None}, "spec.inputFile: Required value"),
        (VIDEO, {"outputFile": None}, "spec.outputFile: Required value"),
        (VIDEO, {"inputFile": "../etc/passwd"}, "inputFile must not contain . or .."),
        (VIDEO, {"inputFile": "a/../../b.mov"}, "inputFile must not contain . or .."),
        (VIDEO, {"outputFile": "output/./a.mp4"}, "outputFile must not contain . or .."),
        (VIDEO, {"inputFile": "input/"}, "spec.inputFile"),
        (VIDEO, {"inputFile": "a//b.mov"}, "inputFile must be the path of a file, such as input"),
        (VIDEO, {"inputFile": "a\x00b"}, "inputFile must be the path of a file, such as input"),
        (VIDEO, {"options": {"resolution": 1081}}, "options.resolution must be 240p, 360p"),
        (IMAGE, {"options": {"size": 800}}, "options.size must be WIDTHxHEIGHT"),
        (VIDEO, {"inputFile": ""}, "spec.inputFile"),
        (VIDEO, {"inputFile": "a" * 1025}, "spec.inputFile: Too long"),
        (VIDEO, {"inputFile": "a\nPhase: Failed.mov"}, "inputFile must not contain control"),
        (VIDEO, {"outputFile": "output/4pm.\u202egpj.mp4"}, "outputFile must not contain control"),
        (VIDEO, {"inputFile": "a.mp4", "outputFile": "/a.mp4"}, "must not be the inputFile"),
        (VIDEO, {"outputFile": "output/a.avi"}, "outputFile of video_to_mp4 must end in .mp4"),
        (AUDIO, {"outputFile": "output/a.mp4"}, "outputFile of audio_to_mp3 must end in .mp3"),
        (IMAGE, {"outputFile": "output/jpg"}, "outputFile of image_resize must end in .jpg"),
        (THUMBNAIL, {"outputFile": "a.gif"}, "outputFile of extract_thumbnail must end in .jpg"),
        (AUDIO, {"options": {"size": "640x480"}}, "options.size belongs to video_to_mp4"),
        (VIDEO, {"options": {"bitrate": "192k"}}, "options.bitrate belongs to audio_to_mp3"),
        (VIDEO, {"options": {"time": 1}}, "options.time belongs to extract_thumbnail only"),
        (AUDIO, {"options": {"quality": "high"}}, "options.quality belongs to video_to_mp4"),
        (AUDIO, {"options": {"resolution": "480p"}}, "options.resolution belongs to video_to_mp4"),
        (IMAGE, {"options": {"start": 1}}, "options.start belongs to video_to_mp4"),
        (THUMBNAIL, {"options": {"duration": 1}}, "options.duration belongs to video_to_mp4"),
        (IMAGE, {"options": {"size": "0x0"}}, "spec.options.size"),
        (IMAGE, {"options": {"size": "640"}}, "spec.options.size"),
        (IMAGE, {"options": {"size": "20000x1"}}, "options.size must be WIDTHxHEIGHT"),
        (IMAGE, {"options": {"quality": 101}}, "spec.options.quality"),
        (IMAGE, {"options": {"quality": 0}}, "spec.options.quality"),
        (IMAGE, {"options": {"quality": "101"}}, "spec.options.quality"),
        (IMAGE, {"options": {"quality": "medium"}}, "options.quality of image_resize and"),
        (VIDEO, {"options": {"quality": "best"}}, "spec.options.quality"),
        (
            VIDEO,
            {"options": {"quality": 85}},
            "options.quality of video_to_mp4 and video_to_webm must be low",
        ),
        (VIDEO, {"options": {"resolution": "700p"}}, "spec.options.resolution"),
        (AUDIO, {"options": {"bitrate": "999k"}}, "spec.options.bitrate"),
        (VIDEO, {"options": {"duration": 0}}, "audio_convert must be seconds"),
        (VIDEO, {"options": {"duration": "00:00:00"}}, "audio_convert must be seconds"),
        (VIDEO, {"options": {"start": "700000"}}, "options.start must be seconds"),
        (VIDEO, {"options": {"start": -1}}, "spec.options.start"),
        (VIDEO, {"options": {"start": "1:2"}}, "spec.options.start"),
        (THUMBNAIL, {"options": {"time": "soon"}}, "spec.options.time"),
        (VIDEO, {"options": {"start": 1.5}}, "spec.options.start"),
        (
            VIDEO,
            {"resources": {"limits": {"memory": "999999Ti"}}},
            "memory must be more than 0 and",
        ),
        (VIDEO, {"resources": {"limits": {"cpu": 100000}}}, "cpu must be more than 0 and less"),
        (
            VIDEO,
            {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": 1073741824}}},
            "resources.requests.memory must not be more than resources.limits.memory",
        ),
        (VIDEO, {"resources": {"requests": {"cpu": "0"}}}, "cpu must be more than 0 and less"),
        (VIDEO, {"overwrite": "no"}, "spec.overwrite"),
        (VIDEO, {"priority": 101}, "spec.priority"),
        (VIDEO, {"priority": "high"}, "spec.priority"),
        (VIDEO, {"timeoutSeconds": 0}, "spec.timeoutSeconds"),
        (VIDEO, {"maxRetries": 11}, "spec.maxRetries"),
        (VIDEO, {"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
        (VIDEO, {"cancel": "yes"}, "spec.cancel"),
        (VIDEO, {"resources": {"limits": {"memory": "lots"}}}, "spec.resources.limits.memory"),
        (VIDEO, {"notify": {}}, "spec.notify.url: Required value"),
        (VIDEO, {"notify": {"url": "ftp://a/"}}, "must begin with http:// or https://"),
        (VIDEO, {"notify": {"url": "https://u:p@a/"}}, "must not hold a user name"),
        (VIDEO, {"notify": {"url": "https://a/ b"}}, "spec.notify.url"),
        # kubectl validates strictly: a misspelt field is an error.
        (VIDEO, {"prioritty": 5}, 'unknown field "spec.prioritty"'),
        (VIDEO, {"options": {"qualty": "low"}}, 'unknown field "spec.options.qualty"'),
        (VIDEO, {"podTemplate": {}}, 'unknown field "spec.podTemplate"'),
    ],
)
def test_an_invalid_manifest_is_rejected_with_the_name_of_its_field(
    kubectl: Kubectl, kind: str, spec: dict[str, Any], said: str
) -> None:
    body = manifest("bad", kind)
    body["spec"] = {k: v for k, v in (body["spec"] | spec).items() if v is not None}
    assert said in rejection(kubectl, body)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (VIDEO, {"quality": "high", "resolution": "2160p", "start": "00:00:01.5", "duration": 90}),
        (AUDIO, {"bitrate": "320k", "start": "1.5", "duration": "10"}),
        (IMAGE, {"size": "16384x1", "quality": "100"}),
        (THUMBNAIL, {"time": "00:00:03.250", "size": "1x1", "quality": 1}),
    ],
)
def test_a_valid_manifest_is_accepted(kubectl: Kubectl, kind: str, options: dict[str, Any]) -> None:
    assert rejection(kubectl, manifest("good", kind, options=options)) == ""


def test_every_option_at_its_bounds(kubectl: Kubectl) -> None:
    """The rules as a real API server evaluates them; the unit tests have an evaluator instead."""
    cases = {f"case-{i}": case for i, case in enumerate((*CASES, *DECIMALS))}
    items = [case.manifest(name, NAMESPACE) for name, case in cases.items()]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    # Without kubectl's own validation: it rejects the whole list because of one wrong type.
    done = kubectl.attempt(
        *("create", "--dry-run=server", "--validate=ignore", "-o", "name", "-f", "-"),
        text=text,
        limit=300,
    )
    accepted = {line.rpartition("/")[2] for line in done.out.split()}
    wrong = [case for name, case in cases.items() if (name in accepted) != case.accepted]
    assert wrong == [], done.err


@pytest.fixture(scope="module")
def stored(
    kubectl: Kubectl, watches: Watches, volume: Any, run_folder: str
) -> Iterator[Conversion]:
    """A successful conversion with every field set."""
    conversions = Conversions(kubectl, watches, volume, run_folder)
    conversion = conversions.make(
        "stored",
        options={"quality": 80},
        timeoutSeconds=60,
        maxRetries=1,
        priority=1,
        ttlSecondsAfterFinished=3600,
        resources={"limits": {"memory": "512Mi"}},
        notify={"url": "http://not-allowed.example/"},
    )
    conversion.succeeded()
    # The operator waits ten minutes for the host to be allowed. A person may give up earlier.
    conversion.until(lambda s: s.get("notify", {}).get("state") == "Pending", "owed a callback")
    kubectl(
        *("-n", conversion.namespace, "patch", "convjob", conversion.name, "--subresource=status"),
        *("--type=merge", "-p", json.dumps({"status": {"notify": {"state": "GaveUp"}}})),
    )
    yield conversion
    conversions.remove()


def patched(conversion: Conversion, kind: str, patch: object, *flags: str) -> Result:
    return conversion.kubectl.attempt(
        *("-n", conversion.namespace, "patch", "convjob", conversion.name, "--dry-run=server"),
        *(f"--type={kind}", "-p", json.dumps(patch), *flags),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversionType", "extract_thumbnail"),
        ("inputFile", "input/other.jpg"),
        ("outputFile", "output/other.webp"),
        ("options", {"quality": 81}),
        ("options", None),
        ("timeoutSeconds", 61),
        ("timeoutSeconds", None),
        ("maxRetries", 2),
        ("maxRetries", None),
        ("resources", {"limits": {"memory": "513Mi"}}),
        ("resources", None),
        ("notify", {"url": "http://other.example/"}),
        ("notify", None),
    ],
)
def test_most_of_the_spec_is_immutable(stored: Conversion, field: str, value: object) -> None:
    done = patched(stored, "merge", {"spec": {field: value}})
    assert done.code
    assert f"{field} is immutable" in done.err


@pytest.mark.parametrize(
    "spec",
    [
        {"priority": 9},
        {"ttlSecondsAfterFinished": 1},
        {"suspend": True},
        {"suspend": False},
        {"cancel": True},
    ],
)
def test_some_fields_of_the_spec_are_mutable(stored: Conversion, spec: dict[str, object]) -> None:
    assert patched(stored, "merge", {"spec": spec}).code == 0


def test_a_cancel_cannot_be_undone(conversions: Conversions) -> None:
    done = conversions.make("cancelled-after-the-end", cancel=True)
    done.until_phase("Cancelled")
    for value in (False, None):
        rejected = patched(done, "merge", {"spec": {"cancel": value}})
        assert "cancel cannot be taken back" in rejected.err


@pytest.mark.parametrize(
    ("kind", "patch", "said"),
    [
        ("merge", {"status": {"phase": "Running"}}, "finished conversion may not change"),
        ("merge", {"status": {"phase": "Failed"}}, "finished conversion may not change"),
        ("merge", {"status": {"phase": "Finished"}}, "status.phase: Unsupported value"),
        ("json", [{"op": "remove", "path": "/status"}], "status may not be removed"),
        ("merge", {"status": {"notify": None}}, "status.notify may not be removed"),
        ("merge", {"status": {"notify": {"state": "Pending"}}}, "state may not change once it is"),
    ],
)
def test_the_end_of_a_conversion_is_immutable(
    stored: Conversion, kind: str, patch: object, said: str
) -> None:
    done = patched(stored, kind, patch, "--subresource=status")
    assert done.code
    assert said in done.err


def test_a_repeated_server_side_apply_changes_nothing(stored: Conversion, kubectl: Kubectl) -> None:
    spec = stored.body["spec"]
    body = {key: stored.body[key] for key in ("apiVersion", "kind")} | {
        "metadata": {"name": stored.name, "namespace": stored.namespace},
        "spec": spec,
    }
    for _ in range(2):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(body))
    now = kubectl.get("-n", stored.namespace, "convjob", stored.name)
    assert now["spec"] == spec
    assert now["metadata"]["generation"] == 1


@pytest.mark.parametrize("plural", ["conversionjobs", "conversionqueues"])
def test_every_field_is_explained(kubectl: Kubectl, plural: str) -> None:
    path = ROOT / "crds" / f"{plural}.converter.mynetwork.io.yaml"
    schema = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]
    properties = schema["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        text = kubectl("explain", f"{plural}.{part}", "--recursive=false")
        assert properties[part]["description"].split()[0] in text
        for name, field in properties[part]["properties"].items():
            assert f"  {name}\t" in text
            words = field["description"].split()
            assert " ".join(words[:3]) in " ".join(text.split()), name


def test_the_priority_is_explained(kubectl: Kubectl) -> None:
    assert "One step counts as one minute" in " ".join(kubectl("explain", "convjob.spec").split())


def test_short_name_and_category(stored: Conversion, kubectl: Kubectl) -> None:
    for name in ("convjob", "conversionjob", "conversionjobs", "mynetwork"):
        assert stored.name in kubectl("-n", stored.namespace, "get", name)


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        (
            "CONVERTER_MAX_PARALLEL",
            "four",
            "CONVERTER_MAX_PARALLEL is invalid. Allowed: 0 to 10000",
        ),
        ("WATCH_NAMESPACES", "my-network,B", "WATCH_NAMESPACES is invalid"),
        ("CONVERTER_ENABLED", "false", ""),
    ],
)
def test_an_invalid_setting_is_rejected_where_it_is_typed(
    kubectl: Kubectl, setting: str, text: str, said: str
) -> None:
    patch = json.dumps({"data": {setting: text}})
    done = kubectl.attempt(
        *("-n", "my-network-converter", "patch", "configmap", CONFIG_MAP, "--dry-run=server"),
        *("--type=merge", "-p", patch),
    )
    assert (done.code != 0) == bool(said)
    assert said in done.err


@pytest.mark.parametrize(("namespace", "warned"), [("default", True), (NAMESPACE, False)])
def test_kubectl_warns_about_a_namespace_that_nobody_serves(
    kubectl: Kubectl, namespace: str, warned: bool
) -> None:
    body = manifest("unserved", namespace=namespace)
    done = kubectl.attempt("create", "--dry-run=server", "-f", "-", text=json.dumps(body))
    assert done.code == 0, done.err
    assert ("No converter operator serves this namespace" in done.err) == warned
