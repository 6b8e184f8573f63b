"""The operations of the HTTP API, without HTTP. All state is in ConversionJobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson

from conversion_operator.api import names
from conversion_operator.api.callback_hosts import url_problem
from conversion_operator.api.setting_checks import split
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.cluster.conversions import Conversion, ConversionClient, Key
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, Rejected
from conversion_operator.cluster.list_queue import ListQueue
from conversion_operator.cluster.objects import Body
from converter_gateway import naming, translate
from converter_gateway.audit import WriteRequest
from converter_gateway.caller_paths import CallerPaths
from converter_gateway.errors import ApiError, NameTaken
from converter_gateway.estimates import UNKNOWN, Estimate
from converter_gateway.records import Place, Record
from converter_gateway.requests import Submission
from converter_gateway.settings import GatewaySettings
from converter_gateway.shutdown import Shutdown
from converter_gateway.store import Store
from converter_gateway.stores import Stores
from converter_gateway.translate import ResponseBody
from media_converter.contract import ConversionType

# How long a long poll waits for a store that is not current, before it asks for its one object.
_RECHECK_SECONDS: Final = 5.0
# Between so many conversions of a long response, other requests have their turn.
_BATCH: Final = 200
_DELAY: Final = "A change of this setting reaches the API within two minutes."
_HOSTS_INVALID: Final = (
    "callback_url: cannot be checked, because a list of hosts in the operator's settings is "
    "invalid. Correct CONVERTER_CALLBACK_HOSTS or CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE. The log "
    f"of the API says what is wrong. {_DELAY}"
)
_STARTED: Final = "Conversion job started successfully"
_NOT_CANCELLED: Final = "Failed to cancel job or job not found"

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Service:
    """Every method raises ApiError or a ClusterError."""

    def __init__(
        self,
        cluster: ConversionClient,
        stores: Stores,
        settings: Callable[[], GatewaySettings],
        shutdown: Shutdown,
    ) -> None:
        self._cluster, self._stores = cluster, stores
        self._settings = settings
        self._shutdown = shutdown
        self._bodies = ListQueue[bytes]()
        self._sending = asyncio.Lock()

    async def convert(
        self, write: WriteRequest, submission: Submission, key: str | None
    ) -> ResponseBody:
        """Start a conversion. With a used ``key``, return the conversion that the key started."""
        self.check_served(write.namespace)
        self._check_callback(write.namespace, submission.spec)
        name = naming.conversion_name(write.namespace, key)
        annotations = {names.CALLER_INPUT_ANNOTATION: submission.input_file}
        if submission.output_file is not None:
            annotations[names.CALLER_OUTPUT_ANNOTATION] = submission.output_file
        try:
            await self.submit(write, name, submission.spec, {}, annotations, submission.paths)
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
        paths: CallerPaths | None = None,
    ) -> Conversion:
        """Create a ConversionJob, or return it if the same request created it earlier.

        ``paths`` are the caller's paths of several outputs. Raises NameTaken if a different request
        created a ConversionJob with this name.
        """
        fields = spec.to_json()
        if paths and paths.outputs:
            annotations = {**annotations, names.CALLER_PREFIXES_ANNOTATION: paths.to_text()}
        request_hash = naming.request_hash(fields | {"annotations": dict(annotations)})
        if paths and not paths.outputs:
            # Not part of the hash: they depend on settings, not only on the request.
            annotations = {**annotations, names.CALLER_PREFIXES_ANNOTATION: paths.to_text()}
        annotations = {**annotations, names.REQUEST_HASH_ANNOTATION: request_hash}
        if write.trace:
            # Not part of the hash: each try of a request may have a trace of its own.
            annotations[names.TRACEPARENT_ANNOTATION] = str(write.trace)
        if write.user:
            # Not part of the hash: a colleague may repeat the request.
            annotations[names.CALLER_ANNOTATION] = write.user
        namespace = write.namespace
        write.begin(name)
        try:
            created = await self._cluster.create(namespace, name, spec, labels, annotations)
        except Conflict:
            found = await self.read(namespace, name)
        else:
            self._stores.take(created)
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
        if not self._settings().is_served(namespace):
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

    async def store(self, namespace: str) -> Store:
        """The store of a namespace. Raises ApiError or a ClusterError if it is not current."""
        return await self._stores.current(namespace)

    async def read(self, namespace: str, name: str) -> Conversion:
        """Ask the API server for one ConversionJob, to decide about a write."""
        conversion = await self._cluster.get(namespace, name)
        self._stores.take(conversion)
        return conversion

    async def read_body(self, namespace: str, name: str) -> Body:
        """Ask the API server for one ConversionJob as it is stored.

        Raises NotFound also for a name that no ConversionJob can have.
        """
        record = await self._stores.find(namespace, name)
        if record is None:
            raise NotFound(name)
        return await self._cluster.get_body(namespace, record.name)

    async def create_body(self, body: Body) -> None:
        """Create a ConversionJob. Raises Conflict if there is one with its name."""
        self._stores.take(await self._cluster.create_body(body))

    def restore_labels(self) -> Collection[str]:
        """The labels that the operator takes for those of a restored object."""
        return split(self._settings().converter_restore_labels)

    def now(self) -> datetime:
        """The time of the API server."""
        return self._cluster.now()

    async def status(self, namespace: str, job_id: str, wait: float = 0) -> bytes:
        """The JSON of the status of a conversion. One that waits has its position in the queue.

        Waits up to ``wait`` seconds for the end of the conversion.
        """
        record = await self._stores.find(namespace, job_id)
        if record is not None and wait:
            record = await self._wait_for_end(namespace, record, wait)
        if record is None:
            return orjson.dumps(translate.NOT_FOUND)
        watch = self._stores.watch(namespace)
        known = watch.store.get(job_id) if watch.is_current else None
        # A namesake may wait by now.
        waits = known is not None and known.uid == record.uid and not record.finished
        position = watch.store.position(job_id) if waits else None
        estimate = watch.store.estimate(job_id, record.uid) if waits else UNKNOWN
        reason = watch.store.reason(record) if waits else None
        return record.response(position, estimate=estimate, reason=reason)

    async def cancel(self, write: WriteRequest, job_id: str) -> ResponseBody:
        """Request the cancellation. Raises ApiError 404 if it is unknown or has ended."""
        record = await self._stores.find(write.namespace, job_id)
        if record is None:
            raise ApiError(404, _NOT_CANCELLED)
        key = Key(write.namespace, record.name, record.uid)
        try:
            if record.finished:
                # It may have been deleted and created again, and the watch may tell this late.
                found = await self.read(write.namespace, record.name)
                if translate.phase_of(found).terminal:
                    raise ApiError(404, _NOT_CANCELLED)
                key = found.key
            self._stores.take(await self._cluster.cancel(key))
        except NotFound:
            raise ApiError(404, _NOT_CANCELLED) from None
        except Rejected as error:
            if error.code == 403:
                raise  # the conversion may still run, so 404 would be wrong
            raise ApiError(404, _NOT_CANCELLED) from None
        write.done("cancelled")
        return {"message": "Job cancelled successfully"}

    async def active(self, namespace: str) -> bytes:
        """The JSON of all conversions that have not ended, including waiting ones."""
        return await self._shared(namespace, "active", lambda: self._active(namespace))

    async def _active(self, namespace: str) -> bytes:
        """Visits the unfinished conversions, once for all callers that wait for it."""
        store, now = await self._stores.current(namespace), self._cluster.now()
        records, positions = store.unfinished(), store.positions()
        jobs = await _in_turns(
            records,
            lambda record: record.response(
                positions.get(record.name),
                now,
                store.estimate(record.name, record.uid),
                store.reason(record),
            ),
        )
        return b'{"active_jobs":[%b],"total_active":%d}' % (b",".join(jobs), len(jobs))

    async def queue(self, namespace: str) -> bytes:
        """The JSON of the conversions that wait for an attempt, in the order of the queue."""
        return await self._shared(namespace, "queue", lambda: self._queue(namespace))

    async def _queue(self, namespace: str) -> bytes:
        """Visits the conversions that wait, once for all callers that wait for it."""
        store, now = await self._stores.current(namespace), self._cluster.now()
        jobs = await _in_turns(
            tuple(store.queue()),
            lambda waiting: _waiting_json(*waiting, store.estimate(waiting[1]), now),
        )
        return b'{"queue":[%b],"total_waiting":%d}' % (b",".join(jobs), len(jobs))

    async def _shared(
        self, namespace: str, name: str, build: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """A long response, built once for all who wait for it.

        They get it one after the other, because sending it takes long. Others have their turn in
        between.
        """
        body = await self._bodies.collect(namespace, name, build)
        async with self._sending:
            await asyncio.sleep(0)
        return body

    async def stats(self, namespace: str) -> ResponseBody:
        """Settings, and counts over the existing ConversionJobs of the namespace."""
        store = await self._stores.current(namespace)
        settings = self._settings()
        fixed: dict[str, Any] = {
            "max_parallel_jobs": settings.converter_max_parallel,
            "docker_sock_path": None,
            "converter_image": settings.converter_image,
            "supported_conversions": [str(kind) for kind in ConversionType],
        }
        return fixed | translate.statistics(
            store.phases, store.succeeded_seconds, store.succeeded_timed
        )

    async def _wait_for_end(self, namespace: str, record: Record, seconds: float) -> Record | None:
        """Wait until the conversion ends, or ``seconds``. None: it no longer exists."""
        watch, latest = self._stores.watch(namespace), record
        try:
            async with self._shutdown.timeout(seconds):
                while not latest.finished:
                    found = await self._next(namespace, latest)
                    if found is None or found.uid != record.uid:
                        return None
                    latest = found
        except TimeoutError:
            if not watch.is_current:
                return await self._stores.find(namespace, record.name)
        return latest

    async def _next(self, namespace: str, record: Record) -> Record | None:
        """The record after its next change. None: it no longer exists.

        While the store is not current, asks the API server for the object every few seconds.
        """
        watch = self._stores.watch(namespace)
        if not watch.is_current:
            with suppress(ApiError, ClusterError):
                await watch.current(_RECHECK_SECONDS)
            if not watch.is_current:
                await asyncio.sleep(_RECHECK_SECONDS)
            return await self._stores.find(namespace, record.name)
        change = watch.store.change_of(record.name)
        known = watch.store.get(record.name)
        if known is None:
            # The API server has told more than the watch, which may have lost it.
            await asyncio.wait({change}, timeout=_RECHECK_SECONDS)
            return await self._stores.find(namespace, record.name)
        if known is record:
            await asyncio.wait({change})
        return watch.store.get(record.name)


async def _in_turns(items: Sequence[T], encode: Callable[[T], bytes]) -> list[bytes]:
    """Encode all items of a long response. Other requests have their turn in between."""
    encoded: list[bytes] = []
    for start in range(0, len(items), _BATCH):
        encoded += map(encode, items[start : start + _BATCH])
        await asyncio.sleep(0)
    return encoded


def _waiting_json(
    position: int, name: str, place: Place, estimate: Estimate, now: datetime
) -> bytes:
    job: ResponseBody = {"job_id": name, "queue": place.queue, "position": position}
    if place.reason:
        job["reason"] = place.reason
    if place.not_before and place.not_before > now:
        job["not_before"] = translate.time_text(place.not_before)
    return orjson.dumps(job | estimate.fields)
