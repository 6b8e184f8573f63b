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
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.pipeline import Choice, Content, OutputOwner, PlannedConversion
from converter_gateway.rules import ContentRules
from converter_gateway.service import Service
from converter_gateway.store import latest_parts
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
        plan: Sequence[PlannedConversion],
        retry: Collection[Phase],
    ) -> ResponseBody:
        owners, inputs = await self._find_owners(write.namespace, plan)
        choices = [pipeline.choose_output(planned, owners, inputs, retry) for planned in plan]
        conversions = [
            choice.owner.conversion
            if choice.owner
            else await self._create(write, content, planned, choice, len(plan))
            for planned, choice in zip(plan, choices, strict=True)
        ]
        responses = [translate.to_response(conversion) for conversion in conversions]
        return _summarise(content.source.content_id, responses, len(plan))

    async def _find_owners(
        self, namespace: str, plan: Sequence[PlannedConversion]
    ) -> tuple[dict[str, OutputOwner], frozenset[str]]:
        """The owners of the possible outputs, and the possible outputs that are sources too.

        The store says which ConversionJobs to ask the API server for. A write depends on them, so
        they must be as they are now. One that the store does not have yet makes its name taken.
        """
        store = await self._service.store(namespace)
        outputs = [output for planned in plan for output in planned.outputs]
        names_to_read = {name for output in outputs for name in store.writers(output)}
        found = await asyncio.gather(*(self._read(namespace, name) for name in names_to_read))
        owners = _owners(conversion for conversion in found if conversion)
        sources = frozenset(output for output in outputs if store.is_source(output))
        return pipeline.latest_owners(owners), sources

    async def _read(self, namespace: str, name: str) -> Conversion | None:
        try:
            return await self._service.read(namespace, name)
        except NotFound:
            return None

    async def _create(
        self,
        write: WriteRequest,
        content: Content,
        planned: PlannedConversion,
        choice: Choice,
        count: int,
    ) -> Conversion:
        source = planned.source
        callers_output = posixpath.join(
            posixpath.dirname(content.file_path), posixpath.basename(choice.output)
        )
        return await self._service.submit(
            write,
            naming.content_name(choice.output, choice.generation),
            planned.recipe.spec(source.path, choice.output),
            labels={
                names.CONTENT_LABEL: naming.digest(source.content_id),
                names.CONTENT_INPUT_LABEL: naming.digest(source.path),
                names.CONTENT_OUTPUT_LABEL: naming.digest(choice.output),
            },
            annotations={
                names.CONTENT_ID_ANNOTATION: source.content_id,
                names.CONTENT_TYPE_ANNOTATION: content.content_type,
                names.CONTENT_SIZE_ANNOTATION: str(count),
                names.CALLER_INPUT_ANNOTATION: content.file_path,
                names.CALLER_OUTPUT_ANNOTATION: callers_output,
            },
        )

    async def get(self, namespace: str, content_id: str) -> ResponseBody:
        """The existing conversions of a content: the latest one of each output."""
        parts = latest_parts((await self._service.store(namespace)).content(content_id))
        if not parts:
            return {"content_id": content_id} | _NOT_FOUND
        responses = [orjson.loads(record.response()) for record, _ in parts]
        # The files that were posted for the content, and how many conversions each of them needs.
        files: dict[str, int] = {}
        for _, part in parts:
            files[part.source_path] = max(part.planned, files.get(part.source_path, 0))
        return _summarise(content_id, responses, sum(files.values()))


def _owners(conversions: Iterable[Conversion]) -> list[OutputOwner]:
    return [owner for owner in map(pipeline.owner_of, conversions) if owner is not None]


def _summarise(content_id: str, responses: Sequence[ResponseBody], planned: int) -> ResponseBody:
    status, message = pipeline.overall_status([r["status"] for r in responses], planned)
    return _response(content_id, status, message, responses)


def _response(
    content_id: str, status: str, message: str, conversions: Sequence[ResponseBody]
) -> ResponseBody:
    return {
        "content_id": content_id,
        "status": status,
        "message": message,
        "conversions": conversions,
    }
