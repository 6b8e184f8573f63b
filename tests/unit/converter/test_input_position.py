"""How much of its input a tool has read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from media_converter.running.input_position import read_until

_READS = """
import sys
with open("INPUT", "rb") as file:
    file.seek(40_000)
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_the_position_of_a_tool_is_that_of_its_own_descriptor(tmp_path: Path) -> None:
    input_file, other = tmp_path / "a", tmp_path / "b"
    for path in (input_file, other):
        path.write_bytes(bytes(100_000))
    script = _READS.replace("INPUT", str(input_file))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tool:
        assert tool.stdout
        tool.stdout.readline()
        source, unread = (os.open(path, os.O_RDONLY) for path in (input_file, other))
        try:
            assert read_until(tool.pid, source) == 40_000
            assert os.lseek(source, 0, os.SEEK_CUR) == 0
            assert read_until(tool.pid, unread) is None
        finally:
            tool.communicate(b"\n")
            os.close(unread)
        assert read_until(tool.pid, source) is None
        os.close(source)
