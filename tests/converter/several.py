"""Runs that make several outputs, as black boxes.

Checks of every run: the exit code is in the table, the report is complete and agrees with it, each
output that has succeeded exists with that size and hash, and no temporary file is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from media_converter.contract import (
    EXIT_CODES,
    REPORT_MAX_BYTES,
    ConversionType,
    ExitReason,
    OutputState,
    Report,
)
from media_converter.report_json import parse_report
from tests.converter.containers import Command, Ended
from tests.converter.harness import Converter, listing

CONVERSION = "0f0e0d0c-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Wanted:
    """One of the outputs of a run. ``target`` is a path from the volume's root."""

    kind: ConversionType
    target: str
    options: Mapping[str, object] = field(default_factory=dict)
    optional: bool = False
    sha256: str = ""

    def body(self) -> dict[str, object]:
        body: dict[str, object] = {"conversionType": str(self.kind), "outputFile": self.target}
        if self.options:
            body["options"] = dict(self.options)
        if self.optional:
            body["optional"] = True
        if self.sha256:
            body["sha256"] = self.sha256
        return body


@dataclass(frozen=True)
class ManyRun:
    """What one run did. ``states`` are in the order of the request."""

    ended: Ended
    reason: ExitReason
    report: Report
    log: str

    @property
    def states(self) -> list[OutputState]:
        return [result.state for result in self.report.outputs]

    @property
    def tools(self) -> list[str]:
        """The lines of the log that say what ffmpeg and vips were asked for."""
        return [line for line in self.log.splitlines() if "video: " in line or "image: " in line]


class Many:
    """A run that has not ended."""

    def __init__(
        self, converter: Converter, wanted: Sequence[Wanted], report: Path, command: Command
    ) -> None:
        self._converter = converter
        self._wanted = wanted
        self.report_file = report
        self.command = command

    def report_now(self) -> Report | None:
        """The report as a kill at this moment would leave it."""
        return parse_report(self.report_file.read_text())

    def end(self, limit: float = 300) -> ManyRun:
        ended = self.command.result(limit)
        data = self.report_file.read_bytes()
        self.report_file.unlink()
        return self._judge(ended, data)

    def killed(self, limit: float = 60) -> Ended:
        ended = self.command.result(limit)
        self.report_file.unlink()
        return ended

    def _judge(self, ended: Ended, data: bytes) -> ManyRun:
        context = f"exit {ended.code}\n{data.decode(errors='replace')}\n{ended.stderr[-3000:]!r}"
        reasons = {code: reason for reason, code in EXIT_CODES.items()}
        assert ended.code in reasons, context
        reason = reasons[ended.code]
        assert len(data) <= REPORT_MAX_BYTES, context
        report = parse_report(data.decode())
        assert report, context
        assert report.final, context
        assert report.reason == reason, context
        assert report.output is None, "the form with one output has it"
        if report.outputs:
            assert len(report.outputs) == len(self._wanted), context
            for result, wanted in zip(report.outputs, self._wanted, strict=True):
                if result.state is OutputState.SUCCEEDED:
                    path = self._converter.workspace.path(wanted.target)
                    assert path.stat().st_size == result.size, context
                    assert result.output, context
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    assert result.output.sha256 == digest, context
                elif result.state is not OutputState.PENDING:
                    assert result.reason, context
                    assert result.message, context
        if reason is ExitReason.COMPLETED and not report.plan:
            total = sum(result.size or 0 for result in report.outputs)
            assert report.output_size == total, context
            for result, wanted in zip(report.outputs, self._wanted, strict=True):
                assert wanted.optional or result.state is OutputState.SUCCEEDED, context
        return ManyRun(ended, reason, report, ended.stdout.decode(errors="replace"))


def start(
    converter: Converter,
    source: str,
    wanted: Sequence[Wanted],
    *,
    env: Mapping[str, str] | None = None,
    limit: float = 240,
    sample: bool = False,
) -> Many:
    """Start a run that makes all wanted outputs."""
    name = f"reports/{uuid.uuid4().hex}"
    report = converter.workspace.root / name
    report.touch()
    os.chown(report, 65532, 65532)
    command = converter.agent.start(
        converter.argv,
        {
            "JOB_ID": "several",
            "INPUT_FILE": f"/{source}",
            "OUTPUTS": json.dumps([one.body() for one in wanted]),
            "CONVERSION_UID": CONVERSION,
            "TERMINATION_LOG": f"/workspace/{name}",
            **(env or {}),
        },
        limit=limit,
        sample=sample,
    )
    return Many(converter, wanted, report, command)


def run(
    converter: Converter,
    source: str,
    wanted: Sequence[Wanted],
    *,
    env: Mapping[str, str] | None = None,
) -> ManyRun:
    """Run it to its end. Checks that only named files are left where the outputs go."""
    done = start(converter, source, wanted, env=env).end()
    for target in {Path(one.target).parent for one in wanted}:
        folder = converter.workspace.path(str(target))
        if folder.is_dir():
            left = [name for name in listing(folder) if ".converter-" in name]
            assert not left, f"{done.reason} left {left}"
    return done
