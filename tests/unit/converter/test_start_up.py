"""The start of a run takes longer than many conversions, so it imports as little as possible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import media_converter

LATER = (
    "dry_run", "outputs", "running.image", "running.media_info", "running.preview",
    "running.storyboard", "running.thumbnail", "running.transcode", "running.videos",
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


def test_the_fields_of_a_tuple_have_no_postponed_annotations() -> None:
    """To make a NamedTuple of annotations that are texts takes twice as long: each is compiled.

    A run makes about a hundred. isobmff.py has annotations that only Python 3.12 can evaluate.
    """
    folder = Path(media_converter.__file__).parent
    texts = {path: path.read_text("utf-8") for path in folder.rglob("*.py")}
    slow = {
        str(path.relative_to(folder))
        for path, text in texts.items()
        if re.search(r"^class \w+\(NamedTuple\):", text, re.M)
        and "from __future__ import annotations" in text
    }
    assert slow == {"probing/isobmff.py"}
