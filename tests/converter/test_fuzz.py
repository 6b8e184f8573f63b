"""Files with damaged headers, of every supported format, through the whole image.

Each run ends with an exit code of the table other than InternalError, within ten seconds of CPU
time, within its memory and without leaving a file. The same seed gives the same files.
``CONVERTER_FUZZ_FILES`` (148) sets how many, ``CONVERTER_FUZZ_SEED`` (1) which ones.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.containers import RESTRICTED, Image
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Case, Converter
from tests.converter.kitchen import OUT, Kitchen, tone, video
from tests.converter.recipes import photo

FILES = int(os.environ.get("CONVERTER_FUZZ_FILES", "148"))
SEED = int(os.environ.get("CONVERTER_FUZZ_SEED", "1"))
AT_ONCE = 2
MAX_SECONDS = 10
MAX_KIB = 800 * 1024

EXACT = ("-fflags", "+bitexact", "-flags", "+bitexact")
QUICK = ("-preset", "ultrafast", "-pix_fmt", "yuv420p")
VIDEOS: dict[str, tuple[str, ...]] = {
    "mp4": ("-c:v", "libx264", *QUICK, "-c:a", "aac"),
    "front.mp4": ("-c:v", "libx264", *QUICK, "-c:a", "aac", "-movflags", "+faststart"),
    "frag.mp4": ("-c:v", "libx264", *QUICK, "-an", "-movflags", "frag_keyframe+empty_moov"),
    "mov": ("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
    "hevc.mp4": (
        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-an",
    ),
    "av1.mp4": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-an"),
    "mkv": ("-c:v", "libx264", *QUICK, "-c:a", "flac"),
    "webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "ts": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "m2v": ("-c:v", "mpeg2video", "-an"),
    "flv": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "gif": ("-an",),
}  # fmt: skip
AUDIO_CODECS = {
    "mp3": "libmp3lame", "aac": "aac", "m4a": "aac", "flac": "flac", "ogg": "libvorbis",
    "opus": "libopus", "wma": "wmav2", "aiff": "pcm_s16be", "caf": "pcm_s16le", "ac3": "ac3",
    "wav": "pcm_s16le", "w64": "pcm_s16le", "alac.m4a": "alac",
}  # fmt: skip
IMAGES = ("jpg", "png", "still.gif", "webp", "tif", "avif", "heic", "amr")
SEEDS = (*VIDEOS, *AUDIO_CODECS, *IMAGES)
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seed_file(kitchen: Kitchen, name: str) -> str:
    """A small good file of that format."""
    size, length = "64x48", 0.6
    if name in VIDEOS:
        if name in {"flv", "mpg", "ts", "m2v"}:
            size = "128x96"
        return kitchen.ffmpeg(
            f"fuzz.{name}", *video(size, 25, length), *tone(seconds=length), *VIDEOS[name], *EXACT
        )
    if name in AUDIO_CODECS:
        return kitchen.ffmpeg(f"fuzz.{name}", *tone(seconds=2), "-c:a", AUDIO_CODECS[name], *EXACT)
    if name == "amr":
        return kitchen.write("fuzz.amr", b"#!AMR\n" + (bytes([0x3C]) + bytes(31)) * 60)
    if name == "heic":
        return kitchen.by("fuzz.heic", "heif-enc", "-o", OUT, photo(kitchen, "p.png", "120x90"))
    return photo(kitchen, f"fuzz.{name}", "120x90")


def position(rng: random.Random, data: bytearray) -> int:
    """Mostly in a header: at the start, in the moov box of an MP4, or at the end."""
    zone = rng.random()
    index = data.find(b"moov")
    if index >= 0 and zone < 0.5:
        return min(len(data) - 1, index + rng.randrange(min(3000, len(data) - index)))
    if zone < 0.8:
        return rng.randrange(min(400, len(data)))
    if zone < 0.9:
        return len(data) - 1 - rng.randrange(min(200, len(data)))
    return rng.randrange(len(data))


def number(rng: random.Random) -> bytes:
    """A number at the edge of some type, in either byte order."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice((*EDGES, rng.getrandbits(32))) & ((1 << 8 * width) - 1)
    return value.to_bytes(width, "big" if rng.random() < 0.5 else "little")


def damage(rng: random.Random, data: bytearray, other: bytes) -> None:
    """One change: a bit, a byte, a number, or a part removed, doubled, zeroed or replaced."""
    at = position(rng, data)
    length = rng.choice((1, 4, 64, 1000))
    match rng.randrange(9):
        case 0 | 1:
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            data[at] = rng.randrange(256)
        case 3 | 4:
            value = number(rng)
            data[at : at + len(value)] = value
        case 5:
            del data[at : at + length]
        case 6:
            data[at:at] = data[at : at + length]
        case 7:
            start = rng.randrange(len(other))
            data[at : at + 64] = other[start : start + 64]
        case 8:
            data[at : at + 16] = bytes(16)


def mutate(rng: random.Random, original: bytes, other: bytes) -> bytes:
    """A copy damaged in one to sixteen places. Some are also truncated."""
    data = bytearray(original)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        damage(rng, data, other)
        if len(data) < 16:
            data = bytearray(original)
    if rng.random() < 0.1:
        del data[1 + rng.randrange(len(data) - 1) :]
    return bytes(data)


@pytest.fixture(scope="module")
def converters(image: Image, kitchen: Kitchen) -> Iterator[list[Converter]]:
    """One container for each conversion that runs at the same time."""
    flags = (*RESTRICTED, f"--volume={kitchen.workspace.root}:/workspace")
    agents = [image.agent(*flags) for _ in range(AT_ONCE)]
    yield [Converter(agent, kitchen.workspace, image.entrypoint) for agent in agents]
    for agent in agents:
        agent.close()


def kind_of(name: str, number: int) -> tuple[ConversionType, str]:
    if name in VIDEOS:
        if name == "gif" and number % 3 == 2:
            return IMAGE, "out.gif"
        return ((VIDEO, "out.mp4"), (THUMB, "out.jpg"), (AUDIO, "out.mp3"))[
            (0, 1, 0, 2)[number % 4]
        ]
    if name in AUDIO_CODECS or name == "amr":
        return (THUMB, "out.jpg") if number % 8 == 3 else (AUDIO, "out.mp3")
    return IMAGE, ("out.jpg", "out.webp", "out.png")[number % 3]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_headers(kitchen: Kitchen, converters: list[Converter], name: str) -> None:
    original = kitchen.read(seed_file(kitchen, name))
    others = [kitchen.read(seed_file(kitchen, other)) for other in ("mp4", "webm", "jpg", "mp3")]
    count = -(-FILES // len(SEEDS))

    def one(number: int) -> str:
        rng = random.Random(f"{SEED} {name} {number}")  # noqa: S311 - not for secrets
        data = mutate(rng, original, others[number % len(others)])
        source = kitchen.write(f"fuzz/{SEED}-{name}-{number}", data)
        converter = converters[number % AT_ONCE]
        kind, target = kind_of(name, number)
        folder = converter.workspace.scratch("fuzz")
        run = converter.run(Case(kind, source, f"{folder}/{target}"), limit=3 * MAX_SECONDS)
        context = f"{kitchen.path(source)} {kind}: {run.reason} {run.report.message}"
        assert run.reason not in {ExitReason.INTERNAL_ERROR, ExitReason.OUT_OF_MEMORY}, (
            f"{context}\n{run.report.logs}"
        )
        # CPU time: wall time depends on what else runs on this machine.
        assert run.ended.cpu < MAX_SECONDS, f"{run.ended.cpu} s: {context}"
        assert run.ended.largest_kib < MAX_KIB, f"{run.ended.largest_kib} KiB: {context}"
        kitchen.path(source).unlink()
        return str(run.reason)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = Counter(pool.map(one, range(count)))
    assert sum(ends.values()) == count
    for converter in converters:
        assert not converter.agent.processes()
