"""The report, and the lines of the log that it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media_converter.contract import (
    MAX_OUTPUT_MESSAGE_LENGTH,
    MAX_OUTPUTS,
    REPORT_MAX_BYTES,
    Action,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    PlannedOutput,
    Progress,
    Report,
)
from media_converter.report_json import dump_report, parse_progress, parse_report
from media_converter.running.folding import fold, keep_ends
from media_converter.running.report import Reporter


@pytest.mark.parametrize("text", ["x" * 9000, "\N{SNOWMAN}" * 9000, "\N{GRINNING FACE}" * 9000])
def test_a_report_always_fits_and_keeps_the_end_of_the_log(text: str) -> None:
    for report in (
        Report(final=True, reason=ExitReason.INPUT_DAMAGED, message="why", logs=text + "the end"),
        Report(final=True, reason=ExitReason.INPUT_DAMAGED, message=text, logs=text),
    ):
        data = dump_report(report)
        assert len(data) <= REPORT_MAX_BYTES
        kept = parse_report(data.decode())
        assert kept
        assert kept.reason is ExitReason.INPUT_DAMAGED
        assert kept.message == "why" or not kept.logs
        assert kept.message != "why" or kept.logs.endswith("the end")


OUTPUT = Output("a" * 64, "matroska" * 4, "v" * 32, "a" * 32, 16384, 16384, 604800.123)


@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"])
def test_a_report_of_eight_outputs_never_loses_a_fact(letter: str) -> None:
    made = OutputResult(OutputState.SUCCEEDED, 2**40, OUTPUT, (letter * 500,) * 9)
    failed = OutputResult(
        OutputState.FAILED, reason=ExitReason.VERIFICATION_FAILED, message=letter * 9000
    )
    for results in ((made,) * 8, (failed,) * 8, (made, failed) * 4):
        report = Report(
            final=True,
            reason=ExitReason.VERIFICATION_FAILED,
            message=letter * 1000,
            logs=letter * 2048,
            outputs=results,
        )
        data = dump_report(report)
        assert len(data) <= REPORT_MAX_BYTES
        kept = parse_report(data.decode())
        assert kept
        assert [result.output for result in kept.outputs] == [r.output for r in results]
        assert [result.reason for result in kept.outputs] == [r.reason for r in results]
        assert [result.size for result in kept.outputs] == [r.size for r in results]
        # The log goes first, then the texts of the outputs, then the message.
        assert not kept.logs or kept.message == report.message
        texts = [result.message for result in kept.outputs if result.reason]
        assert kept.message == report.message or not any(texts)


def test_the_texts_of_outputs_are_cut_alike() -> None:
    short = Report(
        final=True,
        message="why",
        logs="x" * 2000,
        outputs=(OutputResult(OutputState.FAILED, message="m" * 300),) * 2,
    )
    kept = parse_report(dump_report(short).decode())
    assert kept
    assert [len(result.message) for result in kept.outputs] == [MAX_OUTPUT_MESSAGE_LENGTH] * 2
    assert kept.logs


def test_a_plan_survives_json() -> None:
    encode = PlannedOutput(Action.ENCODE, "h264", "aac", 1280, 720, 12.5, 2**28, 3.5, 10**6)
    skip = PlannedOutput(Action.SKIP, reason=ExitReason.NO_VIDEO_STREAM, message="a song")
    plan = (encode, skip)
    report = Report(final=True, reason=ExitReason.COMPLETED, plan=plan, run_milliseconds=1234)
    assert parse_report(dump_report(report).decode()) == report


@pytest.mark.parametrize(
    "outputs",
    [
        {"state": "Pending"},
        "text",
        [None],
        [{}],
        [{"state": "Done"}],
        [{"state": "Succeeded"}],
        [{"state": "Succeeded", "size": 1, "container": "mp4", "sha256": "short"}],
        [{"state": "Failed", "reason": "Because"}],
        [{"state": "Pending"}] * (MAX_OUTPUTS + 1),
    ],
)
def test_outputs_that_no_run_reports_make_it_no_report(outputs: object) -> None:
    text = json.dumps({"final": True, "reason": "Completed", "outputs": outputs})
    assert parse_report(text) is None


def test_a_report_is_rewritten_in_place_and_always_complete(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_text("left from before")
    reporter = Reporter(str(file))
    reporter.log("a\nname with \udc80 and \x1b[31m")
    reporter.finish(Report(final=True, reason=ExitReason.INPUT_DAMAGED, message="x" * 2000))
    first = file.read_bytes()
    reporter.finish(Report(final=True, reason=ExitReason.COMPLETED))
    assert len(file.read_bytes()) == len(first) <= REPORT_MAX_BYTES
    report = parse_report(file.read_text())
    assert report
    assert report.reason is ExitReason.COMPLETED
    assert report.logs.count("\n") == 1


def printed_estimates(capsys: pytest.CaptureFixture[str]) -> list[int | None]:
    lines = capsys.readouterr().out.splitlines()
    return [p.eta_seconds for line in lines if (p := parse_progress(line)) is not None]


def test_the_first_estimate_is_printed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of two seconds may end before the next line is due."""
    moments = iter([0.0, 1.0, 1.25, 1.5, 1.75, 2.0])
    moment = [next(moments)]
    reporter = Reporter(str(tmp_path / "none"), now=lambda: moment[0])
    for estimate in (None, None, 2, 2, 2):
        moment[0] = next(moments)
        reporter.progress = Progress(percent=10, eta_seconds=estimate)
        reporter.tick()
    # At 1 s nothing is known, at 1.5 s something is, and at 2 s a line is due.
    assert printed_estimates(capsys) == [None, 2, 2]


def test_time_passes_while_there_is_no_new_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as while an output is checked."""
    moment = [0.0]
    reporter = Reporter(str(tmp_path / "none"), now=lambda: moment[0])
    reporter.progress = Progress(percent=99, speed=2.0, eta_seconds=6)
    for moment[0] in (1.0, 5.0, 20.0):
        reporter.tick()
    assert printed_estimates(capsys) == [5, 1, 0]


def test_lines_that_differ_only_in_numbers_are_folded() -> None:
    noise = [
        f"[h264 @ 0x55d{i:x}] error while decoding MB {i} 3, bytestream -5" for i in range(999)
    ]
    lines = ["[mov @ 0x1] the cause", *noise, "", "the end"]
    assert fold(lines, 12) == [
        "[mov @ 0x1] the cause",
        "[h264 @ 0x55d0] error while decoding MB 0 3, bytestream -5 (999 lines like this)",
        "the end",
    ]
    many = fold([f"{'x' * i} is wrong" for i in range(50)], 12)
    assert len(many) == 12
    assert many[0] == " is wrong"
    assert many[6] == "… 39 lines are left out"
    assert many[-1] == f"{'x' * 49} is wrong"
    assert fold([], 12) == []


@given(st.lists(st.text(st.characters(exclude_characters="\n")), max_size=60))
@example(["noise" * 10] * 60)
def test_the_first_and_the_last_line_of_a_log_stay(lines: list[str]) -> None:
    text = ""
    for line in ["the first", *lines, "the last"]:
        text = keep_ends(text + line[:200] + "\n", 500)
        assert len(text) <= 500
    assert text.startswith("the first\n")
    assert text.endswith("the last\n")


def test_a_report_keeps_the_first_and_the_last_lines() -> None:
    logs = "the first\n" + "noise\n" * 2000 + "the last\n"
    kept = parse_report(dump_report(Report(final=False, logs=logs)).decode())
    assert kept
    assert kept.logs.startswith("the first\n")
    assert kept.logs.endswith("the last\n")
