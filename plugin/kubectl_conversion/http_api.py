"""Calls the HTTP API through a forwarded port, with a short-lived token of a service account."""

from __future__ import annotations

import http.client
import json
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from kubectl_conversion import data, kubectl
from kubectl_conversion.kubectl import Failure, KubectlError, Obj
from kubectl_conversion.model import text_at
from kubectl_conversion.source import Caller

ACCOUNT: Final = "page"
_AUDIENCE: Final = "my-network-converter"
_SHORTEST_SECONDS: Final = 600
_SECONDS: Final = 15
_MOST_BYTES: Final = 4 << 20


class Log(NamedTuple):
    """The log of an attempt. ``whole``: from the volume, not only its end from the status."""

    text: str
    whole: bool


def settings(caller: Caller, home: str) -> Obj:
    """The settings of the HTTP API. Empty if the caller may not read them: then the defaults."""
    try:
        url = kubectl.api_path("api/v1", "configmaps", home, data.GATEWAY)
        return caller.kubectl.get(url)
    except KubectlError as error:
        if error.failure not in (Failure.FORBIDDEN, Failure.NOT_FOUND):
            raise
        return {}


def token(caller: Caller, home: str, account: str, configured: Obj, minutes: int) -> str:
    """A token of a service account for the HTTP API only. "": the API takes no tokens.

    ``configured`` are the settings of the HTTP API. Raises KubectlError.
    """
    if text_at(configured, "data", "GATEWAY_AUTH") == "network":
        return ""
    audience = text_at(configured, "data", "GATEWAY_AUDIENCE") or _AUDIENCE
    url = kubectl.api_path("api/v1", "serviceaccounts", caller.namespace, account, "token")
    spec = {
        "audiences": [audience],
        "expirationSeconds": max(_SHORTEST_SECONDS, minutes * 60),
    }
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    try:
        return text_at(caller.kubectl.create(url, request), "status", "token")
    except KubectlError as error:
        if error.failure is not Failure.NOT_FOUND:
            raise
        raise KubectlError(
            Failure.OTHER,
            f"there is no service account {account} in namespace {caller.namespace}. Name another "
            "one with --account, or create it: "
            f"kubectl -n {caller.namespace} create serviceaccount {account} && "
            f"kubectl -n {caller.namespace} create rolebinding {account} "
            f"--clusterrole={home}-caller "
            f"--serviceaccount={caller.namespace}:{account}",
        ) from None


def log(caller: Caller, home: str, account: str, name: str, attempt: int) -> Log:
    """The log of an attempt, from the HTTP API. Raises KubectlError if it cannot be had."""
    secret = token(caller, home, account, settings(caller, home), 0)
    headers = {"X-Namespace": caller.namespace}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    path = f"/api/v1/converter/logs/{quote(name, safe='')}?{urlencode({'attempt': attempt})}"
    with caller.kubectl.forward(home, data.GATEWAY, 0, "http") as (port, _):
        # It follows no redirect and uses no proxy: the token goes nowhere else.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read(_MOST_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise KubectlError(Failure.OTHER, f"the HTTP API does not respond: {error}") from None
        finally:
            connection.close()
    if response.status != 200:
        raise KubectlError(Failure.OTHER, f"the HTTP API says: {_message(body)}")
    return Log(body, response.getheader("x-log-source") == "volume")


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "an error without a message"
