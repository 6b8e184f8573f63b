"""Turns API objects into the values of ``core.model`` and ``core.children``.

An object must have a name, a namespace, a uid and a resourceVersion. Everything else may be absent:
a new pod has almost no status. One malformed object must not stop a list or a watch.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

from conversion_operator.api import names
from conversion_operator.api.profiles import effective_spec
from conversion_operator.api.spec import ConversionJobSpec, normal_path
from conversion_operator.api.status import Phase
from conversion_operator.api.stored import read_spec, read_status, unknown_of_profile
from conversion_operator.cluster.admissions import (
    ANNOTATION,
    SLOTS_ANNOTATION,
    TIMES_ANNOTATION,
    parse_admissions,
    parse_slots,
    parse_times,
)
from conversion_operator.cluster.fields import NAME_MAX, TEXT_MAX, parse_time, text_of
from conversion_operator.cluster.mark_key import parse_key
from conversion_operator.cluster.objects import (
    Body,
    ConfigMap,
    Lease,
    Object,
    ObjectList,
    Resource,
    WatchEvent,
)
from conversion_operator.cluster.parse_children import parse_job, parse_pod
from conversion_operator.core.ended import keep_used
from conversion_operator.core.model import (
    EPOCH,
    NO_ANNOTATIONS,
    Conversion,
    Key,
    Metadata,
)
from media_converter.contract import MAX_OUTPUTS
from media_converter.options import output_files

Value = TypeVar("Value", bound=Object)

logger = logging.getLogger(__name__)


_MANAGERS_MAX: Final = 4
"""How many field managers of a status are kept."""

_LABELS_MAX: Final = 64
"""How many names of labels are kept."""

_SETS_KEPT: Final = 256
"""How many sets of names are shared."""


def parse_list(
    parse: Callable[[Body], Value],
    body: Body,
    find_known: Callable[[str], Value | None] = lambda _: None,
) -> ObjectList[Value]:
    """Parse a slice of a list. The slices of a list together have all objects of a resource, and
    each reflector lists once a minute.

    ``find_known`` returns the value that the caller already has for a uid. A value of the same
    version is used again: parsing all objects would take a second or more of CPU each minute. The
    value also stands for an object that cannot be parsed. Such an object exists, so it must not
    look deleted.
    """
    items = []
    for item in body["items"]:
        meta = item["metadata"]
        value = find_known(meta.get("uid", ""))
        if value is None or str(value.version) != meta["resourceVersion"]:
            value = _try_parse(parse, item) or value
        if value is not None:
            items.append(value)
    return ObjectList(tuple(items), body["metadata"]["resourceVersion"])


def join_slices(parsed: Sequence[ObjectList[Value]]) -> ObjectList[Value]:
    """The list that these slices make up."""
    return ObjectList(
        tuple(item for part in parsed for item in part.items), version=parsed[0].version
    )


def parse_event(parse: Callable[[Body], Value], event: WatchEvent[Body]) -> WatchEvent[Value]:
    """Parse a watch event. Its object is None if it cannot be parsed."""
    value = None if event.object is None else _try_parse(parse, event.object)
    return WatchEvent(event.type, event.version, value)


def _try_parse(parse: Callable[[Body], Value], body: Body) -> Value | None:
    try:
        return parse(body)
    except (AttributeError, KeyError, TypeError, ValueError):
        logger.exception("Cannot parse an object; ignoring it")
        return None


def parse_event_time(body: Body) -> datetime:
    """When an Event happened last. Which fields have a time depends on the reporter."""
    texts = (
        (body.get("series") or {}).get("lastObservedTime"),
        body.get("lastTimestamp"),
        body.get("eventTime"),
        body.get("firstTimestamp"),
        body["metadata"].get("creationTimestamp"),
    )
    return next((time for text in texts if (time := parse_time(text))), EPOCH)


def parse_conversion(body: Body) -> Conversion:
    """Parse a ConversionJob. Does not raise for a spec or a status that cannot be read."""
    meta = body["metadata"]
    raw = body.get("spec")
    raw_spec = raw if isinstance(raw, Mapping) else {}
    spec, unsupported, spec_error = read_spec(raw)
    status, status_error = read_status(body.get("status"))
    if spec is not None and spec.profile is not None and status is not None:
        spec = effective_spec(spec, status)
        unsupported = unsupported or unknown_of_profile(status)
    outputs = _outputs(raw_spec, spec)
    return Conversion(
        key=Key(sys.intern(meta["namespace"]), meta["name"], meta["uid"]),
        version=int(meta["resourceVersion"]),
        generation=meta.get("generation", 0),
        created=parse_time(meta.get("creationTimestamp")) or EPOCH,
        deleting="deletionTimestamp" in meta,
        spec=spec,
        status=status,
        spec_error=spec_error,
        unsupported=unsupported,
        status_error=status_error,
        cancel=raw_spec.get("cancel") is True,
        suspend=raw_spec.get("suspend") is True,
        queue=sys.intern(_queue_name(raw_spec, spec)),
        # Whoever creates an object may give it this finalizer. It says nothing before the deletion.
        orphans_dependents="deletionTimestamp" in meta
        and "orphan" in (meta.get("finalizers") or ()),
        pending_reason=_pending_reason(body.get("status")),
        arrival=_arrival(body.get("status")) or int(meta["resourceVersion"]),
        labels=_shared(tuple(itertools.islice(meta.get("labels") or (), _LABELS_MAX))),
        annotations=_annotations(meta),
        conversion_type=sys.intern(text_of(raw_spec.get("conversionType"))),
        input_file=text_of(raw_spec.get("inputFile")),
        output_file=text_of(raw_spec.get("outputFile")),
        input_path=_path(spec.input_file if spec else raw_spec.get("inputFile")),
        output_types=_shared_types(tuple(kind for kind, _ in outputs if kind)),
        output_paths=_output_paths(raw_spec, outputs),
        dry_run=raw_spec.get("dryRun") is True,
        ttl=spec.ttl_seconds_after_finished if spec else None,
        has_notify="notify" in raw_spec,
        status_managers=_status_managers(meta),
    )


def _queue_name(stored: Mapping[str, object], spec: ConversionJobSpec | None) -> str:
    """The ConversionQueue, also of a spec that cannot be read as a whole."""
    of_profile = spec.queue if spec else None
    return text_of(stored.get("queue"), NAME_MAX) or of_profile or names.DEFAULT_QUEUE


def parse_metadata(body: Body) -> Metadata:
    """Parse the labels and annotations of a ConversionJob that was read to copy some of them."""
    meta = body["metadata"]
    return Metadata(meta["uid"], meta.get("labels") or {}, meta.get("annotations") or {})


def parse_used(body: Body) -> Conversion:
    """Parse a ConversionJob. Of one that has ended, keep only what the operator uses."""
    return keep_used(parse_conversion(body))


@lru_cache(maxsize=_SETS_KEPT)
def _shared(names: tuple[str, ...]) -> frozenset[str]:
    """The set of these names. Many objects have the same ones, and share the set."""
    return frozenset(map(sys.intern, names))


@lru_cache(maxsize=_SETS_KEPT)
def _shared_types(types: tuple[str, ...]) -> tuple[str, ...]:
    """These types. Many conversions have the same ones, and share the tuple."""
    return tuple(map(sys.intern, types))


def _annotations(meta: Body) -> Mapping[str, str]:
    found = {
        name: text[:TEXT_MAX]
        for name, text in (meta.get("annotations") or {}).items()
        if name in names.ANNOTATIONS and isinstance(text, str)
    }
    return found or NO_ANNOTATIONS


def _outputs(raw_spec: Body, spec: ConversionJobSpec | None) -> list[tuple[str, str]]:
    """The type and the path of each output, also if the spec is not valid. There may be none."""
    if spec is not None:
        return [(str(each.conversion_type), each.output_file) for each in spec.all_outputs()]
    listed = raw_spec.get("outputs") or [raw_spec]
    return [
        (text_of(each.get("conversionType")), text_of(each.get("outputFile")))
        for each in (listed[:MAX_OUTPUTS] if isinstance(listed, list) else ())
        if isinstance(each, Mapping)
    ]


def _output_paths(raw_spec: Body, outputs: list[tuple[str, str]]) -> tuple[str, ...]:
    """The files that the conversion is to write. A dry run writes none."""
    if raw_spec.get("dryRun") is True:
        return ()
    return tuple(
        normal_path(path)
        for kind, output in outputs
        if output
        for path in output_files(kind, output)
    )


def _path(stored: object) -> str:
    path = text_of(stored)
    return normal_path(path) if path else ""


def _status_managers(meta: Body) -> frozenset[str]:
    """The field managers of operators that have written the status."""
    managers = (
        entry.get("manager", "")
        for entry in meta.get("managedFields") or ()
        if entry.get("subresource") == "status"
    )
    ours = (m for m in managers if m.startswith(names.MANAGER_PREFIX))
    return _shared(tuple(itertools.islice(ours, _MANAGERS_MAX)))


def parse_lease(body: Body) -> Lease:
    """Parse a Lease of the operator."""
    meta, spec = body["metadata"], body.get("spec") or {}
    annotations = meta.get("annotations") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        version=meta["resourceVersion"],
        duration=spec.get("leaseDurationSeconds") or 0,
        transitions=spec.get("leaseTransitions") or 0,
        admissions=parse_admissions(annotations.get(ANNOTATION)),
        key=parse_key(annotations),
        slots=parse_slots(annotations.get(SLOTS_ANNOTATION)),
        times=parse_times(annotations.get(TIMES_ANNOTATION)),
    )


def parse_config_map(body: Body) -> ConfigMap:
    """Parse a ConfigMap with settings."""
    meta = body["metadata"]
    key = Key(meta["namespace"], meta["name"], meta["uid"])
    return ConfigMap(key, {str(name): str(text) for name, text in (body.get("data") or {}).items()})


def latest_warning(page: Body) -> str:
    """The reason and the message of the latest Event in a list. "" if there is none."""
    # Of several Events in the same second, the last one in the list is the latest.
    latest = max(reversed(page["items"]), key=parse_event_time, default=None)
    return f"{text_of(latest.get('reason'))}: {text_of(latest.get('message'))}" if latest else ""


PARSERS: Final[Mapping[Resource, Callable[[Body], Object]]] = {
    Resource.CONVERSIONS: parse_used,
    Resource.JOBS: parse_job,
    Resource.PODS: parse_pod,
}


def _pending_reason(status: object) -> str:
    if not isinstance(status, Mapping) or status.get("phase") != Phase.PENDING:
        return ""
    return text_of(status.get("reason"), NAME_MAX)


def _arrival(status: object) -> int:
    """The arrival in a stored status, even in one that cannot be read. 0 if there is none."""
    value = status.get("arrival") if isinstance(status, Mapping) else None
    return value if type(value) is int and value > 0 else 0
