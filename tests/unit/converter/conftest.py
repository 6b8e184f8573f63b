"""Fixtures of the converter's unit tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.converter.outputs_bench import Bench


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "in.mov").write_bytes(b"the input")
    os.utime(tmp_path / "in.mov", (1_000_000_000, 1_000_000_000))
    return tmp_path


@pytest.fixture
def bench(volume: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(volume, monkeypatch)
