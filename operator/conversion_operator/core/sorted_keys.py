"""A sorted list of keys."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, TypeVar

K = TypeVar("K", bound=tuple[Any, ...])


class SortedKeys(Collection[K]):
    """Unique keys in order.

    Adding or removing one moves the references behind it in memory: about 20 µs for 50 000 keys.
    Finding the place of one takes about 16 comparisons.
    """

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: list[K] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        keys: list[Any] = self._keys
        index = bisect_left(keys, key)
        return index < len(keys) and bool(keys[index] == key)

    def __getitem__(self, index: int) -> K:
        return self._keys[index]

    def from_key(self, key: K) -> Iterator[K]:
        """The keys from this one on, in order. It need not be in the list."""
        return islice(self._keys, bisect_left(self._keys, key), None)

    def add(self, key: K) -> None:
        """Add a key that is not in the list."""
        insort(self._keys, key)

    def remove(self, key: K) -> None:
        """Remove a key. Raises KeyError if it is not in the list."""
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(key)
        del self._keys[index]

    def rank(self, key: K) -> int:
        """How many keys are lower than this one."""
        return bisect_left(self._keys, key)
