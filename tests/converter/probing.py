"""What probing a file finds: facts, pixels, boxes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Media:
    """What ffprobe prints about a file."""

    body: dict[str, Any]

    def streams(self, kind: str) -> list[dict[str, Any]]:
        return [s for s in self.body["streams"] if s.get("codec_type") == kind]

    @property
    def attached_pics(self) -> list[dict[str, Any]]:
        return [s for s in self.streams("video") if s["disposition"]["attached_pic"]]

    @property
    def video(self) -> dict[str, Any]:
        """The only video stream."""
        (stream,) = self.streams("video")
        return stream

    @property
    def audio(self) -> dict[str, Any]:
        """The only audio stream."""
        (stream,) = self.streams("audio")
        return stream

    @property
    def kinds(self) -> list[str]:
        return [s.get("codec_type", "unknown") for s in self.body["streams"]]

    @property
    def size(self) -> tuple[int, int]:
        return int(self.video["width"]), int(self.video["height"])

    @property
    def duration(self) -> float:
        return float(self.body["format"]["duration"])

    @property
    def start(self) -> float:
        return float(self.body["format"].get("start_time", 0))

    @property
    def rotated(self) -> bool:
        """Whether a stream tells the player to rotate or mirror it."""
        return any(
            "rotation" in data or "displaymatrix" in data
            for stream in self.body["streams"]
            for data in stream.get("side_data_list", [])
        ) or any("rotate" in stream.get("tags", {}) for stream in self.body["streams"])

    @cached_property
    def tags(self) -> dict[str, str]:
        """Every tag of the file and its streams, names in lower case."""
        places = [self.body["format"], *self.body["streams"]]
        return {k.lower(): v for place in places for k, v in place.get("tags", {}).items()}


@dataclass(frozen=True)
class Bitmap:
    """Decoded pixels, 8 bits each of red, green and blue."""

    width: int
    height: int
    pixels: bytes

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def at(self, x: float, y: float) -> Rgb:
        """The pixel at fractions of width and height."""
        column = min(self.width - 1, int(x * self.width))
        row = min(self.height - 1, int(y * self.height))
        place = 3 * (row * self.width + column)
        red, green, blue = self.pixels[place : place + 3]
        return red, green, blue

    @property
    def corners(self) -> dict[str, Rgb]:
        """A pixel well inside each corner: TL, TR, BL, BR."""
        near, far = 0.06, 0.94
        return {
            "TL": self.at(near, near),
            "TR": self.at(far, near),
            "BL": self.at(near, far),
            "BR": self.at(far, far),
        }

    @property
    def luma(self) -> float:
        """Mean brightness, 0 to 255 (BT.601 weights)."""
        red, green, blue = (sum(self.pixels[band::3]) for band in range(3))
        return (0.299 * red + 0.587 * green + 0.114 * blue) / (self.width * self.height)

    @property
    def mean(self) -> tuple[float, float, float]:
        red, green, blue = (sum(self.pixels[b::3]) / (self.width * self.height) for b in range(3))
        return red, green, blue

    def share(self, wanted: Rgb, tolerance: int) -> float:
        """The share of pixels with that colour, 0 to 1."""
        bands = [self.pixels[band::3] for band in range(3)]
        hits = sum(
            all(abs(value - want) <= tolerance for value, want in zip(pixel, wanted, strict=True))
            for pixel in zip(*bands, strict=True)
        )
        return hits / (self.width * self.height)

    @property
    def commonest_share(self) -> float:
        """The share of pixels with the commonest colour, in steps of 16."""
        counts: dict[tuple[int, ...], int] = {}
        for pixel in zip(*(self.pixels[band::3] for band in range(3)), strict=True):
            key = tuple(value // 16 for value in pixel)
            counts[key] = counts.get(key, 0) + 1
        return max(counts.values()) / (self.width * self.height)


def near(pixel: Rgb, wanted: Rgb, tolerance: int = 40) -> bool:
    """Whether two colours are the same within the error of a lossy codec."""
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, wanted, strict=True))


def red_corner(bitmap: Bitmap) -> str:
    """The one corner that is red."""
    found = [name for name, pixel in bitmap.corners.items() if near(pixel, (254, 0, 0), 60)]
    assert len(found) == 1, f"red in {found}: {bitmap.corners}"
    return found[0]


def boxes(data: bytes) -> Iterator[tuple[str, int]]:
    """Top-level boxes of an mp4 file and their offsets."""
    offset = 0
    while offset + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[offset : offset + 8])
        if size == 1:
            (size,) = struct.unpack(">Q", data[offset + 8 : offset + 16])
        yield name.decode("latin-1"), offset
        if size < 8:
            return
        offset += size


def has_faststart(path: Path) -> bool:
    """Whether an MP4 can be played before it is complete."""
    places = dict(boxes(path.read_bytes()))
    return places["moov"] < places["mdat"]
