"""Verifies that the converter sent a callback, and that the callback is recent.

A callback can arrive more than once, with the same ``event["id"]``. Standard library only.

from collections.abc import Mapping

from mynetwork_converter import callbacks


def receive(secret: bytes, headers: Mapping[str, str], body: bytes) -> None:
    event = callbacks.verify(secret, headers, body)
    if event["data"]["status"] == "completed":
        print(event["data"]["name"], event["data"].get("outputFile"))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any, Final, Required, TypedDict, cast

TOLERANCE_SECONDS: Final = 300.0
"""Maximum difference between the time of a callback and the clock of this machine."""

_BASE64_PREFIX: Final = "whsec_"


class CallbackError(Exception):
    """The callback is not from the converter, or is too old. Respond 400 and do nothing else."""


class EventData(TypedDict, total=False):
    """A conversion that has ended. ``name`` is its job_id in the HTTP API. Sizes are in bytes.

    ``status`` is completed, failed or cancelled. ``phase`` is Succeeded, Failed or Cancelled.
    """

    namespace: Required[str]
    name: Required[str]
    uid: Required[str]
    phase: Required[str]
    status: Required[str]
    reason: Required[str]
    message: Required[str]
    conversionType: str
    inputFile: str
    outputFile: str
    outputSize: int
    sha256: str
    durationSeconds: int
    contentId: str
    callerInputFile: str
    callerOutputFile: str


class Event(TypedDict):
    """A CloudEvent 1.0 about the end of a conversion. ``time`` is in RFC 3339 format."""

    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: str
    datacontenttype: str
    data: EventData


def verify(
    secret: str | bytes,
    headers: Mapping[str, str],
    body: bytes,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Event:
    """Verify a callback and return its event. Raises CallbackError.

    ``secret`` is the content of the operator's Secret. If it begins with whsec_, the rest must be
    base64; otherwise this raises ValueError. ``body`` is the unchanged body of the request.
    ``tolerance`` is in seconds. ``now`` is in seconds since 1970, by default the time of this
    machine.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id = given.get("webhook-id", "")
    timestamp = given.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit()):
        raise CallbackError("webhook-id or webhook-timestamp is missing or malformed")
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest())
    found = [
        signature.encode()
        for version, _, signature in (
            part.partition(",") for part in given.get("webhook-signature", "").split()
        )
        if version == "v1"
    ]
    # Compare with all signatures, each in constant time: the duration must not reveal anything.
    if not sum(hmac.compare_digest(expected, signature) for signature in found):
        raise CallbackError("the signature does not match the message")
    moment = time.time() if now is None else now
    if abs(moment - int(timestamp[:15])) > tolerance:
        raise CallbackError("the timestamp is too old, or in the future")
    return _parse(body, message_id)


def _key(secret: str | bytes) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    raw = raw.strip()
    if not raw.startswith(_BASE64_PREFIX.encode()):
        return raw
    try:
        return base64.b64decode(raw.removeprefix(_BASE64_PREFIX.encode()), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret after whsec_ is not base64") from error


def _parse(body: bytes, message_id: str) -> Event:
    try:
        event = cast("object", json.loads(body))
    except ValueError as error:
        raise CallbackError("the body is not JSON") from error
    if not isinstance(event, dict) or cast("dict[str, Any]", event).get("id") != message_id:
        raise CallbackError("the body is not an event with this id")
    return cast("Event", event)
