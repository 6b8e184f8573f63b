"""Exit reasons, reports, progress, limits, the task, ffprobe's output."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media_converter.contract import (
    NOT_RETRIED,
    REPORT_MAX_BYTES,
    ConversionType,
    ExitReason,
    Progress,
    Report,
    dump_report,
    parse_report,
)
from media_converter.errors import ConversionError, from_os_error
from media_converter.files.paths import open_input, open_root
from media_converter.files.still import Still
from media_converter.limits import Limits, oom_kills, read_limits
from media_converter.main import tool_environment
from media_converter.planning.plan import Expected
from media_converter.probing import ffprobe, holes
from media_converter.probing.chain import Hole
from media_converter.running import endings, verify
from media_converter.running.confinement import Confinement
from media_converter.running.failures import cause, explain
from media_converter.running.folding import fold, keep_ends
from media_converter.running.process import ProcessResult, Runner, Signals, TimeLimits
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.report import Reporter
from media_converter.running.run import hole_finder
from media_converter.task import DEFAULT_TIMEOUT_SECONDS, DamageLimits, read_task
from tests.unit.converter.builders import GIB, INFO, LIMITS


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


def test_truncated_plain_audio_has_its_full_duration() -> None:
    wav = INFO._replace(container="wav", size_bytes=1000, duration=10.0)
    assert verify.with_full_duration(wav, 1000).duration == 20.0
    assert verify.with_full_duration(wav, 0) == wav
    assert verify.with_full_duration(INFO, 1000) == INFO


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


def test_progress_never_goes_back_and_stays_below_100() -> None:
    seen: list[Progress] = []
    meter = Meter(10.0, seen.append)
    for done in ("N/A", "-1", "2000000", "1000000", "9990000", "12000000"):
        for line in (f"out_time_us={done}", "speed=2.0x", "progress=continue"):
            meter.add_line(line)
    assert [p.percent for p in seen] == [None, 0, 20, 20, 99, 99]
    assert seen[2].eta_seconds == 4
    blind = Meter(None, seen.append)
    blind.add_line("out_time_us=5")
    blind.add_line("progress=end")
    assert seen[-1].percent is None


def test_media_that_never_ends_is_damaged() -> None:
    meter = Meter(2.0, lambda progress: None, max_plausible_duration(2.0, 192_000))
    for done in (10, 1984):
        meter.add_line(f"out_time_us={done * 10**6}")
        meter.add_line("progress=continue")
    meter.add_line(f"out_time_us={1985 * 10**6}")
    with pytest.raises(ConversionError, match="never ends") as ended:
        meter.add_line("progress=continue")
    assert ended.value.reason is ExitReason.INPUT_DAMAGED


def test_a_duration_may_be_far_off_before_the_file_counts_as_damaged() -> None:
    # Ten minutes of speech at 6 kbit/s that promise a second; an hour of a slide without a length.
    assert max_plausible_duration(1.0, 600 * 750) > 600
    assert max_plausible_duration(None, 3600 * 10) > 3600
    # An hour of two pictures; ten hours of digital silence as FLAC, 10 bytes a second.
    assert max_plausible_duration(3600.0, 2_000) >= 3600
    assert max_plausible_duration(36_000.0, 360_000) > 36_000


@pytest.mark.parametrize("stated", [1e4, 1e6, 1e12])
def test_a_stated_duration_counts_only_as_far_as_the_file_can_hold_it(stated: float) -> None:
    # 16 kB a second are written, so a file of 2 MB cannot fill more than 7 GB, whatever it states.
    assert max_plausible_duration(stated, 2_000_000) <= 400_000
    assert max_plausible_duration(stated, 1_000) <= 3600


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_lines_are_accepted(lines: list[str]) -> None:
    meter = Meter(1.0, lambda progress: None)
    for line in lines:
        meter.add_line(line)
    meter.add_line("progress=end")


@pytest.mark.parametrize(
    ("code", "stderr", "crashed", "too_large"),
    [
        *((-number, "", True, False) for number in endings.CRASHES),
        (-signal.SIGKILL, "", False, False),
        (-signal.SIGTERM, "", False, False),
        (-signal.SIGXFSZ, "", False, True),
        (229, "", False, True),
        (1, "write error: File too large", False, True),
        (0, "File too large", False, False),
        (1, "", False, False),
        (0, "", False, False),
    ],
)
def test_ends_that_mean_the_same_for_every_tool(
    code: int, stderr: str, crashed: bool, too_large: bool
) -> None:
    result = ProcessResult(code, b"", stderr)
    assert endings.has_crashed(result) is crashed
    assert endings.exceeded_file_size(result) is too_large
    if crashed:
        error = endings.crashed("encode", result)
        assert error.reason is ExitReason.DECODER_CRASHED
        assert "SIG" in error.message


class FakeSignals(Signals):
    """Signals that a test raises. Installs no handlers."""

    def __init__(self) -> None:
        self.wakeup, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.terminated = False

    def terminate(self) -> None:
        self.terminated = True
        os.write(self._write_end, b"x")


def runner(signals: Signals, seconds: float, on_tick: Callable[[], None]) -> Runner:
    limits = TimeLimits(time.monotonic() + seconds, seconds, 60)
    return Runner(signals, limits, Confinement(0), {}, on_tick)


@pytest.mark.parametrize(
    ("seconds", "stopped", "reason"),
    [(0.0, False, ExitReason.DEADLINE_EXCEEDED), (60.0, True, ExitReason.TERMINATED)],
)
def test_a_blocking_call_obeys_the_time_limit_and_sigterm(
    seconds: float, stopped: bool, reason: ExitReason
) -> None:
    signals, release = FakeSignals(), threading.Event()
    began = threading.Event()

    def block() -> None:
        began.set()
        if stopped:
            signals.terminate()
        release.wait(60)

    try:
        with pytest.raises(ConversionError) as ended:
            runner(signals, seconds, lambda: None).wait_for(block)
        assert ended.value.reason is reason
        assert not release.is_set()
    finally:
        release.set()
    assert began.wait(60)


def test_a_blocking_call_reports_progress_and_its_error() -> None:
    release = threading.Event()

    def fail() -> None:
        release.wait(60)
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        # The tick that reports progress is what lets the call end.
        runner(FakeSignals(), 60, release.set).wait_for(fail)
    done = []
    runner(FakeSignals(), 60, lambda: None).wait_for(lambda: done.append(1))
    assert done == [1]


def test_a_long_computation_obeys_the_time_limit_and_sigterm() -> None:
    ticks: list[int] = []
    runner(FakeSignals(), 60, lambda: ticks.append(1)).check()
    assert ticks == [1]
    with pytest.raises(ConversionError) as ended:
        runner(FakeSignals(), 0, lambda: None).check()
    assert ended.value.reason is ExitReason.DEADLINE_EXCEEDED
    signals = FakeSignals()
    signals.terminate()
    with pytest.raises(ConversionError) as ended:
        runner(signals, 60, lambda: None).check()
    assert ended.value.reason is ExitReason.TERMINATED


V2 = {"/sys/fs/cgroup/cpu.max": "150000 100000\n", "/sys/fs/cgroup/memory.max": f"{GIB}\n"}
V1 = {
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
}
NONE = {
    "/sys/fs/cgroup/cpu.max": "max 100000\n",
    "/sys/fs/cgroup/memory.max": "max\n",
}
UNLIMITED_V1 = {
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (V2, Limits(2, GIB)),
        (V1, Limits(1, GIB)),
        (NONE, Limits(16, None)),
        (UNLIMITED_V1, Limits(16, None)),
        ({}, Limits(16, None)),
    ],
)
def test_limits_come_from_the_control_group(files: dict[str, str], wanted: Limits) -> None:
    assert read_limits(files.get, cpus=64) == wanted


def test_kills_are_counted_in_both_versions() -> None:
    assert oom_kills({"/sys/fs/cgroup/memory.events": "oom 1\noom_kill 3\n"}.get) == 3
    v1 = {"/sys/fs/cgroup/memory/memory.oom_control": "under_oom 0\noom_kill 2\n"}
    assert oom_kills(v1.get) == 2
    assert oom_kills(lambda path: None) == 0


ENVIRONMENT = {
    "CONVERSION_TYPE": "image_resize",
    "INPUT_FILE": "/in/a.png",
    "OUTPUT_FILE": "/out/a.JPG",
}


def test_the_task_is_read_from_the_environment() -> None:
    made = read_task(
        {**ENVIRONMENT, "CONVERSION_OPTIONS": '{"size": "10x10"}', "BACKGROUND": "#0a141e"}
    )
    assert made.conversion_type is ConversionType.IMAGE_RESIZE
    assert (made.output_format, made.background) == ("jpeg", "0A141E")
    assert made.timeout_seconds == DEFAULT_TIMEOUT_SECONDS


def test_tools_get_only_the_environment_they_need() -> None:
    found = dict(tool_environment(LIMITS))
    # Loaders of formats that libvips does not trust are compiled in; only this turns them off.
    assert found.pop("VIPS_BLOCK_UNTRUSTED") == "1"
    assert found.pop("VIPS_CONCURRENCY") == str(LIMITS.threads)
    assert set(found) == {"PATH", "HOME", "LANG", "MALLOC_ARENA_MAX"}


@pytest.mark.parametrize(
    "change",
    [
        {"CONVERSION_TYPE": ""},
        {"CONVERSION_TYPE": "video_to_gif"},
        {"INPUT_FILE": ""},
        {"OUTPUT_FILE": "/out/a"},
        {"OUTPUT_FILE": "/out.d/jpg"},
        {"OUTPUT_FILE": "/out/a.mp4"},
        {"CONVERSION_OPTIONS": "{"},
        {"CONVERSION_OPTIONS": "[]"},
        {"CONVERSION_OPTIONS": "[" * 100_000},
        {"CONVERSION_OPTIONS": '{"bitrate": "128k"}'},
        {"TIMEOUT_SECONDS": "0"},
        {"STALL_SECONDS": "1.5"},
        {"MAX_OUTPUT_BYTES": "0"},
        {"MAX_OUTPUT_BYTES": "1k"},
        {"MAX_OUTPUT_BYTES": str(1 << 63)},
        {"OVERWRITE": "no"},
        {"BACKGROUND": "white"},
    ],
)
def test_an_invalid_task_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ConversionError) as refused:
        read_task({**ENVIRONMENT, **change})
    assert refused.value.reason is ExitReason.INVALID_OPTIONS


STREAM = {
    "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
    "r_frame_rate": "0/0", "avg_frame_rate": "N/A", "duration": "N/A", "bit_rate": "",
    "sample_aspect_ratio": "0:1", "field_order": "unknown", "tags": {"DURATION": "00:00:03.5"},
}  # fmt: skip


def document(*streams: object, frames: object = ()) -> bytes:
    return json.dumps(
        {"streams": streams, "frames": frames, "format": {"format_name": "mov", "duration": "N/A"}}
    ).encode()


def test_nonsense_in_a_header_is_accepted() -> None:
    found = ffprobe.parse(document(STREAM))
    assert found
    assert found.duration is None
    assert found.video[0].r_frame_rate is None
    assert found.video[0].sample_aspect_ratio == (1, 1)
    assert found.video[0].duration == 3.5


@pytest.mark.parametrize(
    ("rate", "accepted"),
    [
        *(("0", False), ("1", False), ("999", False), ("3000001", False)),
        *(("1000", True), ("8000", True), ("2822400", True)),
    ],
)
def test_sample_rates_that_are_not_in_use_are_not_accepted(rate: str, accepted: bool) -> None:
    sound = {"index": 0, "codec_type": "audio", "codec_name": "aac", "channels": 1}
    found = ffprobe.parse(document({**sound, "sample_rate": rate}))
    assert found
    assert bool(found.audio) is accepted


def test_the_rotation_is_found_in_the_stream_or_in_its_first_frame() -> None:
    matrix = {"side_data_type": "Display Matrix", "rotation": -90, "displaymatrix": ""}
    frame = {
        "stream_index": 0,
        "side_data_list": [{**matrix, "side_data_type": "3x3 displaymatrix"}],
    }
    for made in (
        document({**STREAM, "side_data_list": [matrix]}),
        document(STREAM, frames=[frame]),
    ):
        found = ffprobe.parse(made)
        assert found
        assert found.video[0].rotation == 90
        assert found.video[0].displayed_size == (360, 640)


def test_covers_and_undecodable_and_unknown_streams_are_distinguished() -> None:
    found = ffprobe.parse(
        document(
            {**STREAM, "disposition": {"attached_pic": 1}},
            {"index": 1, "codec_type": "audio", "sample_rate": "48000", "channels": 2},
            {"index": 2, "codec_type": "audio", "codec_name": "aac", "codec_tag_string": "apac",
             "sample_rate": "48000", "channels": 2},
            {"index": 3, "codec_type": "audio", "codec_name": "aac", "sample_rate": "48000",
             "channels": 2},
            {"index": 4, "codec_type": "data"},
        )
    )  # fmt: skip
    assert found
    assert not found.video
    assert [pic.stream_index for pic in found.attached_pics] == [0]
    assert [track.stream_index for track in found.audio] == [3]
    assert found.undecodable == ("audio unknown", "audio aac")


FIELDS = st.sampled_from(sorted(STREAM))
ODD: st.SearchStrategy[object] = (
    st.none() | st.text(max_size=8) | st.integers() | st.floats() | st.just({})
)


@given(st.dictionaries(FIELDS, ODD, max_size=6))
def test_any_field_may_be_odd(fields: dict[str, object]) -> None:
    body = {**STREAM, **{k: v for k, v in fields.items() if k not in ("tags", "codec_type")}}
    ffprobe.parse(document(body))


@given(st.binary(max_size=100))
def test_output_that_is_not_a_description_is_none(data: bytes) -> None:
    assert ffprobe.parse(data) is None


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
