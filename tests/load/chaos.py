"""A chaos run on an existing cluster: conversions under faults, then a report (hack/chaos)."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.table import Table

from conversion_operator.api import names
from tests.e2e.support.commands import ROOT, TOOLS, Kubectl
from tests.e2e.support.operator import install
from tests.load import audit, media
from tests.load.fault_injector import FaultInjector
from tests.load.findings import Limits, Row, finished, leftovers, rows, wrong

LIMITS: Final = Limits(5, {"bulk": 2, "fast": 4}, {("bulk", "team-a"): 1})
"""CONVERTER_MAX_PARALLEL and the queues of tests/load/overlay."""

_PAUSE: Final = (1.0, 8.0)
_CONVERGE: Final = 900.0
# The operator keeps a finished Job for two minutes.
_CLEANUP: Final = 240.0
_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
_STARTED: Final = time.monotonic()

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"[{time.monotonic() - _STARTED:4.0f}s] {text}", file=sys.stderr, flush=True)


def retry(attempt: Callable[[], T], seconds: float = 180) -> T:
    """Retry a call that fails while the API server is unavailable."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


@dataclass
class Run:
    """One run. ``jobs`` conversions, ``seconds`` of faults."""

    kubectl: Kubectl
    cluster: str
    volume: Path
    seed: int
    jobs: int
    seconds: float

    def install(self) -> None:
        """CRD, operator and inputs."""
        media.write_inputs(self.volume)
        install(self.kubectl, ROOT / "tests/load/overlay")

    def submit(self, some: list[Any]) -> None:
        """Create conversions. A repeated request changes nothing if only its answer was lost."""
        if some:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": some})
            retry(lambda: self.kubectl("apply", "-f", "-", text=text, limit=90))

    def inject_faults(self, injector: FaultInjector, dice: random.Random) -> None:
        """Inject faults. Half of the conversions start at once, the others one after another."""
        bodies = media.manifests(self.jobs, dice)
        sent = (len(bodies) + 1) // 2
        self.submit(bodies[:sent])
        start = time.monotonic()
        while (share := (time.monotonic() - start) / self.seconds) < 1:
            due = min(len(bodies), int(len(bodies) * (0.5 + 0.6 * share)))
            self.submit(bodies[sent:due])
            sent = max(sent, due)
            injector.repair()
            if what := injector.strike(share):
                say(what)
            time.sleep(dice.uniform(*_PAUSE))
        self.submit(bodies[sent:])

    def conversions(self) -> list[Any]:
        """All conversions."""
        return list(retry(lambda: self.kubectl.get("-A", "convjob"))["items"])

    def ours(self, kind: str) -> list[Any]:
        """The Jobs or pods of conversions."""
        arguments = ("-A", kind, "-l", _OURS)
        return list(retry(lambda: self.kubectl.get(*arguments))["items"])

    def until_finished(self) -> list[Any]:
        """Wait until all conversions have ended or time is up, and return them."""
        deadline = time.monotonic() + _CONVERGE
        said = -1
        while True:
            all_of_them = self.conversions()
            done = sum(finished(item) for item in all_of_them)
            if done // 20 != said:
                said = done // 20
                say(f"{done} of {self.jobs} finished")
            if done >= self.jobs or time.monotonic() > deadline:
                return all_of_them
            time.sleep(1)

    def until_cleaned_up(self) -> list[str]:
        """Give the operator time to clean up, and return what is left over."""
        deadline = time.monotonic() + _CLEANUP
        while True:
            left = leftovers(self.ours("jobs"), self.ours("pods"), self.volume)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(2)

    def run(self) -> int:
        """Do the whole run, and return the exit code."""
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        say("installing")
        self.install()
        dice = random.Random(self.seed)  # noqa: S311
        injector = FaultInjector(self.kubectl, self.cluster, dice)
        say(f"{self.jobs} conversions, {self.seconds:.0f} s of faults, seed {self.seed}")
        try:
            self.inject_faults(injector, dice)
        finally:
            injector.repair(all_of_them=True)
        say("no more faults; waiting for all to finish")
        conversions = self.until_finished()
        converged = time.monotonic() - injector.last
        say("waiting for the operator to clean up")
        left = self.until_cleaned_up()
        wrong_results = [
            text for item in conversions if (text := wrong(item, self.volume, injector.cancelled))
        ]
        log = audit.read(f"{self.cluster}-control-plane", started)
        table = [
            *rows(
                *(conversions, wrong_results, audit.lives(log, media.NAMESPACES)),
                *(audit.jobs_made(log, media.NAMESPACES), left),
                limits=LIMITS,
                wanted=self.jobs,
            ),
            Row("seconds from the last fault to the last end", f"{converged:.0f}"),
            *(Row(f"fault: {kind}", str(count)) for kind, count in injector.done.most_common()),
        ]
        return self.report(table, wrong_results + left)

    def report(self, table: list[Row], details: list[str]) -> int:
        """Print a table and write a JSON file. Returns 1 if there are violations."""
        title = f"{self.jobs} conversions, {self.seconds:.0f} s of faults, seed {self.seed}"
        shown = Table("what", "value", title=title)
        for row in table:
            shown.add_row(row.what, row.value, style="bold red" if row.bad else None)
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(shown)
        for detail in details:
            console.print(detail, markup=False)
        violations = [row.what for row in table if row.bad]
        result = {
            "seed": self.seed,
            "jobs": self.jobs,
            "seconds": self.seconds,
            "violations": violations,
            "rows": {row.what: row.value for row in table},
            "details": details,
        }
        (TOOLS / "chaos.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        console.print(f"violations: {len(violations)}; also in .tools/chaos.json")
        return 1 if violations else 0


def main() -> int:
    """Run it on the cluster and the volume given on the command line."""
    cluster, volume = sys.argv[1:]
    kubectl = Kubectl(TOOLS / "bin" / "kubectl", TOOLS / "kube" / f"{cluster}.yaml")
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    jobs = int(os.environ.get("CHAOS_JOBS") or 300)
    seconds = float(os.environ.get("CHAOS_SECONDS") or 600)
    return Run(kubectl, cluster, Path(volume), seed, jobs, seconds).run()


if __name__ == "__main__":
    sys.exit(main())
