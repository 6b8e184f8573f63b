"""The converter as a black box: a Case goes in, a Run comes out.

Checks every run against the contract of the image: the exit code is in the table, the report is
complete and agrees with it, the output of a success exists with that size and hash, and any other
run leaves the folder as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from media_converter.contract import (
    EXIT_CODES,
    REPORT_MAX_BYTES,
    ConversionType,
    ExitReason,
    Progress,
    Report,
)
from media_converter.options import output_files
from media_converter.report_json import parse_progress, parse_report
from tests.converter.containers import Agent, Command, Ended

VIDEO = ConversionType.VIDEO_TO_MP4
WEBM = ConversionType.VIDEO_TO_WEBM
AUDIO = ConversionType.AUDIO_TO_MP3
IMAGE = ConversionType.IMAGE_RESIZE
THUMB = ConversionType.EXTRACT_THUMBNAIL
SOUND = ConversionType.AUDIO_CONVERT
INFO = ConversionType.MEDIA_INFO
WAVEFORM = ConversionType.AUDIO_WAVEFORM
PREVIEW = ConversionType.VIDEO_TO_PREVIEW
STORYBOARD = ConversionType.VIDEO_STORYBOARD
UID = 65532


@dataclass(frozen=True, slots=True)
class Case:
    """One request to the converter. Paths are as users write them, from the volume's root."""

    kind: ConversionType
    source: str
    target: str
    options: Mapping[str, object] = field(default_factory=dict)
    timeout_seconds: int | None = None
    stall_seconds: int | None = None

    def env(self) -> dict[str, str]:
        env = {
            "JOB_ID": "case",
            "CONVERSION_TYPE": str(self.kind),
            "INPUT_FILE": self.source,
            "OUTPUT_FILE": self.target,
        }
        if self.options:
            env["CONVERSION_OPTIONS"] = json.dumps(self.options)
        if self.timeout_seconds is not None:
            env["TIMEOUT_SECONDS"] = str(self.timeout_seconds)
        if self.stall_seconds is not None:
            env["STALL_SECONDS"] = str(self.stall_seconds)
        return env


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the converter did.

    ``output`` is None unless the reason is Completed. ``wall`` is seconds.
    """

    case: Case
    ended: Ended
    reason: ExitReason
    report: Report
    report_bytes: bytes
    output: Path | None
    progress: tuple[Progress, ...]

    @property
    def wall(self) -> float:
        return self.ended.wall

    @property
    def path(self) -> Path:
        """The output of a run that must have one."""
        assert self.output, f"ended {self.reason}: {self.report.message}\n{self.report.logs}"
        return self.output


Listing = Mapping[str, tuple[int, int, int]]


def listing(root: Path) -> Listing:
    """Everything below a folder, by relative name: inode, size and time of change."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            stat = path.lstat()
            size = 0 if path.is_dir() and not path.is_symlink() else stat.st_size
            changed = 0 if path.is_dir() and not path.is_symlink() else stat.st_mtime_ns
            found[str(path.relative_to(root))] = (stat.st_ino, size, changed)
    return found


class Workspace:
    """The shared volume as the host sees it. Containers see the same folder as /workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        os.chown(root, UID, UID)
        root.chmod(0o755)
        for name in ("media", "out", "reports"):
            self.folder(name)

    def folder(self, name: str, mode: int = 0o755) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, UID, UID)
        path.chmod(mode)
        return path

    def scratch(self, prefix: str = "case") -> str:
        """A new folder in out/, as a path from the volume's root without a slash."""
        name = f"out/{prefix}-{uuid.uuid4().hex[:10]}"
        self.folder(name)
        return name

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Poll for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Conversion:
    """A run of the converter that has not ended."""

    def __init__(
        self, converter: Converter, case: Case, report_name: str, command: Command
    ) -> None:
        self._converter = converter
        self.case = case
        self._report = converter.workspace.root / report_name
        self.command = command

    def report_now(self) -> bytes:
        """The termination file at this moment, as a kill would leave it."""
        return self._report.read_bytes()

    def end(self, limit: float = 300) -> Run:
        ended = self.command.result(limit)
        run = judge(self.case, ended, self._report.read_bytes(), self._converter.workspace)
        self._report.unlink()
        return run

    def killed(self, limit: float = 60) -> Ended:
        """The end of a run that was killed before it could write a report."""
        ended = self.command.result(limit)
        self._report.unlink()
        return ended


def judge(case: Case, ended: Ended, report_bytes: bytes, workspace: Workspace) -> Run:
    """Check what holds for every run, and return the Run."""
    context = (
        f"{case}\nexit {ended.code}\n{report_bytes.decode(errors='replace')}\n"
        + (ended.stderr.decode(errors="replace")[-3000:])
    )
    assert not ended.timed_out, f"hangs: {context}"
    reasons = {code: reason for reason, code in EXIT_CODES.items()}
    assert ended.code in reasons, f"exit code outside of the table: {context}"
    reason = reasons[ended.code]
    assert len(report_bytes) <= REPORT_MAX_BYTES, context
    report = parse_report(report_bytes.decode())
    assert report, f"no report: {context}"
    assert report.final, f"the report is not final: {context}"
    assert report.reason == reason, f"report and exit code differ: {context}"
    assert "\n" not in report.message, f"the message has more than one line: {context}"
    assert reason is ExitReason.COMPLETED or report.message, f"no message: {context}"
    progress = tuple(
        found
        for line in ended.stdout.decode().splitlines()
        if (found := parse_progress(line)) is not None
    )
    assert all(p.percent is None or 0 <= p.percent <= 100 for p in progress), context
    output = None
    if reason is ExitReason.COMPLETED:
        output = workspace.path(case.target)
        assert output.is_file(), f"Completed without an output: {context}"
        assert not output.is_symlink(), context
        assert report.output, context
        assert report.output_size == output.stat().st_size > 0, context
        assert report.output.sha256 == hashlib.sha256(output.read_bytes()).hexdigest(), context
    return Run(case, ended, reason, report, report_bytes, output, progress)


class Converter:
    """Runs the image's own entrypoint in a restricted container that serves many cases."""

    def __init__(self, agent: Agent, workspace: Workspace, argv: tuple[str, ...]) -> None:
        self.agent = agent
        self.workspace = workspace
        self.argv = argv

    def start(
        self,
        case: Case,
        *,
        env: Mapping[str, str] | None = None,
        limit: float = 120,
        sample: bool = False,
    ) -> Conversion:
        name = f"reports/{uuid.uuid4().hex}"
        report = self.workspace.root / name
        report.touch()
        os.chown(report, UID, UID)
        command = self.agent.start(
            self.argv,
            {**case.env(), "TERMINATION_LOG": f"/workspace/{name}", **(env or {})},
            limit=limit,
            sample=sample,
        )
        return Conversion(self, case, name, command)

    def run(
        self,
        case: Case,
        *,
        env: Mapping[str, str] | None = None,
        limit: float = 120,
        sample: bool = False,
    ) -> Run:
        """Run one conversion. Checks that input and neighbouring files stay unchanged."""
        source = self.workspace.path(case.source)
        folder = self.workspace.path(case.target).parent
        before = source.stat() if source.exists() else None
        around = listing(folder) if folder.is_dir() else {}
        run = self.start(case, env=env, limit=limit, sample=sample).end(limit + 30)
        if before:
            after = source.stat()
            assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
                before.st_size,
                before.st_mtime_ns,
                before.st_ino,
            ), f"the input was changed by {case}"
        left = listing(folder) if folder.is_dir() else {}
        if run.output:
            names = {Path(file).name for file in output_files(case.kind, case.target)}
            left = {key: value for key, value in left.items() if key not in names}
            around = {key: value for key, value in around.items() if key not in names}
        assert left == around, f"{run.reason} left or changed files beside the output: {case}"
        return run

    def convert(
        self,
        kind: ConversionType,
        source: str,
        target: str,
        **options: object,
    ) -> Run:
        """Convert a file of the volume into a new folder."""
        folder = self.workspace.scratch(str(kind))
        return self.run(Case(kind, f"/{source}", f"/{folder}/{target}", options))

    def refused(
        self, kind: ConversionType, source: str, target: str, reason: ExitReason, **options: object
    ) -> Run:
        """Run a conversion that must fail with this reason and without an output."""
        run = self.convert(kind, source, target, **options)
        assert run.reason is reason, (
            f"{run.reason} instead of {reason}: {run.report.message}\n{run.report.logs}"
        )
        return run
