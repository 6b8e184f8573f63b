"""Probes outputs with tools other than those under test."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.converter.containers import Agent
from tests.converter.harness import Workspace
from tests.converter.probing import Bitmap, Media


class Lab:
    """Probes files of the volume with the tools of a container."""

    def __init__(self, agent: Agent, workspace: Workspace) -> None:
        self.agent = agent
        self.workspace = workspace
        self._printed: dict[tuple[object, ...], bytes] = {}

    def _print(self, path: Path | str, *command: str) -> bytes:
        """What a command prints about a file. It is asked once for each content of the file."""
        stat = self.workspace.path(self.inside(path).removeprefix("/workspace/")).stat()
        key = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, *command)
        if key not in self._printed:
            self._printed[key] = self.agent.run(command)
        return self._printed[key]

    def inside(self, path: Path | str) -> str:
        """The path of the file in the container."""
        if isinstance(path, Path):
            return f"/workspace/{path.relative_to(self.workspace.root)}"
        return f"/workspace/{path.lstrip('/')}"

    def media(self, path: Path | str, *, count: bool = False) -> Media:
        """Streams and format of a file. ``count`` also counts every frame."""
        counting = ("-count_frames",) if count else ()
        out = self._print(
            path,
            *("ffprobe", "-v", "error", *counting, "-of", "json"),
            *("-show_format", "-show_streams", "-show_chapters", f"file:{self.inside(path)}"),
        )
        return Media(json.loads(out))

    def frames(self, path: Path | str) -> int:
        """Number of frames of the only video stream, by decoding it."""
        return int(self.media(path, count=True).video["nb_read_frames"])

    def frame(self, path: Path | str, at: float = 0, *, decoder: str = "") -> Bitmap:
        """One frame as it is stored: not rotated, not scaled."""
        chosen = ("-c:v", decoder) if decoder else ()
        # A cover has no time, so seek only if there is one.
        moment = ("-ss", str(at)) if at else ()
        source = (*chosen, *moment, "-i", f"file:{self.inside(path)}", "-map", "0:v:0")
        # A PPM file says its size itself.
        sink = ("-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1")
        ppm = self.agent.run(("ffmpeg", "-nostdin", "-v", "error", "-noautorotate", *source, *sink))
        assert ppm, f"no frame at {at} s"
        kind, size, depth, pixels = ppm.split(b"\n", 3)
        assert (kind, depth) == (b"P6", b"255")
        width, height = map(int, size.split())
        assert len(pixels) == 3 * width * height
        return Bitmap(width, height, pixels)

    def image(self, path: Path | str, *, page: int = 0) -> Bitmap:
        """The stored pixels of an image, by libvips, on a green background."""
        found = self.agent.pixels(self.inside(path), page)
        assert len(found.pixels) == 3 * found.width * found.height, f"not RGB: {path}"
        return found

    def header(self, path: Path | str, load: str = "") -> dict[str, str]:
        """Fields of an image's header, by libvips. ``load`` are options of the loader."""
        name = self.inside(path) + load
        text = self._print(path, "vipsheader", "-a", name).decode(errors="replace")
        pairs = (line.partition(": ") for line in text.splitlines()[1:])
        return {name.strip(): value for name, _, value in pairs}

    def exif(self, path: Path | str) -> dict[str, Any]:
        """Every tag that exiftool finds, as Group:Name."""
        out = self.agent.run(("exiftool", "-j", "-G1", "-n", "-a", "-u", self.inside(path)))
        (found,) = json.loads(out)
        return dict(found)

    def loudness(self, path: Path | str, filters: str = "anull") -> tuple[float, float]:
        """Mean and peak volume of the first audio stream after a filter, in dB."""
        text = self._measured(path, f"{filters},volumedetect")
        mean = re.findall(r"mean_volume: (-?[\d.]+|-inf) dB", text)
        peak = re.findall(r"max_volume: (-?[\d.]+|-inf) dB", text)
        assert mean, f"no volume: {text[-400:]}"
        return float(mean[-1]), float(peak[-1])

    def ebur128(self, path: Path | str) -> tuple[float, float]:
        """Integrated loudness in LUFS and true peak in dBTP of the first audio stream."""
        text = self._measured(path, "ebur128=peak=true:framelog=quiet")
        loudness = re.findall(r"^ +I: +(-?[\d.]+) LUFS", text, re.MULTILINE)
        peak = re.findall(r"^ +Peak: +(-?[\d.]+|-inf) dBFS", text, re.MULTILINE)
        return float(loudness[-1]), float(peak[-1])

    def silences(self, path: Path | str) -> list[tuple[float, float]]:
        """Start and end of each silence in seconds. An open end is infinite."""
        text = self._measured(path, "silencedetect=n=-50dB:d=0.1")
        starts = [float(v) for v in re.findall(r"silence_start: (-?[\d.]+)", text)]
        ends = [float(v) for v in re.findall(r"silence_end: (-?[\d.]+)", text)]
        ends += [float("inf")] * (len(starts) - len(ends))
        return list(zip(starts, ends, strict=True))

    def _measured(self, path: Path | str, filters: str) -> str:
        return self._log_of_decoding(path, "-map", "0:a:0", "-af", filters)

    def _log_of_decoding(self, path: Path | str, *options: str) -> str:
        """What ffmpeg prints while it decodes a file with these output options."""
        source = f"file:{self.inside(path)}"
        command = ("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-i", source)
        ended = self.agent.start((*command, *options, "-f", "null", "-")).result()
        assert ended.code == 0, ended.stderr[-800:]
        return ended.stderr.decode(errors="replace")

    def seconds(self, path: Path | str) -> float:
        """Actual duration of the first audio stream, by decoding it."""
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
        bands = "".join(
            f";[{n}]bandpass=f={tone}:width_type=h:w=40,volumedetect@{tone}[o{n}]"
            for n, tone in enumerate(candidates)
        )
        split = "".join(f"[{n}]" for n in range(len(candidates)))
        graph = f"[0:a:0]asplit={len(candidates)}{split}{bands}"
        maps = [part for n in range(len(candidates)) for part in ("-map", f"[o{n}]")]
        text = self._log_of_decoding(path, "-filter_complex", graph, *maps)
        found = re.findall(r"volumedetect@(\d+) @ .*mean_volume: (-?[\d.]+|-inf) dB", text)
        levels = {int(tone): float(level) for tone, level in found}
        assert levels.keys() == set(candidates), text[-800:]
        return max(levels, key=lambda tone: levels[tone])

    def pixels(self, path: Path | str) -> str:
        """Hash of all decoded pixels. Equal only before and after a remux."""
        source = ("-i", f"file:{self.inside(path)}", "-map", "0:v:0")
        sink = ("-fps_mode", "passthrough", "-f", "streamhash", "-hash", "md5", "pipe:1")
        return self.agent.run(("ffmpeg", "-nostdin", "-v", "error", *source, *sink)).decode()

    def packets(self, path: Path | str, stream: str = "v:0") -> list[tuple[float, int]]:
        """When each packet of a stream is decoded, in seconds, and its size in bytes."""
        out = self.agent.run(
            (
                *("ffprobe", "-v", "error", "-select_streams", stream, "-of", "csv=p=0"),
                *("-show_entries", "packet=dts_time,size", f"file:{self.inside(path)}"),
            )
        )
        rows = [line.split(",") for line in out.decode().split()]
        return [(float(time), int(size)) for time, size, *_ in rows]

    def highest_bit_rate(self, path: Path | str, seconds: float = 10) -> float:
        """The most bits per second of the video within any so many seconds."""
        packets = self.packets(path)
        return max(
            sum(size for time, size in packets if begin <= time < begin + seconds - 0.001)
            for begin, _ in packets
        ) * (8 / seconds)

    def similarity(self, path: Path | str, source: Path | str, *, scale: str = "") -> float:
        """SSIM of all planes of two videos or images, the first one scaled."""
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
