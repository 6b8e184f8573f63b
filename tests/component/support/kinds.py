"""The resource types that the in-process API server serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tests.component.support.errors import Obj

Path = tuple[str, ...]

_META: Final = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
}


def _fields(*paths: str, **renamed: str) -> dict[str, Path]:
    out: dict[str, Path] = dict(_META)
    out |= {path: tuple(path.split(".")) for path in paths}
    out |= {label: tuple(path.split(".")) for label, path in renamed.items()}
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One resource type.

    ``default_propagation`` is the policy of a DELETE without propagationPolicy; Jobs keep their
    pods for historical reasons. ``model`` is the type of kubernetes.aio that gives the built-in
    schema. A custom resource has none.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    dns_label: bool = False
    default_propagation: str = "Background"
    returns_deleted: bool = False
    unconditional_update: bool = True
    has_generation: bool = False
    model: str | None = None
    field_labels: dict[str, Path] = field(default_factory=lambda: dict(_META))

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As messages name it: ``jobs.batch``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def custom(self) -> bool:
        return self.model is None

    def __repr__(self) -> str:
        return self.resource


CONVERSIONJOBS: Final = Kind(
    "converter.mynetwork.io",
    "v1alpha1",
    "conversionjobs",
    "ConversionJob",
    subresources=("status",),
    short_names=("convjob",),
    categories=("mynetwork",),
    unconditional_update=False,
    has_generation=True,
    field_labels=_fields("status.phase", "status.reason", "spec.conversionType"),
)
CONVERSIONQUEUES: Final = Kind(
    "converter.mynetwork.io",
    "v1alpha1",
    "conversionqueues",
    "ConversionQueue",
    subresources=("status",),
    short_names=("convqueue",),
    categories=("mynetwork",),
    unconditional_update=False,
    has_generation=True,
)
CONVERSIONPROFILES: Final = Kind(
    "converter.mynetwork.io",
    "v1alpha1",
    "conversionprofiles",
    "ConversionProfile",
    short_names=("convprofile",),
    categories=("mynetwork",),
    unconditional_update=False,
    has_generation=True,
)
JOBS: Final = Kind(
    "batch",
    "v1",
    "jobs",
    "Job",
    subresources=("status",),
    categories=("all",),
    default_propagation="Orphan",
    has_generation=True,
    model="V1Job",
    field_labels=_fields("status.successful"),
)
PODS: Final = Kind(
    "",
    "v1",
    "pods",
    "Pod",
    subresources=("status", "log"),
    short_names=("po",),
    categories=("all",),
    returns_deleted=True,
    has_generation=True,
    model="V1Pod",
    field_labels=_fields(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
)
EVENTS: Final = Kind(
    "",
    "v1",
    "events",
    "Event",
    short_names=("ev",),
    model="CoreV1Event",
    field_labels=_fields(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "type",
    )
    | {"source": ("source", "component")},
)
NEW_EVENTS: Final = Kind(
    "events.k8s.io",
    "v1",
    "events",
    "Event",
    short_names=("ev",),
    model="EventsV1Event",
    field_labels=_fields("reason", "reportingController", "type")
    | {
        f"regarding.{key}": ("regarding", key)
        for key in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")
    },
)
CLAIMS: Final = Kind(
    "",
    "v1",
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    subresources=("status",),
    short_names=("pvc",),
    returns_deleted=True,
    model="V1PersistentVolumeClaim",
)
LEASES: Final = Kind(
    "coordination.k8s.io", "v1", "leases", "Lease", unconditional_update=False, model="V1Lease"
)
CONFIGMAPS: Final = Kind(
    "", "v1", "configmaps", "ConfigMap", short_names=("cm",), model="V1ConfigMap"
)
NAMESPACES: Final = Kind(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    subresources=("status",),
    short_names=("ns",),
    dns_label=True,
    model="V1Namespace",
    field_labels={"metadata.name": ("metadata", "name"), "status.phase": ("status", "phase")},
)
NODES: Final = Kind(
    "",
    "v1",
    "nodes",
    "Node",
    namespaced=False,
    subresources=("status",),
    short_names=("no",),
    model="V1Node",
    field_labels={
        "metadata.name": ("metadata", "name"),
        "spec.unschedulable": ("spec", "unschedulable"),
    },
)

STORED: Final = (
    NAMESPACES,
    NODES,
    CONVERSIONJOBS,
    CONVERSIONQUEUES,
    CONVERSIONPROFILES,
    JOBS,
    PODS,
    EVENTS,
    CLAIMS,
    LEASES,
    CONFIGMAPS,
)
"""Kinds with objects of their own. Both Event kinds serve the same objects."""

SERVED: Final = (*STORED, NEW_EVENTS)

_BY_PATH: Final = MappingProxyType({(k.group, k.version, k.plural): k for k in SERVED})
_BY_TYPE: Final = MappingProxyType({(k.api_version, k.kind): k for k in SERVED})
_BY_PLURAL: Final = MappingProxyType({k.plural: k for k in STORED})


def by_path(group: str, version: str, plural: str) -> Kind | None:
    return _BY_PATH.get((group, version, plural))


def by_plural(plural: str | Kind) -> Kind:
    """The stored kind of a plural name, for tests: ``by_plural("jobs")``."""
    return plural if isinstance(plural, Kind) else _BY_PLURAL[plural]


def by_type(api_version: str, kind: str) -> Kind | None:
    return _BY_TYPE.get((api_version, kind))


def of(obj: Obj) -> Kind:
    """The kind of an object that carries apiVersion and kind."""
    kind = by_type(obj["apiVersion"], obj["kind"])
    if kind is None:
        raise LookupError(f"not served: {obj['apiVersion']} {obj['kind']}")
    return kind
