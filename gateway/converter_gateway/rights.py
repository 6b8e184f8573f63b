"""What a caller may do: in which namespaces, and which verbs."""

from __future__ import annotations

import asyncio
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.conversions import Caller
from converter_gateway.auth import Authenticator
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings
from converter_gateway.stores import Stores
from converter_gateway.translate import ResponseBody

MOST_NAMESPACES: Final = 200
_VERBS: Final = {
    names.PLURAL: ("get", "list", "watch", "create", "patch"),
    names.QUEUE_PLURAL: ("list", "patch"),
}
_PARALLEL: Final = 8


class Rights:
    """Asks the API server, which decides. The answers that allow something are kept for 10 s."""

    def __init__(self, auth: Authenticator, settings: GatewaySettings, stores: Stores) -> None:
        self._auth, self._settings, self._stores = auth, settings, stores
        self._places = asyncio.Semaphore(_PARALLEL)

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
        async with self._places:
            return await self._auth.may(caller, namespace, verb, resource)
