"""Looks at outputs with tools that are not the ones under test: facts, pixels, loudness, boxes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.converter.containers import Agent
from tests.converter.harness import Workspace

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Media:
    """What ffprobe says of a file."""

    body: dict[str, Any]

    def streams(self, kind: str) -> list[dict[str, Any]]:
        return [s for s in self.body["streams"] if s.get("codec_type") == kind]

    @property
    def pictures(self) -> list[dict[str, Any]]:
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
    def turned(self) -> bool:
        """Whether any stream asks the player to turn or mirror it."""
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
class Picture:
    """Decoded pixels, 8 bits each of red, green and blue."""

    width: int
    height: int
    pixels: bytes

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def at(self, x: float, y: float) -> Rgb:
        """The pixel at a place given as fractions of width and height."""
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
        """Part of the pixels that are that colour, 0 to 1."""
        bands = [self.pixels[band::3] for band in range(3)]
        hits = sum(
            all(abs(value - want) <= tolerance for value, want in zip(pixel, wanted, strict=True))
            for pixel in zip(*bands, strict=True)
        )
        return hits / (self.width * self.height)

    @property
    def commonest_share(self) -> float:
        """Part of the pixels taken by the commonest colour, in steps of 16."""
        counts: dict[tuple[int, ...], int] = {}
        for pixel in zip(*(self.pixels[band::3] for band in range(3)), strict=True):
            key = tuple(value // 16 for value in pixel)
            counts[key] = counts.get(key, 0) + 1
        return max(counts.values()) / (self.width * self.height)


def near(pixel: Rgb, wanted: Rgb, tolerance: int = 40) -> bool:
    """Whether two colours are the same to the eye of a lossy codec."""
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, wanted, strict=True))


def red_corner(picture: Picture) -> str:
    """The one corner that is red."""
    found = [name for name, pixel in picture.corners.items() if near(pixel, (254, 0, 0), 60)]
    assert len(found) == 1, f"red in {found}: {picture.corners}"
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


def index_first(path: Path) -> bool:
    """Whether an mp4 can be played before it is there as a whole."""
    places = dict(boxes(path.read_bytes()))
    return places["moov"] < places["mdat"]


class Lab:
    """Probes files of the volume with the tools of a container."""

    def __init__(self, agent: Agent, workspace: Workspace) -> None:
        self.agent = agent
        self.workspace = workspace

    def inside(self, path: Path | str) -> str:
        """The file as the container names it."""
        if isinstance(path, Path):
            return f"/workspace/{path.relative_to(self.workspace.root)}"
        return f"/workspace/{path.lstrip('/')}"

    def media(self, path: Path | str, *, count: bool = False) -> Media:
        """Streams and format of a file, with every frame counted where asked for."""
        counting = ("-count_frames",) if count else ()
        out = self.agent.run(
            (
                "ffprobe",
                "-v",
                "error",
                *counting,
                "-of",
                "json",
                "-show_format",
                "-show_streams",
                "-show_chapters",
                f"file:{self.inside(path)}",
            )
        )
        return Media(json.loads(out))

    def frames(self, path: Path | str) -> int:
        """Frames of the only video stream, by decoding it."""
        return int(self.media(path, count=True).video["nb_read_frames"])

    def frame(self, path: Path | str, at: float = 0, *, decoder: str = "") -> Picture:
        """One frame as it is stored: not turned, not stretched."""
        size = self.media(path).streams("video")[0]
        chosen = ("-c:v", decoder) if decoder else ()
        # A cover is at no time at all: only a real moment is sought.
        moment = ("-ss", str(at)) if at else ()
        raw = self.agent.run(
            (
                "ffmpeg",
                "-nostdin",
                "-v",
                "error",
                "-noautorotate",
                *chosen,
                *moment,
                "-i",
                f"file:{self.inside(path)}",
                "-map",
                "0:v:0",
                "-frames:v",
                "1",
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "pipe:1",
            )
        )
        width, height = int(size["width"]), int(size["height"])
        assert len(raw) == 3 * width * height, f"no frame at {at} s"
        return Picture(width, height, raw)

    def image(self, path: Path | str, *, page: int = 0) -> Picture:
        """A picture's pixels by libvips, as they are stored, alpha put on a green ground."""
        name = self.inside(path)
        fields = self.header(path)
        width = int(fields["width"])
        height = int(fields.get("page-height", fields["height"]))
        pages = int(fields.get("n-pages", "1"))
        load = f"{name}[page={page}]" if pages > 1 else name
        raw = f"{name}.{page}.raw"
        steps: list[tuple[str, ...]] = [("vips", "copy", load, "/tmp/p.v")]  # noqa: S108 - the container's own
        if int(fields["bands"]) in {2, 4} and fields["interpretation"] != "cmyk":
            steps.append(
                ("vips", "flatten", "/tmp/p.v", "/tmp/q.v", "--background", "0 255 0")  # noqa: S108
            )
            steps.append(("mv", "/tmp/q.v", "/tmp/p.v"))  # noqa: S108
        steps += [
            ("vips", "colourspace", "/tmp/p.v", "/tmp/r.v", "srgb"),  # noqa: S108
            ("vips", "cast", "/tmp/r.v", "/tmp/s.v", "uchar"),  # noqa: S108
            ("vips", "rawsave", "/tmp/s.v", raw),  # noqa: S108
        ]
        for step in steps:
            self.agent.run(step)
        place = self.workspace.path(raw.removeprefix("/workspace/"))
        pixels = place.read_bytes()
        place.unlink()
        assert len(pixels) == 3 * width * height, f"{len(pixels)} bytes for {width}x{height}"
        return Picture(width, height, pixels)

    def header(self, path: Path | str, load: str = "") -> dict[str, str]:
        """Fields of a picture's header by libvips; ``load`` are options of the loader."""
        name = self.inside(path) + load
        text = self.agent.run(("vipsheader", "-a", name)).decode(errors="replace")
        pairs = (line.partition(": ") for line in text.splitlines()[1:])
        return {name.strip(): value for name, _, value in pairs}

    def exif(self, path: Path | str) -> dict[str, Any]:
        """Every tag that exiftool finds, as Group:Name."""
        out = self.agent.run(("exiftool", "-j", "-G1", "-n", "-a", "-u", self.inside(path)))
        (found,) = json.loads(out)
        return dict(found)

    def loudness(self, path: Path | str, filters: str = "anull") -> tuple[float, float]:
        """Mean and peak volume of the first audio stream behind a filter, in dB."""
        text = self._measured(path, f"{filters},volumedetect")
        mean = re.findall(r"mean_volume: (-?[\d.]+|-inf) dB", text)
        peak = re.findall(r"max_volume: (-?[\d.]+|-inf) dB", text)
        assert mean, f"no volume: {text[-400:]}"
        return float(mean[-1]), float(peak[-1])

    def silences(self, path: Path | str) -> list[tuple[float, float]]:
        """Start and end of each stretch of silence, seconds; an open end is infinite."""
        text = self._measured(path, "silencedetect=n=-50dB:d=0.1")
        starts = [float(v) for v in re.findall(r"silence_start: (-?[\d.]+)", text)]
        ends = [float(v) for v in re.findall(r"silence_end: (-?[\d.]+)", text)]
        ends += [float("inf")] * (len(starts) - len(ends))
        return list(zip(starts, ends, strict=True))

    def _measured(self, path: Path | str, filters: str) -> str:
        ended = self.agent.start(
            (
                "ffmpeg",
                "-nostdin",
                "-hide_banner",
                "-nostats",
                "-i",
                f"file:{self.inside(path)}",
                "-map",
                "0:a:0",
                "-af",
                filters,
                "-f",
                "null",
                "-",
            )
        ).result()
        assert ended.code == 0, ended.stderr[-800:]
        return ended.stderr.decode(errors="replace")

    def seconds(self, path: Path | str) -> float:
        """True length of the first audio stream, by decoding it."""
        raw = self.agent.run(
            (
                "ffmpeg",
                "-nostdin",
                "-v",
                "error",
                "-i",
                f"file:{self.inside(path)}",
                "-map",
                "0:a:0",
                "-f",
                "s16le",
                "-ac",
                "1",
                "-ar",
                "8000",
                "pipe:1",
            )
        )
        return len(raw) / 2 / 8000

    def hertz(self, path: Path | str, candidates: tuple[int, ...]) -> int:
        """Which of these tones is the loudest in the first audio stream."""
        levels = {
            tone: self.loudness(path, f"bandpass=f={tone}:width_type=h:w=40")[0]
            for tone in candidates
        }
        return max(levels, key=lambda tone: levels[tone])

    def pixels(self, path: Path | str) -> str:
        """Hash of every decoded pixel: equal before and after a remux, of nothing else."""
        source = ("-i", f"file:{self.inside(path)}", "-map", "0:v:0")
        sink = ("-fps_mode", "passthrough", "-f", "streamhash", "-hash", "md5", "pipe:1")
        return self.agent.run(("ffmpeg", "-nostdin", "-v", "error", *source, *sink)).decode()

    def similarity(self, path: Path | str, source: Path | str, *, scale: str = "") -> float:
        """SSIM of all planes of two videos or pictures, the first scaled as told."""
        prepared = f"[0:v:0]{scale or 'null'}[a];[1:v:0]{scale or 'null'}[b];[a][b]ssim"
        ended = self.agent.start(
            (
                "ffmpeg",
                "-nostdin",
                "-hide_banner",
                "-nostats",
                "-i",
                f"file:{self.inside(path)}",
                "-i",
                f"file:{self.inside(source)}",
                "-filter_complex",
                prepared,
                "-f",
                "null",
                "-",
            )
        ).result()
        found = re.findall(rb"All:([\d.]+)", ended.stderr)
        assert found, ended.stderr[-800:]
        return float(found[-1])
