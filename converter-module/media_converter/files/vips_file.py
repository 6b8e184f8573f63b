"""Writes the file format of libvips, which keeps the frames of an animation and their times."""

import struct
from typing import Final, NamedTuple

_MAGIC: Final = bytes.fromhex("b6a6f208")
_UCHAR: Final = 0
_GREY: Final = 1
_SRGB: Final = 22


class Roll(NamedTuple):
    """Frames of the same size, one below the other. ``delays`` are in milliseconds."""

    width: int
    height: int
    bands: int
    frames: int
    delays: tuple[int, ...] = ()
    loop: int = 0


def header(roll: Roll) -> bytes:
    """What comes before the pixels: 64 bytes."""
    colours = _SRGB if roll.bands >= 3 else _GREY
    size = (roll.width, roll.height * roll.frames, roll.bands)
    fields = struct.pack("<7i2f", *size, 8, _UCHAR, 0, colours, 1.0, 1.0)
    return (_MAGIC + fields).ljust(64, b"\0")


def metadata(roll: Roll) -> bytes:
    """What comes after the pixels."""
    fields = [("gint", "page-height", str(roll.height)), ("gint", "n-pages", str(roll.frames))]
    fields += [("gint", "loop", str(roll.loop))]
    if roll.delays:
        fields += [("VipsArrayInt", "delay", " ".join(map(str, roll.delays)))]
    lines = "".join(
        f'<field type="{kind}" name="{name}">{text}</field>' for kind, name, text in fields
    )
    return (
        '<?xml version="1.0"?>\n<root xmlns="http://www.vips.ecs.soton.ac.uk/vips/8.16.1">'
        f"<header></header><meta>{lines}</meta></root>\n"
    ).encode("ascii")
