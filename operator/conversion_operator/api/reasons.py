"""The closed list of values of ``status.reason``: what each means and what to do about it.

The operator's own reasons are defined and explained here. The converter's are defined in
:mod:`media_converter.contract` and explained in :mod:`conversion_operator.api.converter_reasons`.
docs/reasons.md is generated from ``REASONS``. A test fails when the page is out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from conversion_operator.api.converter_reasons import CONVERTER_REASONS
from conversion_operator.api.explanations import DISRUPTION, FAILURE, REJECTED, START, Explanation


class Reason(StrEnum):
    """The reasons that the operator decides on. The converter reports the others."""

    # Not seen by an operator.
    PENDING = "Pending"
    # Waiting: there is no Job yet.
    WAITING_FOR_SLOT = "WaitingForSlot"
    PAUSED = "Paused"
    PATH_BUSY = "PathBusy"
    WAITING_FOR_INPUT = "WaitingForInput"
    CLAIM_MISSING = "ClaimMissing"
    RETRY_BACKOFF = "RetryBackoff"
    UNSUPPORTED_FIELD = "UnsupportedField"
    RESTORED = "Restored"
    CRD_OUTDATED = "CRDOutdated"
    SUSPENDED = "Suspended"
    QUEUE_MISSING = "QueueMissing"
    QUEUE_HELD = "QueueHeld"
    PROFILE_MISSING = "ProfileMissing"
    PROFILE_UNREADABLE = "ProfileUnreadable"
    # Waiting: somebody has suspended the Job.
    JOB_SUSPENDED = "JobSuspended"
    # Starting: the Job exists, the container has not started.
    STARTING = "Starting"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REJECTED = "PodRejected"
    VOLUME_NOT_READY = "VolumeNotReady"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    IMAGE_CHANGED = "ImageChanged"
    POD_SETTINGS_CHANGED = "PodSettingsChanged"
    # Running.
    RUNNING = "Running"
    CANCELLING = "Cancelling"
    NODE_UNREACHABLE = "NodeUnreachable"
    # Ended.
    PLANNED = "Planned"
    CANCELLED = "Cancelled"
    INVALID_SPEC = "InvalidSpec"
    PROFILE_INVALID = "ProfileInvalid"
    INPUT_NOT_MADE = "InputNotMade"
    INPUT_CYCLE = "InputCycle"
    QUEUE_TIMEOUT = "QueueTimeout"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    START_ERROR = "StartError"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    CONTAINER_KILLED = "ContainerKilled"
    REPORT_MISSING = "ReportMissing"
    JOB_NAME_TAKEN = "JobNameTaken"


_R = Reason

REASONS: Final[Mapping[str, Explanation]] = MappingProxyType(
    {
        _R.PENDING: Explanation(
            "No operator has seen the conversion yet.",
            "No action is needed during the first seconds, or minutes while thousands of "
            "conversions are created. If it stays, no operator serves the namespace: check that "
            "the operator runs, and that its setting `WATCH_NAMESPACES` contains the namespace.",
        ),
        _R.WAITING_FOR_SLOT: Explanation(
            "No slot is free for this conversion. A limit is reached: `CONVERTER_MAX_PARALLEL`, "
            "the limit of the ConversionQueue, or its limit for the namespace. Or the free slots "
            "are reserved for light conversions, or go to other namespaces first: see "
            "docs/queues.md. Or too many Jobs are suspended (see `JobSuspended`): the maximum is "
            "`CONVERTER_MAX_PARALLEL` or 10, whichever is larger.",
            "Starts automatically. `status.message` lists the limits that apply. To find the limit "
            "that is reached, use `kubectl conversion top`. Raise this limit, or raise "
            "`spec.priority` to move the conversion ahead of others in its namespace. If too many "
            "Jobs are suspended, resume them, or raise `CONVERTER_MAX_PARALLEL` above their "
            "number.",
        ),
        _R.PAUSED: Explanation(
            "`CONVERTER_ENABLED` is false, or a protective setting was invalid when the operator "
            "started (docs/settings.md lists these). Running conversions continue, but no "
            "queued conversion starts.",
            "Starts automatically after you set `CONVERTER_ENABLED` to `true` in the operator's "
            "ConfigMap, or correct the setting. Events on the ConfigMap name it.",
        ),
        _R.PATH_BUSY: Explanation(
            "Another conversion uses a file that this conversion writes. The other conversion has "
            "begun, and reads or writes the file. Or it is ahead in the queue, and will write it.",
            "Starts automatically when the other conversion ends. `status.message` names it. To "
            "start earlier, cancel the other conversion.",
        ),
        _R.WAITING_FOR_INPUT: Explanation(
            "Another conversion of the namespace will write the input of this one, and has not "
            "ended yet. It does not matter which of the two was created first.",
            "Starts automatically when the other conversion has ended and has made the file. "
            "`status.message` names the other conversion: see its status. If it ends without the "
            "file, this conversion fails as `InputNotMade`.",
        ),
        _R.CLAIM_MISSING: Explanation(
            "The namespace does not have the PersistentVolumeClaim that `SHARED_VOLUME_CLAIM` "
            "names.",
            "Starts automatically after you create the claim. Example: "
            "`deploy/namespace/claim.yaml`.",
        ),
        _R.RETRY_BACKOFF: Explanation(
            "The last attempt ended without success. The next attempt starts after a back-off.",
            "Starts automatically after the back-off. `status.attempts` shows why each attempt "
            "ended.",
        ),
        _R.UNSUPPORTED_FIELD: Explanation(
            "The spec has a field or a value that this release of the operator does not know. The "
            "CRD in the cluster is of a later release.",
            "Starts automatically after you upgrade the operator. An attempt that is already "
            "running continues. If a ConversionJob with such a field has already ended, the "
            "operator does not delete it before the upgrade, even after its time to live expires.",
        ),
        _R.RESTORED: Explanation(
            "The ConversionJob was restored from a backup without its status. It may already "
            "have ended before the backup, and its output may have changed since then. "
            "`CONVERTER_RESTORE_LABELS` names the "
            "labels of restored objects.",
            "Starts automatically after you remove the label: `kubectl -n NAMESPACE label convjob "
            "NAME velero.io/restore-name-`. If it must not start, delete it or set `spec.cancel`. "
            "To restore statuses with Velero, use `--status-include-resources "
            "conversionjobs.converter.mynetwork.io`.",
        ),
        _R.CRD_OUTDATED: Explanation(
            "The CRD in the cluster is older than the operator. The API server would drop a part "
            "of the status.",
            "Starts automatically after you update the CRDs to the version of the operator. With "
            "kustomize, run `kubectl apply --server-side --force-conflicts -f crds/`. With Helm, "
            "upgrade the Helm release that installs the CRDs.",
        ),
        _R.SUSPENDED: Explanation(
            "`spec.suspend` is true. An attempt that was running is stopped. It does not count as "
            "a retry.",
            "Starts automatically after you set `spec.suspend` to false: `kubectl -n NAMESPACE "
            'patch convjob NAME --type merge -p \'{"spec":{"suspend":false}}\'`.',
        ),
        _R.QUEUE_MISSING: Explanation(
            "`spec.queue` names a ConversionQueue that does not exist in the namespace of the "
            "operator.",
            "Starts automatically after the ConversionQueue is created, or after you change "
            "`spec.queue`. To list the queues: `kubectl -n OPERATOR_NAMESPACE get convqueue`.",
        ),
        _R.QUEUE_HELD: Explanation(
            "The ConversionQueue lets nothing start: its `spec.stopPolicy` is Hold or "
            "HoldAndDrain, its `spec.maxParallel` or its limit for this namespace is 0, or its "
            "spec cannot be read. With HoldAndDrain, an attempt that was running is stopped. It "
            "does not count as a retry.",
            "Starts automatically after an administrator changes the queue that `status.message` "
            "names, or after you change `spec.queue`.",
        ),
        _R.PROFILE_MISSING: Explanation(
            "`spec.profile` names a ConversionProfile that does not exist in the namespace of the "
            "conversion.",
            "Starts automatically after the ConversionProfile is created. The operator looks every "
            "10 seconds. To list the profiles: `kubectl -n NAMESPACE get convprofile`. To use "
            "another profile, create a new ConversionJob.",
        ),
        _R.PROFILE_UNREADABLE: Explanation(
            "The operator cannot read the ConversionProfile that `spec.profile` names. The "
            "operator may have no right to get conversionprofiles in the namespace, the CRD of "
            "ConversionProfiles may be missing, the API server may not answer, or a later release "
            "may have written the profile. `status.message` says which.",
            "Starts automatically when the profile can be read. Apply `crds/` and "
            "`deploy/namespace` of this release, or upgrade the operator.",
        ),
        _R.JOB_SUSPENDED: Explanation(
            "The `spec.suspend` of the Job itself is true. For example, Kueue or a person has set "
            "it: `status.message` says who, if this is known. The conversion holds no slot, and "
            "its Job stays. If it was running, it starts again from the beginning.",
            "Starts automatically when the Job is resumed. The wait counts neither "
            "towards `QueueTimeout` nor as a retry. With Kueue, look at the Workload of "
            "the Job. If a person has suspended it: `kubectl -n NAMESPACE patch job JOB -p "
            '\'{"spec":{"suspend":false}}\'`.',
        ),
        _R.STARTING: Explanation(
            "The Job exists, and its container has not started yet. If the phase is Queued, the "
            "container did not start in time: the operator has deleted the Job, and the next "
            "attempt follows after a back-off.",
            "No action is needed. If the container does not start in time: retried automatically "
            "until `QueueTimeout`.",
        ),
        _R.IMAGE_PULL_FAILED: Explanation(
            "The node cannot pull the image `CONVERTER_IMAGE`.",
            f"{START} Correct `CONVERTER_IMAGE`, or make the image available to the node.",
        ),
        _R.UNSCHEDULABLE: Explanation(
            "No node has enough free resources, or none meets the constraints of the pod. If "
            "another conversion could use the slot, the operator ends the attempt after "
            "`CONVERTER_UNSCHEDULABLE_SECONDS`, and tries again after a back-off. Otherwise the "
            "pod keeps waiting. After `CONVERTER_QUEUE_TIMEOUT_SECONDS`, the conversion fails as "
            "`QueueTimeout`.",
            f"{START} The back-off ends early when the pod of another conversion ends or a setting "
            "changes. Add a node or stop other pods. Or lower `spec.resources.requests` in a new "
            "ConversionJob.",
        ),
        _R.QUOTA_EXCEEDED: Explanation(
            "A ResourceQuota of the namespace does not allow the Job or its pod.",
            f"{REJECTED} Raise the quota, or wait until other pods end. Check: `kubectl -n "
            "NAMESPACE describe quota`.",
        ),
        _R.POD_REJECTED: Explanation(
            "The API server rejects the Job or its pod, or the operator cannot create the Job. "
            "`status.message` says why.",
            f"{REJECTED} Remove the cause that `status.message` names. For example, change a "
            "policy, or repair a webhook.",
        ),
        _R.VOLUME_NOT_READY: Explanation(
            "The node cannot attach or mount the shared volume.",
            f"{START} Check that the claim is bound and ReadWriteMany: `kubectl -n NAMESPACE get "
            "pvc`.",
        ),
        _R.CONTAINER_CONFIG_ERROR: Explanation(
            "The kubelet cannot create the container.",
            f"{START} The usual cause is the image or a resource limit. Check: `kubectl -n "
            "NAMESPACE describe pod POD`.",
        ),
        _R.IMAGE_CHANGED: Explanation(
            "`CONVERTER_IMAGE` changed before the container started.",
            "Retried automatically without limit, with the new image. No action is needed.",
        ),
        _R.POD_SETTINGS_CHANGED: Explanation(
            "`CONVERTER_POD_SETTINGS` changed before the container started.",
            "Retried automatically without limit, with the new settings. No action is needed.",
        ),
        _R.RUNNING: Explanation(
            "The converter is running.",
            "No action is needed. `status.progress` shows the progress.",
        ),
        _R.CANCELLING: Explanation(
            "`spec.cancel` is true. The converter is stopping.",
            "No action is needed. The conversion ends when its pod has stopped.",
        ),
        _R.NODE_UNREACHABLE: Explanation(
            "The node does not respond. The pod may still be running on it.",
            "The operator waits until Kubernetes deletes the pod, and then retries. If the pod "
            "still exists after `CONVERTER_LOST_SECONDS`, the conversion fails as `NodeLost`. To "
            "prevent the failure, restart the node, or shut it down and run `kubectl delete node "
            "NODE`.",
        ),
        _R.PLANNED: Explanation(
            "The conversion is a dry run, and `status.plan` says what it would make. No file was "
            "written.",
            "No action is needed. To convert the file, create a new ConversionJob without "
            "`spec.dryRun`.",
        ),
        _R.CANCELLED: Explanation(
            "`spec.cancel` was set before the conversion was complete. A conversion with one "
            "output has written nothing, unless its pod disappeared just after it had written the "
            "output. A conversion with several outputs has written those that `status.outputs` "
            "lists as Succeeded.",
            "Not retried. To convert the file, create a new ConversionJob.",
        ),
        _R.INVALID_SPEC: Explanation(
            "The spec exceeds a limit in the settings of the operator. Or the spec is invalid, but "
            "was stored before the current CRD was installed.",
            "Not retried. Correct the error that `status.message` names, or raise the setting that "
            "it names. Then create the ConversionJob again.",
        ),
        _R.PROFILE_INVALID: Explanation(
            "The ConversionProfile makes no valid outputs for this input. Its templates give two "
            "outputs the same path, give an output the path of the input, or give a path that is "
            "not allowed.",
            "Not retried. Correct the output of the ConversionProfile that `status.message` names, "
            "then create a new ConversionJob. Or list the outputs in `spec.outputs`.",
        ),
        _R.INPUT_NOT_MADE: Explanation(
            "Another conversion should have written the input of this one. It ended without that "
            "file, for example because it failed or was cancelled.",
            "Not retried. `status.message` names the other conversion, and its status says why it "
            "ended. Remove that cause. Then create a new ConversionJob for each of the two.",
        ),
        _R.INPUT_CYCLE: Explanation(
            "Several conversions wait for each other in a circle: each needs a file that the next "
            "one writes, or a path that the next one uses. So none of them could start. This "
            "conversion was created last, so it is the one that fails.",
            "Not retried. Create a new ConversionJob with another input or another output. The "
            "other conversions that `status.message` names continue.",
        ),
        _R.QUEUE_TIMEOUT: Explanation(
            "The container did not start within `CONVERTER_QUEUE_TIMEOUT_SECONDS`. The start "
            "timeouts and back-offs of consecutive attempts are added up. An unschedulable pod can "
            "use up this time in one attempt. Time spent waiting for a slot does not count.",
            "Not retried. Remove the cause that `status.message` names, then create a new "
            "ConversionJob.",
        ),
        _R.EVICTED: Explanation(
            "The pod was evicted, because its node was drained, shut down, or short of resources.",
            f"{DISRUPTION} If it still fails, check the node's disk and memory: `kubectl describe "
            "node NODE`.",
        ),
        _R.PREEMPTED: Explanation(
            "The scheduler removed the pod to make room for a pod of higher priority.",
            f"{DISRUPTION} If it still fails, add resources to the cluster.",
        ),
        _R.NODE_LOST: Explanation(
            "The node stopped responding while the pod was running on it.",
            "If Kubernetes deleted the pod within `CONVERTER_LOST_SECONDS`: retried "
            "automatically, up to 10 times. If it did not, the conversion has failed: create a "
            "new ConversionJob. If the old pod still exists, it may still write: first shut down "
            "its node, or use another output path. If `spec.suspend` or HoldAndDrain was "
            "stopping the attempt, `NodeLost` is only in `status.attempts`, and the conversion "
            "waits as `Suspended` or `QueueHeld`. If it is resumed while the old pod exists, it "
            "fails as `NodeLost`: see docs/queues.md.",
        ),
        _R.START_ERROR: Explanation(
            "The node could not start the container. The converter did not run.",
            f"{DISRUPTION} If it still fails, check the node and its container runtime: `kubectl "
            "describe node NODE`.",
        ),
        _R.POD_DELETED: Explanation(
            "The pod was deleted before the attempt ended.",
            f"{DISRUPTION} To stop a conversion, set `spec.cancel` instead of deleting its pod.",
        ),
        _R.JOB_DELETED: Explanation(
            "The Job was deleted before the attempt ended.",
            f"{DISRUPTION} To stop a conversion, set `spec.cancel` instead of deleting its Job.",
        ),
        _R.CONTAINER_KILLED: Explanation(
            "A signal killed the container, or the container exited with a code that the converter "
            "does not use.",
            f"{FAILURE} If it still fails, read the end of the log in `status.logs`.",
        ),
        _R.REPORT_MISSING: Explanation(
            "The container exited with code 0, but it reported no result, or no result for "
            "an output that is not optional.",
            f"{FAILURE} Check that `CONVERTER_IMAGE` is the converter of this release.",
        ),
        _R.JOB_NAME_TAKEN: Explanation(
            "Another Job already has the name that this attempt needs.",
            "Starts automatically after you delete the other Job: `kubectl -n NAMESPACE delete job "
            "JOB`.",
        ),
        **CONVERTER_REASONS,
    }
)

_PAGE = """\
# Reasons

`status.reason` says why a conversion is in its phase. This page lists all reasons. To see the
reason and the message of a conversion:

```sh
kubectl -n NAMESPACE get convjob NAME -o jsonpath='{.status.reason}: {.status.message}{"\\n"}'
```

The last column says what the operator does automatically, and then what you can do:

- **Starts automatically**: the conversion waits. It can start when the cause no longer exists.
- **Retried automatically without limit**: the operator creates a new Job, as often as this reason
  occurs. You can cancel the conversion.
- **Retried automatically until `QueueTimeout`**: an attempt whose container does not start within
  `CONVERTER_START_TIMEOUT_SECONDS` is ended and its slot is released. The next attempt follows
  after a back-off. If the start timeouts and back-offs of consecutive attempts add up to
  `CONVERTER_QUEUE_TIMEOUT_SECONDS`, the conversion fails as `QueueTimeout`. `Unschedulable` has
  other time limits: see its row.
- **Retried automatically, up to `spec.maxRetries` times**: the attempt failed. The default of
  `spec.maxRetries` is `CONVERTER_MAX_RETRIES`.
- **Retried automatically, up to 10 times**: the cluster ended the attempt. This does not count
  against `spec.maxRetries`.
- **Not retried**: the conversion has ended. You cannot change the paths and options in its spec.
  Remove the cause, then create a new ConversionJob. To repeat the same spec:
  `kubectl conversion retry NAME -n NAMESPACE`.

During the back-off before a retry, `status.reason` is `RetryBackoff`. If the container did not
start (the rows with "until `QueueTimeout`" and "without limit"), `status.reason` stays the reason
of that attempt, such as `ImagePullFailed`. `status.attempts` has the reason of each attempt. When
no retry is left, `status.reason` is the reason of the last attempt, or `QueueTimeout`.

In the commands, POD is `status.podName`, NODE is `status.nodeName`, and JOB is the Job that
`status.message` names. Names such as `CONVERTER_IMAGE` are [settings](settings.md).

`make crds` generates this page from `reasons.py`, `converter_reasons.py` and `explanations.py` in
`operator/conversion_operator/api`.

"""


def render_reasons() -> str:
    """docs/reasons.md: one row per reason, in the order of ``REASONS``."""
    rows = "\n".join(f"| `{r}` | {e.meaning} | {e.cure} |" for r, e in REASONS.items())
    return _PAGE + "| Reason | What it means | What to do |\n|---|---|---|\n" + rows + "\n"
