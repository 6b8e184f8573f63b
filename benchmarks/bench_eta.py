"""Measures how good the estimated end of a running conversion is, on the files of bench_engine.

    python benchmarks/bench_eta.py [--repeats 3] [--only NAME] [--cpus 1]

Each conversion runs in a container of its own, with 1 CPU and 1 GiB, as in a cluster. The script
reads the progress lines as the operator does, and notes when each came. At a quarter, a half and
three quarters of the run time, it takes the last line, and compares the estimated end with the true
one. The error is in percent of the time that was left. A conversion that ends before the first
line has an estimate too: the median of five runs before, as the HTTP API computes it.

Prints a table, and writes it to docs/performance.md and all measurements to .tools/bench/eta.json.
The files are those of bench_engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "converter-module")]

from benchmarks.bench_engine import IMAGE, WORK, build, environment, prepare  # noqa: E402
from benchmarks.engine_cases import CASES, Case  # noqa: E402

from media_converter.report_json import parse_progress  # noqa: E402
from tests.converter.containers import docker  # noqa: E402

BEGIN, END = "<!-- bench_eta begin -->", "<!-- bench_eta end -->"
FIGURES = WORK / "eta.json"
FILES = (
    "1080p to a 720p preview",
    "1080p, no options",
    "fitting 720p, 60 s",
    "storyboard of an hour",
    "4K to 4K, 3 s",
    "photo-12mp to 800x600",
    "photo-24mp to 800x600",
    "photo-48mp to 800x600",
    "hour of FLAC, 30 s preview",
    "ten minutes of FLAC",
)
"""One conversion of each of the ten files. The pixel is left out: it ends within its start-up."""
MORE = ("1080p, 720p, 480p, thumbnail and storyboard", "1080p to a 720p WebM")
"""Other conversions of the same files, for the table only."""
SHARES = (0.25, 0.5, 0.75)
MOST = 0.2
ENOUGH = 9
BEFORE = 5
"""Runs whose median is the estimate for a conversion that says nothing."""


@dataclass(frozen=True)
class Run:
    """How long one conversion ran, and its estimates: when each came, and the seconds left."""

    seconds: float
    estimates: tuple[tuple[float, int], ...]

    def error(self, share: float, median: float | None) -> float | None:
        """The error of the estimate that was known after a share of the run time.

        ``median`` is the run time to expect without an estimate. None if nothing was known.
        """
        moment = self.seconds * share
        known = [each for each in self.estimates if each[0] <= moment]
        if not known and (share < max(SHARES) and self.estimates):
            known = [each for each in self.estimates if each[0] <= self.seconds * max(SHARES)][:1]
        if known:
            came, left = known[-1]
            return abs(came + left - self.seconds) / (self.seconds - came)
        return None if median is None else abs(median - self.seconds) / (self.seconds - moment)


def run(case: Case, cpus: str, volumes: tuple[str, ...]) -> Run:
    """Run the converter once, and read its lines as they come."""
    command = case.commands[0]
    image = json.loads(docker("image", "inspect", "my-converter:latest"))[0]["Config"]
    entrypoint = (*image["Entrypoint"], *(image["Cmd"] or ()))
    variables = [f"--env={name}={value}" for name, value in environment(case, command).items()]
    limits = ("--network=none", "--memory=1g", "--memory-swap=1g", f"--cpus={cpus}", "--tmpfs=/tmp")
    mounts = [f"--volume={each}" for each in (f"{WORK}:/workspace", *volumes)]
    docker_run = ["docker", "run", "--rm", *limits, *mounts, *variables]
    argv = [*docker_run, f"--entrypoint={entrypoint[0]}", IMAGE, *entrypoint[1:]]
    found: list[tuple[float, int]] = []
    began: float | None = None
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        if done.stdout is None:
            raise RuntimeError("no output")
        for line in done.stdout:
            now = time.monotonic()
            began = now if began is None else began
            progress = parse_progress(line)
            if progress is not None and progress.eta_seconds is not None:
                found.append((now - began, progress.eta_seconds))
        ended = time.monotonic()
    if done.returncode or began is None:
        raise RuntimeError(f"{case.name}: exit {done.returncode}")
    return Run(ended - began, tuple(found))


@dataclass(frozen=True)
class Row:
    """The medians of several runs of one conversion."""

    name: str
    seconds: float
    source: str
    errors: tuple[float | None, ...]

    @property
    def good(self) -> bool:
        """True if the first estimate that counts was near enough."""
        return self.errors[0] is not None and self.errors[0] <= MOST


def keep(name: str, runs: list[Run]) -> None:
    """Write the measurements of one conversion to the file of all."""
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    known[name] = [{"seconds": each.seconds, "estimates": each.estimates} for each in runs]
    FIGURES.write_text(json.dumps(known, indent=1) + "\n")


def measure(case: Case, repeats: int, cpus: str, volumes: tuple[str, ...]) -> Row:
    """Run one conversion several times."""
    runs = [run(case, cpus, volumes)]
    silent = not runs[0].estimates
    count = BEFORE + repeats if silent else repeats
    runs += [run(case, cpus, volumes) for _ in range(count - 1)]
    keep(case.name, runs)
    median = statistics.median(each.seconds for each in runs[:BEFORE]) if silent else None
    judged = runs[BEFORE:] if silent else runs
    errors = []
    for share in SHARES:
        found = [e for each in judged if (e := each.error(share, median)) is not None]
        errors.append(statistics.median(found) if found else None)
    seconds = statistics.median(each.seconds for each in judged)
    return Row(case.name, seconds, "median" if silent else "converter", tuple(errors))


def table(rows: list[Row]) -> list[str]:
    lines = [
        "| case | seconds | estimate from | at 25 % | at 50 % | at 75 % |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = " | ".join("-" if e is None else f"{100 * e:.0f} %" for e in row.errors)
        lines.append(f"| {row.name} | {row.seconds:.1f} | {row.source} | {cells} |")
    judged = [row for row in rows if row.name in FILES]
    good = sum(row.good for row in judged)
    reached = "yes" if good >= ENOUGH else "no"
    lines += [
        "",
        "| goal | target | measured | reached |",
        "|---|---:|---:|---|",
        f"| end of a running conversion within 20 % after its first quarter | ≥ {ENOUGH} of "
        f"{len(FILES)} files | {good} of {len(judged)} | {reached} |",
    ]
    return lines


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--cpus", default="1", help="CPUs of the container")
    parser.add_argument(
        "--volume", action="append", default=[], help="another volume, to try sources: DIR:PATH"
    )
    arguments = parser.parse_args()
    build()
    prepare()
    (WORK / "out").mkdir(exist_ok=True)
    cases = {case.name: case for case in CASES}
    rows = []
    for name in (*FILES, *MORE):
        if arguments.only in name:
            volumes = tuple(arguments.volume)
            rows.append(measure(cases[name], arguments.repeats, arguments.cpus, volumes))
            print(table(rows[-1:])[2], flush=True)
    text = "\n".join(table(rows))
    print(text)
    if arguments.only:
        return
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
