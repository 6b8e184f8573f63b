"""Runs conversions again that have ended. All state is in ConversionJobs."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion, parse_conversion
from conversion_operator.cluster.errors import ClusterError, Conflict, NotFound, Rejected
from converter_gateway.audit import WriteRequest
from converter_gateway.errors import ApiError, NameTaken, explain_forbidden
from converter_gateway.listing import Key, decode_token, encode_token, key_of
from converter_gateway.records import Record
from converter_gateway.retry import retry_name, retry_of
from converter_gateway.service import Service
from converter_gateway.store import Store
from converter_gateway.translate import ResponseBody

MOST_AT_ONCE: Final = 100
"""How many conversions one request retries. Each takes two requests to the API server."""
_PARALLEL: Final = 8
_FAILED: Final = frozenset({Phase.FAILED})

_STARTED: Final = "A new conversion job repeats it"
_EXISTS: Final = "It has been retried already"


class Retries:
    """Every method raises ApiError or a ClusterError."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def retry(self, write: WriteRequest, job_id: str) -> ResponseBody:
        """Create the retry of one conversion, or return the one that exists."""
        self._service.check_served(write.namespace)
        write.begin(job_id)
        name, created = await self._retry(write, job_id)
        message = _STARTED if created else _EXISTS
        return {"job_id": name, "status": "started" if created else "existing", "message": message}

    async def retry_failed(self, write: WriteRequest, limit: int, token: str = "") -> ResponseBody:
        """Retry the conversions of a namespace that have failed, the latest end first.

        ``token`` is the continue of the response before, "" for the first ones. So one that cannot
        be retried keeps no other from its retry. Those that have a retry are left out. Visits all
        that have failed and are behind the token, once for each request. Raises ApiError 400 for a
        token that is not one.
        """
        self._service.check_served(write.namespace)
        try:
            after = decode_token(token, _FAILED)
        except ValueError as error:
            raise ApiError(400, f"continue: {error}") from None
        store = await self._service.store(write.namespace)
        chosen = to_retry(store, after)
        places = asyncio.Semaphore(_PARALLEL)

        async def retry(record: Record) -> tuple[str, str, str]:
            async with places:
                try:
                    with write.again() as one:
                        one.begin(record.name)
                        return record.name, (await self._retry(one, record.name))[0], ""
                except (ApiError, Conflict, NotFound, Rejected) as error:
                    return record.name, "", _words(error)

        done = await asyncio.gather(*map(retry, chosen[:limit]))
        body: dict[str, Any] = {
            "retried": [{"job_id": old, "retry": new} for old, new, _ in done if new],
            "refused": [{"job_id": old, "error": error} for old, new, error in done if not new],
            "remaining": len(chosen) - len(done),
        }
        if len(chosen) > len(done):
            body["continue"] = encode_token(key_of(chosen[len(done) - 1], _FAILED))
        return body

    async def _retry(self, write: WriteRequest, job_id: str) -> tuple[str, bool]:
        """The name of the retry, and whether this request has created it."""
        try:
            body = await self._service.read_body(write.namespace, job_id)
        except NotFound:
            raise ApiError(404, "Job not found") from None
        if not parse_conversion(body).finished:
            raise ApiError(409, "the conversion has not ended: cancel it first, or wait")
        obj = retry_of(body, write.user, self._service.restore_labels())
        name = obj["metadata"]["name"]
        write.begin(name)
        try:
            await self._service.create_body(obj)
        except Conflict:
            found = await self._service.read(write.namespace, name)
            _check(found, body["metadata"]["uid"])
            write.done("existing")
            return name, False
        write.done("created")
        return name, True


def to_retry(store: Store, after: Key | None = None) -> list[Record]:
    """The conversions that have failed and have no retry, the latest end first, after a key.

    Visits all that have failed, once for each request to retry all.
    """
    failed = (store.get(name) for name in store.listing.names(_FAILED, after))
    return [record for record in failed if record is not None and not retry_in(store, record)]


def retry_in(store: Store, record: Record) -> str:
    """The name of the retry of a conversion. "" if the store has none."""
    name = retry_name(record.name, record.uid, is_retry=bool(record.facets.retry_of))
    found = store.get(name)
    return name if found is not None and found.facets.retry_of == record.uid else ""


def _check(found: Conversion, uid: str) -> None:
    """Raise NameTaken if a conversion is not the retry of the one with this uid."""
    if found.annotations.get(names.RETRY_ANNOTATION) != uid:
        raise NameTaken(found.key.name)


def _words(error: ApiError | ClusterError) -> str:
    if isinstance(error, ApiError):
        return error.message
    return explain_forbidden(str(error)) if isinstance(error, Rejected) else str(error)
