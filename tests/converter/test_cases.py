"""The suite itself."""

from __future__ import annotations

import pytest

from tests.converter.cases import AT_LEAST, COUNTED, count


def test_the_number_of_cases_does_not_fall(pytestconfig: pytest.Config) -> None:
    found = count()
    # The process that reports the results prints the number.
    if hasattr(pytestconfig, "workeroutput"):
        pytestconfig.workeroutput["cases"] = found
    else:
        pytestconfig.stash[COUNTED] = found
    assert found >= AT_LEAST
