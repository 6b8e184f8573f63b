"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine must not fail a test: only pytest-timeout limits its time. If CI is set, Hypothesis
# tries the same examples each time; otherwise it looks for new ones.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
