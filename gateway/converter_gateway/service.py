"""What the API does, free of HTTP. Nothing is kept between calls: all state is ConversionJobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversions
from conversion_operator.cluster.errors import Conflict, Expired, NotFound, Refused
from conversion_operator.cluster.objects import Body
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import naming, translate
from converter_gateway.closing import Closing
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.requests import Submission
from converter_gateway.settings import GatewaySettings
from converter_gateway.translate import Answer
from media_converter.contract import ConversionType

# A name goes into the URL of a request to the API server: nothing else may get there.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_STARTED: Final = "Conversion job started successfully"
_NOT_CANCELLED: Final = "Failed to cancel job or job not found"


class Service:
    """Every method raises ApiError or a ClusterError."""

    def __init__(
        self, cluster: Conversions, settings: Callable[[], GatewaySettings], closing: Closing
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._closing = closing

    async def convert(self, namespace: str, asked: Submission, key: str | None) -> Answer:
        """Start a conversion; with a key, the one that key started already."""
        name = naming.job_name(namespace, key)
        callers_paths = {
            naming.INPUT_ANNOTATION: asked.input_file,
            naming.OUTPUT_ANNOTATION: asked.output_file,
        }
        try:
            await self.submit(namespace, asked.spec, name, annotations=callers_paths)
        except NameTaken:
            raise ApiError(409, "Idempotency-Key: already used for another request") from None
        return {"job_id": name, "status": "started", "message": _STARTED}

    async def submit(
        self,
        namespace: str,
        spec: ConversionJobSpec,
        name: str,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Body:
        """Create a ConversionJob, or return the one that the same request made before.

        NameTaken if another request made the one of that name.
        """
        content = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        digest = naming.request_hash(content | {"annotations": dict(annotations or {})})
        metadata = {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels or {}),
            "annotations": {**(annotations or {}), naming.REQUEST_ANNOTATION: digest},
        }
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": metadata,
            "spec": content,
        }
        try:
            return await self._cluster.create(namespace, body)
        except Conflict:
            found = await self._cluster.get(namespace, name)
        notes = found["metadata"].get("annotations") or {}
        if notes.get(naming.REQUEST_ANNOTATION) != digest:
            raise NameTaken(name)
        return found

    async def labelled(self, namespace: str, labels: str) -> tuple[Body, ...]:
        """The ConversionJobs that a label selector matches, as of now."""
        return (await self._cluster.list_all(namespace, labels)).items

    async def status(self, namespace: str, job_id: str, wait: float = 0) -> Answer:
        """One conversion; of one that waits also its exact place in the queue.

        Answers at once if it has ended, else when it does or after ``wait`` seconds.
        """
        body = await self._find(namespace, job_id)
        if body is not None and wait:
            body = await self._when_finished(namespace, body, wait)
        if body is None:
            return dict(translate.NOT_FOUND)
        conversion = parse_conversion(body)
        position = None
        if translate.phase_of(conversion) is Phase.QUEUED:
            listing = await self._cluster.list_all(namespace)
            places = translate.positions(listing.items, self._cluster.now())
            position = places.get(conversion.key.uid)
        return translate.to_answer(body, position)

    async def cancel(self, namespace: str, job_id: str) -> Answer:
        """ApiError 404 if the conversion is unknown or has ended."""
        body = await self._find(namespace, job_id)
        if body is None or translate.finished(body):
            raise ApiError(404, _NOT_CANCELLED)
        try:
            await self._cluster.cancel(namespace, job_id, body["metadata"]["uid"])
        except NotFound:
            raise ApiError(404, _NOT_CANCELLED) from None
        except Refused as error:
            if error.code == 403:
                raise  # told as what it is: the job may well be running
            raise ApiError(404, _NOT_CANCELLED) from None
        return {"message": "Job cancelled successfully"}

    async def active(self, namespace: str) -> Answer:
        """All conversions that have not ended, those that wait included."""
        listing = await self._cluster.list_all(namespace)
        now = self._cluster.now()
        places = translate.positions(listing.items, now)
        jobs = [
            translate.to_answer(body, places.get(body["metadata"]["uid"]), now)
            for body in listing.items
            if not translate.finished(body)
        ]
        return {"active_jobs": jobs, "total_active": len(jobs)}

    async def stats(self, namespace: str) -> Answer:
        """Settings, and counts over the ConversionJobs of the namespace that still exist."""
        listing = await self._cluster.list_all(namespace)
        settings = self._settings()
        fixed: dict[str, Any] = {
            "max_parallel_jobs": settings.converter_max_parallel,
            "docker_sock_path": None,
            "converter_image": settings.converter_image,
            "supported_conversions": [str(kind) for kind in ConversionType],
        }
        return fixed | translate.statistics(listing.items)

    async def _when_finished(self, namespace: str, body: Body, wait: float) -> Body | None:
        """The conversion once it has ended, or as it is after ``wait``; None if it is deleted."""
        latest: Body | None = body
        try:
            async with self._closing.timeout(wait):
                # The server ends a watch every minute or so, and refuses versions that are old.
                while latest is not None and not translate.finished(latest):
                    with suppress(Expired):
                        latest = await self._next(namespace, latest)
                        continue
                    latest = await self._find(namespace, body["metadata"]["name"])
        except TimeoutError:
            pass
        return latest

    async def _next(self, namespace: str, body: Body) -> Body | None:
        """The conversion as it is after its next change; None if it is deleted."""
        name, version = body["metadata"]["name"], body["metadata"]["resourceVersion"]
        async with aclosing(self._cluster.watch(namespace, version, name)) as changes:
            async for change in changes:
                if change.type != "BOOKMARK":
                    return None if change.type == "DELETED" else change.object
        return await self._find(namespace, name)

    async def _find(self, namespace: str, job_id: str) -> Body | None:
        if not _NAME.fullmatch(job_id):
            return None
        try:
            return await self._cluster.get(namespace, job_id)
        except NotFound:
            return None
