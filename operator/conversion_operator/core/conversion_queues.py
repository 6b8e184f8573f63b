"""The ConversionQueues, as the queue and the admission policy use them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.queues import ConversionQueueSpec, NamespaceShare, StopPolicy

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


def limits_of(spec: ConversionQueueSpec | None, unreadable: str = "") -> QueueLimits:
    """The limits in a spec. None, or a spec that cannot be read, lets nothing start."""
    if spec is None:
        return QueueLimits(unreadable=unreadable or "it is missing")
    return QueueLimits(
        max_parallel=spec.max_parallel,
        stop=spec.stop_policy or StopPolicy.NONE,
        reserved=spec.light.reserved if spec.light else 0,
        namespaces={
            share.name: share.max_parallel
            for share in spec.namespaces or ()
            if share.max_parallel is not None
        },
    )


def combine(
    specs: Iterable[tuple[str, ConversionQueueSpec | None, str]],
) -> tuple[ConversionQueues, Mapping[str, tuple[str, ...]]]:
    """The queues, and what in their specs has no effect, by name of the queue.

    ``specs`` has the name, the spec and why it cannot be read, of the oldest queue first. A
    namespace has one weight: the one in the oldest queue that names one.
    """
    limits: dict[str, QueueLimits] = {}
    owners: dict[str, tuple[str, int]] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    for name, spec, unreadable in specs:
        limits[name] = limits_of(spec, unreadable)
        if unreadable:
            problems[name].append(f"{unreadable}. Correct the spec, or upgrade the operator")
        for share in (spec.namespaces if spec else None) or ():
            if problem := _claim_weight(name, share, owners):
                problems[name].append(problem)
    weights = {namespace: weight for namespace, (_, weight) in owners.items()}
    return ConversionQueues(limits, weights), {n: tuple(p) for n, p in problems.items()}


def _claim_weight(queue: str, share: NamespaceShare, owners: dict[str, tuple[str, int]]) -> str:
    """Take the weight of a namespace, unless another queue has one. Returns why it is not taken."""
    if share.weight is None:
        return ""
    owner, _ = owners.setdefault(share.name, (queue, share.weight))
    if owner == queue:
        return ""
    return f"the weight of {share.name} has no effect: the older queue {owner} has one for it, too"
