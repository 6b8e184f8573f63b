"""What a caller may do: in which namespaces, and which verbs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from cachetools import TTLCache

from conversion_operator.api import names
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.conversions import Caller
from converter_gateway.auth import Authenticator
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings
from converter_gateway.stores import Stores
from converter_gateway.tokens import CACHE_SECONDS
from converter_gateway.translate import ResponseBody

MOST_NAMESPACES: Final = 200
_VERBS: Final = {
    names.PLURAL: ("get", "list", "watch", "create", "patch"),
    names.QUEUE_PLURAL: ("list", "patch"),
}
_PARALLEL: Final = 8
_PARALLEL_OF_CALLER: Final = 4
"""So a caller with many namespaces leaves places for others."""
_MAX_ANSWERS: Final = 10_000
_Question = tuple[Caller, str, str, str]
"""The caller, the namespace, the verb and the resource."""


class Rights:
    """Asks the API server, which decides. Its answers are kept for 10 s, also those that refuse.

    One request can ask hundreds of questions. So equal ones that are in progress share the answer.
    The answers are for people to see. Each call is checked by :class:`Authenticator` anyway.
    """

    def __init__(self, auth: Authenticator, settings: GatewaySettings, stores: Stores) -> None:
        self._auth, self._settings, self._stores = auth, settings, stores
        self._places = asyncio.Semaphore(_PARALLEL)
        self._places_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._answers: TTLCache[_Question, asyncio.Task[bool]] = TTLCache(
            _MAX_ANSWERS, CACHE_SECONDS
        )
        self._asking: set[asyncio.Task[bool]] = set()

    async def of(self, caller: Caller | None, requested: str) -> ResponseBody:
        """The namespaces that the caller may list, and the verbs in one of them.

        The latter is ``requested`` (the header X-Namespace), or the caller's own, or the first that
        the caller may list. Asks once for each namespace that this replica knows, up to
        MOST_NAMESPACES.
        """
        try:
            own = self._auth.namespace(caller, requested)
        except ApiError:
            if requested:
                raise
            own = ""  # of a person who has not chosen yet
        known = sorted({own, *self._known()} - {""})
        asked = [own, *known][: MOST_NAMESPACES + 1] if own else known[:MOST_NAMESPACES]
        asked = list(dict.fromkeys(asked))
        allowed = await asyncio.gather(*(self._may(caller, name, "list") for name in asked))
        listed = sorted(name for name, may in zip(asked, allowed, strict=True) if may)
        namespace = own or (listed[0] if listed else "")
        body: ResponseBody = {
            "auth": self._settings.gateway_auth,
            "namespaces": listed,
            "complete": len(asked) >= len(known),
            "namespace": namespace or None,
            "conversionjobs": await self._verbs(caller, namespace, names.PLURAL),
            "conversionqueues": await self._verbs(
                caller, self._settings.pod_namespace, names.QUEUE_PLURAL
            ),
        }
        if caller is not None:
            body["user"] = caller.username
        return {name: value for name, value in body.items() if value is not None}

    def _known(self) -> list[str]:
        """The namespaces that this replica knows. Visits the namespaces with conversions."""
        if self._settings.gateway_auth == "network":
            return [self._settings.gateway_namespace]
        return [name for name in self._stores.namespaces() if name != ALL_NAMESPACES]

    async def _verbs(self, caller: Caller | None, namespace: str, resource: str) -> list[str]:
        if not namespace:
            return []
        verbs = _VERBS[resource]
        if caller is None and resource == names.QUEUE_PLURAL:
            return ["list"]  # nobody knows who it is, and a queue is shared by all namespaces
        allowed = await asyncio.gather(
            *(self._may(caller, namespace, verb, resource) for verb in verbs)
        )
        return [verb for verb, may in zip(verbs, allowed, strict=True) if may]

    async def _may(
        self, caller: Caller | None, namespace: str, verb: str, resource: str = names.PLURAL
    ) -> bool:
        if caller is None:
            return True
        question = (caller, namespace, verb, resource)
        answer = self._answers.get(question)
        if answer is None:
            answer = asyncio.create_task(self._ask(*question))
            self._answers[question] = answer
            self._asking.add(answer)
            answer.add_done_callback(partial(self._answered, question))
        # A caller who goes away does not end what others wait for.
        return await asyncio.shield(answer)

    async def _ask(self, caller: Caller, namespace: str, verb: str, resource: str) -> bool:
        own = self._places_of.get(caller.username)
        if own is None:
            own = self._places_of[caller.username] = asyncio.Semaphore(_PARALLEL_OF_CALLER)
        async with own, self._places:
            return await self._auth.may(caller, namespace, verb, resource)

    def _answered(self, question: _Question, answer: asyncio.Task[bool]) -> None:
        self._asking.discard(answer)
        failed = answer.cancelled() or answer.exception() is not None
        if failed and self._answers.get(question) is answer:
            del self._answers[question]
