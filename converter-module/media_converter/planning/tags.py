"""Chooses the tags that audio outputs and media_info keep, by all the names that formats have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

# Listeners want to see these tags. Others can reveal the GPS position or the device of a recording.
# Each has its names in other formats, without spaces and punctuation. The first one that a file
# has counts.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "title": ("title", "name", "tracktitle", "tit2", "inam"),
        "artist": ("artist", "artists", "author", "performer", "leadperformer", "tpe1", "iart"),
        "album": ("album", "albumtitle", "product", "talb", "iprd"),
        "album_artist": ("albumartist", "ensemble", "band", "tpe2"),
        "track": (
            "track",
            "tracknumber",
            "tracknum",
            "trackno",
            "partnumber",
            "trck",
            "itrk",
            "iprt",
        ),
        "disc": ("disc", "disk", "discnumber", "disknumber", "partofset", "tpos"),
        "date": (
            *("date", "year", "daterecorded", "recordingdate", "recordeddate", "tdrc", "tyer"),
            *("datereleased", "releasedate", "releaseyear", "tdrl", "icrd", "iyer"),
        ),
        "genre": ("genre", "style", "tcon", "ignr"),
    }
)
# How many tracks or discs there are: "3" and "12" become "3/12".
_TOTALS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "track": ("tracktotal", "totaltracks", "trackstotal", "trackc"),
        "disc": ("disctotal", "totaldiscs", "disctotals", "discc"),
    }
)
# Windows Media has this before its names.
_PREFIX: Final = "wm/"
_MAX_LENGTH: Final = 500


def kept_tags(tags: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The tags to keep, by ffmpeg's names, of a file with these ``tags``."""
    found: dict[str, str] = {}
    for name, value in tags:
        text = value.replace("\0", "; ").strip()
        if text:
            found.setdefault(_plain(name), text)
    kept = []
    for name, names in _NAMES.items():
        value = next((found[other] for other in names if other in found), "")
        total = next((found[other] for other in _TOTALS.get(name, ()) if other in found), "")
        if value.isdigit() and total.isdigit():
            value = f"{value}/{total}"
        if value:
            kept.append((name, value[:_MAX_LENGTH]))
    return tuple(kept)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower().removeprefix(_PREFIX) if c.isalnum())
