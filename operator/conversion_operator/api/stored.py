"""Reads the spec and the status of stored ConversionJobs.

A later release may have written them, or an earlier one, or the CRD may not have checked them. So
reading is lenient: fields that are not known are ignored, and those of the status are kept. The CRD
is strict instead, when a user applies a ConversionJob.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import (
    MESSAGE_MAX_BYTES,
    REASON_MAX_LENGTH,
    ConversionJobStatus,
    Phase,
)

_PROBLEM_MAX: Final = 256
_UNKNOWN_FIELD: Final = "extra_forbidden"
_UNKNOWN_VALUES: Final = frozenset(
    {
        *("enum", "literal_error", "string_pattern_mismatch", "string_too_long", "too_long"),
        *("less_than", "less_than_equal", "greater_than", "greater_than_equal"),
    }
)
"""Errors of values that a later release may allow."""

_TOO_LONG: Final = frozenset({"string_too_long", "too_long"})


class StoredSpec(NamedTuple):
    """A spec that was read.

    ``spec`` has the fields that can be read. It is None if a required one cannot. ``unsupported``
    says which field or value this release does not know, and ``error`` what else is not valid. Each
    is "" if there is none.
    """

    spec: ConversionJobSpec | None
    unsupported: str = ""
    error: str = ""


class StoredStatus(NamedTuple):
    """A status that was read.

    ``status`` is None if the conversion has not begun, or if ``error`` says why the status cannot
    be read. If the conversion has ended, a status that cannot be read has only its phase, reason
    and message.
    """

    status: ConversionJobStatus | None
    error: str = ""


def read_spec(stored: object) -> StoredSpec:
    """The stored spec of a ConversionJob."""
    try:
        return StoredSpec(ConversionJobSpec.model_validate(stored))
    except ValidationError as error:
        found = error.errors(include_url=False)
    unknown = next((e for e in found if e["type"] == _UNKNOWN_FIELD), None)
    value = next((e for e in found if e["type"] in _UNKNOWN_VALUES), None)
    known = _UNKNOWN_VALUES | {_UNKNOWN_FIELD}
    other = next((e for e in found if e["type"] not in known), None)
    unsupported = ""
    if unknown is not None:
        unsupported = f"{_where('spec', unknown)} is a field that this release does not know"
    elif value is not None:
        text = f"{_where('spec', value)} has a value that this release does not know"
        unsupported = f"{text}: {value['input']}"
    invalid = {e["loc"][0] for e in found if e["loc"] and e["type"] != _UNKNOWN_FIELD}
    return StoredSpec(
        _read_fields(stored, invalid),
        unsupported[:_PROBLEM_MAX],
        _explain("spec", other) if other is not None else "",
    )


def _read_fields(stored: object, without: set[Any]) -> ConversionJobSpec | None:
    """The spec without these fields, and without those that are not known."""
    if not isinstance(stored, Mapping):
        return None
    kept = {name: value for name, value in stored.items() if name not in without}
    try:
        return ConversionJobSpec.model_validate(kept, extra="ignore")
    except ValidationError:
        return None


def read_status(stored: object) -> StoredStatus:
    """The stored status of a ConversionJob.

    A status with the phase Pending counts as no status: it is the default of the CRD, or says that
    the conversion was restored. A conversion that has ended stays ended, whatever else its status
    contains.
    """
    if stored is None or stored == {}:
        return StoredStatus(None)
    if not isinstance(stored, Mapping):
        return StoredStatus(None, "status is not an object")
    if stored.get("phase") == Phase.PENDING:
        return StoredStatus(None)
    try:
        return StoredStatus(_read_status_fields(stored))
    except ValidationError as error:
        problem = _explain("status", error.errors(include_url=False)[0])
    return StoredStatus(_read_end(stored), problem)


def unknown_of_profile(status: ConversionJobStatus) -> str:
    """Which field of status.resolved this release does not know. "" if it knows all.

    It could change what is converted, so it counts like an unknown field of the spec.
    """
    unknown = (status.resolved.model_extra or {}) if status.resolved else {}
    return next(
        (
            f"status.resolved.{name} is a field that this release does not know"[:_PROBLEM_MAX]
            for name in unknown
        ),
        "",
    )


def _read_status_fields(stored: Mapping[str, Any]) -> ConversionJobStatus:
    try:
        return ConversionJobStatus.model_validate(stored)
    except ValidationError as error:
        found = error.errors(include_url=False)
        if any(e["type"] not in _TOO_LONG or len(e["loc"]) != 1 for e in found):
            raise
    # A later release may allow longer texts and lists than this one.
    cut = {e["loc"][0]: _cut(e) for e in found}
    return ConversionJobStatus.model_validate({**stored, **cut})


def _cut(error: ErrorDetails) -> Any:
    """The value that is too long, cut to the length that this release allows."""
    value, longest = error["input"], error["ctx"]["max_length"]
    return value[-longest:] if error["loc"] == ("attempts",) else value[:longest]


def _read_end(stored: Mapping[str, Any]) -> ConversionJobStatus | None:
    """The part of a status that can always be read, if the conversion has ended. Otherwise None."""
    phase = next((phase for phase in Phase if phase == stored.get("phase")), None)
    if phase is None or not phase.terminal:
        return None
    reason, message = stored.get("reason"), stored.get("message")
    generation = stored.get("observedGeneration")
    return ConversionJobStatus(
        phase=phase,
        observed_generation=generation if type(generation) is int and generation >= 0 else None,
        conditions=[],
        reason=reason[:REASON_MAX_LENGTH] if isinstance(reason, str) else "",
        message=message[:MESSAGE_MAX_BYTES] if isinstance(message, str) else "",
    )


def _where(root: str, error: ErrorDetails) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
    return root + "".join(steps)


def _explain(root: str, error: ErrorDetails) -> str:
    return f"{_where(root, error)}: {error['msg']}"[:_PROBLEM_MAX]
