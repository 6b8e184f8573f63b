"""Turns the report of a run, and its progress, into JSON and back.

Converter and operator import this module. It does no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from media_converter.contract import (
    MAX_NAME_LENGTH,
    MAX_OUTPUT_MESSAGE_LENGTH,
    MAX_OUTPUTS,
    MAX_WARNING_LENGTH,
    MAX_WARNINGS,
    REPORT_MAX_BYTES,
    Action,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    PlannedOutput,
    Progress,
    Report,
)

PROGRESS_KEY: Final = "progress"
"""The only key of a progress line on standard output. Log lines for people do not have it."""

Item = TypeVar("Item")

_SHA256: Final = re.compile("[0-9a-f]{64}")
_NOT_OF_NAMES: Final = re.compile("[^A-Za-z0-9 _.,+/()-]")
_INT64_MAX: Final = 2**63 - 1
_MAX_NUMBER: Final = 1e12

_OUTPUT_KEYS = (
    ("sha256", "sha256"),
    ("container", "container"),
    ("videoCodec", "video_codec"),
    ("audioCodec", "audio_codec"),
    ("width", "width"),
    ("height", "height"),
    ("durationSeconds", "duration_seconds"),
)
_PLANNED_KEYS = (
    ("action", "action"),
    ("videoCodec", "video_codec"),
    ("audioCodec", "audio_codec"),
    ("width", "width"),
    ("height", "height"),
    ("durationSeconds", "duration_seconds"),
    ("memory", "memory"),
    ("estimatedSeconds", "estimated_seconds"),
    ("estimatedSize", "estimated_size"),
    ("reason", "reason"),
)
_PROGRESS_KEYS = (("percent", "percent"), ("speed", "speed"), ("etaSeconds", "eta_seconds"))


def _to_json(value: object, keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    pairs = ((key, getattr(value, name)) for key, name in keys)
    return {key: item for key, item in pairs if item is not None}


def dump_report(report: Report) -> bytes:
    """The report as one JSON object of at most REPORT_MAX_BYTES bytes of ASCII.

    Until it fits, cuts first the middle of the log: its start names the cause, its end says why the
    run failed. Then it cuts the messages and warnings of the outputs, and then the message. It
    never cuts facts.
    """
    texts = _Texts(report)
    while True:
        body: dict[str, Any] = {
            "final": report.final,
            "reason": report.reason,
            "message": texts.message,
            "outputSize": report.output_size,
            "output": _to_json(report.output, _OUTPUT_KEYS) if report.output else None,
            "outputs": [
                _dump_result(result, texts.most) for result in report.outputs[:MAX_OUTPUTS]
            ],
            "plan": [_dump_planned(planned, texts.most) for planned in report.plan[:MAX_OUTPUTS]],
            "progress": _to_json(report.progress, _PROGRESS_KEYS),
            "warnings": _cut(report.warnings, MAX_WARNING_LENGTH),
            "landlockABI": report.landlock_abi,
            "runMilliseconds": report.run_milliseconds,
            "logs": texts.logs,
        }
        text = json.dumps(_filled(body), separators=(",", ":"))
        excess = len(text) - REPORT_MAX_BYTES
        if excess <= 0:
            return text.encode("ascii")
        texts.cut(excess)


class _Texts:
    """The texts of a report that is being cut. ``most`` is the length of each text of an output."""

    def __init__(self, report: Report) -> None:
        self.message, self.logs = report.message, report.logs
        lengths = [len(result.message) for result in report.outputs]
        lengths += [len(planned.message) for planned in report.plan]
        lengths += [len(text) for result in report.outputs for text in result.warnings]
        self.most = min(max(lengths, default=0), MAX_OUTPUT_MESSAGE_LENGTH)

    def cut(self, excess: int) -> None:
        """Make the texts shorter, because the report has ``excess`` bytes too many."""
        # An escaped character takes up to twelve bytes. If the cut is too small, the loop repeats.
        cut = max(1, excess // 12)
        if self.logs:
            kept = max(0, len(self.logs) - cut)
            self.logs = self.logs[: kept // 2] + self.logs[len(self.logs) - (kept - kept // 2) :]
        elif self.most:
            self.most = max(0, self.most - max(1, cut // (2 * MAX_OUTPUTS)))
        else:
            self.message = self.message[: max(0, len(self.message) - cut)]


def _dump_result(result: OutputResult, most: int) -> dict[str, Any]:
    facts = _to_json(result.output, _OUTPUT_KEYS) if result.output else {}
    body = {
        "state": result.state,
        "size": result.size,
        **facts,
        "warnings": _cut(result.warnings, min(most, MAX_WARNING_LENGTH)),
        "reason": result.reason,
        "message": result.message[:most],
    }
    return _filled(body)


def _dump_planned(planned: PlannedOutput, most: int) -> dict[str, Any]:
    body = _to_json(planned, _PLANNED_KEYS) | {"message": planned.message[:most]}
    return _filled(body)


def _cut(texts: tuple[str, ...], length: int) -> list[str]:
    return [text[:length] for text in texts[:MAX_WARNINGS] if length]


def _filled(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value not in (None, "", {}, [])}


def parse_report(text: str) -> Report | None:
    """Parse a termination message or the last line of output. None if it is not a report.

    Never raises: the container may have been killed while it wrote the text, or the text may be
    the end of the log, which the kubelet uses as a fallback. Whoever may run a command in the pod
    can write it too. So values that no status can hold make it no report.
    """
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or not isinstance(body.get("final"), bool):
            return None
        output = body.get("output")
        progress = body.get("progress") or {}
        return Report(
            final=body["final"],
            reason=ExitReason(body["reason"]) if body.get("reason") else None,
            message=_string(body.get("message", "")),
            output_size=_whole(body.get("outputSize")),
            output=_parse_output(output) if output else None,
            progress=Progress(
                percent=_whole(progress.get("percent")),
                speed=_number(progress.get("speed")),
                eta_seconds=_whole(progress.get("etaSeconds")),
            ),
            logs=_string(body.get("logs", "")),
            warnings=_texts(body.get("warnings") or []),
            landlock_abi=_whole(body.get("landlockABI")),
            outputs=_items(body.get("outputs") or [], _parse_result),
            plan=_items(body.get("plan") or [], _parse_planned),
            run_milliseconds=_whole(body.get("runMilliseconds")),
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def dump_progress(progress: Progress) -> str:
    """A progress line for standard output, without the line break."""
    return json.dumps({PROGRESS_KEY: _to_json(progress, _PROGRESS_KEYS)}, separators=(",", ":"))


def parse_progress(line: str) -> Progress | None:
    """Parse one line of a container's log. None if it is not a progress line."""
    if not line.startswith('{"' + PROGRESS_KEY + '"'):
        return None
    try:
        body = json.loads(line)[PROGRESS_KEY]
        return Progress(
            percent=_whole(body.get("percent")),
            speed=_number(body.get("speed")),
            eta_seconds=_whole(body.get("etaSeconds")),
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _parse_output(body: dict[str, Any]) -> Output:
    if not _SHA256.fullmatch(body["sha256"]):
        raise ValueError(f"not a SHA-256: {body['sha256']!r}")
    return Output(
        sha256=body["sha256"],
        container=_name(body["container"]) or "",
        video_codec=_name(body.get("videoCodec")),
        audio_codec=_name(body.get("audioCodec")),
        width=_whole(body.get("width")),
        height=_whole(body.get("height")),
        duration_seconds=_number(body.get("durationSeconds")),
    )


def _parse_result(body: dict[str, Any]) -> OutputResult:
    state = OutputState(body["state"])
    succeeded = state is OutputState.SUCCEEDED
    return OutputResult(
        state=state,
        size=_whole(body["size"]) if succeeded else None,
        output=_parse_output(body) if succeeded else None,
        warnings=_texts(body.get("warnings") or []),
        reason=_reason(body.get("reason")),
        message=_string(body.get("message", ""))[:MAX_OUTPUT_MESSAGE_LENGTH],
    )


def _parse_planned(body: dict[str, Any]) -> PlannedOutput:
    return PlannedOutput(
        action=Action(body["action"]),
        video_codec=_name(body.get("videoCodec")),
        audio_codec=_name(body.get("audioCodec")),
        width=_whole(body.get("width")),
        height=_whole(body.get("height")),
        duration_seconds=_number(body.get("durationSeconds")),
        memory=_whole(body.get("memory")),
        estimated_seconds=_number(body.get("estimatedSeconds")),
        estimated_size=_whole(body.get("estimatedSize")),
        reason=_reason(body.get("reason")),
        message=_string(body.get("message", ""))[:MAX_OUTPUT_MESSAGE_LENGTH],
    )


def _items(value: object, parse: Callable[[dict[str, Any]], Item]) -> tuple[Item, ...]:
    if not isinstance(value, list) or len(value) > MAX_OUTPUTS:
        raise ValueError(f"not a list of at most {MAX_OUTPUTS} items")
    return tuple(map(parse, value))


def _reason(value: object) -> ExitReason | None:
    return ExitReason(str(value)) if value else None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return tuple(_string(text)[:MAX_WARNING_LENGTH] for text in value[:MAX_WARNINGS])


def _string(value: object) -> str:
    """The value as text. JSON may have half a character, which UTF-8 cannot encode."""
    return str(value).encode(errors="replace").decode()


def _name(value: object) -> str | None:
    """A name of a codec or a container: only characters that are printed as one byte."""
    if value is None:
        return None
    return _NOT_OF_NAMES.sub("?", _string(value)[:MAX_NAME_LENGTH])


def _whole(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INT64_MAX:
        raise ValueError(f"not a whole number of 64 bits: {value!r}")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number: {value!r}")
    number = float(value)
    if not 0 <= number <= _MAX_NUMBER:  # false for NaN
        raise ValueError(f"out of range: {value!r}")
    return number
