"""Writes ConversionJobs in every phase, as this release stores them.

``python -m tests.golden.write >tests/golden/unreleased.json`` after each change of what is stored.
At a release, rename the file to its version. Files of releases never change.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from conversion_operator.api import names
from conversion_operator.api.reasons import Reason
from conversion_operator.core.model import Conversion
from conversion_operator.core.plan import Block
from media_converter.contract import (
    EXIT_CODES,
    Action,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    PlannedOutput,
    Progress,
)
from tests.unit.operator.builders import (
    bad_report,
    children,
    conversion,
    ended,
    good_report,
    job,
    pod,
    running,
    snapshot,
    step,
    succeeded,
)


def objects() -> list[dict[str, Any]]:
    """One ConversionJob for each state."""
    new = conversion(priority=5, resources={"limits": {"memory": "2Gi", "cpu": 1}}, maxRetries=1)
    notified = conversion(notify={"url": "https://example.com/done"}, options={"quality": "high"})
    queued = step(new, children(), position=2)[1]
    blocked = step(new, children(), block=Block(Reason.PAUSED, "paused"))[1]
    starting = step(new, children(job(), pod()), 5)[1]
    active = step(new, children(job(), running()))[1]
    progress = step(active, children(job(), running()), 30, progress=Progress(41), logs="a\nb")[1]
    full = bad_report(ExitReason.DISK_FULL)
    failed_pod = ended(EXIT_CODES[ExitReason.DISK_FULL], "Error", full)
    retried = step(active, children(job(), failed_pod), 12)[1]
    again = step(retried, children(job(2), running(2, 40)), 45)[1]
    second = ended(EXIT_CODES[ExitReason.DISK_FULL], "Error", full, 2)
    failed = step(again, children(job(2), second), 60)[1]
    cancel = replace(active, spec=conversion(cancel=True).spec)
    cancelling = step(cancel, children(job(), running()), 20)[1]
    cancelled = step(replace(queued, spec=conversion(cancel=True).spec), children())[1]
    done = step(active, children(job(), succeeded()), 12)[1]
    told = step(notified, children(job(), running()))[1]
    told = step(told, children(job(), succeeded()), 12)[1]
    listed: dict[str, Any] = {
        "conversionType": None,
        "outputFile": None,
        "outputs": [
            {"conversionType": "extract_thumbnail", "outputFile": "t/a.jpg"},
            {"conversionType": "audio_to_mp3", "outputFile": "w/a.mp3", "optional": True},
        ],
    }
    made = OutputResult(OutputState.SUCCEEDED, 1234, Output("a" * 64, "jpg", width=320, height=180))
    left_out = OutputResult(
        OutputState.SKIPPED, reason=ExitReason.NO_AUDIO_STREAM, message="there is no audio"
    )
    report = good_report(output=None, outputs=(made, left_out))
    several = step(conversion(**listed), children(job(), succeeded(report=report)), 12)[1]
    killed = good_report(final=False, reason=None, output=None, outputs=(made, OutputResult()))
    half = step(conversion(**listed), children(job(), ended(137, "Error", killed)), 12)[1]
    plan = PlannedOutput(Action.ENCODE, "h264", "aac", 1280, 720, 5.28, 10**8, 2.5, 10**6)
    report = good_report(output=None, output_size=None, plan=(plan,))
    dry = step(conversion(dryRun=True), children(job(), succeeded(report=report)), 12)[1]
    states = {
        "queued": queued,
        "paused": blocked,
        "starting": starting,
        "running": active,
        "progress": progress,
        "retried": retried,
        "second-attempt": again,
        "failed": failed,
        "cancelling": cancelling,
        "cancelled": cancelled,
        "succeeded": done,
        "callback-pending": told,
        "several-outputs": several,
        "several-outputs-retried": half,
        "dry-run": dry,
    }
    return [_object(name, state) for name, state in states.items()]


def _object(name: str, state: Conversion) -> dict[str, Any]:
    subject = snapshot(state).conversion
    assert subject.spec
    assert subject.status
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": subject.key.namespace,
            "uid": subject.key.uid,
            "resourceVersion": "7",
            "generation": subject.generation,
            "creationTimestamp": "2026-01-01T12:00:00Z",
        },
        "spec": subject.spec.to_json(),
        "status": subject.status.to_json(),
    }


def render() -> str:
    """The file of this release."""
    return json.dumps(objects(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
