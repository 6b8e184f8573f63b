"""Authenticates callers, and checks what they may do in a namespace."""

from __future__ import annotations

import re
from typing import Final

from cachetools import TTLCache

from conversion_operator.api import names
from conversion_operator.api.names import NAMESPACE_PATTERN
from conversion_operator.cluster.conversions import Caller, ConversionClient
from conversion_operator.cluster.errors import Rejected, Unavailable
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings
from converter_gateway.tokens import CACHE_MAX_ENTRIES, CACHE_SECONDS, TokenLimits, TokenReviews

_NO_REVIEWS: Final = (
    "this API may not check its callers: apply the ClusterRole and the ClusterRoleBinding in "
    "deploy/gateway/reviews.yaml"
)
_SERVICE_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):[a-z0-9.-]+")
_NAMESPACE: Final = re.compile(NAMESPACE_PATTERN)


class Authenticator:
    """Caches successful checks for 10 s, so a revoked permission may still work for 10 s."""

    def __init__(self, cluster: ConversionClient, settings: GatewaySettings) -> None:
        self._cluster = cluster
        self._settings = settings
        limits = TokenLimits(
            settings.gateway_max_token_reviews,
            settings.gateway_max_token_reviews_per_address,
            settings.gateway_invalid_tokens_per_second,
            settings.gateway_invalid_tokens_burst,
        )
        self._tokens = TokenReviews(self._review, limits, settings.gateway_audience)
        self._allowed: TTLCache[tuple[Caller, str, str, str], bool] = TTLCache(
            CACHE_MAX_ENTRIES, CACHE_SECONDS
        )

    async def identify(self, authorization: str, address: str) -> Caller | None:
        """The caller. None with GATEWAY_AUTH=network.

        ``address`` is where the request comes from. Raises ApiError 401, 429 or 503, or
        Unavailable.
        """
        if self._settings.gateway_auth == "network":
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ApiError(
                401,
                "a bearer token is required: send the header Authorization: Bearer TOKEN, with a "
                f"service account token for the audience {self._settings.gateway_audience}",
            )
        try:
            return await self._tokens.owner(token, address)
        except Rejected as error:
            raise _cannot_check(error) from error

    def namespace(self, caller: Caller | None, requested: str) -> str:
        """The namespace of the request. Raises ApiError 400.

        ``requested`` is the header X-Namespace, "" if absent.
        """
        return _namespace(caller, requested) if caller else self._settings.gateway_namespace

    async def may(
        self, caller: Caller | None, namespace: str, verb: str, resource: str = names.PLURAL
    ) -> bool:
        """True if the caller may do ``verb`` on ``resource``. Raises ApiError or Unavailable."""
        if caller is None:
            return True
        try:
            return await self._is_allowed(caller, verb, namespace, resource)
        except Rejected as error:
            raise _cannot_check(error) from error

    async def check_access(
        self, caller: Caller | None, namespace: str, verb: str, resource: str = names.PLURAL
    ) -> None:
        """Check that the caller may do ``verb``. Raises ApiError 403, or Unavailable."""
        if not await self.may(caller, namespace, verb, resource):
            raise ApiError(
                403,
                f"you may not {verb} {resource} in namespace {namespace}: bind a role that "
                "allows it to your account there, such as the ClusterRole in "
                "deploy/base/user-roles.yaml",
            )

    async def _review(self, token: str) -> Caller | None:
        return await self._cluster.review_token(token, self._settings.gateway_audience)

    async def _is_allowed(self, caller: Caller, verb: str, namespace: str, resource: str) -> bool:
        key = (caller, verb, namespace, resource)
        if key in self._allowed:
            return True
        if not await self._cluster.review_access(caller, verb, namespace, resource):
            return False
        self._allowed[key] = True
        return True


def _cannot_check(error: Rejected) -> Exception:
    if error.code == 403:
        return ApiError(503, _NO_REVIEWS, retry_after=30)
    return Unavailable(f"cannot check the caller: {error}")


def _namespace(caller: Caller, requested: str) -> str:
    if requested:
        if not _NAMESPACE.fullmatch(requested):
            raise ApiError(
                400, "X-Namespace: must be the name of a namespace: a-z, 0-9 and -, up to 63"
            )
        return requested
    account = _SERVICE_ACCOUNT.fullmatch(caller.username)
    if account is None:
        raise ApiError(
            400, "X-Namespace: required unless the caller is a service account; name the namespace"
        )
    return account[1]
