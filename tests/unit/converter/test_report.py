"""The report, and the lines of the log that it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media_converter.contract import (
    REPORT_MAX_BYTES,
    ExitReason,
    Report,
    dump_report,
    parse_report,
)
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
