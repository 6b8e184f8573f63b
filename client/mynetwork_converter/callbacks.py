"""For receivers of callbacks: is this really from the converter, and is it fresh?

from mynetwork_converter import webhooks

event = webhooks.verify(secret, request.headers, request.body)
if event["type"].endswith(".succeeded"):
    print(event["data"]["name"], event["data"]["outputFile"])

A callback may come more than once: ``event["id"]`` is the same each time. Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Final, Required, TypedDict, cast

TOLERANCE: Final = 300.0
"""Seconds a callback may be old, or ahead of this machine's clock."""

_ENCODED: Final = "whsec_"


class WebhookError(Exception):
    """Not from the converter, not fresh, or changed on its way: answer 400 and do nothing."""


class EventData(TypedDict, total=False):
    """What is told of a conversion. ``name`` is the job_id of the HTTP API; sizes are bytes.

    ``status`` is completed, failed or cancelled, ``phase`` Succeeded, Failed or Cancelled.
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
    """A CloudEvent 1.0 about the end of a conversion; ``time`` is RFC 3339."""

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
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> Event:
    """The event in ``body``, the bytes as they came. Raises WebhookError if it is not genuine.

    ``secret`` is what the operator's Secret holds; a text that begins with whsec_ is base64.
    ``tolerance`` is in seconds; ``now`` in seconds since 1970, by default this machine's time.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id = given.get("webhook-id", "")
    timestamp = given.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit()):
        raise WebhookError("webhook-id or webhook-timestamp is missing or malformed")
    signed = f"{message_id}.{timestamp}.".encode() + body
    wanted = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest())
    found = [
        signature.encode()
        for version, _, signature in (
            part.partition(",") for part in given.get("webhook-signature", "").split()
        )
        if version == "v1"
    ]
    # All of them are compared, each in constant time: how long it takes tells nothing.
    if not sum(hmac.compare_digest(wanted, signature) for signature in found):
        raise WebhookError("the signature is not that of this message")
    moment = time.time() if now is None else now
    if abs(moment - int(timestamp[:15])) > tolerance:
        raise WebhookError("the message is too old, or from the future")
    return _parse(body, message_id)


def _key(secret: str | bytes) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    raw = raw.strip()
    if not raw.startswith(_ENCODED.encode()):
        return raw
    try:
        return base64.b64decode(raw.removeprefix(_ENCODED.encode()), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret after whsec_ is not base64") from error


def _parse(body: bytes, message_id: str) -> Event:
    try:
        event = json.loads(body)
    except ValueError as error:
        raise WebhookError("the body is not JSON") from error
    if not isinstance(event, dict) or event.get("id") != message_id:
        raise WebhookError("the body is not the event of that id")
    return cast("Event", event)
