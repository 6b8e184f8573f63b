"""Names the outputs of a content, beside its file. Pure functions.

An output is a *base* and the suffix of a recipe: ``my.holiday`` and ``_thumb.jpg``.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import Final

from converter_gateway import naming
from converter_gateway.errors import ApiError

_NAME_MAX_BYTES: Final = 255  # the limit of all common Linux file systems
_PATH_MAX_BYTES: Final = 1024  # the spec allows 1024 characters; 1024 bytes are never more
_NAME_MIN_BYTES: Final = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a content. ``path`` starts at the root of the volume."""

    content_id: str
    path: str


def bases(source: Source) -> tuple[str, ...]:
    """The possible bases, as paths, preferred first.

    The last one is unique, even if the same file belongs to several contents.
    """
    folder, name = posixpath.split(source.path)
    mark = naming.digest(f"{source.content_id}\0{source.path}")[:16]
    found = dict.fromkeys((split_name(name)[0], name, f"{name}_{mark}"))
    return tuple(posixpath.join(folder, base) for base in found)


def split_name(name: str) -> tuple[str, str]:
    """Split ``my.a.mov`` into ``my.a`` and ``mov``. ``.a`` and ``a.`` have no extension."""
    stem, _, extension = name.rpartition(".")
    return (stem, extension) if extension and stem.strip(".") else (name, "")


def output_path(base: str, suffix: str) -> str:
    """Join base and suffix. If the name is too long, a hash replaces the end of the base.

    The result never equals the path of the source: a suffix begins with _ or -, and after the base
    the name of the source ends or has a dot.
    """
    folder, name = posixpath.split(base)
    most = _room(folder)
    if len((name + suffix).encode()) > most:
        end = "-" + hashlib.sha256(name.encode()).hexdigest()[:16] + suffix
        # errors="ignore" removes a character whose bytes are cut.
        name, suffix = name.encode()[: most - len(end)].decode(errors="ignore"), end
    return posixpath.join(folder, name + suffix)


def check_room(source: Source) -> None:
    """Raise ApiError 400 if the path is too long to name outputs in the same folder."""
    if _room(posixpath.dirname(source.path)) < _NAME_MIN_BYTES:
        raise ApiError(400, "file_path: too long, no room for the names of its outputs")


def _room(folder: str) -> int:
    """The most bytes of a name in a folder."""
    return min(_NAME_MAX_BYTES, _PATH_MAX_BYTES - len(posixpath.join(folder, "").encode()))
