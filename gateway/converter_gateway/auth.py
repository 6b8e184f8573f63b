"""Authenticates callers, and checks what they may do in a namespace."""

from __future__ import annotations

import re
from typing import Final

from cachetools import TTLCache

from conversion_operator.cluster.conversions import Caller, ConversionClient
from conversion_operator.cluster.errors import Rejected, Unavailable
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings
from converter_gateway.tokens import CACHE_MAX_ENTRIES, CACHE_SECONDS, TokenReviews

_SERVICE_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):[a-z0-9.-]+")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Authenticator:
    """Caches successful checks for 10 s, so a revoked permission may still work for 10 s."""

    def __init__(self, cluster: ConversionClient, settings: GatewaySettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._tokens = TokenReviews(self._review)
        self._allowed: TTLCache[tuple[Caller, str, str], bool] = TTLCache(
            CACHE_MAX_ENTRIES, CACHE_SECONDS
        )

    async def check_access(
        self, authorization: str, requested: str, verb: str, address: str
    ) -> str:
        """Check that the caller may do ``verb``, and return the namespace to do it in.

        ``requested`` is the header X-Namespace, "" if absent. ``address`` is where the request
        comes from. Raises ApiError 400, 401, 403, 429 or 503, or Unavailable.
        """
        if self._settings.gateway_auth == "network":
            return self._settings.gateway_namespace
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "a bearer token is required")
        try:
            caller = await self._tokens.owner(token, address)
            namespace = _namespace(caller, requested)
            allowed = await self._is_allowed(caller, verb, namespace)
        except Rejected as error:
            raise Unavailable(f"cannot check the caller: {error}") from error
        if not allowed:
            raise ApiError(403, f"you may not {verb} conversionjobs in namespace {namespace}")
        return namespace

    async def _review(self, token: str) -> Caller | None:
        return await self._cluster.review_token(token, self._settings.gateway_audience)

    async def _is_allowed(self, caller: Caller, verb: str, namespace: str) -> bool:
        key = (caller, verb, namespace)
        if key in self._allowed:
            return True
        if not await self._cluster.review_access(caller, verb, namespace):
            return False
        self._allowed[key] = True
        return True


def _namespace(caller: Caller, requested: str) -> str:
    if requested:
        if not _NAMESPACE.fullmatch(requested):
            raise ApiError(400, "X-Namespace: not a valid namespace name")
        return requested
    account = _SERVICE_ACCOUNT.fullmatch(caller.username)
    if account is None:
        raise ApiError(400, "X-Namespace: required unless the caller is a service account")
    return account[1]
