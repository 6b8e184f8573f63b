"""The conversions of content, free of HTTP. The link is a label: nothing else is kept."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.status import Phase
from conversion_operator.cluster.errors import NotFound
from conversion_operator.cluster.objects import Body
from converter_gateway import naming, pipeline, translate
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.pipeline import Choice, Claim, Content, Planned
from converter_gateway.rules import Rules
from converter_gateway.service import Service
from converter_gateway.translate import Answer

_TRIES: Final = 5
_NOT_FOUND: Final = {"status": "not_found", "error": "Content not found"}


class ContentService:
    """Every method raises ApiError or a ClusterError. ``rules`` are asked for on every call."""

    def __init__(self, service: Service, rules: Callable[[], Rules]) -> None:
        self._service = service
        self._rules = rules

    async def submit(self, namespace: str, content: Content, retry: Collection[Phase]) -> Answer:
        """Start what the content needs and has not got, and tell of all of it.

        Ended conversions whose phase is in ``retry`` are started again.
        """
        plan = pipeline.plan(content, self._rules())
        if not plan:
            message = f"nothing to do for {content.content_type}"
            return _answer(content.source.content_id, "nothing_to_do", message, [])
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._submit(namespace, content, plan, retry)
            except NotFound:
                # A ConversionJob ended its time to live in between; or there is no such namespace.
                if attempt == _TRIES:
                    raise
            except NameTaken:
                pass  # another request was faster: look again
        raise ApiError(503, "the conversions change all the time, try again", retry_after=1)

    async def _submit(
        self, namespace: str, content: Content, plan: Sequence[Planned], retry: Collection[Phase]
    ) -> Answer:
        owners, inputs = await self._look(namespace, plan)
        choices = [pipeline.choose(planned, owners, inputs, retry) for planned in plan]
        bodies = [
            choice.claim.body
            if choice.claim
            else await self._create(namespace, content, planned, choice, len(plan))
            for planned, choice in zip(plan, choices, strict=True)
        ]
        return _tell(content.source.content_id, bodies, len(plan))

    async def _look(
        self, namespace: str, plan: Sequence[Planned]
    ) -> tuple[dict[str, Claim], frozenset[str]]:
        """Who has the outputs, and which of them are files of content themselves."""
        outputs = [output for planned in plan for output in planned.outputs]
        digests = ",".join(naming.digest(output) for output in outputs)
        writing, reading = await asyncio.gather(
            self._service.labelled(namespace, f"{names.CONTENT_OUTPUT_LABEL} in ({digests})"),
            self._service.labelled(namespace, f"{names.CONTENT_INPUT_LABEL} in ({digests})"),
        )
        inputs = frozenset(claim.source.path for claim in _claims(reading))
        return pipeline.latest(_claims(writing)), inputs

    async def _create(
        self, namespace: str, content: Content, planned: Planned, choice: Choice, size: int
    ) -> Body:
        source = planned.source
        callers_output = posixpath.join(
            posixpath.dirname(content.file_path), posixpath.basename(choice.output)
        )
        return await self._service.submit(
            namespace,
            planned.recipe.spec(source.path, choice.output),
            naming.content_name(choice.output, choice.generation),
            labels={
                names.CONTENT_LABEL: naming.digest(source.content_id),
                names.CONTENT_INPUT_LABEL: naming.digest(source.path),
                names.CONTENT_OUTPUT_LABEL: naming.digest(choice.output),
            },
            annotations={
                names.CONTENT_ID_ANNOTATION: source.content_id,
                names.CONTENT_TYPE_ANNOTATION: content.content_type,
                names.CONTENT_SIZE_ANNOTATION: str(size),
                names.CALLER_INPUT_ANNOTATION: content.file_path,
                names.CALLER_OUTPUT_ANNOTATION: callers_output,
            },
        )

    async def get(self, namespace: str, content_id: str) -> Answer:
        """The conversions of a content that exist, of each output the latest."""
        selector = f"{names.CONTENT_LABEL}={naming.digest(content_id)}"
        claims = [
            claim
            for claim in _claims(await self._service.labelled(namespace, selector))
            if claim.source.content_id == content_id
        ]
        if not claims:
            return {"content_id": content_id} | _NOT_FOUND
        current = sorted(
            pipeline.latest(claims).values(), key=lambda claim: (claim.source.path, claim.output)
        )
        return _tell(content_id, [claim.body for claim in current], _planned(current))


def _planned(claims: Iterable[Claim]) -> int:
    """How many conversions there should be, over all files the content ever had."""
    files: dict[str, int] = {}
    for claim in claims:
        text = claim.body["metadata"]["annotations"].get(names.CONTENT_SIZE_ANNOTATION, "")
        size = int(text) if text.isascii() and text.isdigit() else 0
        files[claim.source.path] = max(size, files.get(claim.source.path, 0))
    return sum(files.values())


def _claims(bodies: Iterable[Body]) -> list[Claim]:
    return [claim for claim in map(pipeline.claim_of, bodies) if claim is not None]


def _tell(content_id: str, bodies: Iterable[Body], planned: int) -> Answer:
    answers = [translate.to_answer(body, None) for body in bodies]
    status, message = pipeline.overall([answer["status"] for answer in answers], planned)
    return _answer(content_id, status, message, answers)


def _answer(content_id: str, status: str, message: str, conversions: list[Answer]) -> Answer:
    return {
        "content_id": content_id,
        "status": status,
        "message": message,
        "conversions": conversions,
    }
