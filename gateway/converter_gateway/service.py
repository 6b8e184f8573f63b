"""The operations of the HTTP API, without HTTP. All state is in ConversionJobs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.callback_hosts import url_problem
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion, ConversionClient, queue_positions
from conversion_operator.cluster.errors import Conflict, Expired, NotFound, Rejected
from converter_gateway import naming, translate
from converter_gateway.audit import WriteRequest
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.requests import Submission
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown
from converter_gateway.translate import ResponseBody
from media_converter.contract import ConversionType

# A job id becomes part of a URL of the API server. It must not change the rest of the URL.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DELAY: Final = "A change of this setting reaches the API within two minutes."
_HOSTS_INVALID: Final = (
    "callback_url: cannot be checked, because a list of hosts in the operator's settings is "
    "invalid. Correct CONVERTER_CALLBACK_HOSTS or CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE. The log "
    f"of the API says what is wrong. {_DELAY}"
)
_STARTED: Final = "Conversion job started successfully"
_NOT_CANCELLED: Final = "Failed to cancel job or job not found"

logger = logging.getLogger(__name__)


class Service:
    """Every method raises ApiError or a ClusterError."""

    def __init__(
        self, cluster: ConversionClient, settings: Callable[[], GatewaySettings], shutdown: Shutdown
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._shutdown = shutdown

    async def convert(
        self, write: WriteRequest, submission: Submission, key: str | None
    ) -> ResponseBody:
        """Start a conversion. With a used ``key``, return the conversion that the key started."""
        self.check_served(write.namespace)
        self._check_callback(write.namespace, submission.spec)
        name = naming.conversion_name(write.namespace, key)
        callers_paths = {
            names.CALLER_INPUT_ANNOTATION: submission.input_file,
            names.CALLER_OUTPUT_ANNOTATION: submission.output_file,
        }
        try:
            await self.submit(write, name, submission.spec, {}, callers_paths)
        except NameTaken:
            raise ApiError(409, "Idempotency-Key: already used for another request") from None
        return {"job_id": name, "status": "started", "message": _STARTED}

    async def submit(
        self,
        write: WriteRequest,
        name: str,
        spec: ConversionJobSpec,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
    ) -> Conversion:
        """Create a ConversionJob, or return it if the same request created it earlier.

        Raises NameTaken if a different request created a ConversionJob with this name.
        """
        fields = spec.to_json()
        request_hash = naming.request_hash(fields | {"annotations": dict(annotations)})
        annotations = {**annotations, names.REQUEST_HASH_ANNOTATION: request_hash}
        if write.user:
            # Not part of the hash: a colleague may repeat the request.
            annotations[names.CALLER_ANNOTATION] = write.user
        namespace = write.namespace
        write.begin(name)
        try:
            created = await self._cluster.create(namespace, name, spec, labels, annotations)
        except Conflict:
            found = await self._cluster.get(namespace, name)
        else:
            write.done("created")
            return created
        if found.annotations.get(names.REQUEST_HASH_ANNOTATION) != request_hash:
            raise NameTaken(name)
        write.done("existing")
        return found

    def check_served(self, namespace: str) -> None:
        """Raise ApiError 403 if the operator's settings say that it does not watch the namespace.

        A conversion there would wait for ever. Unknown settings are no reason to refuse.
        """
        watched = self._settings().watched_namespaces
        if watched is not None and namespace not in watched:
            raise ApiError(
                403,
                f"no operator serves namespace {namespace}: it is not in the operator's setting "
                f"WATCH_NAMESPACES. {_DELAY}",
            )

    def _check_callback(self, namespace: str, spec: ConversionJobSpec) -> None:
        """Raise ApiError 400 if callbacks may not go to the URL, 503 if this is not known."""
        if spec.notify is None:
            return
        problem = url_problem(spec.notify.url)
        if problem:
            raise ApiError(400, f"callback_url: {problem}")
        try:
            lists = self._settings().callback_hosts
        except ValueError as error:
            # The operator keeps its former lists, and this API may not know them.
            logger.error("The lists of callback hosts in the operator's settings: %s", error)
            raise ApiError(503, _HOSTS_INVALID) from None
        problem = lists.of(namespace).problem(spec.notify.url) if lists else None
        if problem:
            raise ApiError(400, f"callback_url: {problem}. {_DELAY}")

    async def list_labelled(self, namespace: str, selector: str) -> tuple[Conversion, ...]:
        """The ConversionJobs that a label selector matches."""
        return (await self._cluster.list_all(namespace, selector)).items

    async def status(self, namespace: str, job_id: str, wait: float = 0) -> ResponseBody:
        """The status of a conversion. A waiting conversion has its position in the queue.

        Waits up to ``wait`` seconds for the end of the conversion.
        """
        conversion = await self._find(namespace, job_id)
        if conversion is not None and wait:
            conversion = await self._wait_for_end(conversion, wait)
        if conversion is None:
            return dict(translate.NOT_FOUND)
        position = None
        if translate.phase_of(conversion) is Phase.QUEUED:
            objects = await self._cluster.list_all(namespace)
            positions = queue_positions(objects.items)
            position = positions.get(conversion.key.uid)
        return translate.to_response(conversion, position)

    async def cancel(self, write: WriteRequest, job_id: str) -> ResponseBody:
        """Request the cancellation. Raises ApiError 404 if it is unknown or has ended."""
        conversion = await self._find(write.namespace, job_id)
        if conversion is None or conversion.finished:
            raise ApiError(404, _NOT_CANCELLED)
        try:
            await self._cluster.cancel(conversion.key)
        except NotFound:
            raise ApiError(404, _NOT_CANCELLED) from None
        except Rejected as error:
            if error.code == 403:
                raise  # the conversion may still run, so 404 would be wrong
            raise ApiError(404, _NOT_CANCELLED) from None
        write.done("cancelled")
        return {"message": "Job cancelled successfully"}

    async def active(self, namespace: str) -> ResponseBody:
        """All conversions that have not ended, including waiting ones."""
        conversions = (await self._cluster.list_all(namespace)).items
        now = self._cluster.now()
        positions = queue_positions(conversions)
        jobs = [
            translate.to_response(conversion, positions.get(conversion.key.uid), now)
            for conversion in conversions
            if not conversion.finished
        ]
        return {"active_jobs": jobs, "total_active": len(jobs)}

    async def stats(self, namespace: str) -> ResponseBody:
        """Settings, and counts over the existing ConversionJobs of the namespace."""
        objects = await self._cluster.list_all(namespace)
        settings = self._settings()
        fixed: dict[str, Any] = {
            "max_parallel_jobs": settings.converter_max_parallel,
            "docker_sock_path": None,
            "converter_image": settings.converter_image,
            "supported_conversions": [str(kind) for kind in ConversionType],
        }
        return fixed | translate.statistics(objects.items)

    async def _wait_for_end(self, conversion: Conversion, seconds: float) -> Conversion | None:
        """Wait until the conversion ends, or ``seconds``. None: it no longer exists."""
        key = conversion.key
        latest: Conversion | None = conversion
        try:
            async with self._shutdown.timeout(seconds):
                # The server ends each watch after about a minute, and rejects old versions.
                while latest is not None and not latest.finished:
                    with suppress(Expired):
                        latest = await self._next(latest)
                        continue
                    latest = await self._find(key.namespace, key.name)
        except TimeoutError:
            pass
        return latest

    async def _next(self, conversion: Conversion) -> Conversion | None:
        """Wait for the next change of the conversion. None: it no longer exists."""
        namespace, name = conversion.key.namespace, conversion.key.name
        watched = self._cluster.watch(namespace, str(conversion.version), name)
        async with aclosing(watched) as events:
            async for event in events:
                if event.type == "DELETED":
                    return None
                if event.object is not None:  # None: a bookmark, or it cannot be parsed
                    return event.object
        return await self._find(namespace, name)

    async def _find(self, namespace: str, job_id: str) -> Conversion | None:
        if not _NAME.fullmatch(job_id):
            return None
        try:
            return await self._cluster.get(namespace, job_id)
        except NotFound:
            return None
