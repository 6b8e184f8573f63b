"""Decoding, defaults and validation of each resource type, applied before objects are stored."""

from __future__ import annotations

from typing import Final

from tests.component.support import builtin, metadata, podspec, schema
from tests.component.support.errors import Obj, unmodelled
from tests.component.support.kinds import (
    CLAIMS,
    CONFIGMAPS,
    CONVERSIONJOBS,
    CONVERSIONPROFILES,
    CONVERSIONQUEUES,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    Kind,
)
from tests.component.support.metadata import Causes

JOB_NAME_LABELS: Final = ("batch.kubernetes.io/job-name", "job-name")
JOB_UID_LABELS: Final = ("batch.kubernetes.io/controller-uid", "controller-uid")
TRACKING_FINALIZER: Final = "batch.kubernetes.io/job-tracking"


class Strategy:
    """Decoding, defaults and validation, with the schemas of the CRDs if there are any."""

    def __init__(
        self,
        custom: schema.CustomSchema | None = None,
        queues: schema.CustomSchema | None = None,
        profiles: schema.CustomSchema | None = None,
    ) -> None:
        self.custom = custom
        self._others = {CONVERSIONQUEUES: queues, CONVERSIONPROFILES: profiles}

    def schema_of(self, kind: Kind) -> schema.CustomSchema | None:
        """The schema of a custom resource."""
        return self.custom if kind is CONVERSIONJOBS else self._others.get(kind)

    def decode(self, kind: Kind, obj: Obj) -> tuple[Obj, list[str]]:
        """The object with the fields of its type only, and the paths of the dropped fields."""
        if not kind.custom:
            decoded, dropped = builtin.decode(kind, obj)
            return metadata.shape(kind, decoded), dropped
        shaped = metadata.shape(kind, obj)
        custom = self.schema_of(kind)
        return custom.prune(shaped) if custom else (shaped, [])

    def set_defaults(self, kind: Kind, obj: Obj) -> None:
        """Sets the defaults of a custom resource, in place, as each read of a stored object does.

        So a ConversionJob without a status has the default of the CRD.
        """
        if custom := self.schema_of(kind):
            custom.set_defaults(obj)

    def prepare_create(self, kind: Kind, obj: Obj) -> None:
        """Sets defaults, in place. The server has already set its metadata."""
        if "status" in kind.subresources:
            obj.pop("status", None)
        if kind is JOBS:
            _default_job(obj)
        elif kind is PODS:
            podspec.set_defaults(obj.setdefault("spec", {}))
            obj["status"] = {"phase": "Pending", "qosClass": "Burstable"}
        elif kind is NAMESPACES:
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj[
                "metadata"
            ]["name"]
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
        elif kind is EVENTS:
            # Go always writes this field, so clients must accept null.
            obj.setdefault("eventTime", None)
        elif kind is CLAIMS:
            obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            obj["status"] = {"phase": "Pending"}

    def prepare_update(self, kind: Kind, new: Obj, old: Obj, subresource: str) -> Obj:
        """The object to be stored. Each subresource changes only its own part."""
        if "status" not in kind.subresources:
            return new
        if subresource == "status":
            # The status subresource of a custom resource changes nothing else, except who manages
            # the fields. That of a built-in resource also changes metadata.
            managed = {k: v for k, v in new["metadata"].items() if k == "managedFields"}
            meta = old["metadata"] | managed if kind.custom else new["metadata"]
            kept = old | {"metadata": meta}
            return _with_status(kept, new)
        return _with_status(new, old)

    def causes(self, kind: Kind, obj: Obj, old: Obj | None = None) -> Causes:
        """The errors for which the server rejects an object."""
        found = metadata.causes(kind, obj)
        if custom := self.schema_of(kind):
            found += custom.causes(obj, old)
        if kind is CONVERSIONJOBS and old is not None:
            found += schema.transition_causes(old, obj)
        if kind is JOBS:
            found += _job_causes(obj, old)
        elif kind is PODS:
            found += _pod_causes(obj, old)
        elif kind is EVENTS:
            found += _event_causes(obj)
        elif kind is LEASES:
            found += _lease_causes(obj)
        elif kind is CONFIGMAPS:
            found += _configmap_causes(obj)
        elif kind is CLAIMS and old is not None and obj.get("spec") != old.get("spec"):
            found.append(("spec", "Forbidden: spec is immutable after creation"))
        return found


def _with_status(base: Obj, source: Obj) -> Obj:
    merged = {key: value for key, value in base.items() if key != "status"}
    if "status" in source:
        merged["status"] = source["status"]
    return merged


def _default_job(job: Obj) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("manualSelector"):
        raise unmodelled("Jobs with a selector of their own")
    spec.setdefault("parallelism", 1)
    spec.setdefault("completions", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", policy)
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels |= dict.fromkeys(JOB_UID_LABELS, uid) | dict.fromkeys(JOB_NAME_LABELS, name)
    spec["selector"] = {"matchLabels": {JOB_UID_LABELS[0]: uid}}
    # A Job's labels default to those of its template.
    job["metadata"].setdefault("labels", dict(labels))
    podspec.set_defaults(template.setdefault("spec", {}))
    job["status"] = {}


def _job_causes(job: Obj, old: Obj | None) -> Causes:
    spec = job["spec"]
    template = spec.get("template", {})
    found = metadata.label_causes(
        template.get("metadata", {}).get("labels"), "spec.template.labels"
    )
    found += podspec.causes(template.get("spec", {}), "spec.template.spec")
    if template.get("spec", {}).get("restartPolicy") not in ("Never", "OnFailure"):
        found.append(
            (
                "spec.template.spec.restartPolicy",
                'Required value: valid values: "OnFailure", "Never"',
            )
        )
    for key in ("parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(key, 0) < 0:
            found.append((f"spec.{key}", "Invalid value: must be greater than or equal to 0"))
    if spec.get("podFailurePolicy") and spec["podReplacementPolicy"] != "Failed":
        found.append(("spec.podReplacementPolicy", "Unsupported value: must be Failed"))
    if old is not None:
        found += [
            (f"spec.{key}", "Invalid value: field is immutable")
            for key in ("template", "selector", "completionMode", "completions")
            if spec.get(key) != old["spec"].get(key)
        ]
    return found


def _pod_causes(pod: Obj, old: Obj | None) -> Causes:
    if old is None:
        return podspec.causes(pod["spec"], "spec")
    if podspec.immutable_part(pod["spec"]) != podspec.immutable_part(old["spec"]):
        return [("spec", "Forbidden: pod updates may not change fields other than the image")]
    return []


def _event_causes(event: Obj) -> Causes:
    found: Causes = []
    involved = event.get("involvedObject", {}).get("namespace", "")
    namespace = event["metadata"]["namespace"]
    if involved != namespace and not (involved == "" and namespace == "default"):
        problem = f'Invalid value: "{involved}": does not match event.namespace'
        found.append(("involvedObject.namespace", problem))
    if event.get("eventTime"):
        for key, limit in (
            ("reportingComponent", 253),
            ("reportingInstance", 128),
            ("action", 128),
        ):
            value = event.get(key, "")
            if not value or len(value) > limit:
                found.append((key, f"Required value: up to {limit} characters"))
        if len(event.get("message", "")) > 1024:
            found.append(("message", "Invalid value: can have at most 1024 characters"))
        if len(event.get("reason", "")) > 128 or not event.get("reason"):
            found.append(("reason", "Required value: up to 128 characters"))
        if event.get("type") not in ("Normal", "Warning"):
            found.append(("type", f'Invalid value: "{event.get("type", "")}"'))
    return found


def _lease_causes(lease: Obj) -> Causes:
    spec = lease.get("spec", {})
    found: Causes = []
    if spec.get("leaseDurationSeconds", 1) <= 0:
        found.append(("spec.leaseDurationSeconds", "Invalid value: must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        found.append(("spec.leaseTransitions", "Invalid value: must not be negative"))
    return found


def _configmap_causes(configmap: Obj) -> Causes:
    size = sum(len(str(value)) for value in (configmap.get("data") or {}).values())
    if size > 1024 * 1024:
        return [("", "Too long: may not be more than 1048576 bytes")]
    return []


_OLD_TO_NEW: Final = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)


def event_from_new(event: Obj) -> Obj:
    """The core Event for an events.k8s.io Event; both are views of the same object."""
    names = {new: old for old, new in _OLD_TO_NEW}
    renamed = {names.get(key, key): value for key, value in event.items()}
    return renamed | {"apiVersion": EVENTS.api_version}


def event_to_new(event: Obj) -> Obj:
    """The reverse of ``event_from_new``."""
    names = dict(_OLD_TO_NEW)
    renamed = {names.get(key, key): value for key, value in event.items()}
    return renamed | {"apiVersion": "events.k8s.io/v1"}
