"""Reads lists of any size in bounded memory.

Everybody who may create an object decides how large it is: about 256 KiB of annotations, and up to
1.5 MB in all. So a list is read in pages, a page that is too large is asked for again with fewer
objects, and only the parsed values of a page are kept.
"""

from __future__ import annotations

from typing import Final

import aiohttp

PAGE_MAX_BYTES: Final = 4 * 2**20
"""The largest page. More than any object that etcd stores. A watch has the same bound: the official
client reads lines of up to twice its buffer of 2 MiB."""

FIRST_LIMIT: Final = 100
_MAX_LIMIT: Final = 500


class TooLarge(Exception):
    """A page has more than PAGE_MAX_BYTES."""


def larger_limit(limit: int, page_bytes: int) -> int:
    """How many objects to ask for after a page of ``limit`` objects that had ``page_bytes``."""
    return min(2 * limit, _MAX_LIMIT) if page_bytes < PAGE_MAX_BYTES // 4 else limit


def smaller_limit(limit: int) -> int:
    """How many objects to ask for after a page of ``limit`` objects was too large."""
    return max(1, limit // 4)


async def read_page(content: aiohttp.StreamReader) -> bytearray:
    """Read a whole body. Raises TooLarge as soon as it is longer than a page may be."""
    page = bytearray()
    async for data in content.iter_any():
        page += data
        if len(page) > PAGE_MAX_BYTES:
            raise TooLarge
    return page
