"""The closed list of reasons in ``status.reason``, each with its meaning and its cure.

The converter's own reasons come from :mod:`media_converter.contract`; those of the operator are
here. docs/reasons.md is made from ``REASONS``, and a test fails when the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from media_converter.contract import ExitReason


class Reason(StrEnum):
    """Reasons the operator gives by itself."""

    # Waiting, without a Job.
    WAITING_FOR_SLOT = "WaitingForSlot"
    PAUSED = "Paused"
    PATH_BUSY = "PathBusy"
    CLAIM_MISSING = "ClaimMissing"
    RETRY_BACKOFF = "RetryBackoff"
    # A Job exists, its container does not run yet.
    STARTING = "Starting"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REJECTED = "PodRejected"
    VOLUME_NOT_READY = "VolumeNotReady"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    IMAGE_CHANGED = "ImageChanged"
    # Under way.
    RUNNING = "Running"
    CANCELLING = "Cancelling"
    NODE_UNREACHABLE = "NodeUnreachable"
    # Ended.
    CANCELLED = "Cancelled"
    INVALID_SPEC = "InvalidSpec"
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


class Explanation(NamedTuple):
    """What a reason means and what to do about it, in the words of the person who reads it."""

    meaning: str
    cure: str


_R = Reason
_C = ExitReason

REASONS: Final[Mapping[str, Explanation]] = MappingProxyType(
    {
        _R.WAITING_FOR_SLOT: Explanation(
            "The parallel limit is reached; the conversion waits for its turn.",
            "Wait, raise spec.priority, or raise CONVERTER_MAX_PARALLEL.",
        ),
        _R.PAUSED: Explanation(
            "CONVERTER_ENABLED is false: nothing new is started, what runs goes on.",
            "Set CONVERTER_ENABLED to true in the operator's ConfigMap.",
        ),
        _R.PATH_BUSY: Explanation(
            "An older unfinished conversion uses the same output, or the input depends on it.",
            "Wait for it, cancel it, or choose another outputFile.",
        ),
        _R.CLAIM_MISSING: Explanation(
            "The namespace has no PersistentVolumeClaim of the configured name.",
            "Create the claim (deploy/namespace); the conversion then starts by itself.",
        ),
        _R.RETRY_BACKOFF: Explanation(
            "The last attempt failed for a cause that a retry can cure; the next one is waiting.",
            "Nothing to do; status.attempts has the cause of each attempt.",
        ),
        _R.STARTING: Explanation(
            "The Job is created and its container is about to start.", "Wait."
        ),
        _R.IMAGE_PULL_FAILED: Explanation(
            "The node cannot pull the converter image.",
            "Correct CONVERTER_IMAGE or make the image available; the attempt is repeated.",
        ),
        _R.UNSCHEDULABLE: Explanation(
            "No node has room, or none fits the pod's constraints.",
            "Free resources, add a node, or lower spec.resources.requests.",
        ),
        _R.QUOTA_EXCEEDED: Explanation(
            "A ResourceQuota of the namespace refuses the pod.",
            "Raise the quota or wait until other pods end; the attempt is repeated.",
        ),
        _R.POD_REJECTED: Explanation(
            "The API server refuses the pod, for instance by Pod Security or a policy.",
            "Read status.message and allow what the converter pod asks for.",
        ),
        _R.VOLUME_NOT_READY: Explanation(
            "The shared volume cannot be attached or mounted on the node.",
            "Check the claim is bound and ReadWriteMany; describe the pod for its events.",
        ),
        _R.CONTAINER_CONFIG_ERROR: Explanation(
            "The kubelet cannot create the container from its configuration.",
            "Read status.message; usually the image or a limit does not fit the node.",
        ),
        _R.IMAGE_CHANGED: Explanation(
            "The attempt had not started when the configured image changed.",
            "Nothing to do; it is repeated with the new image.",
        ),
        _R.RUNNING: Explanation("The converter runs.", "Wait; status.progress says how far it is."),
        _R.CANCELLING: Explanation(
            "A cancel was asked for; the converter is being stopped.", "Wait for it to end."
        ),
        _R.NODE_UNREACHABLE: Explanation(
            "The node of the pod does not answer; the pod may or may not still run.",
            "Bring the node back or delete it; no second attempt starts while the pod may run.",
        ),
        _R.CANCELLED: Explanation(
            "Cancelled by spec.cancel before it was complete; no output was written.",
            "Create a new ConversionJob to convert the file after all.",
        ),
        _R.INVALID_SPEC: Explanation(
            "The resource was stored before validation, or around it, and cannot be understood.",
            "Read status.message, correct the manifest and create it anew.",
        ),
        _R.QUEUE_TIMEOUT: Explanation(
            "The conversion could not be started within CONVERTER_QUEUE_TIMEOUT_SECONDS.",
            "Cure the cause in status.message and create the ConversionJob anew.",
        ),
        _R.EVICTED: Explanation(
            "The node evicted the pod, to drain or for lack of resources.",
            "Retried by itself; if it ends so, look at the node's disk and memory.",
        ),
        _R.PREEMPTED: Explanation(
            "The scheduler removed the pod for one of higher priority.",
            "Retried by itself; if it ends so, give the cluster room.",
        ),
        _R.NODE_LOST: Explanation(
            "The node went away with the pod and did not come back in time.",
            "Retried by itself once the pod is gone; else create the ConversionJob anew.",
        ),
        _R.START_ERROR: Explanation(
            "The node could not start the container; the converter never ran.",
            "Retried by itself; if it ends so, look at the node's container runtime.",
        ),
        _R.POD_DELETED: Explanation(
            "Somebody or something deleted the pod while it ran.",
            "Retried by itself; set spec.cancel to stop a conversion for good.",
        ),
        _R.JOB_DELETED: Explanation(
            "Somebody or something deleted the Job while it ran.",
            "Retried by itself; set spec.cancel to stop a conversion for good.",
        ),
        _R.CONTAINER_KILLED: Explanation(
            "The container was killed by a signal, or ended with an unknown exit code.",
            "Retried; status.logs has what the converter wrote last.",
        ),
        _R.REPORT_MISSING: Explanation(
            "The container ended with exit code 0 but left no final report.",
            "Check that CONVERTER_IMAGE is the converter of this release.",
        ),
        _R.JOB_NAME_TAKEN: Explanation(
            "A Job that is not ours has the name this attempt needs.",
            "Delete or rename that Job; the attempt is then repeated.",
        ),
        _C.COMPLETED: Explanation(
            "The output is complete, verified and in place.", "Nothing to do."
        ),
        _C.INPUT_NOT_FOUND: Explanation(
            "There is no file at inputFile on the shared volume.",
            "Check the path: it is relative to the root of the volume.",
        ),
        _C.INPUT_EMPTY: Explanation("The input file has no bytes.", "Upload the file again."),
        _C.INPUT_NOT_REGULAR: Explanation(
            "inputFile is a folder, device, pipe or socket.", "Name a regular file."
        ),
        _C.PATH_NOT_ALLOWED: Explanation(
            "A path leaves the shared volume, goes through a symbolic link, or is too long.",
            "Use a plain path beneath the root of the volume.",
        ),
        _C.UNSUPPORTED_FORMAT: Explanation(
            "The content of the file is of no format the converter accepts.",
            "Convert it to a common format first; playlists, SVG and PDF are refused on purpose.",
        ),
        _C.NO_VIDEO_STREAM: Explanation(
            "The file has no video that can be decoded.", "For sound alone use audio_to_mp3."
        ),
        _C.NO_AUDIO_STREAM: Explanation(
            "The file has no sound that can be decoded.", "Check the file with a player."
        ),
        _C.INPUT_TRUNCATED: Explanation(
            "The file ends before its content does, as after a broken upload.",
            "Upload the file again.",
        ),
        _C.INPUT_DAMAGED: Explanation(
            "The content of the file cannot be decoded.", "Upload the file again, or repair it."
        ),
        _C.INPUT_TOO_LARGE: Explanation(
            "The picture has more pixels or frames than the converter accepts.",
            "Reduce the picture first; status.message has its size and the limit.",
        ),
        _C.NOTHING_IN_RANGE: Explanation(
            "start lies behind the end of the media.", "Choose a start within its duration."
        ),
        _C.OUTPUT_IS_INPUT: Explanation(
            "inputFile and outputFile are the same file.", "Choose another outputFile."
        ),
        _C.INVALID_OPTIONS: Explanation(
            "An option is unknown or out of range for this conversion type.",
            "Correct the option that status.message names.",
        ),
        _C.NEEDS_MEMORY: Explanation(
            "The conversion cannot fit in the memory limit.",
            "Raise spec.resources.limits.memory to the figure in status.message.",
        ),
        _C.INPUT_UNREADABLE: Explanation(
            "The converter's user may not read the input file.",
            "Make the file readable for uid 65532 or its group.",
        ),
        _C.OUTPUT_NOT_WRITABLE: Explanation(
            "The converter's user may not write in the output's folder.",
            "Make the folder writable for uid 65532 or its group.",
        ),
        _C.DISK_FULL: Explanation(
            "The shared volume has no space left.", "Free space on it; the attempt is repeated."
        ),
        _C.INPUT_CHANGED: Explanation(
            "The input changed while it was read.",
            "Create the ConversionJob only after the upload is complete.",
        ),
        _C.OUT_OF_MEMORY: Explanation(
            "The converter needed more memory than its limit.",
            "Retried once with twice the memory; beyond that raise spec.resources.limits.memory.",
        ),
        _C.STALLED: Explanation(
            "The converter made no progress for CONVERTER_STALL_SECONDS.",
            "Check the file with a player and the volume's speed.",
        ),
        _C.DEADLINE_EXCEEDED: Explanation(
            "The conversion ran longer than its time limit.",
            "Raise spec.timeoutSeconds in a new ConversionJob, or choose a smaller resolution.",
        ),
        _C.TERMINATED: Explanation(
            "The converter was asked to stop before it was complete.",
            "Retried by itself unless it was cancelled.",
        ),
        _C.IO_ERROR: Explanation(
            "Reading or writing the shared volume failed.", "Check the volume; it is retried."
        ),
        _C.VERIFICATION_FAILED: Explanation(
            "The output did not pass its checks and was thrown away.",
            "Retried; if it ends so, report the file with status.logs.",
        ),
        _C.INTERNAL_ERROR: Explanation(
            "The converter met a case it does not know.",
            "Retried; if it ends so, report the file with status.logs.",
        ),
    }
)


def render_reasons() -> str:
    """docs/reasons.md: one row a reason, in the order of the list."""
    rows = "\n".join(f"| `{r}` | {e.meaning} | {e.cure} |" for r, e in REASONS.items())
    return (
        "# Reasons\n\n"
        "Every value `status.reason` can have. This page is made from "
        "`operator/conversion_operator/api/reasons.py` by `make crds`.\n\n"
        "| reason | what it means | what to do |\n|---|---|---|\n" + rows + "\n"
    )
