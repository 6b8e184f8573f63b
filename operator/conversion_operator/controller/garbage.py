"""Keeps Python's garbage collector from stopping the event loop.

A full collection visits all objects in memory. With 10 000 conversions this takes half a second,
and nothing else runs meanwhile. Almost nothing here is garbage that only the collector can find:
values are freed when their last reference goes. So each full collection visits only what is newer
than the one before it.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Final

_YOUNG: Final = 2_000
"""How many new objects lead to a collection of the new ones: less than a millisecond."""
_COLLECTIONS_OF_YOUNG: Final = 10
"""How many of these lead to a collection of all that is newer than the last such one."""
_COLLECTIONS_OF_MIDDLE: Final = 5
"""How many of these lead to a full collection."""


def limit_collections() -> None:
    """Set the collector up. What exists now is never visited again."""
    gc.set_threshold(_YOUNG, _COLLECTIONS_OF_YOUNG, _COLLECTIONS_OF_MIDDLE)
    gc.callbacks.append(_freeze_survivors)
    gc.collect()


def _freeze_survivors(phase: str, info: Mapping[str, int]) -> None:
    """Leave what a full collection has visited out of the next ones."""
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
