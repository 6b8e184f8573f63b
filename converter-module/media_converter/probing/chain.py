"""Walks a chain of elements, each of which says where the next one starts."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from media_converter.probing.isobmff import ReadAt

_WINDOW_BYTES: Final = 4096
_SEARCH_BYTES: Final = 1 << 20
_MAX_HOLES: Final = 10_000


class Hole(NamedTuple):
    """A stretch of a file that holds nothing readable, from the byte ``start`` to ``end``.

    ``end`` is beyond the end of the file if the file was cut. ``lost_bytes`` were lost at ``start``
    before the file was written, as the gap in a row of numbers shows. A hole of no bytes may be a
    joint of two recordings, where nothing is lost. ``seconds`` is how long the
    lost part would play, 0 if the structure does not say so. ``kept_bytes`` between ``start`` and
    ``end`` can be read, if this hole stands for several that were merged.
    """

    start: int
    end: int
    lost_bytes: int = 0
    seconds: float = 0.0
    kept_bytes: int = 0

    @property
    def size(self) -> int:
        """The number of lost bytes."""
        return self.end - self.start + self.lost_bytes - self.kept_bytes


class Window:
    """Reads small pieces that follow each other with few system calls."""

    def __init__(self, read: ReadAt) -> None:
        self._read = read
        self._start = 0
        self._data = b""

    def read(self, offset: int, count: int) -> bytes:
        """The bytes at ``offset``, fewer at the end of the file."""
        if count > _WINDOW_BYTES:
            return self._read(offset, count)
        at = offset - self._start
        if at < 0 or at + count > len(self._data):
            self._start, self._data = offset, self._read(offset, _WINDOW_BYTES)
            at = 0
        return self._data[at : at + count]


Next = Callable[[int], int | None]
"""Where the element at an offset ends. None if there is none."""


def walk(size_bytes: int, start: int, next_of: Next, resync: Next) -> Iterator[Hole]:
    """The holes of a chain. ``resync`` finds the next element at or behind an offset, if any."""
    offset = start
    while offset < size_bytes:
        end = next_of(offset)
        if end is None:
            again = resync(offset + 1)
            end = size_bytes if again is None else again
            yield Hole(offset, end)
        elif end > size_bytes:
            yield Hole(size_bytes, end)
        offset = end


def collect(holes: Iterable[Hole], size_bytes: int) -> list[Hole]:
    """The holes as a short list. Holes that touch are merged, and so are all after _MAX_HOLES.

    What is missing behind the end of the file stays apart.
    """
    found: list[Hole] = []
    for hole in holes:
        add(found, hole, size_bytes)
    return found


def add(found: list[Hole], hole: Hole, size_bytes: int) -> None:
    """Add a hole to such a list."""
    last = found[-1] if found else None
    touches = last is not None and last.end == hole.start and last.size and hole.size
    if last is None or hole.end > size_bytes or not (touches or len(found) >= _MAX_HOLES):
        found.append(hole)
        return
    end = max(last.end, hole.end)
    lost = last.lost_bytes + hole.lost_bytes
    kept = end - last.start + lost - last.size - hole.size
    found[-1] = Hole(last.start, end, lost, max(last.seconds, hole.seconds), kept)


def search(
    read: ReadAt, size_bytes: int, pattern: re.Pattern[bytes], accept: Callable[[int], bool]
) -> Next:
    """A function that finds the first match of a short pattern that ``accept`` accepts."""

    def find(offset: int) -> int | None:
        # Most matches are near, so the first blocks are small.
        block = _WINDOW_BYTES
        while offset < size_bytes:
            data = read(offset, block)
            for match in pattern.finditer(data):
                if accept(offset + match.start()):
                    return offset + match.start()
            if len(data) < block:
                break
            # A match may lie across the border of two blocks.
            offset += len(data) - _OVERLAP
            block = min(2 * block, _SEARCH_BYTES)
        return None

    return find


_OVERLAP: Final = 16
