"""How a conversion ends: the reason, and outputs that are discarded."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from media_converter.contract import (
    NOT_RETRIED,
    ExitReason,
)
from media_converter.errors import ConversionError, from_os_error
from media_converter.files.paths import open_input, open_root
from media_converter.files.still import Still
from media_converter.planning.plan import Expected
from media_converter.probing import holes
from media_converter.probing.chain import Hole
from media_converter.running import verify
from media_converter.running.failures import cause, explain
from media_converter.running.process import ProcessResult
from media_converter.running.run import hole_finder
from media_converter.task import DamageLimits
from tests.unit.converter.builders import INFO, FakeSignals, runner


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, ExitReason.DISK_FULL),
        (errno.EDQUOT, ExitReason.DISK_FULL),
        (errno.EACCES, ExitReason.OUTPUT_NOT_WRITABLE),
        (errno.EROFS, ExitReason.OUTPUT_NOT_WRITABLE),
        (errno.ENOTDIR, ExitReason.OUTPUT_NOT_WRITABLE),
        (errno.EIO, ExitReason.IO_ERROR),
        (errno.ESTALE, ExitReason.IO_ERROR),
    ],
)
def test_errors_of_a_file_system(number: int, reason: ExitReason) -> None:
    assert from_os_error(OSError(number, "x"), "writing").reason is reason


@pytest.mark.parametrize(
    ("code", "stderr", "missing", "known_format", "reason"),
    [
        (228, "", 0, True, ExitReason.DISK_FULL),
        (1, "av_interleaved_write_frame(): No space left on device", 0, True, ExitReason.DISK_FULL),
        (1, "moov atom not found", 0, True, ExitReason.INPUT_DAMAGED),
        (1, "moov atom not found", 10, True, ExitReason.INPUT_TRUNCATED),
        (1, "tiff2vips: unsupported compression", 0, True, ExitReason.UNSUPPORTED_FORMAT),
        (1, "tiff2vips: unsupported compression", 10, True, ExitReason.INPUT_TRUNCATED),
        (1, "Invalid data found", 5000, True, ExitReason.INPUT_TRUNCATED),
        (1, "Invalid data found", 0, True, ExitReason.INPUT_DAMAGED),
        (1, "Invalid data found", 0, False, ExitReason.UNSUPPORTED_FORMAT),
        (1, "'x' is not a known file format", 0, False, ExitReason.UNSUPPORTED_FORMAT),
        (1, "'x' is not a known file format", 0, True, ExitReason.INPUT_DAMAGED),
        (1, "VipsJpeg: premature end of JPEG image", 0, True, ExitReason.INPUT_DAMAGED),
        (-11, "", 0, True, ExitReason.INPUT_DAMAGED),
    ],
)  # fmt: skip
def test_why_a_tool_failed(
    code: int, stderr: str, missing: int, known_format: bool, reason: ExitReason
) -> None:
    found = explain("encode", ProcessResult(code, b"", stderr), lambda: missing, known_format)
    assert found.reason is reason


def test_a_missing_end_confirms_what_a_tool_says() -> None:
    result = ProcessResult(1, b"", "VipsJpeg: premature end of JPEG image")
    found = explain("image", result, lambda: 0, True, ends_early=True)
    assert found.reason is ExitReason.INPUT_TRUNCATED
    assert found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(
    ("code", "stderr", "ends_early"),
    [
        (228, "", False),
        (1, "av_interleaved_write_frame(): No space left on device", False),
        (1, "Picture size exceeds specified max pixel count 1", False),
        (1, "VipsJpeg: premature end of JPEG image", True),
    ],
)
def test_the_input_is_not_walked_if_the_cause_is_known(
    code: int, stderr: str, ends_early: bool
) -> None:
    asked: list[str] = []

    def missing() -> int:
        asked.append(stderr)
        return 0

    explain("encode", ProcessResult(code, b"", stderr), missing, True, ends_early=ends_early)
    assert not asked


def test_the_input_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int | None] = []

    def find(read: object, size_bytes: int, until: int | None = None) -> tuple[Hole, ...]:
        walked.append(until)
        return (Hole(1, 2),)

    monkeypatch.setattr(holes, "find", find)
    (tmp_path / "film.ts").write_bytes(b"G")
    source = open_input(open_root(str(tmp_path)), "/film.ts")
    finder = hole_finder(source, runner(FakeSignals(), 60.0, lambda: None))
    assert [finder(None), finder(None), finder(7)] == [(Hole(1, 2),)] * 3
    assert walked == [None, 7]


def test_the_cause_is_named_without_the_tools_prefixes() -> None:
    printed = (
        "[mov,mp4 @ 0x55] [error] moov atom not found\n"
        "[in#0 @ 0x56] [error] Error opening input: Invalid data"
    )
    assert cause(printed) == "moov atom not found"
    assert cause("file:/proc/self/fd/3: Invalid data") == "the file: Invalid data"
    vips = "(vips:15): VIPS-WARNING **: 02:51:37.943: error in tile 0 x 56\nVipsJpeg: premature end"
    assert cause(vips) == "VipsJpeg: premature end"
    assert cause("") == ""


def short(missing: int, log: str) -> ExitReason | None:
    expected = Expected("mp4", "h264", "aac", (1280, 720), duration=20.0)
    try:
        verify.check_media(INFO, expected, missing, log)
    except ConversionError as error:
        return error.reason
    return None


def test_a_short_output_needs_evidence_against_the_input() -> None:
    assert short(0, "") is None, "the header promised too much"
    assert short(1000, "") is ExitReason.INPUT_TRUNCATED
    assert short(0, "[mov @ 0x1] stream 0, offset 0x1: partial file") is ExitReason.INPUT_TRUNCATED
    assert short(0, "[h264] error while decoding MB 1 1") is ExitReason.INPUT_DAMAGED


def test_an_output_that_is_a_little_short_has_a_warning() -> None:
    for wanted, refused in ((10.9, False), (11.5, True), (15.5, True)):
        expected = Expected("mp4", "h264", "aac", duration=wanted)
        info = INFO._replace(duration=10.0)
        if refused:
            with pytest.raises(ConversionError):
                verify.check_media(info, expected, 1000, "")
            loose = DamageLimits(convert_anyway=True)
            assert verify.check_media(info, expected, 1000, "", loose)[1]
        else:
            (warning,) = verify.check_media(info, expected, 1000, "")[1]
            assert "truncated" in warning
    long = INFO._replace(duration=94.0)
    expected = Expected("mp4", "h264", "aac", duration=100)
    with pytest.raises(ConversionError):
        verify.check_media(long, expected, 1000, "")
    assert verify.check_media(long, expected, 1000, "", DamageLimits(max_seconds=7))[1]


@pytest.mark.parametrize(
    ("actual", "promised", "wanted"),
    [(9.6, 10, False), (9.4, 10, True), (98.1, 100, False), (97.9, 100, True), (11, 10, False)],
)
def test_short_is_more_than_rounding(actual: float, promised: float, wanted: bool) -> None:
    assert verify.is_short(actual, promised) is wanted


@pytest.mark.parametrize(
    "expected",
    [
        Expected("mp4", "h264", "aac", (640, 360)),
        Expected("mp4", "hevc", "aac", (1280, 720)),
        Expected("mp4", "h264", "mp3", (1280, 720)),
    ],
)
def test_an_output_other_than_planned_is_discarded(expected: Expected) -> None:
    with pytest.raises(ConversionError) as refused:
        verify.check_media(INFO, expected, 0, "")
    assert refused.value.reason is ExitReason.VERIFICATION_FAILED
    with pytest.raises(ConversionError):
        verify.check_media(INFO._replace(audio=()), expected, 0, "")


IMAGE = Expected(container="webp", size=(800, 600), frames=10)


@pytest.mark.parametrize(
    "found",
    [
        Still("jpeg", 800, 600, 10),
        Still("webp", 800, 598, 10),
        Still("webp", 800, 600, 11),
    ],
)
def test_an_image_other_than_planned_is_discarded(found: Still) -> None:
    with pytest.raises(ConversionError) as refused:
        verify.check_image(found, IMAGE)
    assert refused.value.reason is ExitReason.VERIFICATION_FAILED
    # One pixel of rounding is fine, and so is merging equal frames.
    fine = Still("webp", 800, 599, 9)
    assert verify.check_image(fine, IMAGE) is fine


def test_only_a_volume_is_worth_another_attempt() -> None:
    for check in (
        lambda: verify.check_media(None, Expected("mp4"), 0, ""),
        lambda: verify.check_image(None, IMAGE),
    ):
        with pytest.raises(ConversionError) as refused:
            check()
        assert refused.value.reason is ExitReason.IO_ERROR
    assert ExitReason.IO_ERROR not in NOT_RETRIED
    assert ExitReason.VERIFICATION_FAILED in NOT_RETRIED


def test_an_mp4_without_faststart_is_discarded() -> None:
    verify.check_faststart(True)
    with pytest.raises(ConversionError) as refused:
        verify.check_faststart(False)
    assert refused.value.reason is ExitReason.VERIFICATION_FAILED
