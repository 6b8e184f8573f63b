"""The conversions and settings that decisions depend on. ``children`` has the Jobs and pods.

The ``cluster`` package parses them from API objects. Times are aware datetimes in UTC, by the API
server's clock. Callers always pass ``now``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.pod_settings import NO_POD_SETTINGS, PodSettingsByNamespace
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import ConversionJobStatus
from conversion_operator.core.conversion_queues import NO_QUEUES, ConversionQueues

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""Stands for an unknown time."""

IMAGE_MAX_LENGTH: Final = 512
"""The longest name of an image, in characters. Of a longer one, only the beginning is kept."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decisions depend on. Durations are in seconds, sizes in bytes.

    ``max_cpu`` and ``max_memory`` are quantities. "" allows every amount.
    ``volume_folder`` is the folder of the volume that converters see, "" for the whole volume. It
    may contain ``{namespace}``. ``read_only_folders`` are absolute paths below this folder.
    ``restore_labels`` are the names of labels that mark restored objects. ``pods`` is what Jobs and
    pods get in each namespace. ``queues`` come from the ConversionQueues, not from the settings.
    With a ``log_retention`` of 0, converters keep no logs on the volume.
    """

    enabled: bool = True
    max_parallel: int = 3
    image: str = "my-converter:0.0.0"
    claim_name: str = "my-network-shared"
    start_timeout: int = 300
    unschedulable_timeout: int = 30
    queue_timeout: int = 86400
    stall_timeout: int = 300
    timeout: int = 21600
    max_retries: int = 2
    ttl: int = 86400
    callback_url: str = ""
    max_memory: str = "4Gi"
    max_cpu: str = "4"
    max_priority: int = 100
    max_timeout: int = 604800
    retries_allowed: int = 10
    volume_folder: str = ""
    read_only_folders: tuple[str, ...] = ()
    restore_labels: tuple[str, ...] = ("velero.io/restore-name",)
    pods: PodSettingsByNamespace = NO_POD_SETTINGS
    queues: ConversionQueues = NO_QUEUES
    max_output: int = 100 * 1024**3
    max_damaged_percent: int = 10
    max_missing_seconds: int = 5
    log_retention: int = 604800
    unreachable_toleration: int = 300
    lost_timeout: int = 900
    run_as_user: int = 65532
    run_as_group: int = 65532
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "100m", "memory": "256Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "1Gi"})


@dataclass(frozen=True, slots=True)
class Key:
    """Identifies a ConversionJob.

    The uid distinguishes ConversionJobs that had the same name one after the other.
    """

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """All labels and annotations of a ConversionJob, read when its Job is created.

    The store does not keep them.
    """

    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


NO_METADATA: Final = Metadata()

NO_ANNOTATIONS: Final[Mapping[str, str]] = MappingProxyType({})

NO_NAMES: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A ConversionJob.

    ``spec`` has the fields of the spec that can be read. It is None if a required one cannot, or if
    the conversion has ended and no decision needs the spec: see :mod:`core.ended`. ``unsupported``
    names what this release does not know in the spec. ``spec_error`` says why it is not valid.
    ``status`` is None while the stored phase is Pending, even after the operator has written
    Restored. ``status_error`` says why the status cannot be read: the conversion may have started
    or ended. ``cancel``, ``suspend`` and ``queue`` are those fields of the spec, even if the rest
    of it cannot be read. ``version`` is the resourceVersion. ``arrival`` is the resourceVersion
    with which an operator first saw the object: of two ConversionJobs, the one with the lower
    arrival was created first. ``orphans_dependents`` is True if it is being deleted with
    --cascade=orphan. ``pending_reason`` is status.reason if the phase is Pending, otherwise empty.
    ``labels`` are the names of the labels. ``annotations`` are those of our API group.
    ``conversion_type``, ``input_file`` and ``output_file`` come from the spec even if it is not
    valid. An empty string stands for a missing one, and for the type and the output if the spec has
    several outputs. ``output_types`` are the types of all outputs. ``input_path`` is the input from
    the root of the volume, normalized, so that equal paths match. ``output_paths`` are the files
    that the conversion is to write, normalized, in the order of the spec;
    :func:`media_converter.options.output_files` returns the files of one output. A dry run
    (``dry_run``) writes none. ``ttl`` is spec.ttlSecondsAfterFinished. ``has_notify`` is True if
    the spec has a callback, even if it cannot be read. ``status_managers`` are the operators that
    have written the status, as field managers.
    """

    key: Key
    version: int
    generation: int
    created: datetime
    deleting: bool
    spec: ConversionJobSpec | None
    status: ConversionJobStatus | None = None
    spec_error: str = ""
    unsupported: str = ""
    status_error: str = ""
    cancel: bool = False
    suspend: bool = False
    queue: str = names.DEFAULT_QUEUE
    pending_reason: str = ""
    orphans_dependents: bool = False
    arrival: int = 0
    labels: frozenset[str] = NO_NAMES
    annotations: Mapping[str, str] = field(default_factory=lambda: NO_ANNOTATIONS)
    conversion_type: str = ""
    input_file: str = ""
    output_file: str = ""
    input_path: str = ""
    output_types: tuple[str, ...] = ()
    output_paths: tuple[str, ...] = ()
    dry_run: bool = False
    ttl: int | None = None
    has_notify: bool = False
    status_managers: frozenset[str] = NO_NAMES

    @property
    def finished(self) -> bool:
        """True once a terminal phase is stored."""
        return self.status is not None and self.status.phase.terminal

    @property
    def has_output_list(self) -> bool:
        """True if the spec has a list of outputs or a profile, even with one output."""
        if self.spec is None:
            return bool(self.output_types) and not self.conversion_type
        return self.spec.conversion_type is None

    @property
    def has_unresolved_profile(self) -> bool:
        """True if the spec names a profile, until status.resolved is stored.

        :func:`conversion_operator.api.profiles.effective_spec` adds the outputs of the profile to
        the spec when the object is parsed.
        """
        spec = self.spec
        return spec is not None and not self.spec_error and bool(spec.profile) and not spec.outputs

    @property
    def cancel_requested(self) -> bool:
        """True if spec.cancel is set, or the ConversionJob is being deleted. The pod may still run.

        A ConversionJob that is being deleted exists because of somebody else's finalizer or a
        foreground deletion. A deletion with --cascade=orphan does not count: the Job continues.
        """
        return (
            self.deleting_with_jobs
            or self.cancel
            or (self.spec is not None and bool(self.spec.cancel))
        )

    @property
    def deleting_with_jobs(self) -> bool:
        """True if the ConversionJob is being deleted, and its Jobs are to be deleted with it."""
        return self.deleting and not self.orphans_dependents


def stop_verb(conversion: Conversion) -> str:
    """What somebody did to stop a conversion, for its message."""
    return "deleted" if conversion.deleting_with_jobs else "cancelled"
