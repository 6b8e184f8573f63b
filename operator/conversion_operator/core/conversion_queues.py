"""The ConversionQueues, as the queue and the admission policy use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.queues import StopPolicy

_NO_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one ConversionQueue allows.

    ``max_parallel`` is None if the queue has no limit of its own. ``reserved`` are the slots that
    only light conversions may take. ``namespaces`` are the limits of single namespaces in this
    queue. ``unreadable`` says why the spec cannot be read, "" if it can.
    """

    max_parallel: int | None = None
    stop: StopPolicy = StopPolicy.NONE
    reserved: int = 0
    namespaces: Mapping[str, int] = field(default_factory=lambda: _NO_NUMBERS)
    unreadable: str = ""

    @property
    def starts_nothing(self) -> bool:
        """True if no conversion of this queue may start."""
        return bool(self.unreadable) or self.stop is not StopPolicy.NONE or self.max_parallel == 0


@dataclass(frozen=True, slots=True)
class ConversionQueues:
    """The limits by name of the queue, and the weights by namespace.

    A namespace without a weight has weight 1.
    """

    limits: Mapping[str, QueueLimits] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=lambda: _NO_NUMBERS)

    def find(self, name: str) -> QueueLimits | None:
        """The limits of a queue. None if it does not exist. The default queue always exists."""
        default = QueueLimits() if name == names.DEFAULT_QUEUE else None
        return self.limits.get(name, default)


NO_QUEUES: Final = ConversionQueues()
