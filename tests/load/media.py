"""Input files and conversions of a chaos run."""

from __future__ import annotations

import math
import random
import shutil
import struct
import wave
import zlib
from pathlib import Path
from typing import Any, Final

from conversion_operator.api import names
from tests.e2e.support.commands import ROOT, must

NAMESPACES: Final = ("my-network", "team-a", "team-b")
QUEUES: Final = ("bulk", "fast")
IMAGE: Final = "my-converter:latest"
FOLDER: Final = "output/chaos"
BROKEN: Final = "broken"
"""The prefix of the names of conversions whose input is damaged; they have to fail."""
LONG: Final = "long"
"""The prefix of those that run long enough to be hit."""

_KINDS: Final = 8
_RATE: Final = 8000


def write_inputs(volume: Path) -> None:
    """Write short audio files, small images, a damaged file and minutes of video to input/."""
    folder = volume / "input"
    for number in range(_KINDS):
        _tone(folder / f"tone-{number}.wav", 220 + 55 * number, seconds=1 + number % 3)
        write_image(folder / f"image-{number}.png", 64 + 16 * number)
    (folder / "broken.wav").write_bytes(random.Random(1).randbytes(4096))  # noqa: S311
    shutil.copy(ROOT / "deploy/samples/media/big-buck-bunny.mov", folder)
    must(  # stream copy: minutes of real video in no time
        *("docker", "run", "--rm", "--network=none", f"--volume={volume.resolve()}:/workspace"),
        *("--entrypoint=ffmpeg", IMAGE, "-v", "error", "-y", "-stream_loop", "30"),
        *("-i", "input/big-buck-bunny.mov", "-c", "copy", "input/long.mp4"),
        limit=120,
    )


def manifests(count: int, dice: random.Random) -> list[dict[str, Any]]:
    """``count`` ConversionJobs, in all namespaces and queues.

    One in eight runs long, one in thirty has a damaged input.
    """
    return [_manifest(number, dice) for number in range(count)]


def _manifest(number: int, dice: random.Random) -> dict[str, Any]:
    which = number % _KINDS
    if number % 30 == 7:
        name, spec = f"{BROKEN}-{number:04}", _spec("audio_to_mp3", "broken.wav", "mp3")
    elif number % 8 == 0:
        name, spec = f"{LONG}-{number:04}", _spec("video_to_mp4", "long.mp4", "mp4")
        spec["options"] = {"duration": dice.randint(30, 90), "resolution": "360p"}
    elif number % 2:
        name, spec = f"tone-{number:04}", _spec("audio_to_mp3", f"tone-{which}.wav", "mp3")
    else:
        name, spec = f"image-{number:04}", _spec("image_resize", f"image-{which}.png", "png")
        spec["options"] = {"size": f"{dice.randint(16, 64)}x64"}
    spec["outputFile"] = f"{FOLDER}/{name}.{spec['outputFile']}"
    spec["queue"] = dice.choice(QUEUES)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": NAMESPACES[number % len(NAMESPACES)]},
        "spec": spec,
    }


def _spec(kind: str, source: str, extension: str) -> dict[str, Any]:
    return {"conversionType": kind, "inputFile": f"input/{source}", "outputFile": extension}


def _tone(path: Path, hertz: int, seconds: int) -> None:
    samples = (
        int(9000 * math.sin(2 * math.pi * hertz * n / _RATE)) for n in range(_RATE * seconds)
    )
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))


def write_image(path: Path, side: int) -> None:
    """A PNG with a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // side, y * 255 // side, side)) for x in range(side))
        for y in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
