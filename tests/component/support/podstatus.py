"""Pod objects, and their statuses as the scheduler and the kubelet write them."""

from __future__ import annotations

from typing import Any, Final

from tests.component.support.errors import Obj
from tests.component.support.scripts import Ending
from tests.component.support.strategies import TRACKING_FINALIZER

TERMINAL: Final = ("Succeeded", "Failed")
SANDBOX_READY: Final = ("PodReadyToStartContainers", "True")
"""The volumes are mounted and there is a network. Images are pulled later."""


def is_terminal(pod: Obj) -> bool:
    return pod.get("status", {}).get("phase") in TERMINAL


def from_job(job: Obj, namespace: str) -> Obj:
    """The pod that the Job controller creates."""
    template = job["spec"]["template"]
    meta, name = template.get("metadata", {}), job["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": namespace,
            "labels": dict(meta.get("labels", {})),
            "annotations": dict(meta.get("annotations", {})),
            "finalizers": [TRACKING_FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": name,
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def set_condition(
    holder: Obj, kind: str, status: str, stamp: str, reason: str = "", message: str = ""
) -> None:
    """Sets one condition in ``holder["conditions"]``. Its time changes only with its status."""
    conditions: list[Obj] = holder.setdefault("conditions", [])
    found = next((c for c in conditions if c["type"] == kind), None)
    if found is None:
        found = {"type": kind, "status": ""}
        conditions.append(found)
    if found["status"] != status:
        found["lastTransitionTime"] = stamp
    found["status"] = status
    for key, text in (("reason", reason), ("message", message)):
        if text:
            found[key] = text
        else:
            found.pop(key, None)


def condition(holder: Obj, kind: str) -> Obj | None:
    return next((c for c in holder.get("conditions") or [] if c["type"] == kind), None)


def _container(pod: Obj, state: Obj, **fields: Any) -> Obj:
    spec = pod["spec"]["containers"][0]
    before = (pod["status"].get("containerStatuses") or [{}])[0]
    return {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": before.get("imageID", ""),
        "ready": False,
        "started": False,
        "restartCount": 0,
        "lastState": {},
        **fields,
        "state": state,
    }


def schedule(pod: Obj, node: str, stamp: str) -> None:
    pod["spec"]["nodeName"] = node
    set_condition(pod["status"], "PodScheduled", "True", stamp)


def reject_schedule(pod: Obj, message: str, stamp: str) -> None:
    set_condition(pod["status"], "PodScheduled", "False", stamp, "Unschedulable", message)


def accept(pod: Obj, stamp: str) -> None:
    """The kubelet has accepted the pod: ContainerCreating."""
    status = pod["status"]
    status["startTime"] = stamp
    status["hostIP"] = "10.0.0.1"
    set_condition(status, "PodReadyToStartContainers", "False", stamp)
    set_condition(status, "Initialized", "True", stamp)
    unready(pod, stamp)
    wait_for(pod, "ContainerCreating", "")


def unready(pod: Obj, stamp: str, reason: str = "ContainersNotReady") -> None:
    for kind in ("Ready", "ContainersReady"):
        set_condition(pod["status"], kind, "False", stamp, reason)


def ready(pod: Obj, stamp: str) -> None:
    for kind in ("Ready", "ContainersReady"):
        set_condition(pod["status"], kind, "True", stamp)


def wait_for(pod: Obj, reason: str, message: str) -> None:
    waiting = {"reason": reason} | ({"message": message} if message else {})
    pod["status"]["containerStatuses"] = [_container(pod, {"waiting": waiting})]


def run(pod: Obj, stamp: str) -> None:
    status = pod["status"]
    status["phase"] = "Running"
    status["podIP"] = "10.244.0.5"
    for kind in ("PodReadyToStartContainers", "Ready", "ContainersReady"):
        set_condition(status, kind, "True", stamp)
    uid = pod["metadata"]["uid"].replace("-", "")
    state = {"running": {"startedAt": stamp}}
    fields: Obj = {
        "ready": True,
        "started": True,
        "imageID": "docker.io/library/my-converter@sha256:" + "0" * 64,
        "containerID": f"containerd://{uid}{uid}",
    }
    status["containerStatuses"] = [_container(pod, state, **fields)]


def started_at(pod: Obj) -> str | None:
    states = pod["status"].get("containerStatuses") or []
    running = states[0]["state"].get("running") if states else None
    return running["startedAt"] if running else None


def terminate(pod: Obj, ending: Ending, stamp: str) -> None:
    """The container has ended, and the pod with it."""
    status = pod["status"]
    began = started_at(pod)
    if began is None and ending.started:
        # The pod was deleted before it ran, so the kubelet has no container to report on.
        ending = Ending(
            137,
            "ContainerStatusUnknown",
            pod_reason=ending.pod_reason,
            pod_message=ending.pod_message,
            disruption=ending.disruption,
        )
    terminated: Obj = {
        "exitCode": ending.exit_code,
        "reason": ending.reason,
        "startedAt": began or stamp,
        "finishedAt": stamp,
    }
    if ending.message:
        terminated["message"] = ending.message[:4096]
    if ending.signal is not None:
        terminated["signal"] = ending.signal
    previous = (status.get("containerStatuses") or [{}])[0]
    fields = {k: previous[k] for k in ("containerID",) if k in previous}
    status["containerStatuses"] = [_container(pod, {"terminated": terminated}, **fields)]
    succeeded = ending.exit_code == 0 and not ending.pod_reason
    status["phase"] = "Succeeded" if succeeded else "Failed"
    reason = "PodCompleted" if succeeded else "PodFailed"
    unready(pod, stamp, reason)
    set_condition(status, "PodReadyToStartContainers", "False", stamp)
    if ending.pod_reason:
        status["reason"], status["message"] = ending.pod_reason, ending.pod_message
    if ending.disruption:
        disrupt(pod, ending.disruption, ending.pod_message, stamp)


def disrupt(pod: Obj, reason: str, message: str, stamp: str) -> None:
    set_condition(pod["status"], "DisruptionTarget", "True", stamp, reason, message)
