"""The caller's absolute paths, under its own mounts, and paths from the root of the volume."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


class PathRefused(ValueError):
    """A path outside the mapped prefixes, or one that is no plain path."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A folder of the caller, absolute, and the folder of the volume it is; no trailing slash."""

    prefix: str
    folder: str


def parse_mappings(text: str) -> tuple[Mapping, ...]:
    """``/mnt/a=/,/mnt/b=/storage``, the longest prefix first. Raises ValueError."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        prefix, equals, folder = entry.partition("=")
        if not equals or not prefix.startswith("/") or not folder.startswith("/"):
            raise ValueError(f"{entry!r} is not of the form /prefix=/folder")
        if ".." in entry.split("/"):
            raise ValueError(f"{entry!r} must not contain ..")
        mapping = Mapping(*(posixpath.normpath(path).rstrip("/") for path in (prefix, folder)))
        found.append(mapping)
    return tuple(sorted(found, key=lambda mapping: -len(mapping.prefix)))


def to_volume(path: str, mappings: tuple[Mapping, ...]) -> str:
    """The path from the root of the volume. Without mappings, or relative, it is that already."""
    parts = path.split("/")
    if ".." in parts or "." in parts:
        raise PathRefused("must not contain . or .. as a folder")
    if not path.startswith("/") or not mappings:
        return path
    for mapping in mappings:
        if path.startswith(mapping.prefix + "/"):
            return mapping.folder + path[len(mapping.prefix) :]
    allowed = ", ".join(mapping.prefix + "/" for mapping in mappings)
    raise PathRefused(f"must be relative or lie under {allowed}")
