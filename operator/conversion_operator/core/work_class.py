"""Which slots a conversion may take: those of its queue, and those kept for light conversions."""

from __future__ import annotations

from typing import Final, NamedTuple

_LIGHT_PREFIXES: Final = ("image_", "audio_")
_LIGHT_TYPES: Final = frozenset({"extract_thumbnail", "media_info"})


class WorkClass(NamedTuple):
    """The name of the ConversionQueue, and whether the conversion is light."""

    queue: str
    light: bool


UNKNOWN: Final = WorkClass("", False)
"""The class of Jobs and pods of which neither the conversion nor the queue is known."""


def is_light(conversion_type: str) -> bool:
    """True if conversions of this type take seconds. The encoding of a video takes longer.

    The type alone decides. Whether the streams of a video are copied is known only in its pod.
    """
    return conversion_type in _LIGHT_TYPES or conversion_type.startswith(_LIGHT_PREFIXES)
