"""Turns the absolute paths of callers, below their mounts, into paths on the volume."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


class PathRejected(ValueError):
    """The path is outside of the mapped prefixes, or contains . or .. as a folder."""


@dataclass(frozen=True, slots=True)
class PathMapping:
    """An absolute folder of the caller and the volume's folder, both without trailing slash."""

    prefix: str
    folder: str


def parse_mappings(text: str) -> tuple[PathMapping, ...]:
    """Parse ``/mnt/a=/,/mnt/b=/storage``. The longest prefix comes first. Raises ValueError."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        prefix, equals, folder = entry.partition("=")
        if not equals or not prefix.startswith("/") or not folder.startswith("/"):
            raise ValueError(f"{entry!r} is not of the form /prefix=/folder")
        if ".." in entry.split("/"):
            raise ValueError(f"{entry!r} must not contain ..")
        mapping = PathMapping(*(posixpath.normpath(path).rstrip("/") for path in (prefix, folder)))
        found.append(mapping)
    return tuple(sorted(found, key=lambda mapping: -len(mapping.prefix)))


def to_volume(path: str, mappings: tuple[PathMapping, ...]) -> str:
    """The path from the root of the volume. Raises PathRejected.

    A relative path, and any path if there are no mappings, is such a path already.
    """
    parts = path.split("/")
    if ".." in parts or "." in parts:
        raise PathRejected("must not contain . or .. as a folder")
    if not path.startswith("/") or not mappings:
        return path
    for mapping in mappings:
        if path.startswith(mapping.prefix + "/"):
            return mapping.folder + path[len(mapping.prefix) :]
    allowed = ", ".join(mapping.prefix + "/" for mapping in mappings)
    raise PathRejected(f"must be relative or below {allowed}")
