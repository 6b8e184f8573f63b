"""The scheduler, the kubelets, taint eviction and the pod garbage collector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.component.support import podstatus
from tests.component.support.clock import ServerClock, from_stamp
from tests.component.support.errors import Obj
from tests.component.support.kinds import CLAIMS, PODS
from tests.component.support.lifecycle import DeleteOptions
from tests.component.support.logs import PodLog
from tests.component.support.recorder import ACTOR, Recorder
from tests.component.support.scripts import Ending, Script, Stage
from tests.component.support.storage import Key, ObjectStorage

if TYPE_CHECKING:
    from tests.component.support.cluster import FakeCluster

_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_TOLERATION_SECONDS: Final = 300.0
_SIGTERM: Final = Ending(143, "Error")
_SIGKILL: Final = Ending(137, "Error")
_DEADLINE: Final = Ending(
    137,
    "Error",
    pod_reason="DeadlineExceeded",
    pod_message="Pod was active on the node longer than the specified deadline",
)


@dataclass(slots=True)
class Run:
    """The state of one pod beyond its object. Times are the server clock's.

    ``late_ending`` is how the container ended while its node was lost.
    """

    script: Script
    log: PodLog = field(default_factory=PodLog)
    obstructed_since: datetime | None = None
    backing_off: bool = False
    deleted_at: datetime | None = None
    lost_at: datetime | None = None
    late_ending: Ending | None = None


class Kubelet:
    """Does one step for one pod at a time."""

    def __init__(
        self, storage: ObjectStorage, clock: ServerClock, recorder: Recorder, cluster: FakeCluster
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._recorder = recorder
        self._cluster = cluster

    def sync(self, key: Key, pod: Obj, run: Run) -> None:
        """One step of the pod at ``key``."""
        node = pod["spec"].get("nodeName")
        deleting = "deletionTimestamp" in pod["metadata"]
        if node and self._cluster.is_lost(node):
            self._lose(key, pod, run)
        elif podstatus.is_terminal(pod):
            run.log.close()
            if deleting:
                self._remove(key)
        elif deleting:
            self._stop(key, pod, run)
        elif not node:
            self._schedule(key, pod, run)
        elif "startTime" not in pod["status"]:
            self._change(key, lambda p: podstatus.accept(p, self._clock.stamp()))
        elif podstatus.started_at(pod) is None:
            self._start(key, pod, run)
        else:
            self._run(key, pod, run)

    def finish(self, key: Key, ending: Ending, run: Run) -> None:
        """Ends the pod now."""
        if ending.deletion is not None:
            self._delete(key, ending)
            run.script = replace(run.script, on_sigterm=ending)
            return
        self._change(key, lambda p: podstatus.terminate(p, ending, self._clock.stamp()))
        run.log.close()

    # Steps

    def _schedule(self, key: Key, pod: Obj, run: Run) -> None:
        why = self._claim_problem(key[0], pod)
        obstacle = run.script.obstacle
        if why is None and obstacle is not None and obstacle.stage is Stage.UNSCHEDULED:
            why = obstacle.message if self._obstructed(key, run) else None
        node = self._cluster.pick_node(run.script) if why is None else None
        if why is None and node is None:
            why = "0/2 nodes are available: 2 node(s) were unschedulable."
        if node is None:
            text = why or ""
            already = podstatus.condition(pod["status"], "PodScheduled")
            self._change(key, lambda p: podstatus.reject_schedule(p, text, self._clock.stamp()))
            if already is None or already.get("message") != text:
                self._event(pod, "default-scheduler", "FailedScheduling", text, warning=True)
            return
        name: str = node
        self._change(key, lambda p: podstatus.schedule(p, name, self._clock.stamp()))
        text = f"Successfully assigned {key[0]}/{key[1]} to {name}"
        self._event(pod, "default-scheduler", "Scheduled", text)

    def _claim_problem(self, namespace: str, pod: Obj) -> str | None:
        for volume in pod["spec"].get("volumes") or []:
            name = volume.get("persistentVolumeClaim", {}).get("claimName")
            claim = self._storage.find(CLAIMS, namespace, name) if name else None
            if name and claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim is not None and "deletionTimestamp" in claim.obj["metadata"]:
                return f'persistentvolumeclaim "{name}" is being deleted'
            if claim is not None and claim.obj["status"].get("phase") != "Bound":
                return (
                    "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
                    "not found"
                )
        return None

    def _start(self, key: Key, pod: Obj, run: Run) -> None:
        obstacle = run.script.obstacle
        if obstacle is not None and obstacle.stage is Stage.CREATING and self._obstructed(key, run):
            self._obstruct(key, pod, run)
            return
        ending = run.script.ending
        if not ending.started:
            self._event(pod, "kubelet", "Failed", f"Error: {ending.message}", warning=True)
            self.finish(key, ending, run)
            return
        self._change(key, lambda p: podstatus.run(p, self._clock.stamp()))
        container = pod["spec"]["containers"][0]["name"]
        self._event(pod, "kubelet", "Started", f"Started container {container}")
        run.log.write(self._clock.now(), run.script.logs)

    def _obstruct(self, key: Key, pod: Obj, run: Run) -> None:
        obstacle = run.script.obstacle
        assert obstacle is not None
        if obstacle.reason.startswith("Failed"):
            if not run.backing_off:
                self._event(pod, "kubelet", obstacle.reason, obstacle.message, warning=True)
            run.backing_off = True
            return
        stamp = self._clock.stamp()
        self._change(
            key, lambda p: podstatus.set_condition(p["status"], *podstatus.SANDBOX_READY, stamp)
        )
        if obstacle.reason == "ImagePullBackOff" and not run.backing_off:
            # The kubelet reports the error of the first try, and backs off only then.
            run.backing_off = True
            text = f"{obstacle.message}: failed to resolve reference: not found"
            self._change(key, lambda p: podstatus.wait_for(p, "ErrImagePull", text))
            self._event(pod, "kubelet", "Failed", "Error: ErrImagePull", warning=True)
        elif obstacle.reason:
            reason, text = obstacle.reason, obstacle.message
            self._change(key, lambda p: podstatus.wait_for(p, reason, text))

    def _obstructed(self, key: Key, run: Run) -> bool:
        """Whether the script's obstacle is still there. Sets the alarm for its end."""
        obstacle = run.script.obstacle
        assert obstacle is not None
        now = self._clock.now()
        run.obstructed_since = run.obstructed_since or now
        if obstacle.seconds is None:
            return True
        due = run.obstructed_since + timedelta(seconds=obstacle.seconds)
        return not self._due(key, due)

    def _run(self, key: Key, pod: Obj, run: Run) -> None:
        deadline = pod["spec"].get("activeDeadlineSeconds")
        if deadline is not None:
            due = from_stamp(pod["status"]["startTime"]) + timedelta(seconds=deadline)
            if self._due(key, due):
                self._event(pod, "kubelet", "DeadlineExceeded", _DEADLINE.pod_message)
                self.finish(key, _DEADLINE, run)
                return
        if run.late_ending is not None:
            self.finish(key, run.late_ending, run)
            return
        ready = podstatus.condition(pod["status"], "Ready")
        if ready is not None and ready["status"] != "True":
            self._change(key, lambda p: podstatus.ready(p, self._clock.stamp()))
            return
        if run.script.hold:
            return
        began = from_stamp(podstatus.started_at(pod) or "")
        if self._due(key, began + timedelta(seconds=run.script.run_seconds)):
            self.finish(key, run.script.ending, run)

    def _stop(self, key: Key, pod: Obj, run: Run) -> None:
        """SIGTERM, and SIGKILL once the grace period is over."""
        now = self._clock.now()
        grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
        if run.deleted_at is None:
            run.deleted_at = now
            if podstatus.started_at(pod) is not None:
                container = pod["spec"]["containers"][0]["name"]
                self._event(pod, "kubelet", "Killing", f"Stopping container {container}")
        wanted = run.script.stop_seconds
        if not self._due(key, run.deleted_at + timedelta(seconds=min(wanted, grace))):
            return
        ending = run.script.on_sigterm or _SIGTERM
        if wanted > grace:
            ending = _SIGKILL
        if run.late_ending is not None:
            ending = run.late_ending
        self.finish(key, replace(ending, deletion=None), run)

    def _lose(self, key: Key, pod: Obj, run: Run) -> None:
        """The kubelet does not answer: the control plane can only mark and delete the object."""
        stamp = self._clock.stamp()
        run.lost_at = run.lost_at or self._clock.now()
        if podstatus.is_terminal(pod) or "deletionTimestamp" in pod["metadata"]:
            return
        ready = podstatus.condition(pod["status"], "Ready")
        if ready is not None and ready["status"] == "True":
            self._change(key, lambda p: podstatus.unready(p, stamp, "NodeNotReady"))
            return
        seconds = _toleration(pod)
        if seconds is not None and self._due(key, run.lost_at + timedelta(seconds=seconds)):
            message = "Taint manager: deleting due to NoExecute taint"
            ending = Ending(deletion="DeletionByTaintManager", pod_message=message)
            self._delete(key, ending)

    # Helpers

    def _delete(self, key: Key, ending: Ending) -> None:
        if ending.deletion:
            reason, text, stamp = ending.deletion, ending.pod_message, self._clock.stamp()
            self._change(key, lambda p: podstatus.disrupt(p, reason, text, stamp))
        self._storage.delete(PODS, *key, DeleteOptions(), ACTOR)

    def _remove(self, key: Key) -> None:
        self._storage.delete(PODS, *key, DeleteOptions(grace=0), ACTOR)

    def _due(self, key: Key, moment: datetime) -> bool:
        if self._clock.now() >= moment:
            return True
        self._cluster.wake_at(PODS, key, moment)
        return False

    def _change(self, key: Key, change: Callable[[Obj], None]) -> None:
        self._storage.mutate(PODS, *key, change, ACTOR)

    def _event(
        self, pod: Obj, component: str, reason: str, message: str, *, warning: bool = False
    ) -> None:
        self._recorder.record(pod, component, reason, message, warning=warning)


def _toleration(pod: Obj) -> float | None:
    """How many seconds a pod stays on an unreachable node; None for ever."""
    for toleration in pod["spec"].get("tolerations") or []:
        if toleration.get("key") in (_UNREACHABLE, None) and toleration.get("effect") in (
            "NoExecute",
            None,
        ):
            seconds: float | None = toleration.get("tolerationSeconds")
            return seconds
    return _TOLERATION_SECONDS
