"""Everything about one conversion, as lines of text: state, cure, outputs, timeline, log. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kubectl_conversion import data, progress
from kubectl_conversion.estimates import UNKNOWN, Estimate, of_running
from kubectl_conversion.model import Attempt, Conversion, dig, items_at, number_at, text_at, time_at
from kubectl_conversion.text import (
    age,
    duration,
    moment,
    run_time,
    safe,
    safe_lines,
    size,
    wrap,
)

_LABEL: Final = 12
_LOG_LINES: Final = 10
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline."""

    at: datetime | None
    text: str


def describe(
    conversion: Conversion, now: datetime, columns: int, estimate: Estimate = UNKNOWN
) -> list[str]:
    """The lines. Each is safe for a terminal. ``estimate`` is that of a waiting conversion."""
    lines = [*_head(conversion, now, columns, estimate)]
    lines += ["", *_outputs(conversion, columns)]
    if plan := plan_lines(conversion):
        lines += ["", "Plan:", *plan]
    lines += ["", "Timeline:"]
    for each in timeline(conversion):
        first, *rest = wrap(safe(each.text), max(20, columns - 24)) or [""]
        lines.append(f"  {moment(each.at) or '(no time)':20}  {first}")
        lines += [f"  {'':20}  {line}" for line in rest]
    if conversion.logs:
        log = safe_lines(conversion.logs.rstrip("\n"))
        lines += ["", "Log (its end):", *(f"  {line}" for line in log[-_LOG_LINES:])]
    return lines


def _head(conversion: Conversion, now: datetime, columns: int, estimate: Estimate) -> Iterator[str]:
    yield from _field("Name", conversion.name, columns)
    yield from _field("Namespace", conversion.namespace, columns)
    yield from _field("Phase", _phase(conversion, now), columns)
    if words := _estimate(conversion, now, estimate):
        yield from _field("ETA", words, columns)
    yield from _field("Reason", conversion.reason, columns)
    if conversion.message:
        yield from _field("Message", conversion.message, columns)
    if known := data.reason(conversion.reason):
        yield from _field("Meaning", known.meaning.replace("`", ""), columns)
    if not conversion.reason:
        return
    yield from _field("What to do", cure_of(conversion), columns)


def cure_of(conversion: Conversion) -> str:
    """What to do about the reason of a conversion, with its own names in the commands."""
    job = text_at(conversion.raw, "status", "jobName")
    names = {
        "NAMESPACE": conversion.namespace,
        "NAME": conversion.name,
        "POD": conversion.pod,
        "NODE": conversion.node,
        "JOB": job,
    }
    advice = data.cure(conversion.reason, **{word: name for word, name in names.items() if name})
    if conversion.phase in ("Failed", "Cancelled"):
        command = f"kubectl conversion retry {conversion.name} -n {conversion.namespace}"
        advice += f" To run it again: {command}"
    return advice


def _phase(conversion: Conversion, now: datetime) -> str:
    words = conversion.phase
    if conversion.phase == "Queued" and conversion.position is not None:
        words += f", position {conversion.position} of its namespace in queue {conversion.queue}"
    if conversion.phase == "Running":
        known = (progress.progress(conversion), conversion.speed)
        words = ", ".join([words, *filter(None, known)])
    if conversion.ended:
        words += f", {age(conversion.ended, now)} ago"
    if conversion.finished and conversion.seconds is not None:
        words += f", the last attempt ran {run_time(conversion.seconds)}"
    return words


def _estimate(conversion: Conversion, now: datetime, estimate: Estimate) -> str:
    """When it starts and ends, about."""
    known = of_running(conversion, now) if estimate == UNKNOWN else estimate
    if known.end is None:
        return progress.eta(conversion, now)
    start = f"starts about {moment(known.start)}, " if known.start else ""
    left = duration((known.end - now).total_seconds())
    return f"{start}ends about {moment(known.end)}, in {left}"


def _field(label: str, text: str, columns: int) -> Iterator[str]:
    if columns < 60:
        yield f"{label}:"
        yield from wrap(safe(text), columns, "  ")
        return
    first, *rest = wrap(safe(text), columns - _LABEL - 1) or [""]
    yield f"{label + ':':{_LABEL}} {first}"
    yield from (f"{'':{_LABEL}} {line}" for line in rest)


def _outputs(conversion: Conversion, columns: int) -> Iterator[str]:
    yield from _field("Input", conversion.input, columns)
    if conversion.profile:
        yield from _field("Profile", conversion.profile, columns)
    for output in conversion.outputs:
        facts = [output.conversion_type, output.state]
        if output.size is not None:
            facts.append(size(output.size))
        words = f"{output.path} ({', '.join(filter(None, facts))})"
        if output.reason:
            words += f" {output.reason}: {output.message}"
        yield from _field("Output", words, columns)
        for warning in output.warnings:
            yield from _field("Warning", warning, columns)


def plan_lines(conversion: Conversion) -> list[str]:
    """What a dry run says about each output."""
    lines = []
    planned = items_at(conversion.raw, "status", "plan")
    for number, plan in enumerate(planned):
        path = conversion.outputs[number].path if number < len(conversion.outputs) else "?"
        words = [text_at(plan, "action")]
        if number_at(plan, "width") and number_at(plan, "height"):
            words.append(f"{plan['width']}x{plan['height']}")
        words += [text_at(plan, key) for key in ("videoCodec", "audioCodec")]
        if seconds := _about(plan, "estimatedSeconds"):
            words.append(f"about {seconds} on one CPU")
        if (bytes_ := number_at(plan, "estimatedSize")) is not None:
            words.append(f"about {size(bytes_)}")
        if (memory := number_at(plan, "memory")) is not None:
            words.append(f"{size(memory)} of memory")
        if text_at(plan, "reason"):
            words.append(f"{text_at(plan, 'reason')}: {text_at(plan, 'message')}")
        lines.append(safe(f"  {path}: {', '.join(filter(None, words))}"))
    return lines


def _about(plan: object, name: str) -> str:
    try:
        return duration(max(1.0, float(dig(plan, name))))
    except (TypeError, ValueError):
        return ""


def timeline(conversion: Conversion) -> list[Moment]:
    """What has happened, oldest first."""
    moments = [Moment(conversion.created, "created")]
    first = conversion.attempts[0].number if conversion.attempts else 1
    if first > 1:
        moments.append(Moment(None, f"attempts 1 to {first - 1} are no longer in the status"))
    for attempt in conversion.attempts:
        moments += _moments(attempt)
    if conversion.started and not conversion.finished:
        moments.append(Moment(conversion.started, "its container has started"))
    if conversion.finished:
        moments.append(Moment(conversion.ended, f"{conversion.phase}: {conversion.reason}"))
    elif conversion.phase != "Running":
        moments.append(Moment(None, f"now: {conversion.phase}, {conversion.reason}"))
    callback = dig(conversion.raw, "status", "notify")
    if callback:
        words = f"callback {text_at(callback, 'state')}"
        if (tries := number_at(callback, "attempts")) is not None:
            words += f" after {tries} {'try' if tries == 1 else 'tries'}"
        if text_at(callback, "message"):
            words += f": {text_at(callback, 'message')}"
        moments.append(Moment(time_at(callback, "lastAttemptTime"), words))
    return _sorted(moments)


def _sorted(moments: list[Moment]) -> list[Moment]:
    """By time. A line without a time stays behind the one before."""
    last, keyed = _ALWAYS, []
    for number, each in enumerate(moments):
        last = each.at or last
        keyed.append((last, number, each))
    return [each for _, _, each in sorted(keyed, key=lambda item: item[:2])]


def _moments(attempt: Attempt) -> Iterator[Moment]:
    yield Moment(attempt.started, f"attempt {attempt.number}: its Job was created")
    if attempt.ended or attempt.reason:
        words = f"attempt {attempt.number} ended: {attempt.reason or 'no reason is known'}"
        if attempt.message:
            words += f": {attempt.message}"
        if attempt.started and attempt.ended:
            words += f" (after {duration((attempt.ended - attempt.started).total_seconds())})"
        yield Moment(attempt.ended, words)
