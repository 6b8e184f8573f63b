"""Marks that several modules use."""

from __future__ import annotations

from typing import Final

import pytest

ONE_IS_ENOUGH: Final = pytest.mark.fake_only("a real API server judges another case of the test")
"""For a case that asks the API server the same question as another case of its test."""
