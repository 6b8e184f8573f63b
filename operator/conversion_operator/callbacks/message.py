"""Builds and signs the CloudEvent that reports the end of a conversion.

Every retry has the same body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final, NamedTuple

from cloudevents.core.bindings.http import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from conversion_operator.api import names
from conversion_operator.api.status import ConversionJobStatus, OutputStatus, Phase
from conversion_operator.core.model import Conversion
from conversion_operator.core.text import head
from media_converter.contract import OutputState

TYPE_PREFIX: Final = "io.mynetwork.converter.conversion"
_ANNOTATION_MAX_BYTES: Final = 1024

_STATUS_WORDS: Final = {
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
"""The statuses of the HTTP API for the terminal phases."""

_OUTPUT_FACTS: Final = {"state", "size", "sha256", "reason", "message"}

_ANNOTATIONS: Final = {
    "contentId": names.CONTENT_ID_ANNOTATION,
    "callerInputFile": names.CALLER_INPUT_ANNOTATION,
    "callerOutputFile": names.CALLER_OUTPUT_ANNOTATION,
}


class Message(NamedTuple):
    """A CloudEvent in structured mode, ready to send."""

    id: str
    content_type: str
    body: bytes


def build_message(conversion: Conversion) -> Message:
    """The message about the end of a conversion. Raises ValueError if it has not ended.

    The id consists of the uid and the terminal phase. Both never change.
    """
    status = conversion.status
    if status is None or not status.phase.terminal:
        raise ValueError("the conversion has not ended")
    key, end = conversion.key, str(status.phase).lower()
    attributes: dict[str, Any] = {
        "id": f"{key.uid}-{end}",
        "source": f"/namespaces/{key.namespace}/{names.PLURAL}/{key.name}",
        "type": f"{TYPE_PREFIX}.{end}",
        "subject": key.name,
        "time": status.completion_time or conversion.created,
        "datacontenttype": "application/json",
    }
    http = to_structured(CloudEvent(attributes, _data(conversion, status)), JSONFormat())
    return Message(attributes["id"], http.headers["content-type"], http.body)


def _data(conversion: Conversion, status: ConversionJobStatus) -> dict[str, Any]:
    key, spec = conversion.key, conversion.spec
    values: dict[str, object] = {
        "namespace": key.namespace,
        "name": key.name,
        "uid": key.uid,
        "phase": str(status.phase),
        "status": _STATUS_WORDS[status.phase],
        "reason": status.reason,
        "message": status.message,
        "dryRun": conversion.dry_run or None,
        "conversionType": spec.conversion_type if spec else None,
        "inputFile": spec.input_file if spec else None,
        "outputFile": spec.output_file if spec else None,
        "outputSize": status.output_size,
        "sha256": status.output.sha256 if status.output else None,
        "outputs": _outputs(conversion, status),
        "plan": [each.to_json() for each in status.plan] if status.plan else None,
        "durationSeconds": status.duration_seconds,
    }
    kept = {field: conversion.annotations.get(name) for field, name in _ANNOTATIONS.items()}
    values |= {field: head(text, _ANNOTATION_MAX_BYTES) for field, text in kept.items() if text}
    return {name: value for name, value in values.items() if value is not None}


def _outputs(conversion: Conversion, status: ConversionJobStatus) -> list[object] | None:
    """What has become of each of several outputs, in the order of the spec."""
    if conversion.spec is None or not conversion.has_output_list or conversion.dry_run:
        return None
    outputs = conversion.spec.all_outputs()
    known = status.outputs if status.outputs and len(status.outputs) == len(outputs) else None
    states = known or [OutputStatus(state=OutputState.PENDING) for _ in outputs]
    return [
        {
            "conversionType": str(output.conversion_type),
            "outputFile": output.output_file,
            "optional": bool(output.optional),
            **state.model_dump(
                mode="json", by_alias=True, exclude_none=True, include=_OUTPUT_FACTS
            ),
        }
        for output, state in zip(outputs, states, strict=True)
    ]


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers with the signature, as Standard Webhooks defines them.

    ``timestamp`` is in seconds since 1970.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
