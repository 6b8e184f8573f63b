"""Turns the paths of callers into paths on the volume."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

MAX_MAPPINGS_LENGTH: Final = 16_384
"""In characters. An annotation of a ConversionJob may have to hold all mappings, and the API server
accepts 262,144 bytes for all annotations together. A character takes at most six bytes there."""


class PathRejected(ValueError):
    """The path is outside the mapped folders, or contains ``.`` or ``..`` as a folder."""


@dataclass(frozen=True, slots=True)
class PathMapping:
    """Maps the caller's folder ``prefix`` to ``folder`` on the volume.

    Both are absolute, without a trailing slash.
    """

    prefix: str
    folder: str


def parse_mappings(text: str) -> tuple[PathMapping, ...]:
    """Parse ``/mnt/a=/,/mnt/b=/storage``. The longest prefix comes first. Raises ValueError."""
    if len(text) > MAX_MAPPINGS_LENGTH:
        raise ValueError(f"must have at most {MAX_MAPPINGS_LENGTH} characters")
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
    """Turn a caller's path into the path from the root of the volume. Raises PathRejected.

    Relative paths stay the same. Without mappings, all paths stay the same.
    """
    parts = path.split("/")
    if ".." in parts or "." in parts:
        raise PathRejected("must not contain . or .. as a folder")
    if not path.startswith("/") or not mappings:
        return path
    mapping = mapping_of(path, mappings)
    if mapping is not None:
        return mapping.folder + path[len(mapping.prefix) :]
    allowed = ", ".join(mapping.prefix + "/" for mapping in mappings)
    raise PathRejected(f"must be relative or below {allowed}")


def mapping_of(path: str, mappings: tuple[PathMapping, ...]) -> PathMapping | None:
    """The mapping that :func:`to_volume` uses for a caller's path. None: it uses none."""
    return next((each for each in mappings if path.startswith(each.prefix + "/")), None)
