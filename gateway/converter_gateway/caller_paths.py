"""Keeps the paths that a caller has sent for several outputs, in one annotation of bounded size.

A path on the volume is the caller's path with another beginning: GATEWAY_PATHS maps folders. So it
is enough to keep the beginnings, instead of up to eight paths of 1024 characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from converter_gateway.paths import PathMapping, mapping_of


class PathPrefix(NamedTuple):
    """``caller`` replaces ``volume`` at the beginning of a path on the volume."""

    caller: str
    volume: str


_SAME = PathPrefix("", "")
_RELATIVE = PathPrefix("", "/")


@dataclass(frozen=True, slots=True)
class CallerPaths:
    """How the caller names the outputs of one ConversionJob.

    ``outputs`` has the number of the prefix of each output. It is empty if the first prefix that
    fits a path is the right one.
    """

    prefixes: tuple[PathPrefix, ...] = ()
    outputs: tuple[int, ...] = ()

    def name(self, number: int, path: str) -> str:
        """The caller's path of the output ``number``. ``path`` is the one on the volume."""
        prefixes = self.prefixes
        if number < len(self.outputs):
            prefixes = (self.prefixes[self.outputs[number]],)
        for prefix in prefixes:
            if path.startswith(prefix.volume):
                return prefix.caller + path[len(prefix.volume) :]
        return path

    def to_text(self) -> str:
        """The text of the annotation."""
        return orjson.dumps([[*map(list, self.prefixes)], self.outputs]).decode()


def parse(text: str) -> CallerPaths:
    """Parse the text of the annotation. Others may have changed it: invalid text means nothing."""
    try:
        prefixes, outputs = orjson.loads(text)
        found = CallerPaths(tuple(map(_prefix, prefixes)), tuple(map(int, outputs)))
    except (ValueError, TypeError):
        return CallerPaths()
    valid = all(0 <= number < len(found.prefixes) for number in found.outputs)
    return found if valid else CallerPaths()


def _prefix(pair: Any) -> PathPrefix:
    caller, volume = pair
    if not isinstance(caller, str) or not isinstance(volume, str):
        raise TypeError("a prefix must be a string")
    return PathPrefix(caller, volume)


def of_outputs(paths: Sequence[str], mappings: tuple[PathMapping, ...]) -> CallerPaths:
    """For outputs that the caller names."""
    used = [_used(path, mappings) for path in paths]
    prefixes = tuple(dict.fromkeys(used))
    return CallerPaths(prefixes, tuple(map(prefixes.index, used)))


def beside(file: str, mappings: tuple[PathMapping, ...]) -> CallerPaths:
    """For outputs whose names depend on ``file``, a caller's path.

    Outputs below the mapped folder of this file are named like it. An output in another folder has
    a name from any mapping that fits.
    """
    if not file.startswith("/"):
        return CallerPaths((_RELATIVE,))
    others = sorted(mappings, key=lambda mapping: -len(mapping.folder))
    prefixes = [_used(file, mappings), *map(_of, others)]
    return CallerPaths(tuple(dict.fromkeys(prefixes)))


def _used(path: str, mappings: tuple[PathMapping, ...]) -> PathPrefix:
    mapping = mapping_of(path, mappings)
    return _SAME if mapping is None else _of(mapping)


def _of(mapping: PathMapping) -> PathPrefix:
    return PathPrefix(mapping.prefix + "/", mapping.folder + "/")
