"""What reports say about several outputs, and about dry runs: is it valid, and what is kept of it.

A report is evidence only if it is about the outputs of the conversion: the image may be that of
another release, and whoever may run a command in the pod can write the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from conversion_operator.api.reasons import Reason
from conversion_operator.api.status import ConversionJobStatus, OutputStatus, PlannedOutput
from conversion_operator.core.model import Conversion
from conversion_operator.core.text import one_line
from conversion_operator.core.verdict import Ended, Outcome
from media_converter.contract import MAX_OUTPUT_MESSAGE_LENGTH as MESSAGE_LENGTH
from media_converter.contract import MAX_WARNING_LENGTH as WARNING_LENGTH
from media_converter.contract import OutputResult, OutputState, Report
from media_converter.contract import PlannedOutput as ReportedPlan

_IMAGE_HINT = "check that CONVERTER_IMAGE is the converter of this release"


def validate_report(conversion: Conversion, end: Ended) -> Ended:
    """The end of an attempt, after its report was checked against the conversion.

    The attempt succeeds only if each required output is Succeeded, and none that is optional is
    Pending. A dry run succeeds if the report has a plan. If the spec cannot be read, all outputs
    are required. Without a report about the outputs, all of them are Pending.
    """
    report = end.report or Report(final=False)
    optional = _optional(conversion)
    count = len(optional)
    plan = report.plan if conversion.dry_run and len(report.plan) == count else ()
    outputs: tuple[OutputResult, ...] = ()
    if conversion.has_output_list and not conversion.dry_run:
        outputs = report.outputs if len(report.outputs) == count else ()
    problem = ""
    if end.outcome is Outcome.SUCCESS:
        problem = _lacks(conversion, optional, outputs, plan)
    if problem:
        end = replace(end, outcome=Outcome.FAILURE, reason=Reason.REPORT_MISSING, message=problem)
    elif end.outcome is Outcome.SUCCESS and conversion.dry_run:
        end = replace(end, reason=Reason.PLANNED, message="the conversion is planned")
    if conversion.has_output_list and not conversion.dry_run:
        outputs = outputs or (OutputResult(),) * count
    elif not conversion.dry_run and end.report is None:
        return end
    return replace(end, report=report._replace(outputs=outputs, plan=plan))


def _optional(conversion: Conversion) -> list[bool]:
    """Of each output, whether the conversion succeeds without it."""
    if conversion.spec is None:
        return [False] * len(conversion.output_types)
    return [bool(output.optional) for output in conversion.spec.all_outputs()]


def _lacks(
    conversion: Conversion,
    optional: Sequence[bool],
    outputs: Sequence[OutputResult],
    plan: Sequence[ReportedPlan],
) -> str:
    """What the report of an attempt with exit code 0 lacks. "" if it lacks nothing."""
    if conversion.dry_run:
        return "" if plan else f"the container exited with code 0 but wrote no plan: {_IMAGE_HINT}"
    if not conversion.has_output_list:
        return ""
    if not outputs:
        return f"the container exited with code 0 but reported no outputs: {_IMAGE_HINT}"
    for number, (may_lack, result) in enumerate(zip(optional, outputs, strict=True)):
        allowed = {OutputState.SUCCEEDED}
        if may_lack:
            allowed |= {OutputState.FAILED, OutputState.SKIPPED}
        if result.state not in allowed:
            return (
                f"the container exited with code 0, but outputs[{number}] is {result.state} in its "
                f"report: {_IMAGE_HINT}"
            )
    return ""


def merge(
    stored: Sequence[OutputStatus] | None, reported: Iterable[OutputResult]
) -> list[OutputStatus]:
    """What is known about the outputs after an attempt.

    Pending means that this attempt did not reach the output. So it does not replace what an earlier
    attempt has reported about a complete file.
    """
    new = [_status_of(result) for result in reported]
    if not stored or len(stored) != len(new):
        return new
    return [
        old if old.state is OutputState.SUCCEEDED and now.state is OutputState.PENDING else now
        for old, now in zip(stored, new, strict=True)
    ]


def planned(plan: Iterable[ReportedPlan]) -> list[PlannedOutput]:
    """The plan of a dry run, for the status."""
    return [
        PlannedOutput(
            action=each.action,
            video_codec=each.video_codec,
            audio_codec=each.audio_codec,
            width=each.width,
            height=each.height,
            duration_seconds=seconds(each.duration_seconds),
            memory=each.memory,
            estimated_seconds=seconds(each.estimated_seconds),
            estimated_size=each.estimated_size,
            reason=each.reason,
            message=one_line(each.message, MESSAGE_LENGTH) or None,
        )
        for each in plan
    ]


def total_size(outputs: Iterable[OutputStatus] | None) -> int | None:
    """The sum of the sizes of the complete files. None if there is none."""
    sizes = [output.size for output in outputs or () if output.state is OutputState.SUCCEEDED]
    return sum(size or 0 for size in sizes) if sizes else None


def reported_sha256(status: ConversionJobStatus | None, count: int) -> list[str | None]:
    """The sha256 of each output that an earlier attempt has reported as complete."""
    known = (status.outputs if status else None) or ()
    if len(known) != count:
        return [None] * count
    return [each.sha256 if each.state is OutputState.SUCCEEDED else None for each in known]


def seconds(value: float | None) -> str | None:
    """A duration with three decimals, as a status has it."""
    return None if value is None else f"{value:.3f}"


def cut_texts(status: ConversionJobStatus, length: int) -> ConversionJobStatus:
    """A copy of the status whose texts about outputs have at most ``length`` bytes.

    0 removes them.
    """
    changes: dict[str, object] = {}
    if status.outputs:
        changes["outputs"] = [
            each.model_copy(
                update={
                    "message": _cut(each.message, length),
                    "warnings": [_cut(text, length) or "" for text in each.warnings or ()]
                    if length
                    else None,
                }
            )
            for each in status.outputs
        ]
    if status.plan:
        changes["plan"] = [
            each.model_copy(update={"message": _cut(each.message, length)}) for each in status.plan
        ]
    if status.output and status.output.warnings and not length:
        changes["output"] = status.output.model_copy(update={"warnings": None})
    return status.model_copy(update=changes)


def _cut(text: str | None, length: int) -> str | None:
    return (one_line(text, length) or None) if text else None


def _status_of(result: OutputResult) -> OutputStatus:
    facts = result.output
    warnings = [one_line(warning, WARNING_LENGTH) for warning in result.warnings]
    return OutputStatus(
        state=result.state,
        size=result.size,
        sha256=facts.sha256 if facts else None,
        container=facts.container if facts else None,
        video_codec=facts.video_codec if facts else None,
        audio_codec=facts.audio_codec if facts else None,
        width=facts.width if facts else None,
        height=facts.height if facts else None,
        duration_seconds=seconds(facts.duration_seconds) if facts else None,
        warnings=warnings or None,
        reason=result.reason,
        message=one_line(result.message, MESSAGE_LENGTH) or None,
    )
