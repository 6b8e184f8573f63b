"""What full collections of Python's garbage collector visit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from conversion_operator.controller.garbage import limit_collections


class Node:
    """An object that can refer to itself."""

    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    threshold, callbacks = gc.get_threshold(), list(gc.callbacks)
    limit_collections()
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_a_full_collection_does_not_visit_what_an_earlier_one_has_visited() -> None:
    old = [Node() for _ in range(1000)]
    gc.collect()
    new = [Node() for _ in range(10)]
    visited = {id(found) for generation in range(3) for found in gc.get_objects(generation)}
    assert not any(id(node) in visited for node in old)
    assert all(id(node) in visited for node in new)


def test_a_cycle_that_nothing_refers_to_is_freed() -> None:
    node = Node()
    node.other = node
    seen = weakref.ref(node)
    del node
    gc.collect()
    assert seen() is None


def test_an_old_value_is_freed_with_its_last_reference() -> None:
    node = Node()
    gc.collect()
    seen = weakref.ref(node)
    del node
    assert seen() is None
