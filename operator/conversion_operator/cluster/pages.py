"""Reads lists of any size in bounded memory.

Everybody who may create an object decides how large it is: about 256 KiB of annotations, and up to
1.5 MB in etcd. So a list is read in pages, a page that is too large is asked for again with fewer
objects, and only the parsed values of a page are kept. Jobs and pods are stored as protobuf. Their
JSON is larger, up to six times for text that JSON must escape. So a single object may be larger
than a page, but only one such object is read at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import aiohttp

PAGE_MAX_BYTES: Final = 4 * 2**20
"""The largest page of several objects. A watch has the same bound: the official client reads lines
of up to twice its buffer of 2 MiB."""
OBJECT_MAX_BYTES: Final = 16 * 2**20
"""The largest single object. About ten times what etcd stores for one object."""

FIRST_LIMIT: Final = 100
_MAX_LIMIT: Final = 500


class TooLarge(Exception):
    """A page has more than PAGE_MAX_BYTES, or a single object more than OBJECT_MAX_BYTES."""


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


async def read_object(content: aiohttp.StreamReader, lock: asyncio.Lock) -> bytearray:
    """Read a body with one object. Raises TooLarge as soon as it is longer than an object may be.

    Whoever reads more than PAGE_MAX_BYTES holds ``lock``, so that two large objects are never in
    memory at the same time.
    """
    body = bytearray()
    async with AsyncExitStack() as held:
        async for data in content.iter_any():
            body += data
            if len(body) > OBJECT_MAX_BYTES:
                raise TooLarge
            if len(body) > PAGE_MAX_BYTES and len(body) - len(data) <= PAGE_MAX_BYTES:
                await held.enter_async_context(lock)
    return body
