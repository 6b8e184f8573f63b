"""Authenticates callers, and checks what they may do in a namespace."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Final

from conversion_operator.cluster.conversions import Caller, ConversionClient
from conversion_operator.cluster.errors import Rejected, Unavailable
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings

_NO_REVIEWS: Final = (
    "this API may not check its callers: apply the ClusterRole and the ClusterRoleBinding in "
    "deploy/gateway/reviews.yaml"
)
_CACHE_SECONDS: Final = 10.0
_CACHE_MAX_ENTRIES: Final = 1024
_SERVICE_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):[a-z0-9.-]+")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Authenticator:
    """Caches successful checks for 10 s, so a revoked permission may still work for 10 s."""

    def __init__(self, cluster: ConversionClient, settings: GatewaySettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._callers: dict[str, tuple[float, Caller]] = {}
        self._allowed_until: dict[tuple[Caller, str, str], float] = {}

    async def identify(self, authorization: str) -> Caller | None:
        """The caller. None with GATEWAY_AUTH=network. Raises ApiError 401, or Unavailable."""
        if self._settings.gateway_auth == "network":
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "a bearer token is required")
        try:
            return await self._caller(token)
        except Rejected as error:
            raise _cannot_check(error) from error

    def namespace(self, caller: Caller | None, requested: str) -> str:
        """The namespace of the request. Raises ApiError 400.

        ``requested`` is the header X-Namespace, "" if absent.
        """
        return _namespace(caller, requested) if caller else self._settings.gateway_namespace

    async def check_access(self, caller: Caller | None, namespace: str, verb: str) -> None:
        """Check that the caller may do ``verb``. Raises ApiError 403, or Unavailable."""
        if caller is None:
            return
        try:
            allowed = await self._is_allowed(caller, verb, namespace)
        except Rejected as error:
            raise _cannot_check(error) from error
        if not allowed:
            raise ApiError(403, f"you may not {verb} conversionjobs in namespace {namespace}")

    async def _caller(self, token: str) -> Caller:
        key = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        until, known = self._callers.get(key, (0.0, None))
        if known is not None and until > time.monotonic():
            return known
        caller = await self._cluster.review_token(token, self._settings.gateway_audience)
        if caller is None:
            raise ApiError(401, "the token is not valid for this API")
        if len(self._callers) >= _CACHE_MAX_ENTRIES:
            self._callers.clear()
        self._callers[key] = (time.monotonic() + _CACHE_SECONDS, caller)
        return caller

    async def _is_allowed(self, caller: Caller, verb: str, namespace: str) -> bool:
        key = (caller, verb, namespace)
        if self._allowed_until.get(key, 0.0) > time.monotonic():
            return True
        if not await self._cluster.review_access(caller, verb, namespace):
            return False
        if len(self._allowed_until) >= _CACHE_MAX_ENTRIES:
            self._allowed_until.clear()
        self._allowed_until[key] = time.monotonic() + _CACHE_SECONDS
        return True


def _cannot_check(error: Rejected) -> Exception:
    if error.code == 403:
        return ApiError(503, _NO_REVIEWS, retry_after=30)
    return Unavailable(f"cannot check the caller: {error}")


def _namespace(caller: Caller, requested: str) -> str:
    if requested:
        if not _NAMESPACE.fullmatch(requested):
            raise ApiError(400, "X-Namespace: not a valid namespace name")
        return requested
    account = _SERVICE_ACCOUNT.fullmatch(caller.username)
    if account is None:
        raise ApiError(400, "X-Namespace: required unless the caller is a service account")
    return account[1]
