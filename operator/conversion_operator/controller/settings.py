"""The operator's settings. docs/settings.md lists them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from conversion_operator.api.callback_hosts import (
    HostLists,
    parse_hosts,
    parse_namespace_hosts,
)
from conversion_operator.api.label_syntax import is_label_name
from conversion_operator.api.pod_settings import parse_pod_settings
from conversion_operator.api.setting_checks import (
    FOLDER,
    check_hosts,
    check_namespace_hosts,
    check_namespaces,
    check_volume_folder,
    split,
)
from conversion_operator.api.spec import URL_PATTERN, normal_path
from conversion_operator.cluster.judgement import SettingsModel, render_table
from conversion_operator.controller import setting_texts
from conversion_operator.core.model import IMAGE_MAX_LENGTH, Policy

CALLBACK_SECRET: Final = Path("/etc/my-network-converter-callbacks/secret")
"""The file with the key that signs callbacks, from an optional Secret.

``secret.NAMESPACE`` in the same folder is the key for the callbacks of one namespace.
"""

_TARGET: Final = re.compile(r"https?://[^/?#@]+([/?#]|$)")


def _quantity(text: str) -> str:
    if not re.fullmatch(setting_texts.QUANTITY.pattern, text):
        raise ValueError("must be a Kubernetes quantity, such as 500m or 2Gi, of at most 15 digits")
    return text


def _url(text: str) -> str:
    if text and not (_TARGET.match(text) and re.fullmatch(URL_PATTERN.strip("^$"), text)):
        raise ValueError("must start with http:// or https:// and must not contain a user name")
    return text


def _folders(text: str) -> str:
    for folder in split(text):
        if not FOLDER.fullmatch(folder.strip("/")):
            raise ValueError(
                f"{folder!r} is not a folder: only letters, digits, . _ - and / are allowed, and "
                "no folder may be . or .."
            )
    return text


def _labels(text: str) -> str:
    for name in split(text):
        if not is_label_name(name):
            raise ValueError(f"{name!r} is not the name of a label, such as velero.io/restore-name")
    return text


def _pod_settings(text: str) -> str:
    parse_pod_settings(text)
    return text


Quantity = Annotated[str, AfterValidator(_quantity), setting_texts.QUANTITY]
Seconds = Annotated[int, Field(ge=1, le=31536000)]
Id = Annotated[int, Field(ge=1, le=2147483647)]


class Settings(SettingsModel):
    """One field per setting. The environment variable and the file have its name in capitals.

    docs/settings.md prints the docstrings of the fields.
    """

    environment_only: ClassVar[frozenset[str]] = frozenset(
        {"PROBE_PORT", "POD_NAMESPACE", "POD_NAME"}
    )
    protective: ClassVar[frozenset[str]] = frozenset(
        {
            "converter_enabled",
            "converter_image",
            "converter_pod_settings",
            "converter_read_only_folders",
            "converter_run_as_group",
            "converter_run_as_user",
            "converter_volume_folder",
            "shared_volume_claim",
            "watch_namespaces",
        }
    )
    unprotected: ClassVar[Mapping[str, Any]] = MappingProxyType({"converter_enabled": False})

    converter_enabled: bool = True
    """Whether queued conversions start. If false, running conversions continue. Allowed: true or
    false.
    """
    converter_max_parallel: int = Field(3, ge=0, le=10000)
    """Number of slots: how many conversions run at the same time, in all namespaces together.
    Allowed: 0 to 10000.
    """
    converter_image: str = Field("my-converter:0.0.0", min_length=1, max_length=IMAGE_MAX_LENGTH)
    """Image of the converter. After a change, attempts whose container has not started are repeated
    with the new image.
    """
    shared_volume_claim: str = Field("my-network-shared", min_length=1)
    """Name of the PersistentVolumeClaim of the shared volume. Each namespace in `WATCH_NAMESPACES`
    needs its own claim with this name.
    """
    watch_namespaces: Annotated[str, AfterValidator(check_namespaces), setting_texts.NAMESPACES] = (
        "my-network"
    )
    """Namespaces that the operator watches, separated by commas. Each needs the objects of
    `deploy/namespace`. If you remove one, nothing more starts there, and the operator leaves it
    when the conversions that run there have ended. `*`: all namespaces. This needs the ClusterRoles
    of `deploy/cluster-wide`, and in each namespace only the claim.
    """
    converter_timeout_seconds: Seconds = 21600
    """Default of `spec.timeoutSeconds`: the longest time that an attempt may run. Allowed: 1 to
    31536000.
    """
    converter_stall_seconds: Seconds = 300
    """An attempt ends as Stalled after this time without progress. Allowed: 1 to 31536000."""
    converter_start_timeout_seconds: Seconds = 300
    """An attempt whose container does not start within this time is ended and its slot is released.
    The next attempt follows after a back-off. Allowed: 1 to 31536000.
    """
    converter_unschedulable_seconds: Seconds = 30
    """How long a pod for which no node has room keeps its slot while another conversion could use
    it. Then the attempt is ended, and the next one follows after a back-off. If no other conversion
    waits, the pod stays. With a cluster autoscaler, set more than a new node needs to become ready,
    for example 600. Allowed: 1 to 31536000.
    """
    converter_queue_timeout_seconds: Seconds = 86400
    """A conversion fails as QueueTimeout when the start timeouts and back-offs of consecutive
    attempts together reach this time. Time in the queue does not count. Allowed: 1 to 31536000.
    """
    converter_unreachable_seconds: Seconds = 300
    """How long a node may be unreachable before its converter pods are evicted. Allowed: 1 to
    31536000.
    """
    converter_lost_seconds: Seconds = 900
    """How long to wait for the deletion of an evicted pod on an unreachable node. After this time
    the conversion fails as NodeLost. Allowed: 1 to 31536000.
    """
    converter_max_retries: int = Field(2, ge=0, le=10)
    """Default of `spec.maxRetries`: how many times to retry after a failure. Allowed: 0 to 10."""
    converter_ttl_seconds: int = Field(86400, ge=0, le=31536000)
    """Default of `spec.ttlSecondsAfterFinished`: how long to keep a ConversionJob after it ends.
    Allowed: 0 to 31536000.
    """
    converter_callback_url: Annotated[
        str, AfterValidator(_url), setting_texts.CALLBACK_URL, Field(repr=False)
    ] = ""
    """Default of `spec.notify.url`: the URL to call when a conversion ends. Empty: no callback. See
    [callbacks.md](callbacks.md).
    """
    converter_traces_url: Annotated[
        str, AfterValidator(_url), setting_texts.CALLBACK_URL, Field(repr=False)
    ] = ""
    """Where to send the trace of each conversion that has ended, with OTLP over HTTP, such as
    `http://collector.monitoring:4318/v1/traces`. Empty: no traces. See
    [monitoring.md](monitoring.md#traces).
    """
    converter_callback_hosts: Annotated[
        str, AfterValidator(check_hosts), setting_texts.CALLBACK_HOSTS
    ] = ""
    """Hosts that callbacks may go to: exact names, separated by commas. Empty: no callbacks."""
    converter_callback_hosts_by_namespace: Annotated[
        str, AfterValidator(check_namespace_hosts), setting_texts.NAMESPACE_HOSTS
    ] = ""
    """Hosts for single namespaces, instead of `CONVERTER_CALLBACK_HOSTS`: `NAMESPACE=HOST,HOST`,
    separated by spaces or line ends.
    """
    converter_max_cpu: Quantity = "4"
    """Highest CPU in `spec.resources`. A conversion with a higher one fails as InvalidSpec."""
    converter_max_memory: Quantity = "4Gi"
    """Highest memory in `spec.resources`, and highest memory limit that a retry after OutOfMemory
    gets. A conversion with a higher one in its spec fails as InvalidSpec.
    """
    converter_max_priority: int = Field(100, ge=-100, le=100)
    """Highest `spec.priority`. A conversion with a higher one fails as InvalidSpec. Allowed: -100
    to 100.
    """
    converter_max_timeout_seconds: int = Field(604800, ge=1, le=604800)
    """Highest `spec.timeoutSeconds`. A conversion with a higher one fails as InvalidSpec. Allowed:
    1 to 604800.
    """
    converter_max_retries_allowed: int = Field(10, ge=0, le=10)
    """Highest `spec.maxRetries`. A conversion with a higher one fails as InvalidSpec. Allowed: 0
    to 10.
    """
    converter_restore_labels: Annotated[str, AfterValidator(_labels), setting_texts.LABEL_NAMES] = (
        "velero.io/restore-name"
    )
    """Names of labels that a backup tool sets on restored objects, separated by commas. A
    ConversionJob with such a label and without a status waits as Restored. Empty: none.
    """
    converter_max_output_bytes: int = Field(107374182400, ge=1, le=1125899906842624)
    """Largest output file, in bytes. A conversion that would write a larger one fails as
    OutputTooLarge. Allowed: 1 to 1125899906842624.
    """
    converter_max_damaged_percent: int = Field(10, ge=1, le=100)
    """Largest share of the frames, of the audio packets or of the bytes of a video or of audio
    that may be lost, in percent. An input that has lost more fails as InputDamaged or
    InputTruncated, unless `spec.damagedInput` is `Convert`. A smaller loss is a warning. Allowed: 1
    to 100.
    """
    converter_max_missing_seconds: int = Field(5, ge=1, le=86400)
    """Shortest stretch of a video or of audio that may not be lost, in seconds. An input that lacks
    as much fails as InputDamaged or InputTruncated, unless `spec.damagedInput` is `Convert`.
    Allowed: 1 to 86400.
    """
    converter_log_retention: int = Field(604800, ge=0, le=7776000)
    """How long the log of each attempt stays on the shared volume, in `.conversion-logs`. See
    [logs.md](logs.md). Allowed: 0 to 7776000. 0: converters keep no logs there.
    """
    converter_requests_cpu: Quantity = "100m"
    """Default of `spec.resources.requests.cpu`."""
    converter_requests_memory: Quantity = "256Mi"
    """Default of `spec.resources.requests.memory`."""
    converter_limits_cpu: Quantity = "1"
    """Default of `spec.resources.limits.cpu`."""
    converter_limits_memory: Quantity = "1Gi"
    """Default of `spec.resources.limits.memory`."""
    converter_run_as_user: Id = 65532
    """User ID of the converter. Allowed: 1 to 2147483647."""
    converter_run_as_group: Id = 65532
    """Group ID of the converter and `fsGroup` of its pod. Allowed: 1 to 2147483647."""
    converter_volume_folder: Annotated[
        str, AfterValidator(check_volume_folder), setting_texts.ONE_FOLDER
    ] = ""
    """Folder of the shared volume that converters see as its root, without the rest of the volume.
    `{namespace}` stands for the namespace of the conversion. For example `tenants/{namespace}`.
    The kubelet creates a missing folder. Empty: the whole volume. Change the folder of the
    [file servers](logs.md#the-file-server) together with it.
    """
    converter_read_only_folders: Annotated[str, AfterValidator(_folders), setting_texts.FOLDERS] = (
        ""
    )
    """Folders that converters can only read, separated by commas, relative to what converters see
    as the root. For example `input`. A conversion with an output in one fails as InvalidSpec. The
    kubelet creates missing folders. Empty: none.
    """
    converter_pod_settings: Annotated[str, AfterValidator(_pod_settings)] = ""
    """A YAML document: labels, tolerations, a runtime class and more for the converter's Jobs and
    pods, also for single namespaces. See [pod-settings.md](pod-settings.md). Attempts whose
    container has not started are repeated after a change.
    """
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level of the messages to log. Allowed: DEBUG, INFO, WARNING or ERROR."""
    probe_port: int = Field(8080, ge=0, le=65535)
    """Port of /metrics, /healthz and /readyz. Allowed: 0 to 65535. 0: any free port."""
    pod_namespace: str = "my-network-converter"
    """Namespace of the operator. Its Lease is there."""
    pod_name: str = ""
    """Name of the operator's pod, written to the Lease. Empty: the host name."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces to watch, without duplicates. Only ALL_NAMESPACES: all namespaces."""
        return split(self.watch_namespaces)

    @property
    def callback_hosts(self) -> HostLists:
        """The hosts that callbacks may go to."""
        return HostLists(
            parse_hosts(self.converter_callback_hosts),
            parse_namespace_hosts(self.converter_callback_hosts_by_namespace),
        )

    def policy(self) -> Policy:
        """The settings that decisions depend on."""
        return Policy(
            enabled=self.converter_enabled,
            max_parallel=self.converter_max_parallel,
            image=self.converter_image,
            claim_name=self.shared_volume_claim,
            start_timeout=self.converter_start_timeout_seconds,
            unschedulable_timeout=self.converter_unschedulable_seconds,
            queue_timeout=self.converter_queue_timeout_seconds,
            stall_timeout=self.converter_stall_seconds,
            timeout=self.converter_timeout_seconds,
            max_retries=self.converter_max_retries,
            ttl=self.converter_ttl_seconds,
            callback_url=self.converter_callback_url,
            max_memory=self.converter_max_memory,
            max_cpu=self.converter_max_cpu,
            max_priority=self.converter_max_priority,
            max_timeout=self.converter_max_timeout_seconds,
            retries_allowed=self.converter_max_retries_allowed,
            volume_folder=self.converter_volume_folder,
            restore_labels=tuple(split(self.converter_restore_labels)),
            read_only_folders=tuple(map(normal_path, split(self.converter_read_only_folders))),
            pods=parse_pod_settings(self.converter_pod_settings),
            max_output=self.converter_max_output_bytes,
            max_damaged_percent=self.converter_max_damaged_percent,
            max_missing_seconds=self.converter_max_missing_seconds,
            log_retention=self.converter_log_retention,
            unreachable_toleration=self.converter_unreachable_seconds,
            lost_timeout=self.converter_lost_seconds,
            run_as_user=self.converter_run_as_user,
            run_as_group=self.converter_run_as_group,
            requests={
                "cpu": self.converter_requests_cpu,
                "memory": self.converter_requests_memory,
            },
            limits={"cpu": self.converter_limits_cpu, "memory": self.converter_limits_memory},
        )


_PAGE: Final = """\
# Settings

The operator reads its settings from the ConfigMap `my-network-converter-operator` in its namespace.
An environment variable of the same name overrides the ConfigMap. `PROBE_PORT`, `POD_NAMESPACE` and
`POD_NAME` are read from the environment only.

A change of the ConfigMap takes effect within about two seconds, without a restart. Running
conversions are not interrupted. The operator watches the ConfigMap by its name. If a kustomize
generator of your own creates the ConfigMap, set `disableNameSuffixHash: true` there. A generator
with the behavior `merge` or `replace` keeps the name.

An admission policy (`deploy/policies/settings.yaml`) rejects an invalid setting where it is typed,
and kubectl prints a warning for an unknown one.

Each setting is judged alone. If a setting is invalid, the value in force stays: the last valid one,
or the default at a start. But if a protective setting is invalid at a start, its default may be
dangerous: no conversion starts until you correct it. Running conversions continue. These settings
are `CONVERTER_ENABLED`, `CONVERTER_IMAGE`, `CONVERTER_POD_SETTINGS`, `CONVERTER_READ_ONLY_FOLDERS`,
`CONVERTER_RUN_AS_GROUP`, `CONVERTER_RUN_AS_USER`, `CONVERTER_VOLUME_FOLDER`, `SHARED_VOLUME_CLAIM`
and `WATCH_NAMESPACES`. An unknown setting has no effect. The operator never ends because of a
setting. A Warning Event on the ConfigMap, the metric `converter_settings_invalid`, the body of
/readyz and the log say what is wrong. If the operator starts without a ConfigMap that it can read,
the settings of its environment and the defaults are in force.

Times are in seconds. CPU and memory are Kubernetes quantities.

This page is generated by `make crds`. The first table comes from
`operator/conversion_operator/controller/settings.py`.

"""


def render_settings() -> str:
    """docs/settings.md: one row per setting."""
    return _PAGE + render_table(Settings)
