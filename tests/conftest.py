"""Settings for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a test: only pytest-timeout limits its time. If CI is set, Hypothesis
# tries the same examples each time; otherwise it looks for new ones.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-api",
        action="store_true",
        help="run the component tests marked 'judged' against a real kube-apiserver",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--real-api``, do not import modules without a judged test: that takes seconds."""
    is_module = collection_path.match("test_*.py") and config.getoption("real_api")
    if is_module and "judged" not in collection_path.read_text(encoding="utf-8"):
        return True
    return None  # other plugins decide


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--real-api``, keep only the tests that mean something on a real API server."""
    if not config.getoption("real_api"):
        real = [item for item in items if item.get_closest_marker("real_only")]
        config.hook.pytest_deselected(items=real)
        items[:] = [item for item in items if item not in real]
        return
    judged = [
        item
        for item in items
        if item.get_closest_marker("judged") and not item.get_closest_marker("fake_only")
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in judged])
    items[:] = judged
