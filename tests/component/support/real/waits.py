"""The operator's own waits, shortened for the tests on a real API server.

That server answers the same after one second and after ten. How long the operator waits is tested
against the fake one, with the times of the product.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from conversion_operator.controller import admitter, claims, create_requests, profile_reader, worker
from conversion_operator.core import retry, running

_SECOND: Final = timedelta(seconds=1)


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits until the end of a test."""
    monkeypatch.setattr(running, "SHORT_RUN", _SECOND)  # 10 s
    monkeypatch.setattr(running, "STARTING_INTERVAL", _SECOND)  # 10 s
    monkeypatch.setattr(running, "PROGRESS_INTERVAL", _SECOND)  # 10 s
    monkeypatch.setattr(worker, "PROGRESS_INTERVAL", _SECOND)  # 10 s
    monkeypatch.setattr(retry, "_FIRST_BACKOFF", _SECOND)  # 10 s
    monkeypatch.setattr(profile_reader, "RECHECK_SECONDS", 1.0)  # 10 s
    monkeypatch.setattr(create_requests, "_REJECTION_CACHE_SECONDS", 2.0)  # 20 s
    for module in (admitter, claims):
        monkeypatch.setattr(module, "CACHE_SECONDS", 1.0)  # 5 s
