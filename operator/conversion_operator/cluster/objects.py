"""The values that the clients of the API server take and return, except those of ``core``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from conversion_operator.api import names
from conversion_operator.cluster.admissions import Admission
from conversion_operator.core.children import Job, Pod
from conversion_operator.core.identity import MarkKey
from conversion_operator.core.model import Conversion, Key

Body = Mapping[str, Any]
"""The JSON of an API object."""

Object = Conversion | Job | Pod
T_co = TypeVar("T_co", covariant=True)


class Resource(StrEnum):
    """The resources that the operator lists and watches. The values are their plural names."""

    CONVERSIONS = "conversionjobs"
    JOBS = "jobs"
    PODS = "pods"


@dataclass(frozen=True, slots=True)
class ObjectList(Generic[T_co]):
    """A complete list and its resourceVersion."""

    items: tuple[T_co, ...]
    version: str


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T_co]):
    """One event of a watch. ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK.

    ``version`` is the resourceVersion to watch from next. ``object`` is None for a BOOKMARK, or if
    the object cannot be parsed.
    """

    type: str
    version: str
    object: T_co | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease of the operator.

    ``version`` is the resourceVersion, "" if the Lease does not exist yet. ``duration`` is in
    seconds, 0 if unset. ``admissions`` maps the uid of a conversion to the attempt that the
    holder may start. ``key`` is the key of the marks, None if there is none yet. ``slots``
    has the slots in use by namespace, without the admissions, and ``times`` the virtual times.
    """

    holder: str
    version: str = ""
    duration: int = 0
    transitions: int = 0
    admissions: Mapping[str, Admission] = field(default_factory=dict)
    key: MarkKey | None = None
    slots: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """A ConfigMap with settings: one text for each."""

    key: Key
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """A core/v1 Event about a ConversionJob or another object. ``type`` is Normal or Warning.

    ``about`` has no uid if the object does not exist, or if the operator does not know its uid.

    Of several Events with the same ``name``, only the first is posted. "": the API server chooses a
    name.
    """

    about: Key
    type: str
    reason: str
    message: str
    name: str = ""
    kind: str = names.KIND


FindKnown = Callable[[Resource, str], Object | None]
"""Returns the value that the caller already has for a uid. None if it has none."""


class WritePermit(Protocol):
    """The right to write, of one term of a leader."""

    def check(self) -> None:
        """Raise NotLeader if the term is over."""


class EventHandler(Protocol):
    """Takes the lists and watch events of a reflector."""

    def find_known(self, resource: Resource, uid: str) -> Object | None:
        """The newest known value of an object that exists. None if there is none."""

    async def replace(
        self, resource: Resource, namespace: str, objects: ObjectList[Object]
    ) -> None:
        """Take a complete list. It replaces what the handler knows of this resource there.

        Other tasks may run meanwhile, and tell the handler of newer versions.
        """

    def apply(self, event: WatchEvent[Object]) -> None:
        """Take one watch event. An event without an object changes nothing."""
