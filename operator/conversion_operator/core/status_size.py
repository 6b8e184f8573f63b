"""Bounds the size of a status, as kubectl prints it."""

from __future__ import annotations

import json
from typing import Final

from conversion_operator.api.status import (
    MESSAGE_MAX_BYTES,
    NOTIFY_MESSAGE_MAX_BYTES,
    ConversionJobStatus,
)
from conversion_operator.core.outputs import cut_texts
from conversion_operator.core.text import head, tail
from media_converter.contract import MAX_OUTPUT_MESSAGE_LENGTH as MESSAGE_LENGTH

STATUS_MAX_BYTES: Final = 12288
"""The largest status, not counting status.resolved."""

_SINGLE_OUTPUT_STATUS_MAX_BYTES: Final = 8192
"""The same if the spec has no list of outputs."""

_TEXT_STEP: Final = 16
# Bytes reserved for status.notify to grow: two timestamps, a count and a message, with their JSON
# keys.
_NOTIFY_BYTES: Final = 160 + NOTIFY_MESSAGE_MAX_BYTES


def limit_status_size(status: ConversionJobStatus) -> ConversionJobStatus:
    """A copy of the status that is cut until kubectl prints at most STATUS_MAX_BYTES.

    It cuts the log first, then the messages and warnings of a list of outputs, then the message. It
    never cuts facts. status.resolved is not counted and never cut.

    kubectl prints <, > and & as six bytes each, so counting characters is not enough. If there is
    a callback, bytes are reserved for status.notify to grow: later writes change only notify
    and observedGeneration, and cannot shorten the log again.
    """
    has_list = status.outputs is not None or status.plan is not None
    longest = STATUS_MAX_BYTES if has_list else _SINGLE_OUTPUT_STATUS_MAX_BYTES
    if max_printed_size(status) <= longest:
        return status
    while (excess := printed_size(status) - longest) > 0 and status.logs:
        keep = len(status.logs.encode()) - max(1, excess // 6)
        status = status.model_copy(update={"logs": tail(status.logs, max(0, keep)) or None})
    for length in range(MESSAGE_LENGTH - _TEXT_STEP, -1, -_TEXT_STEP):
        if printed_size(status) <= longest or not has_list:
            break
        status = cut_texts(status, length)
    for length in (MESSAGE_MAX_BYTES // 2, MESSAGE_MAX_BYTES // 4, MESSAGE_MAX_BYTES // 8):
        if printed_size(status) <= longest:
            break
        status = _with_shorter_message(status, length)
    return status


def _with_shorter_message(status: ConversionJobStatus, length: int) -> ConversionJobStatus:
    conditions = [
        each.model_copy(update={"message": head(each.message, length // 4)})
        for each in status.conditions
    ]
    update = {"message": head(status.message, length), "conditions": conditions}
    return status.model_copy(update=update)


def max_printed_size(status: ConversionJobStatus) -> int:
    """An upper bound of the printed size, in bytes. Ten times as fast as :func:`printed_size`.

    This JSON has no space after a comma or a colon, and kubectl prints one. So each comma and each
    colon counts as two bytes, even inside a text.
    """
    raw = status.model_dump_json(by_alias=True, exclude_none=True, exclude={"resolved"}).encode()
    spaces, escapes = sum(map(raw.count, (b",", b":"))), sum(map(raw.count, (b"<", b">", b"&")))
    return len(raw) + spaces + 5 * escapes + _NOTIFY_BYTES


def printed_size(status: ConversionJobStatus) -> int:
    """The size in bytes that kubectl prints, with the bytes that are reserved for status.notify."""
    text = json.dumps(status.model_copy(update={"resolved": None}).to_json(), ensure_ascii=False)
    reserve = _NOTIFY_BYTES if status.notify else 0
    return len(text.encode()) + 5 * sum(map(text.count, "<>&")) + reserve
