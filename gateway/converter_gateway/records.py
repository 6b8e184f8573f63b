"""What a store keeps of one ConversionJob: a small part, so that thousands fit into a replica.

A parsed ConversionJob has about 14 KB. A record has about 1 KB: the encoded response about the
conversion, and the few fields that the routes select, sort and count by.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from sys import intern
from typing import Final

import orjson

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.cluster.conversions import Conversion, queue_place
from converter_gateway.estimates import Estimate, Held
from converter_gateway.events import Summary, summarise
from converter_gateway.owners import owner_of
from converter_gateway.translate import phase_of, started_at, to_response

_TEXT_MAX_LENGTH: Final = 2048
"""A search does not find what is behind it: eight outputs may have paths of 1024 characters."""
_COMPRESS_ABOVE: Final = 1024
"""A larger response has a log, long paths or several outputs. Those compress well."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a record. Those of one namespace and ConversionQueue sort by ``key``.

    ``not_before`` is the time at which the back-off ends, None if there is none. ``told_at`` is the
    resourceVersion at which the conversion first had this reason, as far as the store has seen it.
    Later changes of the object, such as a new label, say nothing about the reason.
    """

    queue: str
    key: tuple[datetime, int, str, str]
    reason: str
    not_before: datetime | None
    told_at: int = 0

    def after(self, known: Place | None) -> Place:
        """This place, if the conversion had the place ``known`` before."""
        if known is None or known.reason != self.reason:
            return self
        return replace(self, told_at=known.told_at)


@dataclass(frozen=True, slots=True)
class ContentPart:
    """The content that a ConversionJob belongs to. See :mod:`converter_gateway.pipeline`.

    ``outputs`` are the paths of its outputs, in the order of its response. ``whole`` means that it
    replaces the older ones with its claim, because a profile lists the outputs. ``planned`` is how
    many outputs the file at ``source_path`` needs.
    """

    content_id: str
    source_path: str
    outputs: tuple[str, ...]
    claim: str
    order: tuple[int, datetime]
    whole: bool
    planned: int

    @property
    def generation(self) -> int:
        """The generation in its name."""
        return self.order[0]


@dataclass(frozen=True, slots=True)
class Facets:
    """What lists sort and filter a record by.

    ``order`` sorts the newest first: minus the Unix time of the creation, and the name. ``ended``
    sorts those that have ended, the latest end first: minus the Unix time of the end, and
    ``order``. It is None before the end. ``kinds`` are the types of its outputs. ``text`` has what
    a search looks at, in lower case: the name and the paths, each in a line. ``retry_of`` is the
    uid of the conversion that this one retries, "" if it is no retry.
    """

    order: tuple[float, str]
    ended: tuple[float, float, str] | None
    kinds: tuple[str, ...]
    queue: str
    text: str
    retry_of: str


@dataclass(frozen=True, slots=True)
class Work:
    """What estimates need of a record.

    ``kind`` is what is made: the types of the outputs. It is empty if they are not known. ``queue``
    is the ConversionQueue. ``end`` is the estimated end of a running conversion, as a Unix time.
    ``held`` is the slot that a succeeded one has held.
    """

    kind: str
    queue: str
    end: float | None
    held: Held | None


@dataclass(frozen=True, slots=True)
class Record:
    """One ConversionJob. ``version`` is its resourceVersion.

    ``started`` is when it started, as a Unix time. ``seconds`` is how long it ran, None if it has
    not succeeded. ``place`` is None if it does not wait. ``data`` is its response, maybe
    compressed: use :meth:`response`. ``facets`` is what lists sort and filter by.
    """

    name: str
    uid: str
    version: int
    summary: Summary
    started: float
    seconds: float | None
    work: Work
    place: Place | None
    content: ContentPart | None
    data: bytes
    facets: Facets

    @property
    def phase(self) -> Phase:
        """The phase, as the HTTP API reports it."""
        return self.summary.phase

    @property
    def finished(self) -> bool:
        """True if the conversion has ended."""
        return self.summary.phase.terminal

    def response(
        self,
        position: int | None = None,
        now: datetime | None = None,
        estimate: Estimate | None = None,
        reason: str | None = None,
    ) -> bytes:
        """The JSON of the response, as of :func:`~converter_gateway.translate.to_response`.

        With an ``estimate``, it also has the fields of that, unless the conversion has ended. A
        ``reason`` replaces the stored one of a conversion that waits. None: the stored one.
        """
        json = self.data if self.data.startswith(b"{") else zlib.decompress(self.data)
        extra = b""
        if reason is not None and self.place and reason != self.place.reason:
            # In a text of the response, a quotation mark is escaped: so nothing else is the same.
            stored, now_true = (b'"reason":"%b"' % r.encode() for r in (self.place.reason, reason))
            if stored in json:
                json = json.replace(stored, now_true, 1)
            else:  # the operator has not written its status yet
                extra = b"," + now_true
        if position is not None:
            extra += b',"queue_position":%d' % position
        if now is not None and not self.finished:
            extra += b',"duration_seconds":%.6f' % max(0.0, now.timestamp() - self.started)
        if estimate is not None and not self.finished:
            extra += b"," + orjson.dumps(estimate.fields)[1:-1]
        return json[:-1] + extra + b"}" if extra else json


# Many conversions have the same summary.
_summaries: dict[Summary, Summary] = {}
_SUMMARIES_MAX: Final = 10_000


def record_of(conversion: Conversion) -> Record:
    """The record of a ConversionJob."""
    status, phase = conversion.status, phase_of(conversion)
    data = orjson.dumps(to_response(conversion))
    succeeded = status is not None and phase is Phase.SUCCEEDED
    return Record(
        name=conversion.key.name,
        uid=conversion.key.uid,
        version=conversion.version,
        summary=_shared(summarise(conversion)),
        started=started_at(conversion).timestamp(),
        seconds=_seconds(status) if status and succeeded else None,
        work=_work(conversion),
        place=_place(conversion),
        content=_content(conversion),
        data=_compact(data),
        facets=_facets(conversion),
    )


def _seconds(status: ConversionJobStatus) -> float | None:
    """How long the last attempt ran. Releases before this one wrote whole seconds only."""
    milliseconds = status.duration_milliseconds
    return status.duration_seconds if milliseconds is None else milliseconds / 1000


def _work(conversion: Conversion) -> Work:
    status = conversion.status
    progress = status.progress if status else None
    end = progress.estimated_end_time if progress else None
    kind = "dry run" if conversion.dry_run else " ".join(sorted(conversion.output_types))
    kind = intern(kind)
    return Work(
        kind=kind,
        queue=intern(conversion.queue),
        end=end.timestamp() if end else None,
        held=_held(kind, status) if status else None,
    )


def _held(kind: str, status: ConversionJobStatus) -> Held | None:
    """How long the conversion held its slot: from the creation of its Job to its end.

    Of a tiny conversion, most of that is the start of its pod.
    """
    ended, ran = status.completion_time, _seconds(status)
    if not kind or status.phase is not Phase.SUCCEEDED or ended is None or ran is None:
        return None
    began = status.attempts[-1].start_time if status.attempts else None
    held = (ended - began).total_seconds() if began else 0.0
    return Held(kind, ended.timestamp(), max(ran, held))


def _compact(data: bytes) -> bytes:
    """``data`` in little memory. orjson returns objects of 4 KB, of which most is unused."""
    return zlib.compress(data, 1) if len(data) > _COMPRESS_ABOVE else bytes(memoryview(data))


def _shared(summary: Summary) -> Summary:
    if len(_summaries) >= _SUMMARIES_MAX:
        _summaries.clear()
    return _summaries.setdefault(summary, summary)


def _place(conversion: Conversion) -> Place | None:
    place = queue_place(conversion)
    if place is None:
        return None
    reason = conversion.status.reason if conversion.status else conversion.pending_reason
    told_at = conversion.version
    return Place(place.queue, place.key, intern(str(reason)), place.not_before, told_at)


def _facets(conversion: Conversion) -> Facets:
    name, annotations = conversion.key.name, conversion.annotations
    paths = (
        annotations.get(names.CALLER_INPUT_ANNOTATION, conversion.input_file),
        annotations.get(names.CALLER_OUTPUT_ANNOTATION, conversion.output_file),
        *conversion.output_paths,
    )
    # A path may be there twice: in the words of the caller, and normalized.
    text = "\n".join(dict.fromkeys((name, *filter(None, paths))))
    order = (-conversion.created.timestamp(), name)
    return Facets(
        order=order,
        ended=(-_end(conversion).timestamp(), *order) if phase_of(conversion).terminal else None,
        kinds=tuple(map(intern, conversion.output_types or (conversion.conversion_type,))),
        queue=intern(conversion.queue),
        text=text[:_TEXT_MAX_LENGTH].lower(),
        retry_of=annotations.get(names.RETRY_ANNOTATION, ""),
    )


def _end(conversion: Conversion) -> datetime:
    """When the conversion ended. If its status does not say so, when it was created."""
    end = conversion.status.completion_time if conversion.status else None
    return end or conversion.created


def _content(conversion: Conversion) -> ContentPart | None:
    owner = owner_of(conversion)
    if owner is None:
        return None
    text = conversion.annotations.get(names.CONTENT_SIZE_ANNOTATION, "")
    planned = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return ContentPart(
        content_id=owner.source.content_id,
        source_path=owner.source.path,
        outputs=owner.outputs,
        claim=owner.claim,
        order=owner.order,
        whole=owner.spec.profile is not None,
        planned=planned,
    )
