"""Turns Jobs and pods with our labels into values.

The container of the converter is found by its name, and an owner by its kind and API group.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from conversion_operator.api import names
from conversion_operator.cluster.fields import NAME_MAX, number_of, parse_time, text_of
from conversion_operator.cluster.objects import Body
from conversion_operator.core.children import (
    CONVERSION_KIND,
    JOB_KIND,
    Controller,
    Job,
    Pod,
    Suspension,
    Terminated,
)
from conversion_operator.core.manifest import CONTAINER
from conversion_operator.core.model import EPOCH, IMAGE_MAX_LENGTH

_MARK_MAX: Final = 65
"""The longest mark that is kept. A valid mark has 64 characters, so a mark that was cut is too long
to be valid."""


def parse_job(body: Body) -> Job:
    """Parse a Job with our labels."""
    meta = body["metadata"]
    labels = meta.get("labels") or {}
    ended = next(
        (
            condition
            for condition in _conditions(body)
            if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        ),
        {},
    )
    template = (body.get("spec") or {}).get("template") or {}
    container = _converter((template.get("spec") or {}).get("containers"))
    annotations = meta.get("annotations") or {}
    # Jobs of former releases do not have this annotation.
    requested = annotations.get(names.IMAGE_ANNOTATION)
    return Job(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        conversion_uid=labels.get(names.UID_LABEL, ""),
        attempt=number_of(labels.get(names.ATTEMPT_LABEL)),
        created=parse_time(meta.get("creationTimestamp")) or EPOCH,
        controller=_controller(meta),
        mark=_mark(meta),
        queue=_queue(meta),
        managed=labels.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY,
        deletion_timestamp=parse_time(meta.get("deletionTimestamp")),
        finished=ended.get("type"),
        finished_at=parse_time(ended.get("lastTransitionTime")),
        failure=text_of(ended.get("reason"), NAME_MAX) if ended.get("type") == "Failed" else "",
        image=text_of(requested or container.get("image"), IMAGE_MAX_LENGTH),
        suspension=_parse_suspension(body),
        pod_settings=text_of(annotations.get(names.POD_SETTINGS_ANNOTATION), NAME_MAX),
        has_no_pod=_has_no_pod(body.get("status") or {}),
    )


def _has_no_pod(status: Body) -> bool:
    """True if the Job controller has begun with the Job, and counts no pod of it.

    It writes startTime and the counts after it has tried to create the pod.
    """
    counts = ("active", "terminating", "succeeded", "failed")
    uncounted = status.get("uncountedTerminatedPods") or {}
    return bool(status.get("startTime")) and not any(
        (*(status.get(count) for count in counts), *uncounted.values())
    )


def parse_pod(body: Body) -> Pod:
    """Parse a pod with our labels."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    scheduled = _condition(body, "PodScheduled")
    disrupted = _condition(body, "DisruptionTarget")
    has_node = scheduled.get("status") == "True"
    state = _converter(status.get("containerStatuses")).get("state") or {}
    waiting, running = state.get("waiting") or {}, state.get("running") or {}
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        conversion_uid=labels.get(names.UID_LABEL, ""),
        job_name=labels.get("batch.kubernetes.io/job-name", ""),
        attempt=number_of(labels.get(names.ATTEMPT_LABEL)),
        created=parse_time(meta.get("creationTimestamp")) or EPOCH,
        controller=_controller(meta),
        mark=_mark(meta),
        queue=_queue(meta),
        managed=labels.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY,
        phase=text_of(status.get("phase")) or "Pending",
        reason=text_of(status.get("reason")),
        message=text_of(status.get("message")),
        node=text_of((body.get("spec") or {}).get("nodeName")),
        deletion_timestamp=parse_time(meta.get("deletionTimestamp")),
        unschedulable=(
            text_of(scheduled.get("message")) or "no node fits"
            if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
            else ""
        ),
        waiting_reason=text_of(waiting.get("reason")),
        waiting_message=text_of(waiting.get("message")),
        running_since=parse_time(running.get("startedAt")),
        terminated=_parse_terminated(state.get("terminated")),
        disruption=text_of(disrupted.get("reason")) if disrupted.get("status") == "True" else "",
        disruption_message=text_of(disrupted.get("message")),
        scheduled_at=parse_time(scheduled.get("lastTransitionTime")) if has_node else None,
        has_sandbox=_condition(body, "PodReadyToStartContainers").get("status") == "True",
    )


def _controller(meta: Body) -> Controller | None:
    """The controller of an object. None if it has none.

    Only the kinds of our own chain get their short name: another API group may have a kind
    of the same name.
    """
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            group, _, _ = str(owner.get("apiVersion")).rpartition("/")
            kind = text_of(owner.get("kind"))
            known = (group, kind) in ((names.GROUP, CONVERSION_KIND), ("batch", JOB_KIND))
            kind = kind if known else f"{group}/{kind}"
            return Controller(text_of(kind, NAME_MAX), text_of(owner.get("uid"), NAME_MAX))
    return None


def _mark(meta: Body) -> str:
    return text_of((meta.get("annotations") or {}).get(names.MARK_ANNOTATION), _MARK_MAX)


def _queue(meta: Body) -> str:
    found = text_of((meta.get("annotations") or {}).get(names.QUEUE_ANNOTATION), NAME_MAX)
    return sys.intern(found)


def _converter(containers: Iterable[Body] | None) -> Body:
    """The converter among containers or their statuses.

    An admission webhook may add other containers, in any place.
    """
    return next((c for c in containers or () if c.get("name") == CONTAINER), {})


def _parse_terminated(body: Body | None) -> Terminated | None:
    if not body:
        return None
    return Terminated(
        exit_code=body.get("exitCode", -1),
        reason=text_of(body.get("reason")),
        message=text_of(body.get("message")),
        started_at=parse_time(body.get("startedAt")),
        finished_at=parse_time(body.get("finishedAt")),
    )


def _parse_suspension(body: Body) -> Suspension:
    """What the Job says about being suspended. The operator creates no Job as suspended."""
    meta, condition = body["metadata"], _condition(body, "Suspended")
    since = parse_time(condition.get("lastTransitionTime")) or EPOCH
    active = (body.get("spec") or {}).get("suspend") is True
    # The API server counts changes of the spec, and the deletion.
    changes = meta.get("generation", 1) - 1 - ("deletionTimestamp" in meta)
    return Suspension(
        active=active,
        from_start=active and changes == 0,
        observed_at=since if condition.get("status") == "True" else None,
        resumed_at=since if condition.get("status") == "False" else None,
        manager=_manager_of_suspend(meta) if active and changes else "",
    )


def _manager_of_suspend(meta: Body) -> str:
    """The field manager that set spec.suspend last. "" if it is not known, or is the operator."""
    setters = []
    for entry in meta.get("managedFields") or ():
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        # The operator created the Job, so it also manages the template.
        if "f:suspend" in spec and "f:template" not in spec:
            setters.append(entry)
    latest: Body = max(setters, key=lambda entry: text_of(entry.get("time")), default={})
    return text_of(latest.get("manager"), NAME_MAX)


def _conditions(body: Body) -> Iterable[Body]:
    return (body.get("status") or {}).get("conditions") or ()


def _condition(body: Body, kind: str) -> Body:
    return next((c for c in _conditions(body) if c.get("type") == kind), {})
