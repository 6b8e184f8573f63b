"""Which slots a conversion may take: those of its queue, and those kept for light conversions."""

from __future__ import annotations

from typing import Final, NamedTuple

from conversion_operator.core.model import Conversion

_LIGHT_PREFIXES: Final = ("image_", "audio_")
_LIGHT_TYPES: Final = frozenset({"extract_thumbnail", "media_info"})


class WorkClass(NamedTuple):
    """The name of the ConversionQueue, and whether the conversion is light."""

    conversion_queue: str
    light: bool


UNKNOWN: Final = WorkClass("", False)
"""The class of Jobs and pods of which neither the conversion nor the queue is known."""


def is_light(conversion: Conversion) -> bool:
    """True if the conversion takes seconds. The encoding of a video takes longer.

    A dry run is light: it encodes nothing. Otherwise, only the types of the outputs decide. Whether
    the streams of a video are copied is known only in the pod.
    """
    types = conversion.output_types
    return conversion.dry_run or (bool(types) and all(map(_is_light_type, types)))


def _is_light_type(conversion_type: str) -> bool:
    return conversion_type in _LIGHT_TYPES or conversion_type.startswith(_LIGHT_PREFIXES)
