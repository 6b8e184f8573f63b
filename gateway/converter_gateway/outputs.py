"""The several outputs of a ConversionJob, as responses have them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from conversion_operator.api import names
from conversion_operator.api.spec import OutputSpec, normal_path
from conversion_operator.api.status import OutputStatus, Phase, PlannedOutput
from conversion_operator.cluster.conversions import Conversion
from converter_gateway import caller_paths
from media_converter.contract import OutputState

Item = dict[str, Any]
T = TypeVar("T")

_PENDING: Final = OutputStatus(state=OutputState.PENDING)


def outputs_of(conversion: Conversion) -> tuple[OutputSpec, ...]:
    """All outputs, in any form of a spec. Empty while the profile is not resolved."""
    spec, status = conversion.spec, conversion.status
    if spec is None:
        return ()
    if spec.profile is not None:
        return tuple(status.resolved.outputs) if status and status.resolved else ()
    return spec.all_outputs()


def paths_of(conversion: Conversion) -> tuple[str, ...]:
    """The paths that the conversion writes, from the root of the volume."""
    if conversion.dry_run:
        return ()
    return tuple(normal_path(output.output_file) for output in outputs_of(conversion))


def to_items(conversion: Conversion) -> list[Item]:
    """One item for each of several outputs, in the order of the spec."""
    status = conversion.status
    found = _padded(status.outputs if status else None, len(outputs_of(conversion)))
    return [
        identity | _facts(output or _PENDING)
        for identity, output in zip(_identities(conversion), found, strict=True)
    ]


def to_details(conversion: Conversion) -> list[Item]:
    """One item for each output, also for a single one, whose facts have another place."""
    status = conversion.status
    if conversion.has_output_list or status is None or not conversion.finished:
        return to_items(conversion)
    made = status.phase is Phase.SUCCEEDED and not conversion.dry_run
    facts = status.output.model_dump(exclude_none=True) if made and status.output else {}
    known = {name: value for name, value in facts.items() if name in OutputStatus.model_fields}
    state = OutputState.SUCCEEDED if made else OutputState.PENDING
    size = status.output_size if made else None
    output = OutputStatus.model_validate({**known, "state": state, "size": size})
    return [identity | _facts(output) for identity in _identities(conversion)]


def to_plan(conversion: Conversion) -> list[Item] | None:
    """What a dry run says about each output. None while there is no plan."""
    status = conversion.status
    if status is None or status.plan is None:
        return None
    found = _padded(status.plan, len(outputs_of(conversion)))
    return [
        identity | _plan(output)
        for identity, output in zip(_identities(conversion), found, strict=True)
        if output is not None
    ]


def _padded(found: Sequence[T] | None, length: int) -> list[T | None]:
    """Exactly ``length`` items: somebody else may have written the status."""
    kept = list(found or ())[:length]
    return [*kept, *[None] * (length - len(kept))]


def _identities(conversion: Conversion) -> list[Item]:
    """What the request says about each output."""
    annotations = conversion.annotations
    paths = caller_paths.parse(annotations.get(names.CALLER_PREFIXES_ANNOTATION, ""))
    single = None if conversion.has_output_list else annotations.get(names.CALLER_OUTPUT_ANNOTATION)
    return [
        {
            "conversion_type": str(output.conversion_type),
            "output_file": single or paths.name(number, output.output_file),
        }
        | ({"optional": True} if output.optional else {})
        for number, output in enumerate(outputs_of(conversion))
    ]


def _facts(output: OutputStatus) -> Item:
    return {"state": str(output.state)} | _present(
        size=output.size,
        sha256=output.sha256,
        container=output.container,
        video_codec=output.video_codec,
        audio_codec=output.audio_codec,
        width=output.width,
        height=output.height,
        duration_seconds=_number(output.duration_seconds),
        warnings=output.warnings,
        reason=output.reason,
        message=output.message,
    )


def _plan(output: PlannedOutput) -> Item:
    return {"action": str(output.action)} | _present(
        video_codec=output.video_codec,
        audio_codec=output.audio_codec,
        width=output.width,
        height=output.height,
        duration_seconds=_number(output.duration_seconds),
        memory=output.memory,
        estimated_seconds=_number(output.estimated_seconds),
        estimated_size=output.estimated_size,
        reason=output.reason,
        message=output.message,
    )


def _present(**values: object) -> Item:
    return {name: value for name, value in values.items() if value is not None}


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
