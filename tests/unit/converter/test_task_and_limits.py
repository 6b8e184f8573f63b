"""The task from the environment, and the limits of the control group."""

from __future__ import annotations

import pytest

from media_converter.contract import (
    ConversionType,
    ExitReason,
)
from media_converter.errors import ConversionError
from media_converter.limits import Limits, oom_kills, read_limits
from media_converter.main import tool_environment
from media_converter.task import DEFAULT_TIMEOUT_SECONDS, read_task
from tests.unit.converter.builders import GIB, LIMITS

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
