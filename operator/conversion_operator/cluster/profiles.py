"""The request for a ConversionProfile."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from conversion_operator.api import names
from conversion_operator.api.profiles import ConversionProfileSpec
from conversion_operator.api.reasons import Reason
from conversion_operator.cluster.errors import NotFound, Rejected
from conversion_operator.cluster.transport import Client
from conversion_operator.core.plan import Block, ProfileAnswer

_FORBIDDEN: Final = 403
_PROBLEM_MAX: Final = 256


class ProfileRequests(Client):
    """The part of the operator's client that reads ConversionProfiles."""

    async def get_profile(self, namespace: str, name: str) -> ProfileAnswer:
        """GET what a ConversionProfile says, or why conversions that name it wait.

        Raises a ClusterError if there is no answer. This includes that the API server serves no
        ConversionProfiles at all, because that does not mean that this one does not exist.
        """
        path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PROFILE_PLURAL}/{name}"
        try:
            body = await self._transport.request("GET", path)
        except NotFound:
            return Block(
                Reason.PROFILE_MISSING,
                f"there is no ConversionProfile {name} in the namespace {namespace}. Create it, or "
                "create a new ConversionJob with another spec.profile",
            )
        except Rejected as error:
            if error.code != _FORBIDDEN:
                raise
            return Block(
                Reason.PROFILE_UNREADABLE,
                f"the operator may not read ConversionProfile {name}. It needs the right to get "
                f"conversionprofiles in the namespace {namespace}: apply the operator's role of "
                f"this release there. The API server says: {error}",
            )
        try:
            return ConversionProfileSpec.model_validate(body.get("spec"))
        except ValidationError as error:
            return Block(Reason.PROFILE_UNREADABLE, _unreadable(name, error))


def _unreadable(name: str, error: ValidationError) -> str:
    """A later release may know more fields. To ignore one could make other outputs."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    problem = f"spec{field}: {first['msg']}"[:_PROBLEM_MAX]
    return (
        f"this release of the operator cannot read ConversionProfile {name}: {problem}. Upgrade "
        "the operator, or correct the profile"
    )
