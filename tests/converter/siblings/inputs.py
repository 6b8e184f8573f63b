"""Inputs of the siblings: films that show which second it is, and files edited byte by byte."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from tests.converter.probing import Bitmap, Rgb

SECONDS: dict[str, Rgb] = {
    "red": (254, 0, 0),
    "lime": (0, 255, 0),
    "blue": (0, 0, 254),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
"""The colour of each second of a clock."""


def clock(seconds: float, size: str = "320x180", rate: float = 25, each: float = 1) -> list[str]:
    """Arguments for a video whose colour says which second it is, as the next input.

    ``each`` is how long a colour stands.
    """
    boxes = ",".join(
        f"drawbox=c={colour}:t=fill:enable='eq(floor(t/{each}+0.001),{number})'"
        for number, colour in enumerate(SECONDS)
    )
    source = f"color=gray:s={size}:r={rate}:d={seconds},format=rgb24,{boxes}"
    return ["-f", "lavfi", "-i", source]


def slides(count: int, each: float, size: str = "320x180") -> list[str]:
    """Arguments for a video of one frame for each colour of a clock."""
    boxes = ",".join(
        f"drawbox=c={colour}:t=fill:enable='eq(n,{number})'"
        for number, colour in enumerate(SECONDS)
    )
    source = f"color=gray:s={size}:r=1/{each}:d={each * count},format=rgb24,{boxes}"
    return ["-f", "lavfi", "-i", source]


def colour_of(bitmap: Bitmap, x: float = 0.5, y: float = 0.5) -> str:
    """The name of the nearest colour of a clock at a place of the picture."""
    pixel = bitmap.at(x, y)

    def distance(wanted: Rgb) -> int:
        return sum((a - b) ** 2 for a, b in zip(pixel, wanted, strict=True))

    name = min(SECONDS, key=lambda name: distance(SECONDS[name]))
    assert distance(SECONDS[name]) < 3 * 60**2, f"{pixel} is no colour of the clock"
    return name


def box_of(bitmap: Bitmap, wanted: Rgb, tolerance: int = 70) -> tuple[int, int]:
    """Width and height of the part of the picture that has a colour, in pixels."""
    columns, rows = set(), set()
    for number in range(bitmap.width * bitmap.height):
        pixel = bitmap.pixels[3 * number : 3 * number + 3]
        if all(abs(a - b) <= tolerance for a, b in zip(pixel, wanted, strict=True)):
            columns.add(number % bitmap.width)
            rows.add(number // bitmap.width)
    assert columns, f"nothing has the colour {wanted}"
    return max(columns) - min(columns) + 1, max(rows) - min(rows) + 1


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)  # noqa: S311 - the same bytes each time


# FLV


def flv_tags(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, time in milliseconds and content of each tag."""
    at = 9 + 4
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        time = int.from_bytes(data[at + 7 : at + 8] + data[at + 4 : at + 7], "big")
        yield data[at], time, data[at + 11 : at + 11 + size]
        at += 11 + size + 4


def flv(data: bytes, tags: Iterator[tuple[int, int, bytes]]) -> bytes:
    """An FLV with the header of another one and these tags."""
    body = data[:13]
    for kind, time, content in tags:
        stamp = time.to_bytes(4, "big")
        head = bytes([kind]) + len(content).to_bytes(3, "big") + stamp[1:] + stamp[:1] + bytes(3)
        body += head + content + (11 + len(content)).to_bytes(4, "big")
    return body


def flv_joined(first: bytes, second: bytes, after_ms: int) -> bytes:
    """Both films in one file, as a live encoder that was restarted writes them."""
    later = ((kind, time + after_ms, body) for kind, time, body in flv_tags(second) if kind != 18)
    return flv(first, iter([*flv_tags(first), *later]))


# Transport streams


def ts_scrambled(data: bytes, pids: tuple[int, ...]) -> bytes:
    """The content of these streams becomes noise, marked as scrambled with the even key."""
    packets = bytearray(data)
    for at in range(0, len(packets), 188):
        if (packets[at + 1] & 0x1F) << 8 | packets[at + 2] not in pids:
            continue
        control = packets[at + 3]
        if not control & 0x10:
            continue
        start = at + 4 + (1 + packets[at + 4] if control & 0x20 else 0)
        packets[at + 3] = control | 0x80
        packets[start : at + 188] = noise(at + 188 - start, seed=at)
    return bytes(packets)


# EBML, which WebM and Matroska consist of

_EBML_PARENTS = {0x18538067, 0x1F43B675, 0xA0}


def ebml_elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Id, start and end of the content of each element. Goes into segment, clusters, groups."""
    at = 0
    while at < len(data):
        wide = 9 - data[at].bit_length()
        number = int.from_bytes(data[at : at + wide], "big")
        at += wide
        wide = 9 - data[at].bit_length()
        value = int.from_bytes(data[at : at + wide], "big") & ((1 << 7 * wide) - 1)
        at += wide
        unknown = value == (1 << 7 * wide) - 1
        yield number, at, len(data) if unknown else at + value
        if number not in _EBML_PARENTS:
            at += value


def ebml(number: int, content: bytes) -> bytes:
    head = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return head + (1 << 56 | len(content)).to_bytes(8, "big") + content


def webm_encrypted(data: bytes) -> bytes:
    """A WebM with one track, written without an index, as encrypted by AES for a DRM system."""
    tracks, start, end = next(e for e in ebml_elements(data) if e[0] == 0x1654AE6B)
    entry, entry_start, entry_end = next(ebml_elements(data[start:end]))
    assert (entry, entry_end) == (0xAE, end - start), "more than one track"
    encryption = ebml(0x5035, ebml(0x47E1, b"\5") + ebml(0x47E2, b"0123456789abcdef"))
    encoding = ebml(0x5031, b"\0") + ebml(0x5032, b"\1") + ebml(0x5033, b"\1") + encryption
    encodings = ebml(0x6D80, ebml(0x6240, encoding))
    changed = ebml(tracks, ebml(entry, data[start + entry_start : end] + encodings))
    body = bytearray(data)
    for number, first, last in ebml_elements(data):
        if number == 0xA3:
            # The signal byte says that the rest is encrypted. Block head: track, time, flags.
            body[first + 4 : last] = b"\1" + noise(last - first - 5, seed=first)
    head = data.rindex(b"\x16\x54\xae\x6b", 0, start)
    return bytes(body[:head]) + changed + bytes(body[end:])


def webm_noise(data: bytes, kept: int) -> bytes:
    """All frames after the first bytes of each are noise."""
    body = bytearray(data)
    for number, first, last in ebml_elements(data):
        if number == 0xA3 and last - first > 4 + kept:
            body[first + 4 + kept : last] = noise(last - first - 4 - kept, seed=first)
    return bytes(body)


def matroska_seconds(seconds: float) -> Callable[[bytes], bytes]:
    """The header's length becomes this."""

    def change(data: bytes) -> bytes:
        at = data.index(b"\x44\x89\x88") + 3
        return data[:at] + struct.pack(">d", seconds * 1000) + data[at + 8 :]

    return change


# MP4 and QuickTime


def with_box(data: bytes, entry: bytes, box: bytes) -> bytes:
    """A box is appended to the first sample entry of this kind. ``moov`` must be at the end."""
    body = bytearray(data)
    place = data.rindex(entry, data.rindex(b"stsd")) - 4
    end = place + int.from_bytes(data[place : place + 4], "big")
    at, limit = data.rindex(b"moov") - 4, len(data)
    assert at > data.index(b"mdat"), "moov is not at the end"
    body[end:end] = box
    while at < limit:
        size = int.from_bytes(body[at : at + 4], "big")
        name = bytes(body[at + 4 : at + 8])
        if not at <= place < at + size:
            at += size
            continue
        body[at : at + 4] = (size + len(box)).to_bytes(4, "big")
        if at == place:
            return bytes(body)
        at += 16 if name == b"stsd" else 8
    raise AssertionError("no sample entry")


def clap(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """The box of a clean aperture, moved from the middle by whole pixels."""
    return struct.pack(">I4s4IiIiI", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
