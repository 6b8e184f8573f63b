"""The conversions that may start, by namespace and class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from conversion_operator.core.standing import QueueKey
from conversion_operator.core.work_class import WorkClass


class Line:
    """Conversions of one namespace and class, in order. ``head`` is the next one, None at the end.

    It reads no more of them than are taken.
    """

    def __init__(self, work: WorkClass, keys: Iterable[QueueKey]) -> None:
        self.work = work
        self._keys: Iterator[QueueKey] = iter(keys)
        self.head = next(self._keys, None)

    def take(self) -> None:
        """Go on to the next one."""
        self.head = next(self._keys, None)


class Candidates:
    """The lines of all namespaces."""

    def __init__(self) -> None:
        self.lines: dict[str, list[Line]] = {}

    def add(self, namespace: str, work: WorkClass, keys: Iterable[QueueKey]) -> None:
        """Add conversions of a namespace and class, in order."""
        line = Line(work, keys)
        if line.head is not None:
            self.lines.setdefault(namespace, []).append(line)

    def best(self, namespace: str, allows: Callable[[str, WorkClass], bool]) -> Line | None:
        """The line whose head is the next one of a namespace. None if none may start."""
        best: tuple[QueueKey, Line] | None = None
        for line in self.lines[namespace]:
            if line.head is None or not allows(namespace, line.work):
                continue
            if best is None or line.head < best[0]:
                best = line.head, line
        return best[1] if best else None
