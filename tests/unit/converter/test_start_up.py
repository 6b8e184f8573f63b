"""A run imports only what its conversion type needs: to import the rest takes longer than many."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LATER = (
    "dry_run", "outputs", "running.films", "running.image", "running.media_info",
    "running.preview", "running.storyboard", "running.thumbnail", "running.transcode",
    "running.waveform", "planning.storyboard",
)  # fmt: skip


@pytest.mark.parametrize("module", ["media_converter.main", "media_converter.convert"])
def test_the_modules_of_a_type_are_imported_later(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    imported = set(json.loads(done.stdout))
    assert module in imported
    assert not imported & {f"media_converter.{name}" for name in LATER}
