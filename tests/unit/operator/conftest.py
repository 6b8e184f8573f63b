"""Fixtures of the operator's unit tests."""

from __future__ import annotations

import pytest

from conversion_operator.controller.store import Store
from tests.unit.operator.builders import KEY


@pytest.fixture
def store() -> Store:
    store = Store(lambda _: None)
    store.use_key(KEY)
    return store
