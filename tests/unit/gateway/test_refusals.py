"""Refusals of callers say what to do."""

from __future__ import annotations

from typing import Any, cast

import pytest

from conversion_operator.cluster.conversions import Caller, ConversionClient
from converter_gateway.auth import Authenticator
from converter_gateway.errors import ApiError
from converter_gateway.settings import GatewaySettings

SETTINGS = GatewaySettings(gateway_audience="the-audience")


class Reviews:
    """An API server that knows no token and allows nothing."""

    async def review_token(self, *_: Any) -> Caller | None:
        return None

    async def review_access(self, *_: Any) -> bool:
        return False


AUTH = Authenticator(cast("ConversionClient", Reviews()), SETTINGS)
USER = Caller("jane", "uid", (), ())


@pytest.mark.parametrize(
    ("authorization", "what_to_do"),
    [
        ("", "send the header Authorization: Bearer TOKEN, .* for the audience the-audience"),
        ("Basic x", "send the header Authorization: Bearer TOKEN"),
        ("Bearer x", "it has expired, or it does not have the audience the-audience"),
    ],
)
async def test_without_a_good_token(authorization: str, what_to_do: str) -> None:
    with pytest.raises(ApiError, match=what_to_do) as caught:
        await AUTH.identify(authorization, "10.0.0.1")
    assert caught.value.code == 401


async def test_without_a_permission() -> None:
    with pytest.raises(ApiError, match="bind a role that allows it to your account"):
        await AUTH.check_access(USER, "my-network", "create")


@pytest.mark.parametrize(
    ("namespace", "what_to_do"),
    [("", "name the namespace"), ("No_Namespace", "must be the name of a namespace")],
)
def test_without_a_namespace(namespace: str, what_to_do: str) -> None:
    with pytest.raises(ApiError, match=f"^X-Namespace: .*{what_to_do}"):
        AUTH.namespace(USER, namespace)
