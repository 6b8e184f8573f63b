"""A ConversionQueue: limits and shares of slots. ``kubectl explain`` prints the docstrings.

Only the operator's namespace may have ConversionQueues: whoever may write them there decides about
all tenants.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from conversion_operator.api import names
from conversion_operator.api.api_model import ApiModel
from conversion_operator.api.status import Condition

MAX_PARALLEL = 10000
MAX_WEIGHT = 1000
MAX_NAMESPACES = 500
"""How many namespaces a spec may name, and a status counts."""

NamespaceName = Annotated[
    str, StringConstraints(max_length=63, pattern=f"^{names.NAMESPACE_PATTERN}$")
]


class StopPolicy(StrEnum):
    """Whether conversions of a queue start and run, in the words of Kueue."""

    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"


class LightSlots(ApiModel):
    """Slots for light conversions."""

    reserved: Annotated[int, Field(ge=0, le=MAX_PARALLEL)]
    """Number of slots that conversions may not take, in any queue, if one of their types begins
    with video_ and they are no dry runs. At least one such conversion may run all the same.
    Allowed: less than maxParallel.
    """


class NamespaceShare(ApiModel):
    """The share of one namespace."""

    name: NamespaceName
    """Name of the namespace."""
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT)] | None = None
    """Share of the slots while other namespaces wait, too: a namespace with weight 2 gets twice as
    many slots as one with weight 1. It counts in all queues. Allowed: 1 to 1000. Default: 1.
    """
    max_parallel: Annotated[int, Field(ge=0, le=MAX_PARALLEL)] | None = None
    """Most conversions of this namespace in this queue that run at a time. If it is 0, they wait.
    Allowed: 0 to 10000. Default: no limit of its own.
    """


class ConversionQueueSpec(ApiModel):
    """Limits of the conversions that name this queue in spec.queue."""

    max_parallel: Annotated[int, Field(ge=0, le=MAX_PARALLEL)] | None = None
    """Most conversions of this queue that run at a time, in all namespaces. If it is 0, they wait.
    A lower limit stops nothing. The setting CONVERTER_MAX_PARALLEL limits all queues together.
    Allowed: 0 to 10000. Default: no limit of its own.
    """
    stop_policy: StopPolicy | None = None
    """Whether conversions start. None: they do. Hold: no conversion starts, and those that run
    continue. HoldAndDrain: also those that run are stopped, and go back into the queue. This does
    not count as a retry. Default: None.
    """
    light: LightSlots | None = None
    """Slots for light conversions: those of images and audio, and thumbnails."""
    namespaces: Annotated[list[NamespaceShare], Field(max_length=MAX_NAMESPACES)] | None = None
    """Weights and limits of single namespaces. Others have weight 1 and no limit of their own."""


class NamespaceCounts(ApiModel):
    """The conversions of one namespace in this queue."""

    name: str
    """Name of the namespace."""
    queued: int
    """Number of conversions that wait only for a slot."""
    running: int
    """Number of slots in use."""
    blocked: int
    """Number of conversions that wait for something else, such as the end of a back-off."""


class ConversionQueueStatus(ApiModel):
    """What the operator has counted, at most a few seconds ago."""

    observed_generation: int | None = None
    """The generation of the spec that is in force."""
    conditions: list[Condition] | None = None
    """Active: conversions of this queue may start. Accepted: everything in the spec has an effect;
    if not, the message says what has none.
    """
    queued: int | None = None
    """Number of conversions that wait only for a slot."""
    running: int | None = None
    """Number of slots in use."""
    blocked: int | None = None
    """Number of conversions that wait for something else, such as the end of a back-off."""
    namespaces: list[NamespaceCounts] | None = None
    """The same for each namespace that has any. At most 500 namespaces."""
