"""The operations of the content pipeline, without HTTP.

A label on each ConversionJob names the content that it belongs to.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import orjson

from conversion_operator.api import names
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from conversion_operator.cluster.errors import NotFound
from converter_gateway import naming, pipeline, translate
from converter_gateway.audit import WriteRequest
from converter_gateway.content_index import latest_parts
from converter_gateway.entries import in_turn, overall_status, to_entries
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.owners import Known, Owner, know, owner_of
from converter_gateway.pipeline import Content, NewJob, PlannedJob
from converter_gateway.records import Record
from converter_gateway.rules import ContentRules
from converter_gateway.service import Service
from converter_gateway.store import Store
from converter_gateway.translate import ResponseBody

_MAX_TRIES: Final = 5
_NOT_FOUND: Final = {"status": "not_found", "error": "Content not found"}


class ContentService:
    """Every method raises ApiError or a ClusterError. ``rules`` returns the current rules."""

    def __init__(self, service: Service, rules: Callable[[], ContentRules]) -> None:
        self._service = service
        self._rules = rules

    async def submit(
        self, write: WriteRequest, content: Content, retry: Collection[Phase]
    ) -> ResponseBody:
        """Start the missing conversions of a content, and return all of its conversions.

        Conversions that ended in a phase of ``retry`` are started again.
        """
        plan = pipeline.plan(content, self._rules())
        if not plan:
            message = f"nothing to do for {content.content_type}"
            return _response(content.source.content_id, "nothing_to_do", message, [])
        self._service.check_served(write.namespace)
        taken = ""
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                return await self._submit(write, content, plan, retry)
            except NotFound:
                # Someone deleted a ConversionJob after we read it, or the namespace is missing.
                if attempt == _MAX_TRIES:
                    raise
            except NameTaken as error:
                # Another request created it first: now the store has it. If it was no request of
                # the pipeline, it is no owner, and the same name is chosen again.
                if error.name == taken:
                    raise
                taken = error.name
        raise ApiError(503, "the conversions keep changing, try again", retry_after=1)

    async def _submit(
        self,
        write: WriteRequest,
        content: Content,
        plan: Sequence[PlannedJob],
        retry: Collection[Phase],
    ) -> ResponseBody:
        known = await self._find_owners(write.namespace, content, plan)
        choices = [pipeline.choose_job(planned, known, retry) for planned in plan]
        count = sum(planned.count for planned in plan)
        entries: list[ResponseBody] = []
        for choice in choices:
            made: list[ResponseBody] = []
            if choice.new:
                created = await self._create(write, content, choice.new, count)
                made = to_entries(translate.to_response(created))
            told = [output.entry if output else None for output in choice.outputs]
            entries += in_turn(told, made)
        return _summarise(content.source.content_id, entries, count)

    async def _find_owners(
        self, namespace: str, content: Content, plan: Sequence[PlannedJob]
    ) -> Known:
        """What is known about the possible outputs of a content.

        The store says which ConversionJobs to ask the API server for. A write depends on them, so
        they must be as they are now. One that the store does not have yet makes its name taken.
        """
        store = await self._service.store(namespace)
        candidates = [candidate for planned in plan for candidate in planned.candidates]
        outputs = [output for candidate in candidates for output in candidate.outputs]
        names_to_read = {name for output in outputs for name in store.contents.writers(output)}
        for candidate in candidates:
            names_to_read |= store.contents.claimants(naming.digest(candidate.claim))
        found = await asyncio.gather(*(self._read(namespace, name) for name in names_to_read))
        files = (path for candidate in candidates for paths in candidate.files for path in paths)
        sources = frozenset(path for path in files if store.contents.is_source(path))
        parts = (part for _, part in store.content(content.source.content_id))
        same = (part.generation for part in parts if part.source_path == content.source.path)
        owners = _owners(conversion for conversion in found if conversion)
        return know(owners, sources, max(same, default=0))

    async def _read(self, namespace: str, name: str) -> Conversion | None:
        try:
            return await self._service.read(namespace, name)
        except NotFound:
            return None

    async def _create(
        self, write: WriteRequest, content: Content, new: NewJob, count: int
    ) -> Conversion:
        source, spec = content.source, new.spec
        labels = {
            names.CONTENT_LABEL: naming.digest(source.content_id),
            names.CONTENT_INPUT_LABEL: naming.digest(source.path),
        }
        annotations = {
            names.CONTENT_ID_ANNOTATION: source.content_id,
            names.CONTENT_TYPE_ANNOTATION: content.content_type,
            names.CONTENT_SIZE_ANNOTATION: str(count),
            names.CALLER_INPUT_ANNOTATION: content.file_path,
        }
        if spec.output_file is None:
            return await self._service.submit(
                write, new.name, spec, labels, annotations, content.paths
            )
        labels[names.CONTENT_OUTPUT_LABEL] = naming.digest(spec.output_file)
        annotations[names.CALLER_OUTPUT_ANNOTATION] = posixpath.join(
            posixpath.dirname(content.file_path), posixpath.basename(spec.output_file)
        )
        return await self._service.submit(write, new.name, spec, labels, annotations)

    async def get(self, namespace: str, content_id: str) -> ResponseBody:
        """The existing outputs of a content, each with its latest conversion."""
        store = await self._service.store(namespace)
        parts = latest_parts(store.content(content_id))
        if not parts:
            return {"content_id": content_id} | _NOT_FOUND
        entries = [to_entries(_job(store, record))[n] for record, _, n in parts]
        # The files that were posted for the content, and how many outputs each of them needs.
        files: dict[str, int] = {}
        for _, part, _ in parts:
            files[part.source_path] = max(part.planned, files.get(part.source_path, 0))
        return _summarise(content_id, entries, sum(files.values()))


def _job(store: Store, record: Record) -> ResponseBody:
    """The response about a conversion of a content. It has no field without a value."""
    estimate = store.estimate(record.name, record.uid)
    job: ResponseBody = orjson.loads(record.response(estimate=estimate))
    return {name: value for name, value in job.items() if value is not None}


def _owners(conversions: Iterable[Conversion]) -> list[Owner]:
    return [owner for owner in map(owner_of, conversions) if owner is not None]


def _summarise(content_id: str, entries: Sequence[ResponseBody], planned: int) -> ResponseBody:
    status, message = overall_status(entries, planned)
    return _response(content_id, status, message, entries)


def _response(
    content_id: str, status: str, message: str, conversions: Sequence[ResponseBody]
) -> ResponseBody:
    return {
        "content_id": content_id,
        "status": status,
        "message": message,
        "conversions": conversions,
    }
