"""For all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: pytest-timeout has the last word. Where CI is set, Hypothesis
# also tries the same examples each time; elsewhere it goes on looking for others.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
