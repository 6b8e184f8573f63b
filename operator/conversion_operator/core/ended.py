"""What is kept in memory of a ConversionJob that has ended.

A cluster may have 50 000 of them. After the end, the operator deletes the Jobs and later the
ConversionJob, judges late Jobs and pods by the recorded attempts, and tells conversions that wait
for an input whether it was made. While the callback is owed, everything is kept: its message has
much of it. After the end, only single fields of the status are written, so what is not kept here
stays in the cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from conversion_operator.api import names
from conversion_operator.api.status import (
    Attempt,
    Condition,
    ConversionJobStatus,
    NotifyState,
    OutputStatus,
    StatusModel,
)
from conversion_operator.core.model import NO_ANNOTATIONS, NO_NAMES, Conversion
from conversion_operator.core.sweep import left_temporary_file
from media_converter.contract import OutputState

_ENDS_KEPT: Final = 256

Model = TypeVar("Model", bound=StatusModel)


def without_unused(conversion: Conversion) -> Conversion:
    """An ended conversion without the fields that nothing uses any more.

    A conversion that has not ended, or whose callback is owed, is returned unchanged.
    """
    status = conversion.status
    if status is None or not status.phase.terminal:
        return conversion
    if status.notify is not None and status.notify.state is NotifyState.PENDING:
        return conversion
    return replace(
        conversion,
        spec=conversion.spec if left_temporary_file(status) else None,
        status=_used_of_status(status),
        labels=NO_NAMES,
        annotations=NO_ANNOTATIONS,
        input_file="",
        output_file="",
    )


def _used_of_status(status: ConversionJobStatus) -> ConversionJobStatus:
    finished = [
        _light(Condition, vars(condition) | _NO_TEXTS)
        for condition in status.conditions
        if condition.type == names.CONDITION_FINISHED
    ]
    attempts = [
        _light(Attempt, vars(attempt) | {"reason": _interned(attempt.reason), "message": None})
        for attempt in status.attempts or ()
    ]
    used = {
        "phase": status.phase,
        "observed_generation": status.observed_generation,
        "conditions": finished,
        "reason": _interned(status.reason),
        "message": "",
        "attempts": attempts or None,
        "completion_time": status.completion_time,
        "outputs": [_end_of(each.state, each.reason) for each in status.outputs or ()] or None,
    }
    return _light(ConversionJobStatus, used)


def _light(model: type[Model], values: Mapping[str, Any]) -> Model:
    """A value with these fields, which are valid.

    All values share one set of the fields that were set, which nothing reads. Otherwise this set
    would take more memory than the fields.
    """
    return cast("Model", model.model_construct(_fields_set=_NO_FIELDS, **values))


@lru_cache(maxsize=_ENDS_KEPT)
def _end_of(state: OutputState, reason: str | None) -> OutputStatus:
    """What is kept of one of several outputs: whether a conversion that waits for it has its input.

    Many outputs have the same end, and share it.
    """
    return _light(OutputStatus, {"state": state, "reason": reason})


_NO_FIELDS: set[str] = set()
_NO_TEXTS: Final = {"type": names.CONDITION_FINISHED, "reason": "", "message": ""}


def _interned(text: str | None) -> str | None:
    return None if text is None else sys.intern(str(text))
